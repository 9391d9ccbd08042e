//! Recovery of blocks that jobs have found but that a crash kept from the journal: they are counted
//! from the best chain by the marks in their coinbases.

use super::job::Job;
use super::machine::{Machine, Now};
use chain::ledger::{Reader, View};
use chain::store::StoreError;
use chain::tx::Coinbase;
use chain::{Height, block};

/// Blocks below a job's last counted block that are searched too: after a reorganisation its next
/// block may be lower.
const OVERLAP: u32 = 100;

/// Counts the blocks of open jobs that were not counted yet. Returns the height of the chain.
pub(super) fn recover_blocks(
    machine: &mut Machine,
    reader: &Reader,
    now: Now,
) -> Result<Height, StoreError> {
    let view = reader.view();
    for job in machine.recoverable() {
        for height in job.counted_to.saturating_sub(OVERLAP)..=view.tip().height.get() {
            if let Some(block) = block_of_job(&view, Height::new(height), &job)? {
                machine.record_block(job.id, block, Height::new(height), now);
            }
        }
    }
    Ok(view.tip().height)
}

/// The hash of the block at a height if the job has found it.
fn block_of_job(view: &View, height: Height, job: &Job) -> Result<Option<block::Hash>, StoreError> {
    let Some(node) = view.at_height(height).filter(|node| node.miner == job.spec.miner) else {
        return Ok(None);
    };
    let block = view.block(node)?;
    let has_mark = |coinbase: &Coinbase| coinbase.extra_nonce.starts_with(&job.id.mark());
    Ok(block.coinbase().is_some_and(has_mark).then_some(node.hash))
}
