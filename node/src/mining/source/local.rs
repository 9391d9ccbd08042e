//! Mining for the node in this process.

use super::{Candidate, Change, Handed, Source};
use crate::mining::readiness::Outlook;
use crate::writer::{self, News};
use anyhow::Result;
use chain::ledger::Accepted;
use chain::{Address, Block, block};
use tokio::sync::watch;

/// Says whether more blocks are wanted.
pub type Wanted = Box<dyn Fn() -> Result<bool> + Send + Sync>;

/// The node in this process.
pub struct Local {
    writer: writer::Handle,
    outlook: Outlook,
    news: watch::Receiver<News>,
    mark: [u8; 4],
    is_wanted: Wanted,
    tip: Option<block::Hash>,
    gone: bool,
}

impl Local {
    /// Asks this writer for blocks with a mark, while the outlook is good and they are wanted.
    pub fn new(
        writer: writer::Handle,
        outlook: Outlook,
        mark: [u8; 4],
        is_wanted: Wanted,
    ) -> Local {
        let news = writer.news();
        Local { writer, outlook, news, mark, is_wanted, tip: None, gone: false }
    }
}

impl Source for Local {
    async fn candidate(&mut self, miner: Address) -> Result<Option<Candidate>> {
        // Whatever changes from here on is a change since this candidate.
        self.news.mark_unchanged();
        if !(self.is_wanted)()? {
            return Ok(None);
        }
        if let Some(wait) = self.outlook.wait().await {
            return Err(wait.into());
        }
        let asked = self.writer.marked_template(miner, self.mark).await;
        let template = asked.inspect_err(|_| self.gone = true)??;
        self.tip = Some(template.block.header.previous);
        let (height, target) = (template.height, template.target);
        Ok(Some(Candidate { block: template.block, height, target }))
    }

    async fn changed(&mut self) -> Change {
        let news = tokio::select! {
            news = self.news.changed() => news,
            () = self.outlook.changed() => return Change::Tip,
        };
        if news.is_err() {
            self.gone = true;
            return Change::Tip;
        }
        if Some(self.news.borrow_and_update().tip) == self.tip { Change::Pool } else { Change::Tip }
    }

    async fn hand_in(&mut self, block: Block) -> Result<Handed> {
        let answer = self.writer.block(block).await.inspect_err(|_| self.gone = true)?;
        match answer? {
            Accepted::Connected => Ok(Handed::Best),
            Accepted::SideBranch | Accepted::AlreadyKnown => Ok(Handed::TooLate),
        }
    }

    fn is_gone(&self) -> bool {
        self.gone
    }
}
