//! Validation of proposed blocks: complete blocks on the tip without proof of work.
//! Every rule is checked but proof of work, and nothing changes.
//! Source: BIP 23, "Block Proposal".

use super::error::SubmitError;
use super::reader::Reader;
use super::reorg::{NewTipError, ReorgError};
use super::writer::{Writer, find_known, find_parent};
use crate::block::{self, Block, Timestamp};
use crate::rules::body::{self, CheckedBlock};
use crate::rules::header;

/// A proposed block whose header and body are valid alone, without proof of work. Made only by
/// [`Reader::check_proposal`].
#[derive(Debug)]
pub struct CheckedProposal(CheckedBlock);

/// The reason why a proposed block cannot become the tip.
#[derive(Debug, thiserror::Error)]
pub enum ProposalError {
    /// The block is known already.
    #[error("the block is known already")]
    AlreadyKnown,
    /// The block does not build on the tip.
    #[error("the parent {parent} is not the tip")]
    NotOnTip {
        /// The parent of the block.
        parent: block::Hash,
    },
    /// A block with proof of work would be rejected too.
    #[error(transparent)]
    Rejected(#[from] SubmitError),
}

impl Reader {
    /// Validates the header and the body of a proposed block, but not its proof of work. The writer
    /// is not blocked while signatures are verified.
    ///
    /// # Errors
    /// The block is known, does not build on the tip, or breaks a rule.
    pub fn check_proposal(
        &self,
        block: Block,
        now: Timestamp,
    ) -> Result<CheckedProposal, ProposalError> {
        let (params, header) = (self.params(), block.header);
        {
            let state = self.shared().read();
            match find_known(&state, &block.hash()) {
                Some(Ok(_)) => return Err(ProposalError::AlreadyKnown),
                Some(Err(error)) => return Err(error.into()),
                None => {}
            }
            header::check_proposal(&header, params).map_err(SubmitError::from)?;
            let parent = find_parent(&state, &header)?;
            if parent != state.tip() {
                return Err(ProposalError::NotOnTip { parent: header.previous });
            }
            header::check_contextual(&header, &state.blocks.as_parent(parent), params, now)
                .map_err(SubmitError::from)?;
        }
        let is_known = |id: &_| self.view().mempool().contains(id);
        let checked = body::check(block, params, is_known, 1).map_err(SubmitError::from)?;
        Ok(CheckedProposal(checked))
    }
}

impl Writer {
    /// Validates a proposed block on the accounts of the tip, without connecting it.
    ///
    /// # Errors
    /// The tip has changed, the block breaks a rule, or an account cannot be read.
    pub fn check_proposal(&mut self, proposal: &CheckedProposal) -> Result<(), ProposalError> {
        let CheckedProposal(block) = proposal;
        let (parent, tip) = (block.block().header.previous, self.tip);
        if self.shared.read().blocks.node(tip).hash != parent {
            return Err(ProposalError::NotOnTip { parent });
        }
        match self.stage_block(tip, block) {
            Ok(_) => Ok(()),
            Err(
                NewTipError::Invalid(error) | NewTipError::Parent(ReorgError::Invalid(_, error)),
            ) => Err(SubmitError::from(error).into()),
            Err(NewTipError::Parent(ReorgError::Store(error))) => {
                Err(SubmitError::from(error).into())
            }
        }
    }
}
