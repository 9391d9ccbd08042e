//! Layers of rows, of which a newer one hides older ones: changed rows in memory over sorted runs.
//! Only the newest layer of a writer changes; all others are sealed, so that a thread can write
//! them to a run while readers use them.

use super::rows::MemoryRows;
use super::schema::{self, AccountRow, IdPrefix, TxLocation};
use crate::address::Address;
use crate::store::sorted_run::{Run, RunFolder};
use crate::store::{LogError, StoreError};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The number of rows up to which layers in memory are merged, so that there are few.
const MERGED_ROWS: usize = 16_384;
/// The number of accounts of a generation of [`Recent`] up to which another one joins it.
const GENERATION_ACCOUNTS: usize = 65_536;
/// The memory that a cached account needs, in bytes.
const CACHED_ACCOUNT_BYTES: usize = 96;
/// The number of runs of similar size that are merged to one.
const MERGED_RUNS: usize = 4;

/// Rows that do not change any more. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) enum Layer {
    /// Sorted rows in memory.
    Memory(Arc<MemoryRows>),
    Run(Arc<Run>),
}

impl Layer {
    fn account(&self, address: &Address) -> Result<Option<AccountRow>, StoreError> {
        match self {
            Layer::Memory(rows) => Ok(rows.account(address)),
            Layer::Run(run) => {
                let key = schema::account_key(address);
                let Some(value) = run.get(&key)? else { return Ok(None) };
                let Some(value) = value else { return Ok(Some(AccountRow::default())) };
                let row = AccountRow::decode(&value);
                row.map(Some).ok_or_else(|| StoreError::BadRow { key: key.to_vec() })
            }
        }
    }

    /// Visits the transactions of an address with indexes of a range.
    fn visit_history(
        &self,
        address: &Address,
        indexes: &Range<u32>,
        visit: &mut dyn FnMut(u32, TxLocation),
    ) -> Result<(), StoreError> {
        let run = match self {
            Layer::Memory(rows) => {
                rows.history(address, indexes.clone()).for_each(|(at, found)| visit(at, found));
                return Ok(());
            }
            Layer::Run(run) => run,
        };
        let account = schema::account_key(address);
        if !run.may_contain(schema::filter_key(&account)) {
            return Ok(());
        }
        let mut rows = run.seek(&schema::history_key(address, indexes.start))?;
        while rows.advance()? {
            let key = rows.key();
            let Some(index) = schema::history_index(key, address) else { break };
            if index >= indexes.end {
                break;
            }
            if index < indexes.start {
                return Err(StoreError::BadRow { key: key.to_vec() });
            }
            let location = rows.value().and_then(TxLocation::decode);
            visit(index, location.ok_or_else(|| StoreError::BadRow { key: key.to_vec() })?);
        }
        Ok(())
    }

    /// Visits the locations of transactions whose ids start with these bytes, and whether they are
    /// in the best chain.
    fn visit_locations(
        &self,
        prefix: &IdPrefix,
        visit: &mut dyn FnMut(TxLocation, bool),
    ) -> Result<(), StoreError> {
        let run = match self {
            Layer::Memory(rows) => {
                rows.locations(prefix).for_each(|(location, is_there)| visit(location, is_there));
                return Ok(());
            }
            Layer::Run(run) => run,
        };
        let start = schema::transaction_prefix(prefix);
        if !run.may_contain(schema::filter_key(&start)) {
            return Ok(());
        }
        let mut rows = run.seek(&start)?;
        while rows.advance()? {
            let key = rows.key();
            let Some(location) = key.strip_prefix(&start[..]) else { break };
            let location = TxLocation::decode(location);
            let location = location.ok_or_else(|| StoreError::BadRow { key: key.to_vec() })?;
            visit(location, rows.value().is_some());
        }
        Ok(())
    }

    fn is_same(&self, other: &Layer) -> bool {
        match (self, other) {
            (Layer::Memory(a), Layer::Memory(b)) => Arc::ptr_eq(a, b),
            (Layer::Run(a), Layer::Run(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// Accounts of layers that were in memory a moment ago, in generations, the oldest first.
#[derive(Debug, Default)]
struct Recent {
    generations: VecDeque<HashMap<Address, AccountRow>>,
    limit_bytes: usize,
}

impl Recent {
    fn account(&self, address: &Address) -> Option<AccountRow> {
        self.generations.iter().rev().find_map(|accounts| accounts.get(address).copied())
    }

    fn push(&mut self, accounts: HashMap<Address, AccountRow>) {
        match self.generations.back_mut() {
            Some(last) if last.len() + accounts.len() <= GENERATION_ACCOUNTS => {
                last.extend(accounts);
            }
            _ => self.generations.push_back(accounts),
        }
        while self.generations.iter().map(HashMap::len).sum::<usize>() * CACHED_ACCOUNT_BYTES
            > self.limit_bytes
        {
            self.generations.pop_front();
        }
    }
}

/// Sealed layers, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Layers {
    layers: Vec<Layer>,
    /// What the accounts below the topmost layers in memory are, as far as they are known.
    recent: Recent,
}

impl Layers {
    /// Returns the layers of an index with these runs, the oldest first. Up to a limit in bytes, it
    /// remembers the accounts of layers that leave the memory.
    pub(super) fn new(runs: &[Arc<Run>], cache_bytes: usize) -> Layers {
        let layers = runs.iter().map(|run| Layer::Run(Arc::clone(run))).collect();
        let recent = Recent { limit_bytes: cache_bytes, ..Recent::default() };
        Layers { layers, recent }
    }

    /// Returns a layer of these rows, if there are any.
    pub(super) fn of(mut rows: MemoryRows) -> Layers {
        rows.sort();
        let layers = if rows.is_empty() { Vec::new() } else { vec![Layer::Memory(Arc::new(rows))] };
        Layers { layers, recent: Recent::default() }
    }

    pub(super) fn account(&self, address: &Address) -> Result<Option<AccountRow>, StoreError> {
        let mut is_above_runs = true;
        for layer in self.layers.iter().rev() {
            if is_above_runs && matches!(layer, Layer::Run(_)) {
                is_above_runs = false;
                if let Some(row) = self.recent.account(address) {
                    return Ok(Some(row));
                }
            }
            if let Some(row) = layer.account(address)? {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// Returns the transactions of an address with indexes of a range, in order.
    ///
    /// # Errors
    /// Returns a disk error, or that a row is missing.
    pub(super) fn history(
        &self,
        address: &Address,
        indexes: Range<u32>,
    ) -> Result<Vec<TxLocation>, StoreError> {
        let mut found = vec![None; indexes.len()];
        for layer in &self.layers {
            layer.visit_history(address, &indexes, &mut |index, location| {
                found[(index - indexes.start) as usize] = Some(location);
            })?;
        }
        let missing = |index| StoreError::BadRow { key: schema::history_key(address, index) };
        indexes.zip(found).map(|(index, found)| found.ok_or_else(|| missing(index))).collect()
    }

    /// Returns the locations in the best chain of transactions whose ids start with these bytes.
    pub(super) fn locations(&self, prefix: &IdPrefix) -> Result<BTreeSet<TxLocation>, StoreError> {
        let mut found = BTreeSet::new();
        for layer in &self.layers {
            layer.visit_locations(prefix, &mut |location, is_there| {
                if is_there {
                    found.insert(location)
                } else {
                    found.remove(&location)
                };
            })?;
        }
        Ok(found)
    }

    /// Returns the memory that the layers in memory need, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        let bytes = |layer: &Layer| match layer {
            Layer::Memory(rows) => rows.memory_bytes(),
            Layer::Run(_) => 0,
        };
        self.layers.iter().map(bytes).sum()
    }

    pub(super) fn all(&self) -> &[Layer] {
        &self.layers
    }

    /// Returns the runs below all layers in memory, the oldest first.
    pub(super) fn oldest_runs(&self) -> Vec<Arc<Run>> {
        let run = |layer: &Layer| match layer {
            Layer::Run(run) => Some(Arc::clone(run)),
            Layer::Memory(_) => None,
        };
        self.layers.iter().map_while(run).collect()
    }

    /// Adds newer layers.
    pub(super) fn append(&mut self, newer: Layers) {
        for layer in newer.layers {
            if matches!(layer, Layer::Run(_)) {
                self.recent.generations.clear();
            }
            self.layers.push(layer);
            while self.merge_last() {}
        }
    }

    /// Merges the last two layers if they are small, in memory and not in use. Returns whether it
    /// did.
    fn merge_last(&mut self) -> bool {
        let [.., Layer::Memory(older), Layer::Memory(newer)] = &mut self.layers[..] else {
            return false;
        };
        let is_small = older.len() <= newer.len() && older.len() + newer.len() <= MERGED_ROWS;
        let Some(merged) = Arc::get_mut(older).filter(|_| is_small) else { return false };
        merged.append(std::mem::take(Arc::make_mut(newer)));
        merged.sort();
        self.layers.pop();
        true
    }

    /// Replaces consecutive layers, which are all in memory or all runs, by a run with the same rows.
    pub(super) fn replace(&mut self, old: Vec<Layer>, run: Arc<Run>) {
        let Some(first) = old.first() else { return };
        let start = self.layers.iter().position(|layer| layer.is_same(first));
        let start = start.expect("only the writer changes the layers, and it replaces each once");
        let is_above_runs =
            self.layers[start + old.len()..].iter().all(|layer| matches!(layer, Layer::Memory(_)));
        let was_in_memory = matches!(first, Layer::Memory(_));
        let end = start + old.len();
        drop(old);
        let removed = self.layers.splice(start..end, [Layer::Run(run)]).collect::<Vec<_>>();
        if !was_in_memory {
            return;
        }
        for layer in removed {
            match layer {
                Layer::Memory(rows) if is_above_runs => match Arc::try_unwrap(rows) {
                    Ok(rows) => self.recent.push(rows.into_accounts()),
                    Err(_) => self.recent.generations.clear(),
                },
                _ => self.recent.generations.clear(),
            }
        }
    }

    /// Returns the newest runs if there are several of similar size: merging these leaves few runs,
    /// and rewrites each row a logarithmic number of times. Also returns whether there are older
    /// ones.
    pub(super) fn mergeable(&self) -> Option<(Vec<Arc<Run>>, bool)> {
        let mut runs = self.oldest_runs();
        let (mut start, mut bytes) = (runs.len(), 0_u64);
        while let Some(older) = start.checked_sub(1)
            && (bytes == 0 || runs[older].bytes() <= bytes)
        {
            bytes = bytes.saturating_add(runs[older].bytes().max(1));
            start = older;
        }
        let merged = runs.split_off(start);
        (merged.len() >= MERGED_RUNS).then_some((merged, start > 0))
    }
}

/// Changed rows of a writer. Those in memory are limited: more are in runs, so that a reorganisation
/// of any depth needs the same memory.
#[derive(Debug, Default)]
pub(super) struct Rows {
    older: Layers,
    newest: MemoryRows,
}

impl Rows {
    pub(super) fn newest(&mut self) -> &mut MemoryRows {
        &mut self.newest
    }

    /// Returns the sealed layers and the newest one.
    pub(super) fn parts(&mut self) -> (&Layers, &mut MemoryRows) {
        (&self.older, &mut self.newest)
    }

    /// Returns the memory that the newest layer needs, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.newest.memory_bytes()
    }

    pub(super) fn account(&self, address: &Address) -> Result<Option<AccountRow>, StoreError> {
        match self.newest.account(address) {
            Some(row) => Ok(Some(row)),
            None => self.older.account(address),
        }
    }

    /// Adds newer rows.
    pub(super) fn append(&mut self, newer: Rows) {
        if !newer.older.layers.is_empty() {
            let newest = std::mem::take(&mut self.newest);
            self.older.append(Layers::of(newest));
            self.older.append(newer.older);
        }
        self.newest.append(newer.newest);
    }

    /// Moves the newest layer to a run. Few runs remain, because a run that is not larger than the
    /// next is merged with it.
    ///
    /// # Errors
    /// Returns a disk error.
    pub(super) fn spill(&mut self, folder: &RunFolder) -> Result<(), LogError> {
        if self.newest.is_empty() {
            return Ok(());
        }
        self.newest.sort();
        let run = self.newest.write(folder)?;
        self.newest = MemoryRows::default();
        let layers = &mut self.older.layers;
        layers.push(Layer::Run(Arc::new(run)));
        while let [.., Layer::Run(older), Layer::Run(newer)] = &layers[..]
            && older.bytes() <= newer.bytes()
        {
            let never = AtomicBool::new(false);
            let merged = folder.merge([&**older, &**newer], true, &never)?;
            layers.truncate(layers.len() - 2);
            layers.extend(merged.map(|run| Layer::Run(Arc::new(run))));
        }
        Ok(())
    }

    /// Returns the rows as sealed layers.
    pub(super) fn into_layers(self) -> Layers {
        let Rows { mut older, newest } = self;
        older.append(Layers::of(newest));
        older
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Account;
    use crate::amount::Amount;
    use crate::block::Height;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn address(number: u8) -> Address {
        Address::from_bytes([number; 20])
    }

    /// What the layers must return.
    #[derive(Default)]
    struct Model {
        accounts: BTreeMap<u8, AccountRow>,
        history: BTreeMap<(u8, u32), TxLocation>,
        locations: BTreeMap<u8, BTreeSet<TxLocation>>,
    }

    impl Model {
        /// Applies a change to the model and to rows.
        fn change(&mut self, rows: &mut MemoryRows, number: u8, time: u32) {
            let location = TxLocation { height: Height::new(time), position: number.into() };
            let (prefix, index) = ([number; 8], time % 5);
            let account = Account { balance: Amount::ZERO, nonce: u64::from(time % 3) };
            let row = AccountRow { account, transactions: time % 4 };
            let own = rows.account_mut(address(number), || Ok::<_, StoreError>(row)).unwrap();
            *own = row;
            self.accounts.insert(number, row);
            rows.put_history(address(number), index, location);
            self.history.insert((number, index), location);
            let known = self.locations.entry(number).or_default();
            match known.first().copied().filter(|_| time.is_multiple_of(2)) {
                Some(first) => {
                    rows.remove_transaction(prefix, first);
                    known.remove(&first);
                }
                None => {
                    rows.put_transaction(prefix, location);
                    known.insert(location);
                }
            }
        }

        fn assert_matches(&self, layers: &Layers) {
            for number in 0..8 {
                let expected = self.accounts.get(&number).copied();
                let found = layers.account(&address(number)).unwrap();
                assert_eq!(found.unwrap_or_default(), expected.unwrap_or_default());
                for index in 0..5 {
                    let found = layers.history(&address(number), index..index + 1).ok();
                    let expected = self.history.get(&(number, index)).map(|found| vec![*found]);
                    assert_eq!(found, expected);
                }
                let expected = self.locations.get(&number).cloned().unwrap_or_default();
                assert_eq!(layers.locations(&[number; 8]).unwrap(), expected);
            }
        }
    }

    /// Replaces the consecutive layers in memory that start at an index by a run.
    fn flush(layers: &mut Layers, start: usize, folder: &RunFolder) {
        let in_memory = |layer: &&Layer| matches!(layer, Layer::Memory(_));
        let group: Vec<_> = layers.layers[start..].iter().take_while(in_memory).cloned().collect();
        let mut rows = MemoryRows::default();
        for layer in &group {
            let Layer::Memory(newer) = layer else { panic!() };
            rows.append(MemoryRows::clone(newer));
        }
        rows.sort();
        layers.replace(group, Arc::new(rows.write(folder).unwrap()));
    }

    fn merge(layers: &mut Layers, folder: &RunFolder) {
        let Some((runs, has_older)) = layers.mergeable() else { return };
        let never = AtomicBool::new(false);
        let merged = folder.merge(runs.iter().map(|run| &**run), has_older, &never).unwrap();
        layers.replace(runs.into_iter().map(Layer::Run).collect(), Arc::new(merged.unwrap()));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Commit { changes: Vec<u8>, spill_after: usize },
        Flush,
        Merge,
    }

    fn step() -> impl Strategy<Value = Step> {
        let changes = prop::collection::vec(0_u8..8, 1..12);
        prop_oneof![
            4 => (changes, 0_usize..30)
                .prop_map(|(changes, spill_after)| Step::Commit { changes, spill_after }),
            2 => Just(Step::Flush),
            1 => Just(Step::Merge),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn newer_rows_hide_older_ones_in_memory_and_in_runs(
            steps in prop::collection::vec(step(), 1..40),
            cache_bytes in prop_oneof![Just(0_usize), Just(1 << 20)],
        ) {
            let directory = tempfile::tempdir().unwrap();
            let folder = RunFolder::new(directory.path(), schema::filter_key);
            let mut layers = Layers::new(&[], cache_bytes);
            let (mut model, mut time) = (Model::default(), 0);
            for step in steps {
                match step {
                    Step::Commit { changes, spill_after } => {
                        let mut rows = Rows::default();
                        for (at, number) in changes.into_iter().enumerate() {
                            time += 1;
                            model.change(rows.newest(), number, time);
                            if at == spill_after {
                                rows.spill(&folder).unwrap();
                            }
                        }
                        layers.append(rows.into_layers());
                    }
                    Step::Flush => {
                        let in_memory = |layer: &Layer| matches!(layer, Layer::Memory(_));
                        while let Some(start) = layers.layers.iter().position(in_memory) {
                            flush(&mut layers, start, &folder);
                        }
                    }
                    Step::Merge => merge(&mut layers, &folder),
                }
                model.assert_matches(&layers);
            }
            drop(layers);
            prop_assert_eq!(std::fs::read_dir(directory.path()).map_or(0, Iterator::count), 0);
        }
    }

    #[test]
    fn many_spills_leave_few_runs() {
        let directory = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(directory.path(), schema::filter_key);
        let (mut rows, mut model) = (Rows::default(), Model::default());
        for time in 0..37 {
            model.change(rows.newest(), u8::try_from(time % 8).unwrap(), time);
            rows.spill(&folder).unwrap();
            assert!(rows.older.layers.len() <= 7);
        }
        model.assert_matches(&rows.into_layers());
    }
}
