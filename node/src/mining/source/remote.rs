//! Mining for a node at the other end of its REST API: candidates from `/v1/mining/template`, which
//! holds its answer until there is a better one, blocks to `/v1/blocks`.

use super::{Candidate, Change, Handed, Source};
use crate::api::routes::blocks::{HandedIn, Summary, Taken};
use crate::api::routes::mining as shape;
use crate::client::Client;
use anyhow::{Context, Result};
use chain::address::Hrp;
use chain::{Address, Block, Height};
use std::time::Duration;

/// How long a request waits for a better candidate.
const HOLD: Duration = Duration::from_secs(25);
/// The pause after a request that failed.
const RETRY: Duration = Duration::from_secs(1);

/// A node that is asked over HTTP.
pub struct Remote {
    client: Client,
    hrp: Hrp,
    miner: Option<Address>,
    /// The candidate that came last.
    last: Option<shape::Candidate>,
    /// Whether it has not been mined yet.
    is_new: bool,
}

impl Remote {
    /// Mines for this node; addresses are written for this network.
    pub fn new(client: Client, hrp: Hrp) -> Remote {
        Remote { client, hrp, miner: None, last: None, is_new: false }
    }

    async fn ask(&self, miner: Address, after: Option<&str>) -> Result<shape::Candidate> {
        let (miner, seconds) = (miner.encode(self.hrp), HOLD.as_secs().to_string());
        let mut query = vec![("miner", miner.as_str())];
        let mut wait = Duration::ZERO;
        if let Some(after) = after {
            query.extend([("after", after), ("timeout", &seconds)]);
            wait = HOLD;
        }
        self.client.get_with(&["mining", "template"], &query, wait).await?.json()
    }
}

impl Source for Remote {
    async fn candidate(&mut self, miner: Address) -> Result<Option<Candidate>> {
        self.miner = Some(miner);
        // What has been here for a while may carry an old time: ask again.
        if !self.is_new {
            self.last = Some(self.ask(miner, None).await?);
        }
        self.is_new = false;
        let shape = self.last.as_ref().context("there is no candidate")?;
        decode(shape).map(Some).context("the node gave a candidate that makes no sense")
    }

    async fn changed(&mut self) -> Change {
        let (Some(miner), Some(last)) = (self.miner, &self.last) else { return Change::Tip };
        loop {
            match self.ask(miner, Some(&last.id)).await {
                Ok(better) if better.id != last.id => {
                    let is_tip = better.previous != last.previous;
                    self.last = Some(better);
                    self.is_new = true;
                    return if is_tip { Change::Tip } else { Change::Pool };
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }

    async fn hand_in(&mut self, block: Block) -> Result<Handed> {
        let body = hex::encode(block.encode());
        let answer = self.client.post(&["blocks"], "text/plain", body).await?;
        let HandedIn { hash, status, .. } = answer.json()?;
        let is_best = match status {
            Taken::Connected => true,
            Taken::SideBranch => false,
            // By way of a node that took it and was gone before it could say so.
            Taken::Known => {
                let block = self.client.get(&["blocks", &hash]).await?;
                block.json::<Summary>()?.in_best_chain
            }
        };
        Ok(if is_best { Handed::Best } else { Handed::TooLate })
    }

    fn is_gone(&self) -> bool {
        false
    }
}

fn decode(shape: &shape::Candidate) -> Result<Candidate> {
    let block = Block::decode(&hex::decode(&shape.block)?)?;
    let target = block.header.bits.target()?;
    Ok(Candidate { height: Height::new(shape.height), target, block })
}
