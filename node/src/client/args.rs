//! The flags that select the node of a command, and the node they select.

use super::failover::NetworkId;
use super::http::Client;
use super::trust::Trust;
use crate::auth::Token;
use crate::config::{self, default_data, network};
use crate::node_file::NodeFile;
use anyhow::{Context, Result, bail, ensure};
use chain::Params;
use reqwest::Url;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

/// Time limit of the connection that shows whether a node on this machine listens.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Flags that select the node of a command
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Node")]
#[group(id = "node-selection")]
pub struct NodeArgs {
    /// URL of the node's API (repeatable: the next one is used while a node is unreachable)
    ///
    /// Default: the node on this machine of the network that --network or an address names, otherwise
    /// the only one that runs.
    #[arg(long, env = "CHAIN_NODE", value_name = "URL", value_delimiter = ',')]
    pub(super) node: Vec<String>,
    /// PEM file of certificate authorities to trust for https, besides those of the platform
    ///
    /// A node on this machine is trusted by the certificate in its data directory.
    #[arg(long, env = "CHAIN_CA", value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// Data directory of a node on this machine
    ///
    /// Default: `chain/NETWORK` in the platform's data directory.
    #[arg(long, env = "CHAIN_DATA", value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// Network that the node must be on: main, testnet, dev or the path of a network file
    #[arg(long, env = "CHAIN_NETWORK", value_name = "NAME|FILE")]
    pub(super) network: Option<String>,
}

impl NodeArgs {
    /// A client of the selected node. Its network is checked if `--network` names one, or if
    /// `address` selects the node. Nothing is sent otherwise.
    pub async fn connect(&self, address: Option<&str>) -> Result<Client> {
        match self.params(address)? {
            Some(params) => self.connect_to(&params).await,
            None => self.client(None),
        }
    }

    /// A client that may change the selected node: with the token from its data directory.
    pub async fn connect_with_token(&self, address: Option<&str>) -> Result<Client> {
        let client = self.connect(address).await?;
        self.authorize(client, self.params(address)?.as_ref())
    }

    /// A client of the selected node, which must be on the given network.
    pub async fn connect_to(&self, params: &Params) -> Result<Client> {
        let client = self.client(Some(params))?;
        client.require_network(NetworkId::of(params)).await?;
        Ok(client)
    }

    /// A client of the node that `--node` names; otherwise of the node on this machine, if one on
    /// the given network responds.
    pub async fn find(&self, params: &Params) -> Result<Option<Client>> {
        match self.connect_to(params).await {
            Err(_) if !self.has_url() => Ok(None),
            connected => connected.map(Some),
        }
    }

    /// Adds the token of the client's node, which must be on this machine. With several nodes the
    /// returned client uses that one alone.
    pub fn authorize(&self, client: Client, params: Option<&Params>) -> Result<Client> {
        let directories =
            self.data.clone().map_or_else(|| data_directories(params), |data| vec![data]);
        // A node elsewhere must not receive the token of one on this machine.
        for data in &directories {
            let pinned = NodeFile::read(data).and_then(|file| client.pinned_to(&file.api));
            if let Some(pinned) = pinned {
                return Ok(pinned.with_token(Token::read(data)?));
            }
        }
        match &self.data {
            Some(data) if self.node.len() < 2 => Ok(client.with_token(Token::read(data)?)),
            Some(_) => bail!("the token is for one node: use a single --node"),
            None => bail!("this needs the node's token: use --data, its data directory"),
        }
    }

    /// The network of the command: that of the flags, of the address, or of the selected node on
    /// this machine, otherwise the default network.
    pub fn network_params(&self, address: Option<&str>) -> Result<Params> {
        match (&self.network, address, &self.data) {
            (Some(network), ..) => network::load(network),
            (None, _, Some(data)) if network::is_data(data) => network::of_data(data),
            (None, Some(address), _) => network::of_address(address),
            (None, None, _) => {
                let is_selected = self.has_url() || self.data.is_some();
                match if is_selected { None } else { self.local_node(None)? } {
                    Some((data, _)) => network::of_data(&data),
                    None => network::load(network::DEFAULT),
                }
            }
        }
    }

    /// A copy of the flags, bound to the node on this machine that they select now: later connections
    /// go to the same data directory.
    pub fn bound(&self, address: Option<&str>) -> Result<NodeArgs> {
        let mut bound = self.clone();
        if !self.has_url() && self.data.is_none() {
            let params = self.params(address)?;
            bound.data = self.local_node(params.as_ref())?.map(|(data, _)| data);
        }
        Ok(bound)
    }

    /// Whether `--node` names the node.
    pub fn has_url(&self) -> bool {
        !self.node.is_empty()
    }

    /// The data directory, if `--data` names one.
    pub fn data(&self) -> Option<&PathBuf> {
        self.data.as_ref()
    }

    /// The network, if `--network` names one.
    pub fn network(&self) -> Option<&str> {
        self.network.as_deref()
    }

    pub(super) fn client(&self, params: Option<&Params>) -> Result<Client> {
        if self.has_url() {
            return Client::open(&self.node, Trust::with_authorities(self.ca.as_deref())?);
        }
        let file = match &self.data {
            Some(data) => Some(NodeFile::read(data).with_context(|| {
                let data = data.display();
                format!("no node runs on {data}: start one with `chain node --data {data}`")
            })?),
            None => self.local_node(params)?.map(|(_, file)| file),
        };
        match (file, params) {
            (Some(file), _) => {
                let trust = Trust::in_certificate(file.certificate.as_deref())?;
                Client::open(&[file.api], trust)
            }
            (None, Some(params)) => Client::at_port(params.spec().ports.api),
            (None, None) => Client::at_port(network::load(network::DEFAULT)?.spec().ports.api),
        }
    }

    /// The network of `--network`; if no flag selects a node, that of the address, if built in.
    fn params(&self, address: Option<&str>) -> Result<Option<Params>> {
        if let Some(network) = &self.network {
            return network::load(network).map(Some);
        }
        let address = address.filter(|_| !self.has_url() && self.data.is_none());
        Ok(address.and_then(|address| network::of_address(address).ok()))
    }

    /// The node whose file is in a default data directory, with that directory. Of several, the
    /// only one that listens.
    fn local_node(&self, params: Option<&Params>) -> Result<Option<(PathBuf, NodeFile)>> {
        let directories = data_directories(params).into_iter();
        let mut nodes: Vec<_> =
            directories.filter_map(|data| NodeFile::read(&data).map(|file| (data, file))).collect();
        if nodes.len() > 1 {
            nodes.retain(|(_, file)| is_listening(&file.api));
        }
        let names: Vec<&str> = nodes.iter().map(|(_, file)| &*file.network).collect();
        ensure!(
            names.len() < 2,
            "nodes of several networks run on this machine ({}): choose one with --network, --data \
             or --node",
            names.join(", ")
        );
        Ok(nodes.pop())
    }
}

/// The default data directories: of one network, otherwise all that exist. None for a user without a
/// home directory.
fn data_directories(params: Option<&Params>) -> Vec<PathBuf> {
    let directory = |params: &Params| default_data(params.name()).ok();
    match params {
        Some(params) => directory(params).into_iter().collect(),
        None => config::data_directories(),
    }
}

/// Whether something accepts connections at the URL of an API on this machine.
fn is_listening(api: &str) -> bool {
    let addresses = Url::parse(api).ok().and_then(|url| url.socket_addrs(|| None).ok());
    addresses.into_iter().flatten().any(|at| TcpStream::connect_timeout(&at, PROBE_TIMEOUT).is_ok())
}
