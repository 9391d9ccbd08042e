//! Flags of `chain mine`.

use crate::cli::password::PasswordSource;
use crate::cli::wallet::WalletArgs;
use crate::client::NodeArgs;
use miner::Kernel;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};

/// Mine: blocks for an address, with this machine's processors
///
/// Where a node runs on this machine and its token can be read, this is a mining job of that node:
/// the line shows how it goes, and Ctrl-C cancels it. With --node, or --kernel, this process mines
/// itself and hands its blocks to the node. Where no node runs, one is started in this process, and
/// ends with it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The address that mined blocks pay
    ///
    /// Default: that of the wallet, which is made if there is none.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) miner: Option<String>,
    /// Stop after so many blocks
    #[arg(long, value_name = "N")]
    pub(super) blocks: Option<NonZeroU32>,
    /// Mining threads
    ///
    /// Default: one for each processor.
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<NonZeroUsize>,
    /// What the mining threads hash with, by the names that `chain bench hash` shows
    ///
    /// Default: what a trial finds the fastest on this processor.
    #[arg(long, env = "CHAIN_KERNEL", value_name = "NAME")]
    pub(super) kernel: Option<Kernel>,
    /// Where the REST API listens when a node is started
    ///
    /// Default: 127.0.0.1 and the network's port.
    #[arg(long, env = "CHAIN_API", value_name = "ADDRESS:PORT")]
    pub(super) api: Option<SocketAddr>,
    /// Where other nodes can call the node that is started (repeatable); `none` for nowhere
    #[arg(long, env = "CHAIN_LISTEN", value_name = "MULTIADDR", value_delimiter = ',')]
    pub(super) listen: Option<Vec<String>>,
    /// A node that the one that is started stays connected with (repeatable)
    #[arg(long, env = "CHAIN_PEER", value_name = "MULTIADDR", value_delimiter = ',')]
    pub(super) peer: Option<Vec<String>>,
    /// Whether the node that is started finds others on the local network, and is found
    #[arg(long, env = "CHAIN_MDNS", value_name = "BOOL")]
    pub(super) mdns: Option<bool>,
    #[command(flatten)]
    pub(super) node: NodeArgs,
    #[command(flatten)]
    pub(super) wallet: WalletArgs,
    #[command(flatten)]
    pub(super) password: PasswordSource,
}
