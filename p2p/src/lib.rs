//! The peer-to-peer network of a node: discovery, synchronisation, and relay of blocks and
//! transfers.
//!
//! The crate reads the chain and never writes it. Blocks and transfers from peers are submitted to
//! the node's single writer, exactly like those from the REST API, and the results of their
//! validation are reported to the peers' scores.
//!
//! # Tour
//!
//! - [`spawn`] starts the network. It needs a [`Config`], a [`view::ChainView`] to read the chain,
//!   a [`Submit`] that enqueues blocks and transfers for the writer, and a channel of
//!   [`ChainUpdate`]s. It returns a [`Handle`] to query and control the network.
//! - [`message`] defines the messages and, in [`message::Protocol::limits`], the table of the
//!   request-response protocols; [`wire`] encodes and decodes them; [`serve`] responds to requests
//!   about the chain and the mempool.
//! - [`engine`] is a pure state machine: headers-first synchronisation, relay of announcements
//!   (compact blocks included) and mempool synchronisation. It does no I/O, so whole networks are
//!   simulated in its tests.
//! - [`peers`] decides about peers: the address book, dialing, connection slots, misbehavior
//!   scores, bans and rate limits. It does no I/O either, except for the file that stores the
//!   address book.
//! - `net` configures libp2p (TCP, Noise, yamux, gossipsub), `driver` is the only task that touches
//!   the network, and `runner` is the thread that runs the engine and submits blocks to the writer.
//!
//! # Example
//!
//! Requests and responses are plain values with a defined encoding:
//!
//! ```
//! use p2p::message::{Protocol, Request};
//! use p2p::wire;
//!
//! let request = Request::Addresses { max: 8 };
//! let bytes = wire::encode_request(&request);
//! assert!(bytes.len() <= Protocol::Addresses.limits().request_bytes);
//! assert_eq!(wire::decode_request(Protocol::Addresses, &bytes)?, request);
//! # Ok::<(), wire::WireError>(())
//! ```

pub mod log_limit;
mod cidr;
pub mod message;
pub mod rate_limit;
pub mod shares;
pub mod view;
pub mod wire;

mod clock;
mod config;
mod driver;
pub mod engine;
mod handle;
mod net;
mod network_key;
pub mod peers;
mod runner;
pub mod serve;
mod spawn;
mod submit;

#[cfg(test)]
mod testing;

pub use cidr::{Cidr, CidrError};
pub use config::Config;
pub use handle::{ConnectError, Handle, NotSaved, PeerInfo, TaskFailed};
pub use libp2p::{Multiaddr, PeerId, multiaddr};
pub use net::key::{KeyError, create_key, peer_id};
pub use network_key::{NetworkKey, NetworkKeyError};
pub use peers::{Ban, PersistentPeer, Purpose, Subject};
pub use runner::ChainUpdate;
pub use spawn::{SpawnError, check, spawn};
pub use submit::{BlockReply, Submit, TransferReply};
