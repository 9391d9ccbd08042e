//! What was met lately: so many keys, the oldest forgotten first.

use std::collections::{BTreeMap, VecDeque};

/// The last keys that were put in, each with a value.
#[derive(Clone, Debug)]
pub(crate) struct Recent<K, V = ()> {
    values: BTreeMap<K, V>,
    order: VecDeque<K>,
    capacity: usize,
}

impl<K: Ord + Copy, V> Recent<K, V> {
    /// For at most so many keys.
    pub(crate) fn new(capacity: usize) -> Recent<K, V> {
        Recent { values: BTreeMap::new(), order: VecDeque::new(), capacity }
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.values.contains_key(key)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.values.get_mut(key)
    }

    /// Whether the key is new. One that was there keeps its place, and gets the value.
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
    fn the_oldest_key_makes_room_for_a_new_one() {
        let mut ring = Recent::new(2);
        assert!(ring.insert(1, 'a') && ring.insert(2, 'b'));
        assert!(!ring.insert(1, 'c'), "it was there");
        assert_eq!(ring.get_mut(&1), Some(&mut 'c'));
        assert!(ring.insert(3, 'd'));
        assert!(!ring.contains(&1) && ring.contains(&2) && ring.contains(&3));
    }
}
