//! A candidate block on top of the tip: everything but the nonce.
//! Every template passes the rules once a nonce meets its target; nothing is signed or stored.
//! Source: PROTOCOL.md, "Applying a block".

use crate::accounts::{AccountView, Commitment, Overlay};
use crate::address::Address;
use crate::amount::Amount;
use crate::block::{self, Block, Header, Height, Timestamp};
use crate::mempool::Mempool;
use crate::merkle;
use crate::params::Params;
use crate::pow::Target;
use crate::rules::body::{ConnectError, Place, Reward, apply, mature};
use crate::rules::header;
use crate::tx::{self, Coinbase, Tag, Transaction, Transfer};

/// The block a template builds on.
#[derive(Clone, Copy, Debug)]
pub struct Parent<'a> {
    /// Its hash.
    pub hash: block::Hash,
    /// Its height.
    pub height: Height,
    /// Its bits and times.
    pub header: header::Parent,
    /// The commitment to the accounts after it.
    pub commitment: &'a Commitment,
    /// The reward that becomes spendable in its child, if any: see `Place`.
    pub matured: Option<Reward>,
}

/// What a miner decides.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Who is paid.
    pub miner: Address,
    /// The miner's clock.
    pub now: Timestamp,
    /// The coinbase's.
    pub extra_nonce: [u8; 8],
    /// The coinbase's.
    pub tag: Tag,
}

/// A block that lacks only its nonce.
#[derive(Clone, Debug)]
pub struct Template {
    /// Nonce 0.
    pub block: Block,
    /// The ids of its transactions, in order.
    pub ids: Vec<tx::Id>,
    /// Its height.
    pub height: Height,
    /// What its hash must meet.
    pub target: Target,
    /// The sum of its transfers' fees.
    pub fees: Amount,
}

/// Why there is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError<E> {
    /// Heights are u32.
    #[error("the chain is at its last height")]
    EndOfHeights,
    /// An account could not be read.
    #[error("an account cannot be read: {0}")]
    View(E),
}

/// Makes a candidate block with the best paying transfers of the pool. `accounts` are those after
/// the parent; the commitment is computed over `threads` threads.
pub fn build<V: AccountView>(
    params: &Params,
    parent: &Parent,
    wish: Wish,
    mempool: &Mempool,
    accounts: &V,
    threads: usize,
) -> Result<Template, TemplateError<V::Error>> {
    let height = parent.height.next().ok_or(TemplateError::EndOfHeights)?;
    let mut coinbase = Coinbase {
        height,
        extra_nonce: wish.extra_nonce,
        tag: wish.tag,
        reward: 0,
        recipient: wish.miner,
        commitment: [0; 32],
    };
    let mut overlay = Overlay::new(accounts);
    let place = Place { height, matured: parent.matured };
    // Maturing breaks no rule.
    if let Err(ConnectError::View(error)) = mature(&mut overlay, &place) {
        return Err(TemplateError::View(error));
    }
    let room = room_for_transfers(params, &coinbase);
    let Picked { transfers, transfer_ids, fees } = pick(mempool, &mut overlay, room)?;

    let mut commitment = parent.commitment.clone();
    commitment.apply(&overlay.end_block(), threads);
    coinbase.commitment = commitment.digest();
    // Both are at most 2^53 − 1, so their sum is far below 2^64.
    coinbase.reward = params.subsidy(height).units().saturating_add(fees.units());

    let ids = [vec![coinbase.id()], transfer_ids].concat();
    let bits = parent.header.next_bits(params);
    let header = Header {
        version: Header::VERSION,
        previous: parent.hash,
        merkle_root: merkle::root(&ids),
        time: wish.now.max(parent.header.time),
        bits,
        nonce: 0,
    };
    let coinbase = std::iter::once(Transaction::Coinbase(coinbase));
    let transactions = coinbase.chain(transfers.into_iter().map(Transaction::Transfer)).collect();
    let target = bits.target().expect("the difficulty is computed as canonical bits");
    Ok(Template { block: Block { header, transactions }, ids, height, target, fees })
}

/// Bytes a block has left once it holds its header, the count and the coinbase.
fn room_for_transfers(params: &Params, coinbase: &Coinbase) -> usize {
    let limit = usize::try_from(params.spec().max_block_bytes).unwrap_or(usize::MAX);
    let coinbase = Transaction::Coinbase(coinbase.clone()).encode().len();
    limit.saturating_sub(Header::BYTES + size_of::<u32>() + coinbase)
}

struct Picked {
    transfers: Vec<Transfer>,
    transfer_ids: Vec<tx::Id>,
    fees: Amount,
}

fn pick<V: AccountView>(
    mempool: &Mempool,
    overlay: &mut Overlay<V>,
    mut room: usize,
) -> Result<Picked, TemplateError<V::Error>> {
    let mut picked = Picked { transfers: Vec::new(), transfer_ids: Vec::new(), fees: Amount::ZERO };
    let mut selection = mempool.selection();
    while room >= tx::MIN_TRANSFER_BYTES
        && let Some(candidate) = selection.next()
    {
        let (terms, size) = (candidate.terms(), candidate.transfer().size());
        let fees = picked.fees.checked_add(terms.fee).filter(|_| size <= room);
        let Some(fees) = fees else {
            selection.skip_sender(terms.sender);
            continue;
        };
        match apply(overlay, terms) {
            Ok(()) => {
                picked.transfers.push(candidate.transfer().clone());
                picked.transfer_ids.push(terms.id);
                picked.fees = fees;
                room -= size;
            }
            // Only if the pool has not been told of the parent yet.
            Err(ConnectError::Rule(_)) => selection.skip_sender(terms.sender),
            Err(ConnectError::View(error)) => return Err(TemplateError::View(error)),
        }
    }
    Ok(picked)
}
