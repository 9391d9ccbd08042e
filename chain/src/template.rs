//! Block templates: a block on top of the tip, complete except for the nonce.
//! Every template satisfies the rules once a nonce meets its target.
//! Source: PROTOCOL.md, "Applying a block".

use crate::accounts::{AccountView, LtHash, Overlay};
use crate::address::Address;
use crate::amount::Amount;
use crate::block::{self, Block, Header, Height, Timestamp};
use crate::mempool::Mempool;
use crate::merkle::{self, Branch};
use crate::params::Params;
use crate::pow::Target;
use crate::rules::body::{BlockContext, ConnectError, Reward, apply, mature};
use crate::rules::{self, RuleError, header};
use crate::tx::{self, Coinbase, MAX_TAG_BYTES, Tag, Transaction, Transfer};

/// The block on which a template builds.
#[derive(Clone, Copy, Debug)]
pub struct Parent<'a> {
    /// The hash of the block.
    pub hash: block::Hash,
    /// The height of the block.
    pub height: Height,
    /// The bits and times from which the rules derive those of the child.
    pub header: header::Parent,
    /// The hash of the accounts after the block.
    pub accounts_hash: &'a LtHash,
    /// The reward that becomes spendable in the child, if any: see
    /// [`BlockContext`].
    pub matured: Option<Reward>,
}

/// The part of a template that a miner chooses. Neither the selection of transfers nor the accounts
/// depend on it.
#[derive(Clone, Debug)]
pub struct TemplateRequest {
    /// The address that the coinbase pays.
    pub miner: Address,
    /// The time of the miner, which becomes the time of the block unless its parent is later.
    pub now: Timestamp,
    /// The extra nonce of the coinbase.
    pub extra_nonce: [u8; 8],
    /// The tag of the coinbase.
    pub tag: Tag,
}

/// The transfers of a template.
#[derive(Clone, Copy, Debug)]
pub enum Transfers<'a> {
    /// The transfers of a mempool with the highest fee rates, as many as the block may hold.
    OfMempool(&'a Mempool),
    /// Exactly these, in this order.
    Listed(&'a [Transfer]),
}

/// A block that is complete except for its nonce.
#[derive(Clone, Debug)]
pub struct Template {
    /// The block, with nonce 0.
    pub block: Block,
    /// The ids of the transactions, in order.
    pub ids: Vec<tx::Id>,
    /// The Merkle branch from the coinbase to the root, which does not depend on the coinbase.
    pub branch: Branch,
    /// The minimum time of the block, which is the time of its parent.
    pub min_time: Timestamp,
    /// The height of the block.
    pub height: Height,
    /// The target that the hash must meet.
    pub target: Target,
    /// The sum of the fees of all transfers.
    pub fees: Amount,
}

/// An error of building a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError<E> {
    /// The next height does not fit into 32 bits.
    #[error("the chain has reached the maximum height")]
    HeightOverflow,
    /// The clock is so far behind the parent that the block would be too new.
    #[error(transparent)]
    ClockBehindParent(#[from] ClockBehindParent),
    /// A listed transfer is invalid after those before it.
    #[error("transfer {index}: {error}")]
    Transfer {
        /// The index of the transfer in the list.
        index: usize,
        /// The rule that it breaks.
        error: RuleError,
    },
    /// An account could not be read.
    #[error("an account cannot be read: {0}")]
    View(E),
}

/// The clock is so far behind a block that nodes would refuse every child of it as too new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the clock, {now}, is more than {max_future_seconds} s behind the tip, {parent}: a block mined \
     on it would be too new"
)]
pub struct ClockBehindParent {
    /// The time of the parent, which is the minimum time of its children.
    pub parent: Timestamp,
    /// The time of the clock.
    pub now: Timestamp,
    /// The maximum time by which a block may be ahead of the clock, in seconds.
    pub max_future_seconds: u32,
}

impl ClockBehindParent {
    /// The number of seconds by which the parent is ahead of the clock.
    pub fn seconds_behind(&self) -> u32 {
        self.parent.get().saturating_sub(self.now.get())
    }

    /// The number of seconds after which a child can be mined.
    pub fn seconds_to_wait(&self) -> u32 {
        self.seconds_behind().saturating_sub(self.max_future_seconds)
    }
}

/// The time of a block mined at the time `now`: the time of its parent if that is later.
///
/// # Errors
/// The parent is so late that the block would be too new.
pub fn block_time(
    params: &Params,
    parent: Timestamp,
    now: Timestamp,
) -> Result<Timestamp, ClockBehindParent> {
    let max_future_seconds = params.spec().max_future_seconds;
    if parent > now.saturating_add(max_future_seconds) {
        return Err(ClockBehindParent { parent, now, max_future_seconds });
    }
    Ok(now.max(parent))
}

/// Builds a template. `accounts` are the accounts after the parent; the accounts hash is computed on
/// up to `threads` threads.
///
/// # Errors
/// Returns [`TemplateError::HeightOverflow`], [`TemplateError::ClockBehindParent`],
/// [`TemplateError::Transfer`] for a listed transfer that the block cannot contain, or
/// [`TemplateError::View`] if an account cannot be read.
pub fn build<V: AccountView>(
    params: &Params,
    parent: &Parent,
    request: TemplateRequest,
    transfers: Transfers,
    accounts: &V,
    threads: usize,
) -> Result<Template, TemplateError<V::Error>> {
    let height = parent.height.next().ok_or(TemplateError::HeightOverflow)?;
    let time = block_time(params, parent.header.time, request.now)?;
    let mut overlay = Overlay::new(accounts);
    let context = BlockContext { height, matured: parent.matured };
    // Crediting a matured reward breaks no rule.
    if let Err(ConnectError::View(error)) = mature(&mut overlay, &context) {
        return Err(TemplateError::View(error));
    }
    let room = room_for_transfers(params, height);
    let Selected { transfers, transfer_ids, fees } = match transfers {
        Transfers::OfMempool(mempool) => select(mempool, &mut overlay, room)?,
        Transfers::Listed(transfers) => apply_all(transfers, params, &mut overlay, room)?,
    };

    let mut accounts_hash = parent.accounts_hash.clone();
    accounts_hash.apply(&overlay.end_block(), threads);
    let coinbase = Coinbase {
        height,
        extra_nonce: request.extra_nonce,
        tag: request.tag,
        // Both are at most 2^53 − 1, so their sum is far below 2^64.
        reward: params.subsidy(height).units().saturating_add(fees.units()),
        recipient: request.miner,
        commitment: accounts_hash.digest(),
    };
    let ids = [vec![coinbase.id()], transfer_ids].concat();
    let bits = parent.header.next_bits(params);
    let min_time = parent.header.time;
    let header = Header {
        version: Header::VERSION,
        previous: parent.hash,
        merkle_root: merkle::root(&ids),
        time,
        bits,
        nonce: 0,
    };
    let branch = Branch::of(&ids, 0).expect("there is a coinbase");
    let coinbase = std::iter::once(Transaction::Coinbase(coinbase));
    let transactions = coinbase.chain(transfers.into_iter().map(Transaction::Transfer)).collect();
    let block = Block { header, transactions };
    let target = bits.target().expect("the difficulty is computed as canonical bits");
    Ok(Template { block, ids, branch, min_time, height, target, fees })
}

impl Template {
    /// Replaces the miner, the extra nonce, the tag and the time. This costs a few hashes,
    /// regardless of the size of the block.
    pub fn update_coinbase(&mut self, request: TemplateRequest) {
        let Some(Transaction::Coinbase(coinbase)) = self.block.transactions.first_mut() else {
            return;
        };
        coinbase.recipient = request.miner;
        coinbase.extra_nonce = request.extra_nonce;
        coinbase.tag = request.tag;
        let id = coinbase.id();
        if let Some(first) = self.ids.first_mut() {
            *first = id;
        }
        let root = self.branch.root(id);
        self.block.header.merkle_root = root.expect("the branch is part of this block's tree");
        self.block.header.time = request.now.max(self.min_time);
    }
}

/// Returns the bytes that remain for transfers after the header, the count and the longest
/// coinbase.
fn room_for_transfers(params: &Params, height: Height) -> usize {
    let longest = Transaction::Coinbase(Coinbase {
        height,
        extra_nonce: [0; 8],
        tag: Tag::new(vec![0; MAX_TAG_BYTES]).expect("a tag may have this length"),
        reward: 0,
        recipient: Address::ZERO,
        commitment: [0; 32],
    });
    let limit = usize::try_from(params.spec().max_block_bytes).unwrap_or(usize::MAX);
    limit.saturating_sub(Header::BYTES + size_of::<u32>() + longest.encode().len())
}

struct Selected {
    transfers: Vec<Transfer>,
    transfer_ids: Vec<tx::Id>,
    fees: Amount,
}

fn select<V: AccountView>(
    mempool: &Mempool,
    overlay: &mut Overlay<V>,
    mut room: usize,
) -> Result<Selected, TemplateError<V::Error>> {
    let mut selected =
        Selected { transfers: Vec::new(), transfer_ids: Vec::new(), fees: Amount::ZERO };
    let mut selection = mempool.selection();
    while room >= tx::MIN_TRANSFER_BYTES
        && let Some(candidate) = selection.next()
    {
        let (details, size) = (candidate.details(), candidate.transfer().size());
        let fees = selected.fees.checked_add(details.fee).filter(|_| size <= room);
        let Some(fees) = fees else {
            selection.skip_sender(details.sender);
            continue;
        };
        match apply(overlay, details) {
            Ok(()) => {
                selected.transfers.push(candidate.transfer().clone());
                selected.transfer_ids.push(details.id);
                selected.fees = fees;
                room -= size;
            }
            // This happens only while the mempool has not been updated to the parent.
            Err(ConnectError::Rule(_)) => selection.skip_sender(details.sender),
            Err(ConnectError::View(error)) => return Err(TemplateError::View(error)),
        }
    }
    Ok(selected)
}

/// Applies listed transfers in their order.
fn apply_all<V: AccountView>(
    transfers: &[Transfer],
    params: &Params,
    overlay: &mut Overlay<V>,
    room: usize,
) -> Result<Selected, TemplateError<V::Error>> {
    let mut selected =
        Selected { transfers: Vec::new(), transfer_ids: Vec::new(), fees: Amount::ZERO };
    let mut size = 0_usize;
    for (index, transfer) in transfers.iter().enumerate() {
        let invalid = |error| TemplateError::Transfer { index, error };
        let checked = rules::tx::check(transfer.clone(), params.genesis_hash()).map_err(invalid)?;
        let details = checked.details();
        size = size.saturating_add(transfer.size());
        if size > room {
            let limit = params.spec().max_block_bytes;
            let overhead = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(room);
            let size = size.saturating_add(overhead);
            return Err(invalid(RuleError::BlockTooLarge { size, limit }));
        }
        match apply(overlay, details) {
            Ok(()) => {}
            Err(ConnectError::Rule(error)) => return Err(invalid(error)),
            Err(ConnectError::View(error)) => return Err(TemplateError::View(error)),
        }
        // Each sender pays its fee from its balance, so the sum is at most that of all accounts.
        selected.fees = selected
            .fees
            .checked_add(details.fee)
            .ok_or_else(|| invalid(RuleError::AmountOverflow { id: details.id }))?;
        selected.transfer_ids.push(details.id);
        selected.transfers.push(transfer.clone());
    }
    Ok(selected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Account;
    use crate::mempool::tests::{FEE, Pay, account, address, by_sender, pay};
    use crate::mempool::{Limits, Replacement};
    use crate::params::Spec;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const SENDERS: u16 = 8;

    /// A network with a maximum block size, at a block at which `SENDERS` accounts have a balance.
    struct World {
        params: Params,
        accounts: HashMap<Address, Account>,
        accounts_hash: LtHash,
        matured: Option<Reward>,
        pool: Mempool,
    }

    impl World {
        fn new(max_block_bytes: u32) -> World {
            let spec = Spec { max_block_bytes, ..Params::dev().spec().clone() };
            let accounts: HashMap<_, _> =
                (0..SENDERS).map(|number| (address(number), account(20_000, 0))).collect();
            let mut accounts_hash = LtHash::empty();
            for (address, account) in &accounts {
                accounts_hash.add(address, account);
            }
            let pool = Mempool::new(Limits { min_fee_rate: 0, ..Limits::default() });
            let params = Params::new(spec).unwrap();
            World { params, accounts, accounts_hash, matured: None, pool }
        }

        fn insert(&mut self, pay: Pay) -> bool {
            self.pool.insert(pay.signed(), Replacement::Allowed, &self.accounts).is_ok()
        }

        fn parent(&self) -> Parent<'_> {
            Parent {
                hash: block::Hash::from_bytes([9; 32]),
                height: Height::new(41),
                header: header::Parent {
                    bits: self.params.spec().genesis_bits,
                    time: Timestamp::new(1_000),
                    grandparent_time: Some(Timestamp::new(990)),
                },
                accounts_hash: &self.accounts_hash,
                matured: self.matured,
            }
        }

        fn template(&self, tag: usize) -> Template {
            let request = TemplateRequest {
                miner: address(77),
                now: Timestamp::new(1_005),
                extra_nonce: [7; 8],
                tag: Tag::new(vec![b't'; tag]).unwrap(),
            };
            let transfers = Transfers::OfMempool(&self.pool);
            build(&self.params, &self.parent(), request, transfers, &self.accounts, 1).unwrap()
        }

        /// Finds a nonce and checks every rule.
        fn assert_valid(&self, template: &Template) -> rules::body::CheckedBlock {
            let mut block = template.block.clone();
            while !template.target.is_met_by(block.hash().as_bytes()) {
                block.header.nonce += 1;
            }
            let parent = self.parent();
            let (header, params) = (&block.header, &self.params);
            header::check_standalone(header, params).unwrap();
            header::check_contextual(header, &parent.header, params, header.time).unwrap();
            assert_eq!(header.previous, parent.hash);
            let is_known = |id: &tx::Id| self.pool.contains(id);
            let checked = rules::body::check(block, params, is_known, 1).unwrap();
            assert_eq!(checked.ids(), template.ids);
            let context = BlockContext { height: template.height, matured: self.matured };
            let mut overlay = Overlay::new(&self.accounts);
            let mut accounts_hash = self.accounts_hash.clone();
            rules::body::connect(&checked, &context, params, &mut overlay, &mut accounts_hash, 1)
                .unwrap();
            checked
        }
    }

    #[test]
    fn empty_mempool_results_in_block_with_only_a_coinbase() {
        let world = World::new(1_000);
        let template = world.template(5);
        let checked = world.assert_valid(&template);
        assert_eq!((template.fees, template.height), (Amount::ZERO, Height::new(42)));
        assert_eq!(checked.coinbase().recipient, address(77));
        assert_eq!(checked.coinbase().extra_nonce, [7; 8]);
        assert_eq!(checked.block().header.time, Timestamp::new(1_005));
    }

    #[test]
    fn time_before_parent_is_replaced_by_time_of_parent() {
        let world = World::new(1_000);
        let request = TemplateRequest {
            miner: address(77),
            now: Timestamp::new(1),
            extra_nonce: [0; 8],
            tag: Tag::default(),
        };
        let build = |parent: &Parent| {
            let transfers = Transfers::OfMempool(&world.pool);
            build(&world.params, parent, request.clone(), transfers, &world.accounts, 1)
        };
        let template = build(&world.parent()).unwrap();
        assert_eq!(template.block.header.time, Timestamp::new(1_000));
        let last = Parent { height: Height::new(u32::MAX), ..world.parent() };
        assert_eq!(build(&last).unwrap_err(), TemplateError::HeightOverflow);
    }

    // G03: such a block would be refused as too new by the node itself.
    #[test]
    fn no_template_on_a_parent_that_is_too_far_ahead_of_the_clock() {
        let world = World::new(1_000);
        let at = |parent: u32, now: u32| {
            let mut parent_of = world.parent();
            parent_of.header.time = Timestamp::new(parent);
            let request = TemplateRequest {
                miner: address(77),
                now: Timestamp::new(now),
                extra_nonce: [0; 8],
                tag: Tag::default(),
            };
            let transfers = Transfers::OfMempool(&world.pool);
            build(&world.params, &parent_of, request, transfers, &world.accounts, 1)
        };
        let max_future_seconds = world.params.spec().max_future_seconds;
        for (parent, now) in [(7_200, 0), (8_200, 1_000), (u32::MAX, u32::MAX - 7_200)] {
            let template = at(parent, now).unwrap();
            let parent_of =
                header::Parent { time: Timestamp::new(parent), ..world.parent().header };
            let (header, now) = (&template.block.header, Timestamp::new(now));
            header::check_contextual(header, &parent_of, &world.params, now).unwrap();
        }
        for (parent, now) in [(7_201, 0), (1_767_225_600, 0), (u32::MAX, u32::MAX - 7_201)] {
            let error = at(parent, now).unwrap_err();
            let (parent, now) = (Timestamp::new(parent), Timestamp::new(now));
            let behind = ClockBehindParent { parent, now, max_future_seconds };
            assert_eq!(error, TemplateError::ClockBehindParent(behind));
            assert_eq!(behind.seconds_to_wait() + 7_200, behind.seconds_behind());
        }
    }

    // C38: the header, the count, and the kind and length of the coinbase count towards the limit.
    #[test]
    fn block_is_filled_to_the_last_byte() {
        let empty = World::new(1_000).template(MAX_TAG_BYTES).block.encode().len();
        let full = u32::try_from(empty + 2 * 401).unwrap();
        for (limit, expected) in [(full - 1, 1), (full, 2), (full + 1, 2)] {
            let mut world = World::new(limit);
            assert!(world.insert(Pay { memo: 256, ..pay(0, 0) }));
            assert!(world.insert(Pay { memo: 256, ..pay(1, 0) }));
            let checked = world.assert_valid(&world.template(MAX_TAG_BYTES));
            assert_eq!(checked.transfers().len(), expected);
            assert_eq!(checked.encoded().len(), empty + expected * 401);
        }
    }

    #[test]
    fn coinbase_can_be_replaced() {
        let mut world = World::new(2_000);
        for transfers in 0..5 {
            let mut template = world.template(0);
            template.update_coinbase(TemplateRequest {
                miner: address(78),
                now: Timestamp::new(999),
                extra_nonce: [8; 8],
                tag: Tag::new(vec![b'u'; MAX_TAG_BYTES]).unwrap(),
            });
            let checked = world.assert_valid(&template);
            assert_eq!(checked.transfers().len(), usize::from(transfers));
            assert_eq!(checked.coinbase().recipient, address(78));
            assert_eq!(checked.coinbase().extra_nonce, [8; 8]);
            assert_eq!(checked.block().header.time, Timestamp::new(1_000));
            assert!(world.insert(pay(transfers, 0)));
        }
    }

    #[test]
    fn transfer_that_does_not_fit_leaves_room_for_another_sender() {
        let mut world = World::new(1_000);
        for nonce in 0..3 {
            assert!(world.insert(Pay { memo: 256, fee: 4_010, ..pay(0, nonce) }));
        }
        assert!(world.insert(pay(1, 0)));
        assert!(world.insert(pay(1, 1)));
        let template = world.template(0);
        let senders = world.assert_valid(&template);
        let senders: Vec<Address> =
            senders.transfers().iter().map(|details| details.sender).collect();
        assert_eq!(senders, [address(0), address(1), address(1)]);
        assert_eq!(template.fees.units(), 4_010 + 2 * FEE);
    }

    #[test]
    fn matured_reward_is_credited_before_the_transfers() {
        let mut world = World::new(1_000);
        world.matured =
            Some(Reward { recipient: address(0), amount: Amount::new(5_000_000).unwrap() });
        assert!(world.insert(pay(0, 0)));
        world.assert_valid(&world.template(0));
    }

    // G09
    #[test]
    fn outdated_mempool_still_results_in_valid_block() {
        let mut world = World::new(2_000);
        for nonce in 0..3 {
            assert!(world.insert(pay(0, nonce)));
            assert!(world.insert(pay(1, nonce)));
        }
        let used = account(10_000, 1);
        world.accounts_hash.remove(&address(0), &account(20_000, 0));
        world.accounts_hash.add(&address(0), &used);
        world.accounts.insert(address(0), used);
        let template = world.template(0);
        assert_eq!(world.assert_valid(&template).transfers().len(), 3);
    }

    fn pays() -> impl Strategy<Value = Pay> {
        let amounts = prop::sample::select(vec![1, 3_000]);
        let fees = prop::sample::select(vec![0, 145, 146, 500, 4_010]);
        let memos = prop::sample::select(vec![0, 0, 1, 100, 256]);
        (0..SENDERS, 0_u64..6, 0..SENDERS, amounts, fees, memos).prop_map(
            |(from, nonce, to, amount, fee, memo)| Pay { from, nonce, to, amount, fee, memo },
        )
    }

    proptest! {
        // C38, M08, M16
        #[test]
        fn every_template_passes_every_rule(
            pays in prop::collection::vec(pays(), 0..40),
            max_block_bytes in 1_000_u32..4_000,
            tag in 0_usize..=MAX_TAG_BYTES,
            matured in prop::option::of((0..SENDERS, 0_u64..1_000_000)),
        ) {
            let mut world = World::new(max_block_bytes);
            for pay in pays {
                world.insert(pay);
            }
            world.matured = matured.map(|(number, amount)| {
                Reward { recipient: address(number), amount: Amount::new(amount).unwrap() }
            });
            let template = world.template(tag);
            let selected = world.assert_valid(&template).transfers().len();
            // An omitted transfer did not fit, or follows one that did not fit.
            let longest = template.block.encode().len() + MAX_TAG_BYTES - tag;
            let room = max_block_bytes as usize - longest;
            let ids: std::collections::HashSet<tx::Id> = template.ids.iter().copied().collect();
            for sender in 0..SENDERS {
                let transfers = by_sender(&world.pool, &address(sender));
                let mut omitted = transfers.filter(|entry| {
                    entry.is_pending && !ids.contains(&entry.transfer.id())
                });
                if let Some(next) = omitted.next() {
                    prop_assert!(next.transfer.transfer().size() > room);
                }
            }
            prop_assert_eq!(selected + 1, template.ids.len());
        }
    }
}
