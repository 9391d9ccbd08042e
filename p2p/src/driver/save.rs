//! Saves the address book, the persistent peers and the bans: periodically, at the end, and when a
//! user has changed them, who then learns whether the change is saved.

use super::network::Network;
use crate::engine::Now;
use crate::handle::NotSaved;
use std::time::Duration;
use tokio::task::JoinHandle;

/// The interval at which a snapshot is saved.
const SAVE_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Whether a change was saved.
pub(super) type Saved = Result<(), NotSaved>;

/// What is called once a change is saved or could not be.
type Done = Box<dyn FnOnce(Saved) + Send>;

pub(super) struct PeersSaver {
    saving: Option<JoinHandle<()>>,
    next: Duration,
    /// The changes that the next save includes.
    waiting: Vec<Done>,
}

impl PeersSaver {
    pub(super) fn new(now: Now) -> PeersSaver {
        let next = now.elapsed.saturating_add(SAVE_INTERVAL);
        PeersSaver { saving: None, next, waiting: Vec::new() }
    }

    /// Saves on another thread if that is due and the previous save has ended.
    pub(super) fn save_if_due(&mut self, network: &mut Network, now: Now) {
        if now.elapsed >= self.next {
            self.start(network, now);
        }
    }

    /// Saves a change that was made, and calls `done`.
    pub(super) fn save(
        &mut self,
        network: &mut Network,
        now: Now,
        done: impl FnOnce(Saved) + Send + 'static,
    ) {
        self.waiting.push(Box::new(done));
        self.start(network, now);
    }

    /// Saves on another thread, or at the next opportunity if the previous save has not ended.
    fn start(&mut self, network: &mut Network, now: Now) {
        self.next = now.elapsed;
        if self.saving.as_ref().is_none_or(JoinHandle::is_finished) {
            self.next = now.elapsed.saturating_add(SAVE_INTERVAL);
            let snapshot = network.peers().snapshot(now);
            let waiting = std::mem::take(&mut self.waiting);
            self.saving = Some(tokio::task::spawn_blocking(move || {
                finish(waiting, &snapshot.write().map_err(NotSaved::from));
            }));
        }
    }

    /// Waits for a save in progress and saves the final state.
    pub(super) async fn finish(self, network: &mut Network) {
        if let Some(saving) = self.saving {
            let _ = saving.await;
        }
        let now = network.now();
        finish(self.waiting, &network.peers().save(now).map_err(NotSaved::from));
    }
}

/// Reports a result.
fn finish(waiting: Vec<Done>, saved: &Saved) {
    if let Err(error) = saved {
        tracing::error!(
            error = error.reason,
            "cannot save the address book, persistent peers and bans"
        );
    }
    for done in waiting {
        done(saved.clone());
    }
}
