//! A branch that is mined away from the nodes, on a copy of their chain in a temporary directory: real
//! proof of work, and exactly the transfers that are planned for each block.

use crate::client::Client;
use crate::mining::source::{Candidate, Change, Source, SubmitOutcome};
use crate::mining::{self, MiningConfig, available_threads};
use crate::random::random_bytes;
use crate::writer;
use anyhow::{Context, Result, bail, ensure};
use chain::ledger::{self, Accepted, Options, Writer};
use chain::template::{TemplateError, TemplateRequest};
use chain::tx::{self, Tag, Transfer};
use chain::{Address, Block, Header, Params, Timestamp};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

/// Cache size of the copy's index in bytes: it lives for seconds.
const CACHE_BYTES: u64 = 16 << 20;
/// The tag in the coinbases of the branch.
const COINBASE_TAG: &[u8] = b"chain testnet reorg";

/// A planned block of the branch.
#[derive(Clone, Debug)]
pub struct PlannedBlock {
    /// The time of the block.
    pub time: Timestamp,
    /// The transfers of the block in their order. One that is invalid on the branch is left out.
    pub transfers: Vec<Transfer>,
}

/// A branch of a chain. Its blocks are only in a temporary directory.
pub struct Branch {
    writer: Writer,
    miner: Address,
    /// The transfers that must not be left out.
    required: BTreeSet<tx::Id>,
    left_out: Vec<tx::Id>,
    /// The next extra nonce, and the lowest nonces are used; `None` for random ones.
    extra_nonce: Option<u64>,
    _directory: TempDir,
}

impl Branch {
    /// Starts a branch on a copy of a chain, whose blocks up to the fork are read from `client`. With an
    /// extra nonce, its blocks are the same at every run.
    pub async fn start(
        client: &Client,
        params: &Params,
        fork_height: u32,
        miner: Address,
        required: BTreeSet<tx::Id>,
        extra_nonce: Option<u64>,
    ) -> Result<Branch> {
        let directory = tempfile::tempdir().context("a copy of the chain")?;
        let threads = available_threads().get();
        let options = Options { cache_bytes: CACHE_BYTES, threads, ..Options::default() };
        let path = directory.path().join("data");
        let (writer, _) = ledger::open(&path, params.clone(), &options, &mut |_| {})?;
        let left_out = Vec::new();
        let mut branch =
            Branch { writer, miner, required, left_out, extra_nonce, _directory: directory };
        for height in 1..=fork_height {
            let block = block_at(client, height).await?;
            branch.connect(block).with_context(|| {
                format!("block {height} of {}: the chain changed meanwhile", client.base())
            })?;
        }
        Ok(branch)
    }

    /// Mines planned blocks with all processors; returns them in order.
    pub async fn mine(&mut self, planned: Vec<PlannedBlock>) -> Result<Vec<Block>> {
        if self.extra_nonce.is_some() {
            return planned.into_iter().map(|mut planned| self.solve(&mut planned)).collect();
        }
        let count = u32::try_from(planned.len())?;
        let config = MiningConfig {
            miner: self.miner,
            blocks: Some(count),
            kernel: None,
            pause: Duration::ZERO,
        };
        let (mut mined, mut failure) = (Vec::new(), None);
        let (progress, _) = watch::channel(None);
        let (_threads, threads) = watch::channel(available_threads().get());
        // The channel has room for all blocks, so it need not be drained.
        let (found, _receiver) = mpsc::channel(planned.len().max(1));
        let source = BranchSource {
            branch: self,
            planned: planned.into(),
            mined: &mut mined,
            failure: &mut failure,
        };
        mining::mine(source, config, threads, found, progress).await?;
        match failure {
            Some(error) => Err(error),
            None => Ok(mined),
        }
    }

    /// The transfers that were planned and are invalid on the branch, because they spend what only
    /// the replaced blocks have.
    pub fn left_out(&self) -> &[tx::Id] {
        &self.left_out
    }

    /// The work of the branch down to genesis, in the hexadecimal digits of the API.
    pub fn chain_work(&mut self) -> Result<String> {
        self.writer.commit()?;
        while self.writer.next_mempool_changes()?.is_some() {}
        Ok(self.writer.reader().view().tip().chain_work.to_string())
    }

    fn connect(&mut self, block: Block) -> Result<()> {
        // Nodes have accepted its time, by whatever clock they have.
        let now = block.header.time;
        match self.writer.submit_block(block, now)? {
            Accepted::Connected | Accepted::AlreadyKnown => Ok(()),
            Accepted::SideBranch => bail!("it does not extend the branch"),
        }
    }

    /// The next block, with the lowest nonce.
    fn solve(&mut self, planned: &mut PlannedBlock) -> Result<Block> {
        let Candidate { mut block, target, .. } = self.template(planned)?;
        writer::solve(&mut block.header, target);
        self.connect(block.clone())?;
        Ok(block)
    }

    /// The next block without its nonce.
    fn template(&mut self, planned: &mut PlannedBlock) -> Result<Candidate> {
        loop {
            let extra_nonce = match self.extra_nonce.as_mut() {
                Some(next) => {
                    *next = next.wrapping_add(1);
                    next.to_be_bytes()
                }
                None => random_bytes()?,
            };
            let request = TemplateRequest {
                miner: self.miner,
                now: planned.time,
                extra_nonce,
                tag: Tag::new(COINBASE_TAG.to_vec()).context("the tag is too long")?,
            };
            match self.writer.template_of(request, &planned.transfers) {
                Ok(template) => {
                    let (height, target) = (template.height, template.target);
                    return Ok(Candidate { block: template.block, height, target });
                }
                Err(TemplateError::Transfer { index, error }) => {
                    let id = planned.transfers.remove(index).id();
                    ensure!(!self.required.contains(&id), "the replacement is invalid: {error}");
                    self.left_out.push(id);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The block at a height of a node's best chain.
pub async fn block_at(client: &Client, height: u32) -> Result<Block> {
    let bytes = client.get_bytes(&["blocks", &height.to_string(), "raw"]).await?;
    Block::decode(&bytes).with_context(|| format!("block {height} of {}", client.base()))
}

/// The source of the planned blocks of a branch.
struct BranchSource<'a> {
    branch: &'a mut Branch,
    planned: VecDeque<PlannedBlock>,
    mined: &'a mut Vec<Block>,
    /// Why the next block cannot be mined, which ends the mining.
    failure: &'a mut Option<anyhow::Error>,
}

impl Source for BranchSource<'_> {
    async fn candidate(&mut self, _: Address) -> Result<Option<Candidate>> {
        let Some(planned) = self.planned.front_mut() else { return Ok(None) };
        match self.branch.template(planned) {
            Ok(candidate) => Ok(Some(candidate)),
            Err(error) => {
                *self.failure = Some(error);
                Ok(None)
            }
        }
    }

    async fn changed(&mut self) -> Change {
        std::future::pending().await
    }

    fn accepts(&self, _: &Header) -> bool {
        true
    }

    async fn submit(&mut self, block: Block) -> Result<SubmitOutcome> {
        if let Err(error) = self.branch.connect(block.clone()) {
            *self.failure = Some(error);
            self.planned.clear();
            return Ok(SubmitOutcome::Stale);
        }
        self.planned.pop_front();
        self.mined.push(block);
        Ok(SubmitOutcome::Connected)
    }

    fn is_closed(&self) -> bool {
        false
    }
}
