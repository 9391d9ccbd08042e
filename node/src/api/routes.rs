//! The routes of the API, a file per resource. Each file declares its routes, handlers and JSON types; a
//! new route in a resource touches its file only, a new resource also the two lists below.

pub mod accounts;
pub mod bans;
pub mod blocks;
pub mod chain;
pub mod dev;
mod event_schema;
pub mod events;
mod explorer;
pub mod health;
pub mod jobs;
pub mod mempool;
pub mod metrics;
pub mod mining;
pub mod peers;
mod rpc;
pub mod snapshots;
pub mod solved;
pub mod submit;
pub mod transactions;
pub mod transfer;
pub mod workers;
mod ws;

use crate::api::openapi::docs;
use crate::api::openapi::route::Routes;
use crate::auth::Token;

/// Every route of the API. Those that change the node require the token.
pub fn all(token: &Token) -> Routes {
    let tables = [
        explorer::routes(),
        docs::routes(),
        health::routes(),
        metrics::routes(),
        chain::routes(),
        blocks::routes(),
        transactions::routes(),
        accounts::routes(),
        mempool::routes(token),
        peers::routes(token),
        bans::routes(token),
        mining::routes(),
        submit::routes(),
        workers::routes(),
        jobs::routes(token),
        rpc::routes(token),
        events::routes(),
        ws::routes(),
        dev::routes(token),
        snapshots::routes(token),
    ];
    tables.into_iter().fold(Routes::default(), Routes::merge)
}
