//! Which node a command asks, as its user says it.

use super::failover::NetworkId;
use super::http::Client;
use super::trust::Trust;
use crate::auth::Token;
use crate::config::{default_data, network};
use crate::node_file::NodeFile;
use anyhow::{Context, Result, bail};
use chain::Params;
use std::path::PathBuf;

/// Which node a command asks
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Which node")]
#[group(id = "which-node")]
pub struct NodeArgs {
    /// URL of the node's API; when it does not answer, the next one is asked (repeatable)
    ///
    /// Default: the node of the data folder; where none runs, port 8400 of this machine.
    #[arg(long, env = "CHAIN_NODE", value_name = "URL", value_delimiter = ',')]
    pub(super) node: Vec<String>,
    /// Certificates that https URLs given by --node may depend on besides the platform's, in PEM
    ///
    /// The node of a data folder is trusted by the certificate that it has noted there.
    #[arg(long, env = "CHAIN_CA", value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// Data folder of a node on this machine
    ///
    /// Default: the folder `chain/NETWORK` in the platform's data folder.
    #[arg(long, env = "CHAIN_DATA", value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// The network the node must be of: a built-in one (main, testnet, dev) or the path of a file
    #[arg(long, env = "CHAIN_NETWORK", value_name = "NAME|FILE")]
    pub(super) network: Option<String>,
}

impl NodeArgs {
    /// A client of that node. When a network is named, the node is asked whether it is of it.
    pub async fn connect(&self) -> Result<Client> {
        match self.network.as_deref().map(network::load).transpose()? {
            Some(params) => self.connect_to(&params).await,
            None => self.client(None),
        }
    }

    /// A client that may change that node: with the token from its data folder on this machine.
    pub async fn connect_with_token(&self) -> Result<Client> {
        let client = self.connect().await?;
        let named = self.network.as_deref().map(network::load).transpose()?;
        self.with_token(client, named.as_ref())
    }

    /// The same client with the token of its node, if that is on this machine. Of several nodes it
    /// asks that one alone from then on.
    pub fn with_token(&self, client: Client, named: Option<&Params>) -> Result<Client> {
        let data = match &self.data {
            Some(data) => data.clone(),
            None => default_data(named.map_or(network::DEFAULT, Params::name))?,
        };
        // A node at another place is not shown the token of this one.
        let there = NodeFile::read(&data).and_then(|there| client.only(&there.api));
        let client = match (there, &self.data) {
            (Some(there), _) => there,
            (None, Some(_)) if self.node.len() < 2 => client,
            (None, Some(_)) => bail!("this is for one node alone: give its --node and no other"),
            (None, None) => bail!("this needs the node's token: give --data, its data folder"),
        };
        Ok(client.with_token(Token::of_node(&data)?))
    }

    /// A client of that node, which must be of this network.
    pub async fn connect_to(&self, params: &Params) -> Result<Client> {
        let client = self.client(Some(params))?;
        client.must_be_of(NetworkId::of(params)).await?;
        Ok(client)
    }

    /// A client of the node that is named, which must be of this network; if none is named, of the
    /// one on this machine, if one of this network answers.
    pub async fn find(&self, params: &Params) -> Result<Option<Client>> {
        if self.has_url() {
            return self.connect_to(params).await.map(Some);
        }
        Ok(self.connect_to(params).await.ok())
    }

    /// Whether the node is named by a URL.
    pub fn has_url(&self) -> bool {
        !self.node.is_empty()
    }

    /// The data folder, if one is named.
    pub fn data(&self) -> Option<&PathBuf> {
        self.data.as_ref()
    }

    /// The network, if one is named.
    pub fn network(&self) -> Option<&str> {
        self.network.as_deref()
    }

    pub(super) fn client(&self, named: Option<&Params>) -> Result<Client> {
        if self.has_url() {
            return Client::open(&self.node, Trust::with_authorities(self.ca.as_deref())?);
        }
        let found = match &self.data {
            Some(data) => Some(NodeFile::read(data).with_context(|| {
                let data = data.display();
                format!("no node runs on {data}: start one with `chain node --data {data}`")
            })?),
            // Without a home folder there is no default data folder to look into.
            None => default_data(named.map_or(network::DEFAULT, Params::name))
                .ok()
                .and_then(|data| NodeFile::read(&data)),
        };
        match found {
            Some(there) => {
                let trust = Trust::in_certificate(there.certificate.as_deref())?;
                Client::open(&[there.api], trust)
            }
            None => {
                let port = named.map_or(8400, |params| params.spec().ports.api);
                Client::new(&format!("http://127.0.0.1:{port}"))
            }
        }
    }
}
