//! The HTTP layer of the API: server, extractors, responses and problems. Knows no route.

pub mod auth;
pub mod content;
pub mod error;
pub mod extract;
mod guarded_body;
pub mod host_check;
pub mod long_poll;
pub mod page;
mod parse_error;
pub mod problem;
pub mod rate_limit;
pub mod resources;
pub mod response;
pub mod server;
pub mod streamed;
mod write_timeout;
