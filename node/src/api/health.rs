//! Whether the node lives, and whether it is ready to be asked.

use super::problem::{Kind, Problem};
use crate::daemon::Node;
use axum::extract::State;

/// It answers, so it lives.
pub async fn live() -> &'static str {
    "ok\n"
}

/// A fresh chain at height 0 is ready; a node that stops, or whose writer has, is not.
pub async fn ready(State(node): State<Node>) -> Result<&'static str, Problem> {
    let writer_is_gone = node.writer.news().has_changed().is_err();
    if *node.stopping.borrow() || writer_is_gone {
        Err(Problem::new(Kind::NOT_READY, "the node is stopping"))
    } else {
        Ok("ready\n")
    }
}
