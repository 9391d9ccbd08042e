//! The shutdown signal: a `watch` channel that becomes true once the node is to stop.

use tokio::sync::watch;

/// Waits until shutdown is requested, or the sender of the signal is gone.
pub async fn shutdown_requested(signal: &mut watch::Receiver<bool>) {
    let _ = signal.wait_for(|requested| *requested).await;
}
