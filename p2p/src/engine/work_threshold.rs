//! The work a chain needs before this node stores its headers or requests its blocks, so that chains
//! that cost nothing to make fill no memory.

use crate::view::ChainView;
use chain::pow::{Target, Work};

/// Blocks of the tip's difficulty by which a chain may fall short of the best chain.
const TOLERATED_BLOCKS: u32 = 144;

/// Returns the work that a chain has to exceed: 144 blocks less than the best chain.
pub(crate) fn work_threshold(chain: &dyn ChainView) -> Work {
    let tip = chain.tip();
    let Some(known) = chain.find(&tip.hash) else { return Work::ZERO };
    let block = known.as_parent.bits.target().map_or(Work::ZERO, Target::work);
    tip.chain_work.saturating_sub(multiply(block, TOLERATED_BLOCKS))
}

fn multiply(work: Work, factor: u32) -> Work {
    let bits = (0..u32::BITS.saturating_sub(factor.leading_zeros())).rev();
    bits.fold(Work::ZERO, |sum, bit| {
        let twice = sum.saturating_add(sum);
        if factor >> bit & 1 == 1 { twice.saturating_add(work) } else { twice }
    })
}
