//! A resource that tasks share: entries are guards that release on drop.

use super::{AddressGroup, Full, Limits, Shares};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// A resource with shares by address. Cheap to clone.
///
/// ```
/// # use p2p::shares::{Limits, Pool};
/// # use tokio_util::sync::CancellationToken;
/// let connections = Pool::new(Limits::new(2, 1));
/// let (large, small) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
/// let evicted = CancellationToken::new();
/// let _first = connections.acquire(large, 1, CancellationToken::new()).unwrap();
/// let _second = connections.acquire(large, 1, evicted.clone()).unwrap();
/// assert!(connections.acquire(large, 1, CancellationToken::new()).is_err());
/// let _third = connections.acquire(small, 1, CancellationToken::new()).unwrap();
/// assert!(evicted.is_cancelled());
/// ```
#[derive(Clone, Debug)]
pub struct Pool {
    state: Arc<Mutex<State>>,
    started: Instant,
}

#[derive(Debug)]
struct State {
    shares: Shares<u64>,
    /// What to cancel when an entry is evicted.
    evictions: HashMap<u64, CancellationToken>,
    next: u64,
}

impl Pool {
    /// Returns an unused resource.
    pub fn new(limits: Limits) -> Pool {
        let state = State { shares: Shares::new(limits), evictions: HashMap::new(), next: 0 };
        Pool { state: Arc::new(Mutex::new(state)), started: Instant::now() }
    }

    /// Acquires an amount for an address until the guard is dropped. `eviction` is cancelled when the
    /// entry has to give way to another; its amount counts as free from then on.
    ///
    /// # Errors
    /// Returns [`Full`] if there is no room and no other holder gives way.
    pub fn acquire(
        &self,
        ip: IpAddr,
        amount: u64,
        eviction: CancellationToken,
    ) -> Result<Lease, Full> {
        let mut state = self.lock();
        let id = state.next;
        let now = self.started.elapsed();
        let evicted = state.shares.admit(id, AddressGroup::of(ip), amount, now)?;
        state.next += 1;
        state.evictions.insert(id, eviction);
        let evicted: Vec<_> =
            evicted.iter().filter_map(|evicted| state.evictions.remove(evicted)).collect();
        // A task that is woken may release its entry at once.
        drop(state);
        for eviction in evicted {
            eviction.cancel();
        }
        Ok(Lease { pool: self.clone(), id })
    }

    /// The amount in use.
    pub fn in_use(&self) -> u64 {
        self.lock().shares.in_use()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An amount of a resource in use, released on drop.
#[derive(Debug)]
pub struct Lease {
    pool: Pool,
    id: u64,
}

impl Lease {
    /// Marks the entry as idle, so that the next newcomer may evict it, or as active.
    pub fn set_idle(&self, is_idle: bool) {
        self.pool.lock().shares.set_idle(&self.id, is_idle);
    }

    /// Protects the entry for [`super::USEFUL_FOR`]: its share or block was accepted.
    pub fn mark_useful(&self) {
        let now = self.pool.started.elapsed();
        self.pool.lock().shares.mark_useful(&self.id, now);
    }

    /// Moves the entry to another address, such as that of the client behind a proxy.
    pub fn move_to(&self, ip: IpAddr) {
        self.pool.lock().shares.move_to(&self.id, AddressGroup::of(ip));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.shares.release(&self.id);
        state.evictions.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acquire(pool: &Pool, last: u8) -> Result<(Lease, CancellationToken), Full> {
        let eviction = CancellationToken::new();
        Ok((pool.acquire([192, 0, 2, last].into(), 1, eviction.clone())?, eviction))
    }

    #[test]
    fn guard_releases_its_amount_once_even_after_eviction() {
        let pool = Pool::new(Limits::new(2, 1));
        let (first, _) = acquire(&pool, 1).unwrap();
        let (second, evicted) = acquire(&pool, 1).unwrap();
        let (third, kept) = acquire(&pool, 2).unwrap();
        assert!(evicted.is_cancelled() && !kept.is_cancelled());
        assert_eq!(pool.in_use(), 2);
        drop(second);
        assert_eq!(pool.in_use(), 2, "the evicted entry was counted as free before");
        drop((first, third));
        assert_eq!(pool.in_use(), 0);
        assert!(pool.lock().evictions.is_empty());
    }

    #[test]
    fn idle_guard_gives_way_and_active_one_does_not() {
        let pool = Pool::new(Limits::new(1, 1));
        let (lease, evicted) = acquire(&pool, 1).unwrap();
        assert_eq!(acquire(&pool, 2).unwrap_err(), Full);
        lease.set_idle(true);
        lease.set_idle(false);
        assert_eq!(acquire(&pool, 2).unwrap_err(), Full);
        lease.set_idle(true);
        let _second = acquire(&pool, 2).unwrap();
        assert!(evicted.is_cancelled());
    }
}
