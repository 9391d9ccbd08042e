//! Blocks that jobs found and that the journal does not tell of: counted from the best chain, by
//! the marks that they carry.

use super::job::Job;
use super::machine::{Machine, Now};
use chain::Height;
use chain::ledger::{Reader, View};
use chain::store::StoreError;

/// Blocks below the last counted one that are looked at again: a reorganisation may have put the
/// next one below it.
const AGAIN: u32 = 100;

/// Counts what jobs found and nobody counted. The height of the chain.
pub(super) fn uncounted(
    machine: &mut Machine,
    reader: &Reader,
    now: Now,
) -> Result<Height, StoreError> {
    let view = reader.view();
    for job in machine.uncounted() {
        for height in job.counted_to.saturating_sub(AGAIN)..=view.tip().height.get() {
            if let Some(block) = of_job(&view, Height::new(height), &job)? {
                machine.count(job.id, block, Height::new(height), now);
            }
        }
    }
    Ok(view.tip().height)
}

/// The block at a height, if a job has found it.
fn of_job(
    view: &View,
    height: Height,
    job: &Job,
) -> Result<Option<chain::block::Hash>, StoreError> {
    let Some(node) = view.at_height(height).filter(|node| node.miner == job.order.miner) else {
        return Ok(None);
    };
    let block = view.block(node)?;
    let carries_mark =
        |coinbase: &chain::tx::Coinbase| coinbase.extra_nonce.starts_with(&job.id.mark());
    Ok(block.coinbase().is_some_and(carries_mark).then_some(node.hash))
}
