//! A remote node as a source of candidates over its REST API: they come from long polls of
//! `/v1/mining/template`, and blocks are submitted to `/v1/blocks`.

use super::{Candidate, Change, Source, SubmitOutcome};
use crate::api::http::problem::Kind;
use crate::api::routes::blocks::{SubmitResponse, SubmitStatus, Summary};
use crate::api::routes::mining as api;
use crate::client::{ApiError, Client};
use anyhow::{Context, Result};
use chain::address::Hrp;
use chain::{Address, Block, Header, Height};
use std::time::Duration;

/// Time after which a long poll for a new template ends without one.
const LONG_POLL: Duration = Duration::from_secs(25);
/// Pause after a failed request before it is repeated.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A source of candidates: a remote node, over its REST API.
pub struct RemoteSource {
    client: Client,
    hrp: Hrp,
    miner: Option<Address>,
    /// The last candidate received from the node.
    last: Option<api::Template>,
    /// Whether `candidate` has not returned the last candidate yet.
    is_new: bool,
}

impl RemoteSource {
    /// Creates the source; addresses are encoded with the prefix of the node's network.
    pub fn new(client: Client, hrp: Hrp) -> RemoteSource {
        RemoteSource { client, hrp, miner: None, last: None, is_new: false }
    }

    async fn fetch(&self, miner: Address, after: Option<&str>) -> Result<api::Template> {
        let (miner, seconds) = (miner.encode(self.hrp), LONG_POLL.as_secs().to_string());
        let mut query = vec![("miner", miner.as_str()), ("block", "true")];
        let mut wait = Duration::ZERO;
        if let Some(after) = after {
            query.extend([("after", after), ("timeout", &seconds)]);
            wait = LONG_POLL;
        }
        self.client.get_with(&["mining", "template"], &query, wait).await?.json()
    }
}

impl Source for RemoteSource {
    async fn candidate(&mut self, miner: Address) -> Result<Option<Candidate>> {
        self.miner = Some(miner);
        // One that was returned before may have an old time.
        if !self.is_new {
            self.last = Some(self.fetch(miner, None).await?);
        }
        self.is_new = false;
        let candidate = self.last.as_ref().context("there is no candidate")?;
        decode(candidate).map(Some).context("invalid candidate from the node")
    }

    async fn changed(&mut self) -> Change {
        let (Some(miner), Some(last)) = (self.miner, &self.last) else { return Change::Tip };
        loop {
            match self.fetch(miner, Some(&last.id)).await {
                Ok(better) if better.id != last.id => {
                    let is_tip = better.previous != last.previous;
                    self.last = Some(better);
                    self.is_new = true;
                    return if is_tip { Change::Tip } else { Change::Mempool };
                }
                Ok(_) => {}
                // The next request for a candidate reports why no block can be mined.
                Err(error) if is_not_ready(&error) => return Change::Tip,
                Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
    }

    /// Decided by the node, whose clock counts.
    fn accepts(&self, _: &Header) -> bool {
        true
    }

    async fn submit(&mut self, block: Block) -> Result<SubmitOutcome> {
        let body = hex::encode(block.encode());
        let answer = self.client.post(&["blocks"], "text/plain", body).await?;
        let SubmitResponse { hash, status, .. } = answer.json()?;
        let is_best = match status {
            SubmitStatus::Connected => true,
            SubmitStatus::SideBranch => false,
            // Accepted by a node that failed before it could respond.
            SubmitStatus::Known => {
                let block = self.client.get(&["blocks", &hash]).await?;
                block.json::<Summary>()?.in_best_chain
            }
        };
        Ok(if is_best { SubmitOutcome::Connected } else { SubmitOutcome::Stale })
    }

    fn is_closed(&self) -> bool {
        false
    }
}

/// Whether a node responded that no block can be mined at present.
fn is_not_ready(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ApiError>().is_some_and(|error| error.code == Kind::NOT_READY.code())
}

fn decode(candidate: &api::Template) -> Result<Candidate> {
    let block = candidate.block.as_deref().context("the template has no block")?;
    let block = Block::decode(&hex::decode(block)?)?;
    let target = block.header.bits.target()?;
    Ok(Candidate { height: Height::new(candidate.height), target, block })
}
