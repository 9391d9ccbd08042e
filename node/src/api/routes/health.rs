//! Whether the node lives, and whether it is ready to be asked.

use crate::api::http::content::TEXT;
use crate::api::http::problem::{Kind, Problem};
use crate::api::openapi::route::{Table, get};
use crate::state::NodeState;
use axum::extract::State;
use std::sync::Arc;

/// The routes of this resource.
pub fn routes() -> Table {
    Table::new([
        get("/livez", "Whether the node lives", live).answers_as(TEXT, "It does."),
        get("/readyz", "Whether the node is ready to be asked", ready).answers_as(TEXT, "It is."),
    ])
}

/// It answers, so it lives.
pub async fn live() -> &'static str {
    "ok\n"
}

/// A fresh chain at height 0 is ready; a node that is behind others, that stops, or whose writer
/// has stopped, is not.
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
