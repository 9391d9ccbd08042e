//! The node in this process as a source of candidates.

use super::{Candidate, Change, Source, SubmitOutcome};
use crate::mining::readiness::{Readiness, State};
use crate::writer::{self, ChainVersion};
use anyhow::Result;
use chain::ledger::Accepted;
use chain::{Address, Block, Header, block};
use tokio::sync::watch;

/// Checks whether more blocks are wanted.
pub type IsWanted = Box<dyn Fn() -> Result<bool> + Send + Sync>;

/// The node in this process.
pub struct LocalSource {
    writer: writer::Handle,
    readiness: Readiness,
    chain: watch::Receiver<ChainVersion>,
    state: watch::Receiver<State>,
    mark: [u8; 4],
    is_wanted: IsWanted,
    tip: Option<block::Hash>,
    is_closed: bool,
}

impl LocalSource {
    /// Provides candidates with a mark in their coinbase while the node is ready and more blocks are
    /// wanted.
    pub fn new(
        writer: writer::Handle,
        readiness: Readiness,
        mark: [u8; 4],
        is_wanted: IsWanted,
    ) -> LocalSource {
        let (chain, state) = (writer.watch_chain(), readiness.subscribe());
        LocalSource {
            writer,
            readiness,
            chain,
            state,
            mark,
            is_wanted,
            tip: None,
            is_closed: false,
        }
    }
}

impl Source for LocalSource {
    async fn candidate(&mut self, miner: Address) -> Result<Option<Candidate>> {
        // Before the template is made, so that no later change is missed.
        self.chain.mark_unchanged();
        self.state.mark_unchanged();
        if !(self.is_wanted)()? {
            return Ok(None);
        }
        self.readiness.check().await?;
        let template = self.writer.template_with_mark(miner, self.mark).await;
        let template = template.inspect_err(|_| self.is_closed = true)??;
        self.tip = Some(template.block.header.previous);
        let (height, target) = (template.height, template.target);
        Ok(Some(Candidate { block: template.block, height, target }))
    }

    async fn changed(&mut self) -> Change {
        let changed = tokio::select! {
            changed = self.chain.changed() => changed,
            // The sender lives as long as `readiness`.
            _ = self.state.changed() => return Change::Tip,
        };
        if changed.is_err() {
            self.is_closed = true;
            return Change::Tip;
        }
        let is_same_tip = Some(self.chain.borrow_and_update().tip) == self.tip;
        if is_same_tip { Change::Mempool } else { Change::Tip }
    }

    fn accepts(&self, header: &Header) -> bool {
        self.readiness.accepts_time(header)
    }

    async fn submit(&mut self, block: Block) -> Result<SubmitOutcome> {
        let result = self.writer.submit_block(block).await;
        match result.inspect_err(|_| self.is_closed = true)?? {
            Accepted::Connected => Ok(SubmitOutcome::Connected),
            Accepted::SideBranch | Accepted::AlreadyKnown => Ok(SubmitOutcome::Stale),
        }
    }

    fn is_closed(&self) -> bool {
        self.is_closed
    }
}
