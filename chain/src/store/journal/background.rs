//! Syncing of a journal by another thread, which lets many records share one sync.

use crate::store::blocks::LogError;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Syncs records that were appended by [`Journal::append_unsynced`](super::Journal::append_unsynced).
/// Cheap to clone: the journal's owner holds one clone, the thread that syncs another.
#[derive(Clone, Debug, Default)]
pub struct BackgroundSync(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The journal's file and its path.
    file: Option<(Arc<File>, PathBuf)>,
    has_unsynced: bool,
    /// Set by the first failed sync, after which the contents of the disk are unknown.
    has_failed: bool,
    is_closed: bool,
}

impl BackgroundSync {
    /// Returns one that has nothing to sync.
    pub fn closed() -> BackgroundSync {
        let sync = BackgroundSync::default();
        sync.close();
        sync
    }

    /// Blocks until there are records to sync. Returns false once the journal is closed and there
    /// are none.
    pub fn wait(&self) -> bool {
        let mut state = self.state();
        while !state.has_unsynced && !state.is_closed {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.has_unsynced
    }

    /// Syncs all records that were appended before the call.
    ///
    /// # Errors
    /// Returns the disk error. The journal accepts no records afterwards.
    pub fn sync(&self) -> Result<(), LogError> {
        let file = {
            let mut state = self.state();
            if !std::mem::take(&mut state.has_unsynced) {
                return Ok(());
            }
            state.file.clone()
        };
        let Some((file, path)) = file else { return Ok(()) };
        file.sync_data().map_err(|error| {
            self.state().has_failed = true;
            LogError::io("sync", &path)(error)
        })
    }

    /// Ends the thread that waits, once nothing is left to sync.
    pub fn close(&self) {
        self.state().is_closed = true;
        self.0.changed.notify_all();
    }

    pub(super) fn set_file(&self, file: File, path: PathBuf) {
        let mut state = self.state();
        state.file = Some((Arc::new(file), path));
        state.has_unsynced = false;
    }

    pub(super) fn has_failed(&self) -> bool {
        self.state().has_failed
    }

    pub(super) fn mark_unsynced(&self) {
        let mut state = self.state();
        if !std::mem::replace(&mut state.has_unsynced, true) {
            self.0.changed.notify_all();
        }
    }

    pub(super) fn mark_synced(&self) {
        self.state().has_unsynced = false;
    }

    /// Locks the state. No change of it can panic half-way, so poisoning is ignored.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
