//! What a call is executed with.

use crate::api::http::resources::Client;
use crate::auth::Token;
use crate::state::NodeState;
use axum::http::HeaderMap;
use std::sync::Arc;

/// The node and the client of a call.
pub(super) struct Context {
    pub node: Arc<NodeState>,
    pub client: Client,
    /// The headers of the request, with the credentials.
    pub headers: HeaderMap,
    pub token: Token,
    /// Whether the call is part of a batch.
    pub is_batch: bool,
}
