//! Rows on their way to the index. Rows in memory are limited: those beyond are in sorted runs, so
//! that a reorganisation of any depth needs the same memory.

use crate::store::LogError;
use crate::store::index::Changes;
use crate::store::sorted_run::{Merge, Run, RunFolder, rows_of};
use std::collections::btree_map::Entry;

/// The memory in bytes that a row needs besides its key and its value.
const ROW_BYTES: usize = 128;

/// Changed rows in layers, of which a newer one hides older ones.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// The layers below `newest`, the oldest first.
    older: Vec<Layer>,
    newest: Changes,
    /// The memory that `newest` needs, in bytes.
    newest_bytes: usize,
}

#[derive(Debug)]
enum Layer {
    Memory(Changes),
    Run(Run),
}

impl From<Changes> for Rows {
    fn from(changes: Changes) -> Rows {
        let newest_bytes = changes.iter().map(|(key, value)| memory(key, value.as_deref())).sum();
        Rows { older: Vec::new(), newest: changes, newest_bytes }
    }
}

impl Rows {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of rows; a row counts once in each layer that has it.
    pub(super) fn len(&self) -> usize {
        let count = |layer: &Layer| match layer {
            Layer::Memory(changes) => changes.len(),
            Layer::Run(run) => run.rows(),
        };
        self.older.iter().map(count).sum::<usize>() + self.newest.len()
    }

    /// Returns the size of all keys and values, in bytes.
    pub(super) fn size_bytes(&self) -> usize {
        let of = |changes: &Changes| {
            changes.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum()
        };
        let size = |layer: &Layer| match layer {
            Layer::Memory(changes) => of(changes),
            Layer::Run(run) => usize::try_from(run.bytes()).unwrap_or(usize::MAX),
        };
        self.older.iter().map(size).fold(of(&self.newest), usize::saturating_add)
    }

    /// Returns the memory that the newest layer needs, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.newest_bytes
    }

    /// Returns all rows if they are in memory.
    pub(super) fn in_memory(&self) -> Option<&Changes> {
        self.older.is_empty().then_some(&self.newest)
    }

    /// Returns the row of a key, which may be a removal, if it changed.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Option<Vec<u8>>>, LogError> {
        if let Some(value) = self.newest.get(key) {
            return Ok(Some(value.clone()));
        }
        for layer in self.older.iter().rev() {
            let found = match layer {
                Layer::Memory(changes) => changes.get(key).cloned(),
                Layer::Run(run) => run.get(key)?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    pub(super) fn insert(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.newest_bytes += memory(&key, value.as_deref());
        match self.newest.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(value);
            }
            Entry::Occupied(mut entry) => {
                let old = entry.insert(value);
                self.newest_bytes -= memory(entry.key(), old.as_deref());
            }
        }
    }

    /// Adds newer rows. It takes time in proportion to the smaller part, and none if the newer rows
    /// have several layers.
    pub(super) fn append(&mut self, newer: Rows) {
        if newer.older.is_empty() {
            let mut less = newer.newest;
            if less.len() > self.newest.len() {
                std::mem::swap(&mut less, &mut self.newest);
                self.newest_bytes = newer.newest_bytes;
                less.retain(|key, _| !self.newest.contains_key(key));
            }
            less.into_iter().for_each(|(key, value)| self.insert(key, value));
        } else {
            if !self.newest.is_empty() {
                self.older.push(Layer::Memory(std::mem::take(&mut self.newest)));
            }
            self.older.extend(newer.older);
            self.newest = newer.newest;
            self.newest_bytes = newer.newest_bytes;
        }
    }

    /// Moves the newest layer to a run. Few runs remain, because a run that is not larger than the
    /// next is merged with it.
    pub(super) fn spill(&mut self, folder: &RunFolder) -> Result<(), LogError> {
        if self.newest.is_empty() {
            return Ok(());
        }
        let run = folder.write(self.newest.len(), rows_of(&self.newest))?;
        self.newest = Changes::new();
        self.newest_bytes = 0;
        self.older.push(Layer::Run(run));
        while let [.., Layer::Run(older), Layer::Run(newer)] = &self.older[..]
            && older.bytes() <= newer.bytes()
        {
            let rows = Merge::new([older, newer])?;
            let merged = folder.write(older.rows() + newer.rows(), rows)?;
            self.older.truncate(self.older.len() - 2);
            self.older.push(Layer::Run(merged));
        }
        Ok(())
    }

    /// Writes the layers in memory to runs, the oldest first, for [`replace_memory`].
    ///
    /// [`replace_memory`]: Self::replace_memory
    pub(super) fn write_memory(&self, folder: &RunFolder) -> Result<Vec<Run>, LogError> {
        let older = self.older.iter().filter_map(|layer| match layer {
            Layer::Memory(changes) => Some(changes),
            Layer::Run(_) => None,
        });
        let layers = older.chain(std::iter::once(&self.newest)).filter(|layer| !layer.is_empty());
        layers.map(|layer| folder.write(layer.len(), rows_of(layer))).collect()
    }

    /// Replaces the layers in memory by the runs that [`write_memory`](Self::write_memory) wrote.
    pub(super) fn replace_memory(&mut self, runs: Vec<Run>) -> Vec<Changes> {
        let mut runs = runs.into_iter();
        let mut replaced = Vec::new();
        let newest = std::mem::take(&mut self.newest);
        self.newest_bytes = 0;
        self.older.push(Layer::Memory(newest));
        for layer in &mut self.older {
            if let Layer::Memory(changes) = layer
                && !changes.is_empty()
                && let Some(run) = runs.next()
            {
                replaced.push(std::mem::take(changes));
                *layer = Layer::Run(run);
            }
        }
        self.older.retain(|layer| matches!(layer, Layer::Run(_)));
        replaced
    }

    /// Merges all runs to one. Rows in memory are not included.
    pub(super) fn merge_runs(&self, folder: &RunFolder) -> Result<Rows, LogError> {
        let run = folder.write(self.runs().map(Run::rows).sum(), Merge::new(self.runs())?)?;
        Ok(Rows { older: vec![Layer::Run(run)], ..Rows::default() })
    }

    /// Returns the runs, the oldest first.
    pub(super) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.older.iter().filter_map(|layer| match layer {
            Layer::Run(run) => Some(run),
            Layer::Memory(_) => None,
        })
    }
}

/// The memory that a row needs, in bytes.
fn memory(key: &[u8], value: Option<&[u8]>) -> usize {
    ROW_BYTES + key.len() + value.map_or(0, <[u8]>::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(keys: std::ops::Range<u16>, value: u8) -> Changes {
        let row = |key: u16| {
            let value = (!key.is_multiple_of(7)).then(|| vec![value; usize::from(key % 50)]);
            (key.to_be_bytes().to_vec(), value)
        };
        keys.map(row).collect()
    }

    #[track_caller]
    fn assert_rows(rows: &Rows, expected: &Changes) {
        for key in 0..1_000_u16 {
            let key = key.to_be_bytes();
            assert_eq!(rows.get(&key).unwrap(), expected.get(&key[..]).cloned());
        }
        let newest = rows.newest.iter().map(|(key, value)| memory(key, value.as_deref()));
        assert_eq!(rows.memory_bytes(), newest.sum::<usize>());
    }

    /// Appends rows, of which some are in runs.
    #[test]
    fn newer_rows_hide_older_ones_in_memory_and_in_runs() {
        let directory = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(directory.path());
        let (mut rows, mut expected) = (Rows::default(), Changes::new());
        let mut append = |newer: Rows, changes: &Changes| {
            rows.append(newer);
            expected.extend(changes.clone());
            assert_rows(&rows, &expected);
        };
        let small = changes(100..200, 1);
        append(Rows::from(small.clone()), &small);
        let large = changes(0..600, 2);
        append(Rows::from(large.clone()), &large);
        let mut staged = Rows::from(changes(300..700, 3));
        staged.spill(&folder).unwrap();
        changes(650..800, 4).into_iter().for_each(|(key, value)| staged.insert(key, value));
        let mut all = changes(300..700, 3);
        all.extend(changes(650..800, 4));
        append(staged, &all);
        let last = changes(0..50, 5);
        append(Rows::from(last.clone()), &last);

        let runs = rows.write_memory(&folder).unwrap();
        let replaced = rows.replace_memory(runs);
        assert_eq!(replaced.iter().map(Changes::len).collect::<Vec<_>>(), [600, 200]);
        assert_rows(&rows, &expected);
        assert_eq!(rows.memory_bytes(), 0);
        let merged = Merge::new(rows.runs()).unwrap().map(Result::unwrap);
        assert_eq!(merged.collect::<Changes>(), expected);
        drop(rows);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn many_spills_leave_few_runs() {
        let directory = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(directory.path());
        let (mut rows, mut expected) = (Rows::default(), Changes::new());
        for round in 0..37 {
            let changes = changes(u16::from(round) * 20..u16::from(round) * 20 + 40, round);
            changes.clone().into_iter().for_each(|(key, value)| rows.insert(key, value));
            expected.extend(changes);
            rows.spill(&folder).unwrap();
            assert!(rows.runs().count() <= 7);
        }
        assert_rows(&rows, &expected);
    }
}
