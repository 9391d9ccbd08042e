//! Saves the address book and the bans periodically and at the end.

use super::network::Network;
use crate::engine::Now;
use std::io;
use std::time::Duration;
use tokio::task::JoinHandle;

/// The interval at which a snapshot is saved.
const SAVE_INTERVAL: Duration = Duration::from_secs(5 * 60);

pub(super) struct PeersSaver {
    saving: Option<JoinHandle<()>>,
    next: Duration,
}

impl PeersSaver {
    pub(super) fn new(now: Now) -> PeersSaver {
        PeersSaver { saving: None, next: now.elapsed.saturating_add(SAVE_INTERVAL) }
    }

    /// Saves on another thread if that is due and the previous save has ended.
    pub(super) fn save_if_due(&mut self, network: &mut Network, now: Now) {
        if now.elapsed < self.next {
            return;
        }
        self.save(network, now);
    }

    /// Saves on another thread, or at the next opportunity if the previous save has not ended.
    pub(super) fn save(&mut self, network: &mut Network, now: Now) {
        self.next = now.elapsed;
        if self.saving.as_ref().is_none_or(JoinHandle::is_finished) {
            self.next = now.elapsed.saturating_add(SAVE_INTERVAL);
            let snapshot = network.peers().snapshot(now);
            self.saving = Some(tokio::task::spawn_blocking(move || log_error(snapshot.write())));
        }
    }

    /// Waits for a save in progress and saves the final state.
    pub(super) async fn finish(self, network: &mut Network) {
        if let Some(saving) = self.saving {
            let _ = saving.await;
        }
        let now = network.now();
        log_error(network.peers().save(now));
    }
}

fn log_error(saved: io::Result<()>) {
    if let Err(error) = saved {
        tracing::warn!(%error, "cannot save the address book");
    }
}
