//! The REST API: what clients see of the node, under `/v1`.
//!
//! `routes` holds one file per resource, `http` the server and what handlers are made of, `openapi`
//! the route table from which the OpenAPI document is made too.

pub mod http;
pub mod openapi;
pub mod routes;

use crate::auth::Token;
use crate::explorer;
use crate::metrics::requests::Count;
use crate::state::NodeState;
use anyhow::Result;
use axum::Extension;
use http::host_check::AllowedHosts;
use http::server::App;
use openapi::docs::Documentation;
use std::net::SocketAddr;
use std::sync::Arc;

/// Every route behind its guards.
pub fn router(
    node: Arc<NodeState>,
    token: &Token,
    bound: SocketAddr,
    hosts: &[String],
) -> Result<App> {
    let hosts = AllowedHosts::new(bound.ip(), hosts)?;
    let table = routes::all(token, &hosts);
    let patterns = table.patterns().chain(explorer::patterns());
    let count = Count::new(Arc::clone(&node.metrics), patterns);
    let (router, document) = table.build();
    let router = router.merge(explorer::routes());
    let router = router.layer(Extension(Documentation::new(&document))).with_state(node);
    Ok(App::new(router, hosts, count))
}

#[cfg(test)]
mod tests;
