//! The encoding of `message`: little-endian like the chain's own. Counts are checked before anything
//! is allocated, and no byte may be left over. A stream carries one request and one response, each
//! with a u32 length before it; a response begins with a status byte.

mod encoding;
mod name;
mod announcement;
mod status;
mod exchange;
mod codec;

pub use announcement::{Topic, decode_announcement, encode_announcement};
pub use codec::Codec;
pub use encoding::WireError;
pub use exchange::{decode_request, decode_response, encode_request, encode_response};
pub(crate) use name::network_name;
pub use name::protocol_name;

#[cfg(test)]
mod tests;
