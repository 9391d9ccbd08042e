//! Liveness and readiness probes.

use crate::api::http::content::TEXT;
use crate::api::http::problem::{Kind, Problem};
use crate::api::openapi::route::{Routes, get};
use crate::state::NodeState;
use axum::extract::State;
use std::sync::Arc;

pub fn routes() -> Routes {
    Routes::new([
        get("/livez", "Check liveness", live)
            .description("Responds also while the node opens its data directory.")
            .response_as(TEXT, "The node is alive."),
        get("/readyz", "Check readiness", ready)
            .description(
                "The node is ready while a block can be mined on its tip. Otherwise the problem has the \
                                   reason; while the node opens its data directory it has the progress.",
            )
            .response_as(TEXT, "The node is ready."),
    ])
}

pub async fn live() -> &'static str {
    "ok\n"
}

/// Returns an error while no block can be mined, while the node is shutting down, and once its writer
/// has stopped. A new chain at height 0 is ready.
pub async fn ready(State(node): State<Arc<NodeState>>) -> Result<&'static str, Problem> {
    let writer_is_gone = node.writer.watch_chain().has_changed().is_err();
    if *node.stopping.borrow() || writer_is_gone {
        return Err(Problem::new(Kind::NOT_READY, "the node is stopping"));
    }
    match node.readiness.check().await {
        Ok(()) => Ok("ready\n"),
        Err(not_ready) => Err(Problem::new(Kind::NOT_READY, not_ready.to_string())),
    }
}
