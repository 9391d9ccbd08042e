//! The REST API: what clients see of the node, under `/v1`. This is the table of routes; handlers
//! are grouped by resource, shapes stand beside the handlers that send them.

pub mod accounts;
mod answer;
pub mod bans;
pub mod blocks;
pub mod chain;
pub mod dev;
mod events;
pub mod extract;
mod health;
pub mod hosts;
pub mod jobs;
pub mod mempool;
pub mod mining;
mod number;
pub mod page;
pub mod peers;
pub mod problem;
mod refusal;
mod rpc;
pub mod server;
mod socket;
pub mod solutions;
pub mod token;
pub mod transactions;
pub mod transfer;
mod wait;
mod ws;

use crate::daemon::Node;
use crate::explorer;
use anyhow::Result;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{delete, get, post};
use hosts::Hosts;
use std::net::SocketAddr;
use token::Token;

/// Every route behind its guards.
pub fn routes(node: Node, token: Token, bound: SocketAddr, hosts: &[String]) -> Result<Router> {
    let hosts = Hosts::new(bound.ip(), hosts)?;
    let own_pages = middleware::from_fn_with_state(hosts.clone(), hosts::check_origin);
    let socket = Router::new().route("/v1/ws", get(ws::open)).route_layer(own_pages);
    let routes = public().merge(protected(token)).merge(socket).with_state(node);
    let routes = routes.layer(middleware::from_fn(answer::revalidate));
    Ok(server::guard(routes, hosts))
}

/// For everyone who can reach them.
fn public() -> Router<Node> {
    let block = post(blocks::submit).layer(DefaultBodyLimit::max(server::MAX_BLOCK_BODY));
    let rpc = post(rpc::serve).layer(DefaultBodyLimit::max(server::MAX_BLOCK_BODY));
    Router::new()
        .route("/", rpc)
        .merge(explorer::routes())
        .route("/v1/chain", get(chain::chain))
        .route("/v1/chain/params", get(chain::params))
        .route("/v1/chain/tips", get(chain::tips))
        .route("/v1/blocks", get(blocks::list).merge(block))
        .route("/v1/blocks/{id}", get(blocks::one))
        .route("/v1/blocks/{id}/header", get(blocks::header))
        .route("/v1/blocks/{id}/raw", get(blocks::raw))
        .route("/v1/blocks/{id}/transactions", get(blocks::transactions))
        .route("/v1/headers", get(blocks::headers))
        .route("/v1/transactions", post(transactions::submit))
        .route("/v1/transactions/check", post(transactions::check))
        .route("/v1/transactions/batch", post(transactions::batch))
        .route("/v1/transactions/{id}", get(transactions::one))
        .route("/v1/transactions/{id}/proof", get(transactions::proof))
        .route("/v1/transactions/{id}/raw", get(transactions::raw))
        .route("/v1/accounts/{address}", get(accounts::one))
        .route("/v1/accounts/{address}/transactions", get(accounts::transactions))
        .route("/v1/mempool", get(mempool::pool))
        .route("/v1/mempool/transactions", get(mempool::transactions))
        .route("/v1/fees", get(mempool::fees))
        .route("/v1/peers", get(peers::list))
        .route("/v1/bans", get(bans::list))
        .route("/v1/events", get(events::events))
        .route("/v1/mining", get(mining::mining))
        .route("/v1/mining/template", get(mining::template))
        .route("/v1/mining/jobs", get(jobs::list))
        .route("/v1/mining/jobs/{id}", get(jobs::one))
        .route("/v1/mining/solutions", post(solutions::submit))
        .route("/v1/mining/workers", get(mining::workers))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
}

/// For those who have the token: they change the node.
fn protected(token: Token) -> Router<Node> {
    Router::new()
        .route("/v1/dev/generate", post(dev::generate))
        .route("/v1/peers", post(peers::add))
        .route("/v1/peers/{id}", delete(peers::remove))
        .route("/v1/bans", post(bans::add))
        .route("/v1/bans/{who}", delete(bans::lift))
        .route("/v1/mining/jobs", post(jobs::create))
        .route("/v1/mining/jobs/{id}", delete(jobs::cancel))
        .route_layer(middleware::from_fn_with_state(token, token::require))
}

#[cfg(test)]
mod tests;
