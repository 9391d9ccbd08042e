//! The REST API: what clients see of the node, under `/v1`. This is the table of routes; handlers
//! are grouped by resource, shapes stand beside the handlers that send them.

pub mod extract;
pub mod hosts;
pub mod problem;
pub mod server;
mod socket;
pub mod token;

use crate::daemon::Node;
use anyhow::Result;
use axum::Router;
use hosts::Hosts;
use std::net::SocketAddr;
use token::Token;

/// Every route behind its guards.
pub fn routes(node: Node, token: Token, bound: SocketAddr, hosts: &[String]) -> Result<Router> {
    let _ = (node, token);
    Ok(server::guard(Router::new(), Hosts::new(bound.ip(), hosts)?))
}
