//! Flags of `chain mine`.

use crate::cli::wallet::WalletArgs;
use crate::client::NodeArgs;
use crate::config::{Settings, boolean};
use chain::Params;
use miner::Kernel;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};

/// Mine blocks for an address
///
/// If a node runs on this machine and its token is readable, starts a mining job of that node, shows
/// its progress and cancels it on Ctrl-C. With --node or --kernel, mines in this process and submits
/// blocks to the node. If no node runs, starts one in this process.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address to pay
    ///
    /// Default: that of the wallet, which is created if there is none.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) miner: Option<String>,
    /// Stop after this number of blocks
    #[arg(long, value_name = "N")]
    pub(super) blocks: Option<NonZeroU32>,
    /// Number of mining threads [default: one per processor but one, at least one]
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<NonZeroUsize>,
    /// Mining kernel; `chain bench hash` lists them
    ///
    /// Default: the fastest on this processor, by a trial.
    #[arg(long, env = "CHAIN_KERNEL", value_name = "NAME")]
    pub(super) kernel: Option<Kernel>,
    /// Address and port of the REST API of a node started here
    ///
    /// Default: 127.0.0.1 and the port of the network.
    #[arg(long, env = "CHAIN_API", value_name = "ADDRESS:PORT")]
    api: Option<SocketAddr>,
    /// Address at which a node started here accepts peers (repeatable), or `none`
    #[arg(long, env = "CHAIN_LISTEN", value_name = "MULTIADDR", value_delimiter = ',')]
    listen: Option<Vec<String>>,
    /// Node that a node started here stays connected to (repeatable)
    #[arg(long, env = "CHAIN_PEER", value_name = "MULTIADDR", value_delimiter = ',')]
    peer: Option<Vec<String>>,
    /// Whether a node started here discovers others on the local network by mDNS
    #[arg(long, env = "CHAIN_MDNS", value_name = "BOOL", value_parser = boolean())]
    mdns: Option<bool>,
    #[command(flatten)]
    pub(super) wallet: WalletArgs,
    #[command(flatten)]
    pub(super) node: NodeArgs,
}

impl Args {
    /// The settings of a node started here, which logs warnings only.
    pub(super) fn settings(&self, params: &Params) -> Settings {
        Settings {
            network: Some(self.node.network().unwrap_or(params.name()).to_owned()),
            data: self.node.data().cloned(),
            api: self.api,
            listen: self.listen.clone(),
            peer: self.peer.clone(),
            mdns: self.mdns,
            log: Some("warn".to_owned()),
            ..Settings::default()
        }
    }
}
