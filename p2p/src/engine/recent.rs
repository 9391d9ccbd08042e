//! The most recent keys with their values: a bounded map that evicts in insertion order. An LRU cache
//! (crate `lru`) would never evict a key that peers repeat.

use std::collections::{BTreeMap, VecDeque};

/// A map of a limited number of keys; inserting another one evicts the oldest.
#[derive(Clone, Debug)]
pub(crate) struct Recent<K, V = ()> {
    values: BTreeMap<K, V>,
    order: VecDeque<K>,
    capacity: usize,
}

impl<K: Ord + Copy, V> Recent<K, V> {
    pub(crate) fn new(capacity: usize) -> Recent<K, V> {
        Recent { values: BTreeMap::new(), order: VecDeque::new(), capacity }
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.values.contains_key(key)
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.values.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.values.get_mut(key)
    }

    /// Sets the value of a key and returns whether the key is new. A known key stays as old as it is.
    pub(crate) fn insert(&mut self, key: K, value: V) -> bool {
        let is_new = self.values.insert(key, value).is_none();
        if is_new {
            self.order.push_back(key);
            if self.order.len() > self.capacity
                && let Some(oldest) = self.order.pop_front()
            {
                self.values.remove(&oldest);
            }
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evicts_the_oldest_key() {
        let mut recent = Recent::new(2);
        assert!(recent.insert(1, 'a') && recent.insert(2, 'b'));
        assert!(!recent.insert(1, 'c'), "the key is known");
        assert_eq!(recent.get_mut(&1), Some(&mut 'c'));
        assert!(recent.insert(3, 'd'));
        assert!(!recent.contains(&1) && recent.contains(&2) && recent.contains(&3));
    }
}
