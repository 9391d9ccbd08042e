//! Compact blocks: a block by short ids of its transfers, and back again with what the mempool has.
//! Six bytes can be alike by chance, so only the Merkle root says whether the block was rebuilt.
//! Source: BIP 152, without its differential positions.

use crate::message::{CompactBlock, MAX_PREFILLED, ShortId};
use crate::view::ChainView;
use chain::block::{self, Block, Header};
use chain::merkle;
use chain::tx::{Id, MIN_TRANSFER_BYTES, Transaction};
use siphasher::sip::SipHasher24;
use std::collections::HashMap;

/// Bytes of a block besides its transactions: header and count.
const BLOCK_OVERHEAD: usize = Header::BYTES + 4;

/// Why a compact block does not become a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompactError {
    /// Nobody can make a block of it, whatever transfers he has: whoever forwards it is to blame.
    #[error("a compact block is wrong for everyone: {0}")]
    Bad(&'static str),
    /// The short ids are ambiguous, or some were taken for others: the whole block has to be
    /// fetched. Nobody is to blame.
    #[error("short ids collide")]
    Collision,
    /// Transactions are not those that are missing. Whoever sent them is to blame if he announced
    /// the short ids too; otherwise those may be what is wrong.
    #[error("these are not the missing transactions")]
    WrongTransactions,
    /// Something is missing still.
    #[error("{0} transactions are missing")]
    Incomplete(usize),
}

/// Makes short ids, other ones for each announcement.
#[derive(Clone, Copy, Debug)]
pub struct ShortIds(SipHasher24);

impl ShortIds {
    /// Those of one announcement.
    pub fn new(header: &Header, nonce: u64) -> ShortIds {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&header.encode());
        hasher.update(&nonce.to_le_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        ShortIds(SipHasher24::new_with_key(&key))
    }

    /// The short id of a transaction: the low six bytes of SipHash-2-4 of its id.
    pub fn of(&self, id: &Id) -> ShortId {
        let [a, b, c, d, e, f, ..] = self.0.hash(id.as_bytes()).to_le_bytes();
        ShortId([a, b, c, d, e, f])
    }
}

impl CompactBlock {
    /// A block with some of its transactions prefilled: the coinbase, and of those at `prefill` as
    /// many as may be, the first ones first.
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

    /// The block's hash.
    pub fn hash(&self) -> block::Hash {
        self.header.hash()
    }
}

/// Bytes of the encoded transaction.
fn size(transaction: &Transaction) -> usize {
    match transaction {
        Transaction::Transfer(transfer) => transfer.size(),
        coinbase @ Transaction::Coinbase(_) => coinbase.encode().len(),
    }
}

/// What is known of one transaction of the block.
#[derive(Clone, Debug)]
enum Slot {
    Here(Id, Transaction),
    Missing(ShortId),
}

/// A block on its way back from a compact one.
#[derive(Clone, Debug)]
pub struct Reconstruction {
    header: Header,
    ids: ShortIds,
    slots: Vec<Slot>,
    /// Whether all of it came prefilled, so that no short id can be to blame.
    is_whole: bool,
}

impl Reconstruction {
    /// Begins with what is prefilled and what the mempool has.
    ///
    /// # Errors
    /// `Bad` and `Collision`.
    pub fn start(
        compact: &CompactBlock,
        chain: &impl ChainView,
    ) -> Result<Reconstruction, CompactError> {
        check_size(compact, chain.params().spec().max_block_bytes)?;
        let ids = ShortIds::new(&compact.header, compact.nonce);
        let mut slots = slots(compact)?;
        let missing = positions_by_short_id(&slots)?;
        let found = chain.pool_transfers(&|id| missing.contains_key(&ids.of(id)));
        let mut ambiguous = Vec::new();
        for (id, transfer) in found {
            let short_id = ids.of(&id);
            let Some(position) = missing.get(&short_id) else { continue };
            match slots.get_mut(*position) {
                Some(slot @ Slot::Missing(_)) => {
                    *slot = Slot::Here(id, Transaction::Transfer(transfer));
                }
                _ => ambiguous.push((*position, short_id)),
            }
        }
        // Of two transfers with one short id nobody can tell which is meant.
        for (position, short_id) in ambiguous {
            slots[position] = Slot::Missing(short_id);
        }
        let is_whole = compact.short_ids.is_empty();
        Ok(Reconstruction { header: compact.header, ids, slots, is_whole })
    }

    /// Where the transactions stand that are still missing, ascending.
    pub fn missing(&self) -> Vec<u32> {
        let slots = (0_u32..).zip(&self.slots);
        slots.filter_map(|(at, slot)| matches!(slot, Slot::Missing(_)).then_some(at)).collect()
    }

    /// Puts in all the missing transactions, in the order of `missing`.
    ///
    /// # Errors
    /// `WrongTransactions`; nothing has changed then, and somebody else may be asked.
    pub fn fill(&mut self, transactions: Vec<Transaction>) -> Result<(), CompactError> {
        let missing: Vec<&mut Slot> =
            self.slots.iter_mut().filter(|slot| matches!(slot, Slot::Missing(_))).collect();
        let ids: Vec<Id> = transactions.iter().map(Transaction::id).collect();
        let fits = |(slot, id): (&&mut Slot, &Id)| match slot {
            Slot::Missing(short_id) => self.ids.of(id) == *short_id,
            Slot::Here(..) => false,
        };
        if missing.len() != ids.len() || !missing.iter().zip(&ids).all(fits) {
            return Err(CompactError::WrongTransactions);
        }
        for (slot, filled) in missing.into_iter().zip(ids.into_iter().zip(transactions)) {
            *slot = Slot::Here(filled.0, filled.1);
        }
        Ok(())
    }

    /// The block, if it is the one the header commits to. Whether it is valid is another question.
    ///
    /// # Errors
    /// `Incomplete`; `Collision` if the root is another one, or `Bad` if no short id can be why.
    pub fn finish(self) -> Result<Block, CompactError> {
        let missing = self.missing().len();
        if missing > 0 {
            return Err(CompactError::Incomplete(missing));
        }
        let (mut ids, mut transactions) = (Vec::new(), Vec::new());
        for slot in self.slots {
            if let Slot::Here(id, transaction) = slot {
                ids.push(id);
                transactions.push(transaction);
            }
        }
        let is_it = merkle::root(&ids) == self.header.merkle_root && !merkle::is_mutated(&ids);
        match (is_it, self.is_whole) {
            (true, _) => Ok(Block { header: self.header, transactions }),
            (false, true) => Err(CompactError::Bad("another merkle root")),
            (false, false) => Err(CompactError::Collision),
        }
    }
}

/// No block is larger than the network allows, not even with the shortest transfers.
fn check_size(compact: &CompactBlock, max_block_bytes: u32) -> Result<(), CompactError> {
    let prefilled = compact.prefilled.iter().map(|(_, transaction)| size(transaction));
    let rest = compact.short_ids.len().saturating_mul(MIN_TRANSFER_BYTES);
    let least = prefilled.fold(rest.saturating_add(BLOCK_OVERHEAD), usize::saturating_add);
    match u32::try_from(least) {
        Ok(least) if least <= max_block_bytes => Ok(()),
        _ => Err(CompactError::Bad("more transactions than fit into a block")),
    }
}

/// Prefilled transactions at their positions, short ids at all others. The coinbase must be there.
fn slots(compact: &CompactBlock) -> Result<Vec<Slot>, CompactError> {
    if !matches!(compact.prefilled.first(), Some((0, Transaction::Coinbase(_)))) {
        return Err(CompactError::Bad("it does not begin with a coinbase"));
    }
    let count = compact.short_ids.len() + compact.prefilled.len();
    let mut slots = Vec::with_capacity(count);
    let mut short_ids = compact.short_ids.iter();
    for (position, transaction) in &compact.prefilled {
        let position = usize::try_from(*position).unwrap_or(usize::MAX);
        let between = position.checked_sub(slots.len());
        let between = between.ok_or(CompactError::Bad("positions do not ascend"))?;
        if between > short_ids.len() {
            return Err(CompactError::Bad("a position is beyond the end"));
        }
        slots.extend(short_ids.by_ref().take(between).copied().map(Slot::Missing));
        slots.push(Slot::Here(transaction.id(), transaction.clone()));
    }
    slots.extend(short_ids.copied().map(Slot::Missing));
    Ok(slots)
}

/// Where the missing ones stand. Two with one short id could not be told apart.
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
