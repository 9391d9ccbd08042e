//! Threads that own a part of the node, such as the writer of the chain.

use anyhow::{Context, Result, bail};
use std::thread::{Builder, JoinHandle};
use tokio::sync::oneshot;

/// A running thread, which ends early only when it fails.
pub struct OwnedThread {
    name: &'static str,
    thread: JoinHandle<Result<()>>,
    ended: oneshot::Receiver<()>,
}

impl OwnedThread {
    /// Starts a thread with this name, which runs until `run` returns.
    pub fn spawn(
        name: &'static str,
        run: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<OwnedThread> {
        let (end, ended) = oneshot::channel();
        let run = move || {
            let result = run();
            let _ = end.send(());
            result
        };
        let thread = Builder::new().name(name.into()).spawn(run);
        let thread = thread.with_context(|| format!("cannot start the {name} thread"))?;
        Ok(OwnedThread { name, thread, ended })
    }

    /// Waits until the thread has ended. Cancel-safe.
    pub async fn ended(&mut self) {
        let _ = (&mut self.ended).await;
    }

    /// Waits until the thread has ended; returns its result.
    pub async fn join(self) -> Result<()> {
        match tokio::task::spawn_blocking(|| self.thread.join()).await? {
            Ok(result) => result,
            Err(_panic) => bail!("the {} thread panicked; the next start repairs", self.name),
        }
    }
}
