//! Interrupting long work of the ledger, so that a node stops in time.

use crate::store::StoreError;
use std::fmt;
use std::sync::Arc;

/// A condition on which long work ends early: opening a ledger, staging a reorganisation and updating the
/// mempool to it. Nothing is lost: the next opening continues, and a block whose reorganisation was interrupted
/// was not accepted. Clones share the condition. By default nothing is interrupted.
#[derive(Clone, Default)]
pub struct Interrupt(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Interrupt {
    /// Returns an interrupt that is requested once `is_requested` returns true. It has to return true from
    /// then on.
    pub fn when(is_requested: impl Fn() -> bool + Send + Sync + 'static) -> Interrupt {
        Interrupt(Some(Arc::new(is_requested)))
    }

    /// Whether the interrupt is requested.
    pub fn is_requested(&self) -> bool {
        self.0.as_ref().is_some_and(|is_requested| is_requested())
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.is_requested() { Err(StoreError::Interrupted) } else { Ok(()) }
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Interrupt").field(&self.is_requested()).finish()
    }
}
