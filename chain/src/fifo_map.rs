//! A map of limited size that evicts its oldest entries.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// A map that holds at most `CAPACITY` entries and evicts the oldest first.
#[derive(Clone, Debug)]
pub(crate) struct FifoMap<K, V, const CAPACITY: usize> {
    values: HashMap<K, V>,
    /// Each key once, the oldest first.
    order: VecDeque<K>,
}

impl<K, V, const CAPACITY: usize> Default for FifoMap<K, V, CAPACITY> {
    fn default() -> Self {
        FifoMap { values: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Copy + Eq + Hash, V, const CAPACITY: usize> FifoMap<K, V, CAPACITY> {
    /// Inserts an entry. Replacing a value does not change the age of its key.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.values.insert(key, value).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key)
    }

    /// Removes an entry.
    pub(crate) fn remove(&mut self, key: &K) {
        if self.values.remove(key).is_some() {
            self.order.retain(|other| other != key);
        }
    }

    /// Returns all entries, the oldest first.
    pub(crate) fn iter_in_order(&self) -> impl Iterator<Item = (&K, &V)> {
        self.order.iter().filter_map(|key| self.values.get_key_value(key))
    }

    /// Returns all entries in arbitrary order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.values.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // M17
    #[test]
    fn evicts_oldest_entries() {
        let mut map = FifoMap::<u32, &str, 100>::default();
        for key in 0..105 {
            map.insert(key, "first");
            map.insert(key, "second");
        }
        assert_eq!((map.values.len(), map.order.len()), (100, 100));
        assert_eq!(map.get(&4), None);
        assert_eq!(map.get(&5), Some(&"second"));
    }
}
