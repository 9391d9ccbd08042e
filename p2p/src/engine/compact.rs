//! Compact blocks: short ids in place of transfers, and their reconstruction from the mempool. Short
//! ids of six bytes may collide, so only the Merkle root confirms a reconstruction.
//! Source: BIP 152, without its differential positions.

use crate::message::{CompactBlock, MAX_PREFILLED, ShortId};
use crate::view::ChainView;
use chain::block::{self, Block, Header};
use chain::merkle;
use chain::tx::{Id, MIN_TRANSFER_BYTES, Transaction};
use siphasher::sip::SipHasher24;
use std::collections::HashMap;

/// Bytes of a block besides its transactions: the header and the count.
const BLOCK_OVERHEAD: usize = Header::BYTES + 4;

/// Why a block cannot be reconstructed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompactError {
    /// No node can reconstruct a block from it, so its sender misbehaves.
    #[error("invalid compact block: {0}")]
    Bad(&'static str),
    /// Short ids are ambiguous or were matched wrongly. The full block has to be requested; no peer
    /// misbehaves.
    #[error("short ids collide")]
    Collision,
    /// The transactions are not the missing ones. Their sender misbehaves if it announced the short
    /// ids too; otherwise these may be wrong.
    #[error("not the missing transactions")]
    WrongTransactions,
    /// Transactions are still missing.
    #[error("{0} transactions are missing")]
    Incomplete(usize),
}

/// The keyed hash that yields the short ids of one announcement.
#[derive(Clone, Copy, Debug)]
pub struct ShortIds(SipHasher24);

impl ShortIds {
    /// Returns the hash for a header and nonce.
    pub fn new(header: &Header, nonce: u64) -> ShortIds {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&header.encode());
        hasher.update(&nonce.to_le_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        ShortIds(SipHasher24::new_with_key(&key))
    }

    /// Returns the short id of a transaction: the low six bytes of SipHash-2-4 of its id.
    pub fn of(&self, id: &Id) -> ShortId {
        let [a, b, c, d, e, f, ..] = self.0.hash(id.as_bytes()).to_le_bytes();
        ShortId([a, b, c, d, e, f])
    }
}

impl CompactBlock {
    /// Returns the compact form of a block. The coinbase is prefilled, and of the transactions at
    /// `prefill` the first ones that fit.
    pub fn of(block: &Block, nonce: u64, prefill: &[u32]) -> CompactBlock {
        let ids = ShortIds::new(&block.header, nonce);
        let (mut short_ids, mut prefilled) = (Vec::new(), Vec::new());
        let mut wanted = prefill.to_vec();
        wanted.sort_unstable();
        let mut room = MAX_PREFILLED;
        for (position, transaction) in (0_u32..).zip(&block.transactions) {
            let is_wanted = position == 0 || wanted.binary_search(&position).is_ok();
            match room.checked_sub(size(transaction)).filter(|_| is_wanted) {
                Some(left) => {
                    room = left;
                    prefilled.push((position, transaction.clone()));
                }
                None => short_ids.push(ids.of(&transaction.id())),
            }
        }
        CompactBlock { header: block.header, nonce, short_ids, prefilled }
    }

    /// Returns the hash of the block.
    pub fn hash(&self) -> block::Hash {
        self.header.hash()
    }
}

/// The encoded bytes of a transaction.
fn size(transaction: &Transaction) -> usize {
    match transaction {
        Transaction::Transfer(transfer) => transfer.size(),
        coinbase @ Transaction::Coinbase(_) => coinbase.encode().len(),
    }
}

/// A transaction of the block, or its short id.
#[derive(Clone, Debug)]
enum Slot {
    Known(Id, Transaction),
    Missing(ShortId),
}

/// A block that is being reconstructed from a compact block.
#[derive(Clone, Debug)]
pub struct Reconstruction {
    header: Header,
    ids: ShortIds,
    slots: Vec<Slot>,
    /// Whether all transactions are prefilled, so that no short id can collide.
    is_prefilled: bool,
}

impl Reconstruction {
    /// Begins a reconstruction with the prefilled transactions and those of the mempool.
    ///
    /// # Errors
    /// `Bad` and `Collision`.
    pub fn start(
        compact: &CompactBlock,
        chain: &dyn ChainView,
    ) -> Result<Reconstruction, CompactError> {
        check_size(compact, chain.params().spec().max_block_bytes)?;
        let ids = ShortIds::new(&compact.header, compact.nonce);
        let mut slots = slots(compact)?;
        let missing = positions_by_short_id(&slots)?;
        let found = chain.mempool_transfers(&|id| missing.contains_key(&ids.of(id)));
        let mut ambiguous = Vec::new();
        for (id, transfer) in found {
            let short_id = ids.of(&id);
            let Some(position) = missing.get(&short_id) else { continue };
            match slots.get_mut(*position) {
                Some(slot @ Slot::Missing(_)) => {
                    *slot = Slot::Known(id, Transaction::Transfer(transfer));
                }
                _ => ambiguous.push((*position, short_id)),
            }
        }
        // Two transfers with the same short id are ambiguous.
        for (position, short_id) in ambiguous {
            slots[position] = Slot::Missing(short_id);
        }
        let is_prefilled = compact.short_ids.is_empty();
        Ok(Reconstruction { header: compact.header, ids, slots, is_prefilled })
    }

    /// Returns the positions of the missing transactions, ascending.
    pub fn missing(&self) -> Vec<u32> {
        let slots = (0_u32..).zip(&self.slots);
        slots.filter_map(|(at, slot)| matches!(slot, Slot::Missing(_)).then_some(at)).collect()
    }

    /// Adds all missing transactions, in the order of `missing`.
    ///
    /// # Errors
    /// `WrongTransactions`. Nothing has changed then, so another peer can be asked.
    pub fn fill(&mut self, transactions: Vec<Transaction>) -> Result<(), CompactError> {
        let missing: Vec<&mut Slot> =
            self.slots.iter_mut().filter(|slot| matches!(slot, Slot::Missing(_))).collect();
        let ids: Vec<Id> = transactions.iter().map(Transaction::id).collect();
        let fits = |(slot, id): (&&mut Slot, &Id)| match slot {
            Slot::Missing(short_id) => self.ids.of(id) == *short_id,
            Slot::Known(..) => false,
        };
        if missing.len() != ids.len() || !missing.iter().zip(&ids).all(fits) {
            return Err(CompactError::WrongTransactions);
        }
        for (slot, filled) in missing.into_iter().zip(ids.into_iter().zip(transactions)) {
            *slot = Slot::Known(filled.0, filled.1);
        }
        Ok(())
    }

    /// Returns the block that the header commits to, not yet validated.
    ///
    /// # Errors
    /// `Incomplete`. If the Merkle root differs, `Collision`, or `Bad` if all is prefilled.
    pub fn finish(self) -> Result<Block, CompactError> {
        let missing = self.missing().len();
        if missing > 0 {
            return Err(CompactError::Incomplete(missing));
        }
        let (mut ids, mut transactions) = (Vec::new(), Vec::new());
        for slot in self.slots {
            if let Slot::Known(id, transaction) = slot {
                ids.push(id);
                transactions.push(transaction);
            }
        }
        let is_match = merkle::root(&ids) == self.header.merkle_root && !merkle::is_mutated(&ids);
        match (is_match, self.is_prefilled) {
            (true, _) => Ok(Block { header: self.header, transactions }),
            (false, true) => Err(CompactError::Bad("wrong merkle root")),
            (false, false) => Err(CompactError::Collision),
        }
    }
}

/// Checks that the block can satisfy the size limit if all transfers are as short as possible.
fn check_size(compact: &CompactBlock, max_block_bytes: u32) -> Result<(), CompactError> {
    let prefilled = compact.prefilled.iter().map(|(_, transaction)| size(transaction));
    let rest = compact.short_ids.len().saturating_mul(MIN_TRANSFER_BYTES);
    let min_bytes = prefilled.fold(rest.saturating_add(BLOCK_OVERHEAD), usize::saturating_add);
    match u32::try_from(min_bytes) {
        Ok(min_bytes) if min_bytes <= max_block_bytes => Ok(()),
        _ => Err(CompactError::Bad("more transactions than fit into a block")),
    }
}

/// Returns the prefilled transactions at their positions and short ids at all others.
fn slots(compact: &CompactBlock) -> Result<Vec<Slot>, CompactError> {
    if !matches!(compact.prefilled.first(), Some((0, Transaction::Coinbase(_)))) {
        return Err(CompactError::Bad("no coinbase"));
    }
    let count = compact.short_ids.len() + compact.prefilled.len();
    let mut slots = Vec::with_capacity(count);
    let mut short_ids = compact.short_ids.iter();
    for (position, transaction) in &compact.prefilled {
        let position = usize::try_from(*position).unwrap_or(usize::MAX);
        let between = position.checked_sub(slots.len());
        let between = between.ok_or(CompactError::Bad("positions are not ascending"))?;
        if between > short_ids.len() {
            return Err(CompactError::Bad("position out of range"));
        }
        slots.extend(short_ids.by_ref().take(between).copied().map(Slot::Missing));
        slots.push(Slot::Known(transaction.id(), transaction.clone()));
    }
    slots.extend(short_ids.copied().map(Slot::Missing));
    Ok(slots)
}

/// Returns the positions of the missing transactions. Fails if two have the same short id.
fn positions_by_short_id(slots: &[Slot]) -> Result<HashMap<ShortId, usize>, CompactError> {
    let mut positions = HashMap::with_capacity(slots.len());
    for (position, slot) in slots.iter().enumerate() {
        if let Slot::Missing(short_id) = slot
            && positions.insert(*short_id, position).is_some()
        {
            return Err(CompactError::Collision);
        }
    }
    Ok(positions)
}

#[cfg(test)]
mod tests;
