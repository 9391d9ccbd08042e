//! The REST API: what clients see of the node, under `/v1`.
//!
//! `routes` has one file per resource, `http` the server, extractors and responses, `openapi` the route
//! table and the OpenAPI document built from it.

pub mod http;
pub mod openapi;
pub mod routes;
pub mod starting;

use crate::auth::Token;
use crate::explorer;
use crate::state::NodeState;
use anyhow::Result;
use axum::Extension;
use http::host_check::AllowedHosts;
use http::resources::Resources;
use http::server::App;
use openapi::docs::Documentation;
use std::sync::Arc;

/// Builds the application with every route.
pub fn router(
    node: Arc<NodeState>,
    token: &Token,
    hosts: &[String],
    resources: Resources,
) -> Result<App> {
    let hosts = AllowedHosts::new(hosts)?;
    let (router, document) = routes::all(token).build();
    let metrics = Arc::clone(&node.metrics.http);
    let router = router.merge(explorer::routes());
    let router = router.layer(Extension(Documentation::new(&document))).with_state(node);
    Ok(App::new(router, hosts, metrics, resources))
}

#[cfg(test)]
mod tests;
