//! Sync with honest, slow, unresponsive and hostile peers in virtual time.

mod bodies;
mod claims;
mod headers;
mod peers;
mod random;
mod validation;
mod world;
