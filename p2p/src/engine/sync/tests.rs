//! Sync against peers that are honest, slow, dead or hostile, in virtual time.

mod bodies;
mod headers;
mod peers;
mod random;
mod validation;
mod world;
