//! Behaviour of the mempool case by case; `random` compares it with a naive model.

use super::*;
use crate::amount::Amount;
use crate::block;
use crate::rules;
use crate::signature::SecretKey;
use crate::tx::{Memo, Payment, Transfer};
use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::{LazyLock, Mutex};

mod eviction;
mod journal;
mod query;
mod random;
mod restore;

/// A transfer of these tests, whose parties are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pay {
    pub(crate) from: u16,
    pub(crate) nonce: u64,
    pub(crate) to: u16,
    pub(crate) amount: u64,
    pub(crate) fee: u64,
    pub(crate) memo: u16,
}

/// The fee of a transfer of 145 bytes at a rate of 1.
pub(crate) const FEE: u64 = 145;
const GENESIS: block::Hash = block::Hash::from_bytes([5; 32]);

pub(crate) fn pay(from: u16, nonce: u64) -> Pay {
    Pay { from, nonce, to: 999, amount: 1_000, fee: FEE, memo: 0 }
}

fn key(number: u16) -> SecretKey {
    let mut seed = [1; 32];
    seed[..2].copy_from_slice(&number.to_le_bytes());
    SecretKey::from_seed(seed)
}

pub(crate) fn address(number: u16) -> Address {
    static ADDRESSES: LazyLock<Mutex<HashMap<u16, Address>>> = LazyLock::new(Mutex::default);
    let mut addresses = ADDRESSES.lock().unwrap();
    *addresses.entry(number).or_insert_with(|| key(number).public_key().address())
}

impl Pay {
    /// Signs the transfer, and caches it because random tests use the same ones repeatedly.
    pub(crate) fn signed(self) -> CheckedTransfer {
        static SIGNED: LazyLock<Mutex<HashMap<Pay, CheckedTransfer>>> =
            LazyLock::new(Mutex::default);
        let sign = || {
            let Pay { from, nonce, to, amount, fee, memo } = self;
            let memo = Memo::new(vec![b'm'; memo.into()]).unwrap();
            let payment = Payment { nonce, recipient: address(to), amount, fee, memo };
            let transfer = Transfer::sign(payment, &key(from), GENESIS);
            rules::tx::check(transfer, GENESIS).unwrap()
        };
        SIGNED.lock().unwrap().entry(self).or_insert_with(sign).clone()
    }

    pub(crate) fn id(self) -> Id {
        self.signed().id()
    }
}

pub(crate) fn account(balance: u64, nonce: u64) -> Account {
    Account { balance: Amount::new(balance).unwrap(), nonce }
}

/// A mempool and the accounts at the tip.
struct World {
    pool: Mempool,
    accounts: HashMap<Address, Account>,
}

impl World {
    /// Creates accounts 0 to 99 with a balance of 100,000 each.
    fn new(limits: Limits) -> World {
        let accounts = (0..100).map(|number| (address(number), account(100_000, 0))).collect();
        World { pool: Mempool::new(limits), accounts }
    }

    fn insert(&mut self, pay: Pay) -> Result<Changes, RejectReason> {
        let result = self.pool.insert(pay.signed(), Replacement::Allowed, &self.accounts);
        self.assert_sound();
        match result {
            Ok(Admission::Added(changes)) => Ok(changes),
            Ok(Admission::AlreadyKnown) => panic!("{pay:?} is known"),
            Err(InsertError::Rejected(reason)) => Err(reason),
        }
    }

    fn check(&self, pay: Pay) -> Result<Status, InsertError<Infallible>> {
        self.pool.check(&pay.signed(), Replacement::Allowed, &self.accounts)
    }

    fn insert_all(&mut self, pays: impl IntoIterator<Item = Pay>) {
        for pay in pays {
            self.insert(pay).unwrap();
        }
    }

    fn set(&mut self, number: u16, account: Account) {
        self.accounts.insert(address(number), account);
    }

    /// Updates the mempool to a new tip whose accounts `set` changed.
    fn reconcile(&mut self, returned: &[Pay], confirmed: &[Pay], touched: &[u16]) -> Changes {
        let change = TipChange {
            returned: returned.iter().map(|pay| pay.signed()).collect(),
            confirmed: confirmed.iter().map(|pay| pay.id()).collect(),
            touched: touched.iter().map(|number| address(*number)).collect(),
            is_partial: false,
        };
        let changes = self.pool.reconcile(change, &self.accounts).unwrap();
        self.assert_sound();
        changes
    }

    fn status(&self, pay: Pay) -> Option<Status> {
        self.pool.status(&pay.id())
    }

    fn nonces(&self, sender: u16) -> Vec<u64> {
        nonces(by_sender(&self.pool, &address(sender)))
    }

    fn assert_sound(&self) {
        assert_sound(&self.pool, &self.accounts);
    }
}

/// Returns the transfers of a sender in nonce order.
pub(crate) fn by_sender<'a>(
    pool: &'a Mempool,
    sender: &Address,
) -> impl Iterator<Item = Entry<'a>> + use<'a> {
    let entries = pool.queues.get(sender).into_iter().flat_map(SenderQueue::entries);
    entries.filter_map(|entry| pool.get(&pool.transfer(entry).id()))
}

fn nonces<'a>(entries: impl Iterator<Item = Entry<'a>>) -> Vec<u64> {
    entries.map(|entry| entry.transfer.details().nonce).collect()
}

fn reasons(dropped: &[Dropped]) -> Vec<(u64, &'static str)> {
    dropped
        .iter()
        .map(|dropped| (dropped.transfer.details().nonce, dropped.reason.code()))
        .collect()
}

fn limits(count: usize) -> Limits {
    Limits { max_bytes: count * ENTRY_BYTES, ..Limits::default() }
}

/// Checks the invariants of a mempool that is updated to the tip.
fn assert_sound(pool: &Mempool, accounts: &HashMap<Address, Account>) {
    let limits = pool.limits();
    assert!(pool.count() <= pool.capacity());
    let (mut count, mut queued, mut bytes, mut gaps) = (0, 0, 0, 0);
    let mut pending = HashSet::new();
    for (sender, queue) in &pool.queues {
        let account = accounts.account(sender).unwrap();
        let (mut next, mut spent, mut last) = (account.nonce, 0, None);
        for entry in by_sender(pool, sender) {
            let details = entry.transfer.details();
            assert!(last < Some(details.nonce), "strictly in nonce order");
            last = Some(details.nonce);
            assert!(details.cost <= account.balance);
            if entry.is_pending {
                assert_eq!(details.nonce, next, "pending transfers have no gap");
                (next, spent) = (next + 1, spent + details.cost.units());
                pending.insert(details.id);
            } else {
                assert!(details.nonce > next && details.nonce <= next + limits.max_nonces_ahead);
                queued += 1;
            }
            (count, bytes) = (count + 1, bytes + entry.transfer.transfer().size() as u64);
            assert_eq!(pool.arrivals.get(&details.id), Some(&entry.arrival));
            for party in [details.sender, details.recipient] {
                assert!(pool.by_address.contains(&(party, entry.arrival)));
            }
        }
        assert!(spent <= account.balance.units(), "the balance covers all pending transfers");
        assert!((1..=limits.max_per_sender).contains(&queue.entries().len()));
        assert_eq!(pool.next_nonce(sender, &account), next);
        assert_eq!(pool.eviction_order.get(&queue.last_eviction_key().unwrap()), Some(sender));
        if let Some(since) = queue.gap_since() {
            assert!(pool.gaps.contains(&(since, *sender)));
            gaps += 1;
        }
        assert_eq!(queue.gap_since().is_some(), !queue.queued().is_empty());
    }
    assert_eq!((count, queued, bytes), (pool.count(), pool.queued(), pool.bytes()));
    assert_eq!((count, gaps), (pool.arrivals.len(), pool.gaps.len()));
    assert_eq!(pool.eviction_order.len(), pool.queues.len());
    let parties = pool.transfers.values().map(|transfer| transfer.details());
    let parties: usize =
        parties.map(|details| 2 - usize::from(details.sender == details.recipient)).sum();
    assert_eq!(parties, pool.by_address.len());
    let histogram = pool
        .fee_histogram()
        .fold((0, 0), |(count, bytes), bucket| (count + bucket.count, bytes + bucket.bytes));
    assert_eq!(histogram, (pool.count(), pool.bytes()));
    // Every prefix of the selection can be applied.
    let mut overlay = crate::accounts::Overlay::new(accounts);
    for transfer in pool.selection() {
        rules::body::apply(&mut overlay, transfer.details()).unwrap();
        assert!(pending.remove(&transfer.id()), "each transfer is selected once");
    }
    assert!(pending.is_empty(), "all pending transfers are selected");
}

// M13
#[test]
fn inserting_a_transfer_twice_has_no_effect() {
    let mut world = World::new(Limits::default());
    let changes = world.insert(pay(0, 0)).unwrap();
    assert_eq!(changes.pending, [pay(0, 0).id()]);
    let again = world.pool.insert(pay(0, 0).signed(), Replacement::Forbidden, &world.accounts);
    assert!(matches!(again, Ok(Admission::AlreadyKnown)));
    assert_eq!(world.pool.count(), 1);
    assert_eq!(world.check(pay(0, 0)), Ok(Status::Pending));
}

// M03
#[test]
fn rejects_fee_below_minimum() {
    let mut world = World::new(Limits { min_fee_rate: 2, ..Limits::default() });
    let reason = world.insert(Pay { fee: 2 * 155 - 1, memo: 10, ..pay(0, 0) }).unwrap_err();
    assert_eq!(reason, RejectReason::MinFee { rate: 2, needed: 310, actual: 309 });
    assert_eq!((reason.code(), reason.expected_and_actual()), ("min-fee", Some((310, 309))));
    world.insert(Pay { fee: 310, memo: 10, ..pay(0, 0) }).unwrap();

    let mut free = World::new(Limits { min_fee_rate: 0, ..Limits::default() });
    free.insert(Pay { fee: 0, ..pay(0, 0) }).unwrap();
    assert_eq!(free.pool.min_fee_rate(), 0);
}

#[test]
fn check_changes_nothing() {
    let mut world = World::new(Limits::default());
    assert_eq!(world.check(pay(0, 0)), Ok(Status::Pending));
    assert_eq!(world.check(pay(0, 1)), Ok(Status::Queued));
    world.set(0, account(10, 3));
    let used = RejectReason::NonceUsed { expected: 3, actual: 2 };
    assert_eq!(world.check(pay(0, 2)), Err(InsertError::Rejected(used)));
    assert_eq!(world.pool.count(), 0);
    world.assert_sound();
}

// M04
#[test]
fn replacement_pays_a_tenth_more_in_total_and_per_byte() {
    let mut world = World::new(Limits::default());
    world.insert_all([Pay { fee: 1_000, ..pay(0, 0) }, pay(0, 1)]);
    let reason = world.insert(Pay { fee: 1_099, ..pay(0, 0) }).unwrap_err();
    assert_eq!(reason, RejectReason::ReplacementTooCheap { needed: 1_100, actual: 1_099 });
    // Twice as large: a tenth more for each byte is more than twice the fee.
    let larger = Pay { fee: 2_199, memo: 145, ..pay(0, 0) };
    let reason = world.insert(larger).unwrap_err();
    assert_eq!(reason, RejectReason::ReplacementTooCheap { needed: 2_200, actual: 2_199 });

    let better = Pay { fee: 1_100, ..pay(0, 0) };
    let changes = world.insert(better).unwrap();
    assert_eq!(changes.pending, [better.id()]);
    assert_eq!(reasons(&changes.dropped), [(0, "replaced")]);
    let replaced = Status::Dropped(RejectReason::Replaced { by: better.id() });
    assert_eq!(world.status(Pay { fee: 1_000, ..pay(0, 0) }), Some(replaced));
    assert_eq!(world.nonces(0), [0, 1]);
}

#[test]
fn forbidden_replacement_is_rejected_whatever_it_pays() {
    let mut world = World::new(Limits::default());
    world.insert_all([pay(0, 0), pay(0, 2)]);
    for nonce in [0, 2] {
        let other = Pay { fee: 50_000, ..pay(0, nonce) }.signed();
        let reason = RejectReason::WouldReplace { id: pay(0, nonce).id() };
        let rejected = InsertError::Rejected(reason);
        let checked = world.pool.check(&other, Replacement::Forbidden, &world.accounts);
        assert_eq!(checked, Err(rejected.clone()));
        let inserted = world.pool.insert(other, Replacement::Forbidden, &world.accounts);
        assert_eq!(inserted, Err(rejected));
    }
    let next = pay(0, 1).signed();
    world.pool.insert(next, Replacement::Forbidden, &world.accounts).unwrap();
    assert_eq!(world.nonces(0), [0, 1, 2]);
    world.assert_sound();
}

#[test]
fn any_fee_replaces_transfer_without_fee() {
    let mut world = World::new(Limits { min_fee_rate: 0, ..Limits::default() });
    world.insert(Pay { fee: 0, ..pay(0, 0) }).unwrap();
    let reason = world.insert(Pay { fee: 0, amount: 2, ..pay(0, 0) }).unwrap_err();
    assert_eq!(reason, RejectReason::ReplacementTooCheap { needed: 1, actual: 0 });
    world.insert(Pay { fee: 1, ..pay(0, 0) }).unwrap();
}

// M04
#[test]
fn replacements_between_two_blocks_are_limited() {
    let mut world = World::new(Limits { max_per_sender: 3, ..Limits::default() });
    let bump = |times: u32| Pay { fee: 200 * 2_u64.pow(times), ..pay(0, 0) };
    world.insert_all((0..=3).map(bump));
    assert_eq!(world.insert(bump(4)), Err(RejectReason::ReplacementLimit { limit: 3 }));
    world.insert(Pay { fee: 400, ..pay(1, 0) }).unwrap();
    world.insert(Pay { fee: 500, ..pay(1, 0) }).unwrap();
    world.reconcile(&[], &[], &[]);
    world.insert(bump(4)).unwrap();
}

// M05
#[test]
fn replacement_pays_for_dropped_later_transfers() {
    let mut world = World::new(Limits::default());
    world.insert_all((0..17).map(|nonce| Pay { fee: 1_000, ..pay(0, nonce) }));
    let replacement = |fee| Pay { amount: 100_000 - fee, fee, ..pay(0, 0) };
    let reason = world.insert(replacement(2_000)).unwrap_err();
    assert_eq!(reason, RejectReason::ReplacementTooCheap { needed: 17_001, actual: 2_000 });
    let reason = world.insert(replacement(17_000)).unwrap_err();
    assert_eq!(reason, RejectReason::ReplacementTooCheap { needed: 17_001, actual: 17_000 });
    assert_eq!(world.nonces(0).len(), 17);
    let changes = world.insert(replacement(17_001)).unwrap();
    assert_eq!(reasons(&changes.dropped)[..2], [(0, "replaced"), (1, "insufficient-balance")]);
    assert_eq!(world.pool.pending_balance(&address(0), &account(100_000, 0)), Amount::ZERO);
}

// M06
#[test]
fn sender_limits_do_not_affect_other_senders() {
    let limits = Limits { max_per_sender: 20, max_nonces_ahead: 8, ..Limits::default() };
    let mut world = World::new(limits);
    world.insert_all((0..12).map(|nonce| pay(0, nonce)));
    assert_eq!(
        world.insert(pay(0, 21)),
        Err(RejectReason::NonceTooFar { latest: 20, actual: 21 }),
        "12 is missing, and 8 transfers may be queued behind it"
    );
    world.insert_all((13..=20).map(|nonce| pay(0, nonce)));
    assert_eq!((world.pool.count(), world.pool.queued()), (20, 8));
    // Filling the gap drops the last queued transfer.
    let changes = world.insert(pay(0, 12)).unwrap();
    assert_eq!(reasons(&changes.dropped), [(20, "sender-limit")]);
    assert_eq!((world.nonces(0).len(), world.pool.queued()), (20, 0));
    assert_eq!(world.insert(pay(0, 20)), Err(RejectReason::SenderLimit { limit: 20 }));
    world.insert(pay(1, 0)).unwrap();
}

#[test]
fn rejects_nonce_that_no_account_can_reach() {
    let mut world = World::new(Limits::default());
    world.set(0, account(100_000, u64::MAX - 1));
    world.insert(pay(0, u64::MAX - 1)).unwrap();
    let far = RejectReason::NonceTooFar { latest: u64::MAX - 1, actual: u64::MAX };
    assert_eq!(world.insert(pay(0, u64::MAX)), Err(far));
    assert_eq!(world.insert(pay(0, 0)).unwrap_err().code(), "nonce-used");
}

// M07
#[test]
fn filling_a_gap_promotes_queued_transfers_in_order() {
    let mut world = World::new(Limits::default());
    for nonce in [3, 1, 2] {
        assert_eq!(world.insert(pay(0, nonce)).unwrap().pending, []);
        assert_eq!(world.status(pay(0, nonce)), Some(Status::Queued));
    }
    assert_eq!(world.pool.selection().count(), 0);
    let changes = world.insert(pay(0, 0)).unwrap();
    assert_eq!(changes.pending, [0, 1, 2, 3].map(|nonce| pay(0, nonce).id()));
    assert_eq!(world.pool.queued(), 0);
}

#[test]
fn filling_a_gap_drops_unaffordable_later_transfer() {
    let mut world = World::new(Limits::default());
    world.insert(Pay { amount: 90_000, ..pay(0, 1) }).unwrap();
    let changes = world.insert(Pay { amount: 20_000, ..pay(0, 0) }).unwrap();
    assert_eq!(reasons(&changes.dropped), [(1, "insufficient-balance")]);
}

// M07, M17, M18
#[test]
fn queued_transfers_expire_despite_clock_jumps() {
    let mut world = World::new(Limits { max_wait_seconds: 3_600, ..Limits::default() });
    let day = 86_400;
    let mut clock = 10 * day;
    let expire = |world: &mut World, now: u32| {
        let dropped = world.pool.expire(Timestamp::new(now));
        world.assert_sound();
        reasons(&dropped)
    };
    assert_eq!(expire(&mut world, clock), []);
    world.insert_all([pay(0, 0), pay(0, 2), pay(0, 3), pay(1, 0)]);
    // Half an hour, a jump of a day, a jump of two days back, and half an hour minus one step.
    for _ in 0..30 {
        clock += 60;
        assert_eq!(expire(&mut world, clock), []);
    }
    clock += day;
    assert_eq!(expire(&mut world, clock), []);
    clock -= 2 * day;
    assert_eq!(expire(&mut world, clock), []);
    for _ in 0..19 {
        clock += 60;
        assert_eq!(expire(&mut world, clock), []);
    }
    clock += 60;
    assert_eq!(expire(&mut world, clock), [(2, "expired"), (3, "expired")]);
    let expired = Status::Dropped(RejectReason::Expired { missing: 1 });
    assert_eq!(world.status(pay(0, 2)), Some(expired));
    assert_eq!(world.nonces(0), [0]);
    // Pending transfers stay, and none is queued.
    for _ in 0..100 {
        clock += day;
        assert_eq!(expire(&mut world, clock), []);
    }
    assert_eq!((world.pool.count(), world.pool.gaps.len()), (2, 0));
}

#[test]
fn removed_transfer_leaves_a_gap_that_another_one_fills() {
    let mut world = World::new(Limits { max_wait_seconds: 600, ..Limits::default() });
    world.insert_all([pay(0, 0), pay(0, 1), pay(0, 2), pay(0, 5), pay(1, 0)]);
    assert_eq!(world.pool.remove_by_operator(&pay(2, 0).id()), None);
    let dropped = world.pool.remove_by_operator(&pay(0, 1).id()).unwrap();
    world.assert_sound();
    assert_eq!((dropped.transfer.id(), dropped.reason), (pay(0, 1).id(), RejectReason::Removed));
    assert_eq!(world.status(pay(0, 1)), Some(Status::Dropped(RejectReason::Removed)));
    assert_eq!(world.status(pay(0, 2)), Some(Status::Queued));
    world.pool.remove_by_operator(&pay(0, 5).id()).unwrap();
    world.assert_sound();
    let other = Pay { amount: 7, ..pay(0, 1) };
    let changes = world.insert(other).unwrap();
    assert_eq!(changes.pending, [other.id(), pay(0, 2).id()]);

    // The only transfer of a sender, and one that may come again.
    world.pool.remove_by_operator(&pay(1, 0).id()).unwrap();
    world.assert_sound();
    assert_eq!(world.nonces(1), []);
    world.insert(pay(1, 0)).unwrap();
    assert_eq!(world.status(pay(1, 0)), Some(Status::Pending));
}

#[test]
fn moved_gap_restarts_expiry() {
    let mut world = World::new(Limits { max_wait_seconds: 1_000, ..Limits::default() });
    world.pool.expire(Timestamp::new(0));
    world.insert_all([pay(0, 1), pay(0, 5)]);
    world.pool.expire(Timestamp::new(600));
    world.insert(pay(0, 0)).unwrap();
    assert!(world.pool.expire(Timestamp::new(1_200)).is_empty());
    assert_eq!(world.nonces(0), [0, 1, 5]);
    assert_eq!(reasons(&world.pool.expire(Timestamp::new(1_600))), [(5, "expired")]);
}

// M08
#[test]
fn balance_covers_all_pending_transfers() {
    let mut world = World::new(Limits::default());
    world.insert_all([Pay { amount: 60_000, ..pay(0, 0) }]);
    let reason = world.insert(Pay { amount: 60_000, ..pay(0, 1) }).unwrap_err();
    let (needed, available) = (2 * (60_000 + FEE), 100_000);
    assert_eq!(reason, RejectReason::InsufficientBalance { needed, available });
    assert_eq!(reason.expected_and_actual(), Some((needed, available)));
    // A queued transfer needs to be covered only by itself.
    world.insert(Pay { amount: 60_000, ..pay(0, 2) }).unwrap();
    assert_eq!(
        world.insert(Pay { amount: 100_000, ..pay(0, 3) }).unwrap_err().code(),
        "insufficient-balance"
    );
    // Unconfirmed income does not count.
    world.set(500, Account::default());
    world.insert(Pay { to: 500, amount: 50_000, ..pay(1, 0) }).unwrap();
    assert_eq!(world.insert(pay(500, 0)).unwrap_err().code(), "insufficient-balance");
}

// M12
#[test]
fn new_tip_drops_unaffordable_transfers() {
    let mut world = World::new(Limits::default());
    world.insert_all((0..4).map(|nonce| Pay { amount: 20_000, ..pay(0, nonce) }));
    world.set(0, account(50_000, 0));
    let changes = world.reconcile(&[], &[], &[0]);
    assert_eq!(reasons(&changes.dropped), [(2, "insufficient-balance")]);
    assert_eq!(world.status(Pay { amount: 20_000, ..pay(0, 3) }), Some(Status::Queued));
    assert_eq!(world.pool.selection().count(), 2);
}

// M11
#[test]
fn confirmed_transfer_with_same_nonce_drops_only_that_transfer() {
    let mut world = World::new(Limits::default());
    world.insert_all((0..4).map(|nonce| pay(0, nonce)));
    let other = Pay { amount: 7, ..pay(0, 1) };
    world.set(0, account(90_000, 2));
    let changes = world.reconcile(&[], &[pay(0, 0), other], &[0, 999]);
    assert_eq!(reasons(&changes.dropped), [(1, "nonce-used")]);
    assert_eq!(changes.pending, []);
    assert_eq!(world.nonces(0), [2, 3]);
    assert_eq!(world.status(pay(0, 0)), None, "a confirmed transfer is not dropped");
    let used = RejectReason::NonceUsed { expected: 2, actual: 1 };
    assert_eq!(world.status(pay(0, 1)), Some(Status::Dropped(used)));
}

// M10
#[test]
fn reorg_returns_unconfirmed_transfers_to_mempool() {
    let mut world = World::new(Limits::default());
    let free = Pay { fee: 0, ..pay(2, 0) };
    world.set(0, account(70_000, 3));
    world.set(1, account(90_000, 1));
    world.set(2, account(90_000, 1));
    world.insert_all([pay(0, 3), pay(1, 1)]);
    // Back to the initial accounts, and on to a block with a transfer of sender 1.
    world.set(0, account(100_000, 0));
    world.set(1, account(95_000, 1));
    world.set(2, account(100_000, 0));
    let returned = [pay(0, 0), pay(0, 1), pay(1, 0), pay(0, 2), free];
    let changes = world.reconcile(&returned, &[pay(1, 0)], &[0, 1, 2, 999]);
    assert!(changes.dropped.is_empty());
    let of_sender = |sender| {
        let is_of_sender =
            |id: &Id| world.pool.get(id).unwrap().transfer.details().sender == address(sender);
        changes.pending.iter().copied().filter(is_of_sender).collect::<Vec<Id>>()
    };
    assert_eq!(of_sender(0), [0, 1, 2, 3].map(|nonce| pay(0, nonce).id())[..3]);
    assert_eq!(of_sender(2), [free.id()]);
    assert_eq!(world.nonces(0), [0, 1, 2, 3]);
    assert_eq!(world.nonces(1), [1]);
    let order = nonces_of(&world, 0);
    assert_eq!(order, [0, 1, 2, 3]);
}

fn nonces_of(world: &World, sender: u16) -> Vec<u64> {
    let selected = world.pool.selection().map(CheckedTransfer::details);
    selected
        .filter(|details| details.sender == address(sender))
        .map(|details| details.nonce)
        .collect()
}

// M12
#[test]
fn reorg_drops_returned_transfers_without_balance() {
    let mut world = World::new(Limits::default());
    world.set(0, account(1_000, 0));
    let changes = world.reconcile(&[pay(0, 0), pay(0, 1)], &[], &[0]);
    assert_eq!(
        reasons(&changes.dropped),
        [(0, "insufficient-balance"), (1, "insufficient-balance")]
    );
    assert_eq!(changes.pending, []);
    assert_eq!(world.pool.count(), 0);
}

#[test]
fn returned_transfer_does_not_replace_present_one() {
    let mut world = World::new(Limits::default());
    world.insert(pay(0, 0)).unwrap();
    let changes = world.reconcile(&[pay(0, 0), Pay { fee: 9_000, ..pay(0, 0) }], &[], &[0]);
    assert_eq!(changes, Changes::default());
    assert_eq!(world.status(pay(0, 0)), Some(Status::Pending));
}

#[test]
fn unreadable_account_changes_nothing() {
    struct Broken;
    impl AccountView for Broken {
        type Error = &'static str;
        fn account(&self, _: &Address) -> Result<Account, &'static str> {
            Err("disk gone")
        }
    }
    let mut world = World::new(Limits::default());
    world.insert(pay(0, 0)).unwrap();
    let change = TipChange { returned: vec![pay(1, 0).signed()], ..TipChange::default() };
    assert_eq!(world.pool.reconcile(change, &Broken).unwrap_err(), "disk gone");
    let error = world.pool.insert(pay(2, 0).signed(), Replacement::Allowed, &Broken).unwrap_err();
    assert_eq!(error.to_string(), "an account cannot be read: disk gone");
    assert_eq!(world.pool.count(), 1);
    world.assert_sound();
}
