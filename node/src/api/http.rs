//! The HTTP layer of the API: server, extractors, responses and problems. Knows no route.

pub mod auth;
pub mod content;
pub mod error;
pub mod extract;
pub mod host_check;
pub mod long_poll;
pub mod page;
pub mod problem;
mod rate_limit;
pub mod response;
pub mod server;
mod write_timeout;
