//! Random histories of inserts, blocks, reorganisations and time, compared with a model that stores
//! only the transfers and revalidates all of them at every step.

use super::journal::Journaled;
use super::*;
use proptest::prelude::*;

const SENDERS: u16 = 4;

#[derive(Clone, Copy, Debug)]
enum Step {
    Insert(Pay),
    /// Connects a block of some selected transfers, of one that may not be in the mempool, and of
    /// income.
    Block {
        selected: usize,
        foreign: Option<Pay>,
        income: (u16, u64),
    },
    /// Disconnects some blocks and connects one with some of their transfers.
    Reorganise {
        depth: usize,
        retained: usize,
        income: (u16, u64),
    },
    Wait(u32),
}

fn pays() -> impl Strategy<Value = Pay> {
    let amounts = prop::sample::select(vec![1, 300, 2_000]);
    let fees = prop::sample::select(vec![145, 160, 290, 400, 1_450]);
    let memos = prop::sample::select(vec![0, 0, 0, 100]);
    (0..SENDERS, 0_u64..9, 0..SENDERS, amounts, fees, memos)
        .prop_map(|(from, nonce, to, amount, fee, memo)| Pay { from, nonce, to, amount, fee, memo })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let income = || (0..SENDERS, 0_u64..1_500);
    let step = prop_oneof![
        12 => pays().prop_map(Step::Insert),
        2 => (0_usize..5, prop::option::of(pays()), income())
            .prop_map(|(selected, foreign, income)| Step::Block { selected, foreign, income }),
        1 => (1_usize..4, 0_usize..4, income())
            .prop_map(|(depth, retained, income)| Step::Reorganise { depth, retained, income }),
        1 => (0_u32..1_200).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..80)
}

type Accounts = HashMap<Address, Account>;

/// A chain with the accounts before each block.
struct History {
    world: World,
    blocks: Vec<(Accounts, Vec<CheckedTransfer>)>,
    now: u32,
    /// The transfers of an unlimited mempool by sender and nonce.
    model: BTreeMap<Address, BTreeMap<u64, CheckedTransfer>>,
}

impl History {
    fn new(limits: Limits) -> History {
        let accounts = (0..SENDERS).map(|sender| (address(sender), account(4_000, 0))).collect();
        let world = World { pool: Mempool::new(limits), accounts };
        History { world, blocks: Vec::new(), now: 0, model: BTreeMap::new() }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Insert(pay) => self.insert(&pay.signed()),
            Step::Block { selected, foreign, income } => {
                let foreign = foreign.map(Pay::signed);
                let selected = self.world.pool.selection().take(selected).cloned();
                let transfers = foreign.into_iter().chain(selected).collect();
                self.move_to(0, transfers, income);
            }
            Step::Reorganise { depth, retained, income } => {
                let depth = depth.min(self.blocks.len());
                let left = self.blocks[self.blocks.len() - depth..].iter();
                let transfers = left.flat_map(|(_, transfers)| transfers.clone());
                self.move_to(depth, transfers.take(retained).collect(), income);
            }
            Step::Wait(seconds) => {
                self.now += seconds;
                for dropped in self.world.pool.expire(Timestamp::new(self.now)) {
                    assert_eq!(dropped.reason.code(), "expired");
                    let details = dropped.transfer.details();
                    self.model.get_mut(&details.sender).unwrap().remove(&details.nonce).unwrap();
                }
            }
        }
        self.world.assert_sound();
    }

    fn insert(&mut self, transfer: &CheckedTransfer) {
        let known = self.world.pool.contains(&transfer.id());
        let before = self.pending();
        let expected = self.world.pool.check(transfer, Replacement::Allowed, &self.world.accounts);
        let result =
            self.world.pool.insert(transfer.clone(), Replacement::Allowed, &self.world.accounts);
        assert_eq!(expected.as_ref().err(), result.as_ref().err());
        assert_eq!(matches!(result, Ok(Admission::AlreadyKnown)), known);
        if expected.is_ok() {
            assert_eq!(self.world.pool.status(&transfer.id()), expected.ok());
        }
        if let Ok(Admission::Added(changes)) = result {
            self.assert_reported(&before, &changes);
            let details = transfer.details();
            self.model.entry(details.sender).or_default().insert(details.nonce, transfer.clone());
            self.revalidate_model();
        }
    }

    /// Disconnects `depth` blocks and connects one with those of the transfers that can be applied.
    fn move_to(&mut self, depth: usize, candidates: Vec<CheckedTransfer>, income: (u16, u64)) {
        let old = self.world.accounts.clone();
        let left = self.blocks.split_off(self.blocks.len() - depth);
        let base = left.first().map_or_else(|| old.clone(), |(accounts, _)| accounts.clone());
        let mut overlay = crate::accounts::Overlay::new(&base);
        let applies = |transfer: &CheckedTransfer| {
            rules::body::apply(&mut overlay, transfer.details()).is_ok()
        };
        let transfers: Vec<CheckedTransfer> = candidates.into_iter().filter(applies).collect();
        let mut accounts = base.clone();
        accounts.extend(overlay.into_changes());
        let earner = accounts.entry(address(income.0)).or_default();
        earner.balance = Amount::new(earner.balance.units() + income.1).unwrap();

        let changed = |address: &&Address| {
            old.account(address).unwrap() != accounts.account(address).unwrap()
        };
        let touched = old.keys().chain(accounts.keys()).filter(changed).copied().collect();
        let returned: Vec<_> = left.into_iter().flat_map(|(_, transfers)| transfers).collect();
        let confirmed: BTreeSet<Id> = transfers.iter().map(CheckedTransfer::id).collect();
        for transfer in returned.iter().filter(|transfer| !confirmed.contains(&transfer.id())) {
            let details = transfer.details();
            self.model.entry(details.sender).or_default().insert(details.nonce, transfer.clone());
        }
        self.blocks.push((base, transfers));
        self.world.accounts = accounts;
        let before = self.pending();
        let change =
            TipChange { returned, confirmed: confirmed.clone(), touched, is_partial: false };
        let changes = self.world.pool.reconcile(change, &self.world.accounts).unwrap();
        self.assert_reported(&before, &changes);
        for dropped in changes.dropped {
            assert!(!confirmed.contains(&dropped.transfer.id()));
        }
        self.revalidate_model();
    }

    fn pending(&self) -> BTreeSet<Id> {
        self.world.pool.selection().map(CheckedTransfer::id).collect()
    }

    /// Checks that exactly the transfers that became pending are reported.
    fn assert_reported(&self, before: &BTreeSet<Id>, changes: &Changes) {
        let newly_pending: BTreeSet<Id> = self.pending().difference(before).copied().collect();
        assert_eq!(changes.pending.len(), newly_pending.len());
        assert_eq!(changes.pending.iter().copied().collect::<BTreeSet<Id>>(), newly_pending);
        for dropped in &changes.dropped {
            assert!(!self.world.pool.contains(&dropped.transfer.id()));
        }
    }

    /// Revalidates all transfers of the model.
    fn revalidate_model(&mut self) {
        for (sender, queue) in &mut self.model {
            let account = self.world.accounts.account(sender).unwrap();
            queue.retain(|nonce, _| *nonce >= account.nonce);
            let (mut spent, mut next) = (0, account.nonce);
            while let Some(transfer) = queue.get(&next) {
                spent += transfer.details().cost.units();
                if spent > account.balance.units() {
                    queue.remove(&next);
                    break;
                }
                next += 1;
            }
            queue.retain(|_, transfer| transfer.details().cost <= account.balance);
        }
    }

    fn assert_equals_model(&self) {
        let here = self.world.pool.transfers.values().map(|transfer| transfer.id());
        let modelled = self.model.values().flat_map(BTreeMap::values).map(CheckedTransfer::id);
        assert_eq!(here.collect::<BTreeSet<Id>>(), modelled.collect());
    }
}

proptest! {
    // M07, M08, M10, M11, M12
    #[test]
    fn mempool_with_room_equals_model(steps in steps()) {
        let mut history = History::new(Limits::default());
        for step in steps {
            history.apply(step);
            history.assert_equals_model();
        }
    }

    // M01, M06, M09
    #[test]
    fn full_mempool_stays_sound(steps in steps()) {
        let mut history = History::new(Limits { max_per_sender: 5, max_nonces_ahead: 4, ..limits(7) });
        for step in steps {
            // The model has no limit, so transfers that left the mempool are removed from it.
            history.apply(step);
            let pool = &history.world.pool;
            for queue in history.model.values_mut() {
                queue.retain(|_, transfer| pool.contains(&transfer.id()));
            }
            history.assert_equals_model();
        }
    }

    // M16: every chunk is the prefix with the highest fee rate.
    #[test]
    fn chunks_are_the_prefixes_with_the_highest_rates(rates in prop::collection::vec(1_u64..30, 1..12)) {
        let entry = |(nonce, fee): (usize, &u64)| QueueEntry {
            nonce: nonce as u64, arrival: nonce as u64, fee: *fee, cost: *fee, bytes: 1,
        };
        let entries: Vec<QueueEntry> = rates.iter().enumerate().map(entry).collect();
        let mut chunks = Vec::new();
        queue::append_chunks(&entries, &mut chunks);
        let mut start = 0;
        for chunk in &chunks {
            prop_assert_eq!(chunk.start, start);
            let average = |length: usize| {
                FeeRate::new(rates[start..start + length].iter().sum(), length as u64)
            };
            let best = (1..=rates.len() - start).map(average).max();
            prop_assert_eq!(Some(chunk.rate), best);
            prop_assert_eq!(chunk.rate, average(chunk.length));
            start += chunk.length;
        }
        prop_assert_eq!(start, rates.len());
    }
}

proptest! {
    // Each case syncs some files.
    #![proptest_config(ProptestConfig::with_cases(40))]

    // M14
    #[test]
    fn journal_restores_every_history(steps in steps(), room in prop::bool::ANY) {
        let small = Limits { max_per_sender: 5, max_nonces_ahead: 4, ..limits(7) };
        let mut history = History::new(if room { Limits::default() } else { small });
        let mut journaled = Journaled::new(&mut history.world.pool);
        for step in steps {
            history.apply(step);
            journaled.log(&mut history.world.pool);
        }
        let accounts = history.world.accounts.clone();
        let (restored, dropped) = journaled.restart(history.world.pool.limits, &accounts);
        restored.assert_sound();
        prop_assert_eq!(dropped, []);
        journal::assert_same(&restored.pool, &history.world.pool);
    }
}
