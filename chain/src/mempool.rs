#![allow(missing_docs)]
use crate::accounts::AccountView;
use crate::rules::tx::CheckedTransfer;
use crate::*;
use std::collections::BTreeSet;
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct Refusal;
impl Refusal {
    pub fn code(&self) -> &'static str {
        "x"
    }
}
#[derive(Debug)]
pub enum Inserted {
    New,
}
#[derive(Debug, Clone)]
pub struct Dropped;
#[derive(Debug, thiserror::Error)]
pub enum InsertError<E> {
    #[error("r")]
    Refused(Refusal),
    #[error("v")]
    View(E),
}
pub struct Mempool;
impl Mempool {
    pub fn new(_: Limits) -> Self {
        Mempool
    }
    pub fn contains(&self, _: &tx::Id) -> bool {
        false
    }
    pub fn insert<V: AccountView>(
        &mut self,
        _: CheckedTransfer,
        _: &V,
        _: Timestamp,
    ) -> Result<Inserted, InsertError<V::Error>> {
        Ok(Inserted::New {})
    }
    pub fn reconcile<V: AccountView>(
        &mut self,
        _: Vec<CheckedTransfer>,
        _: &BTreeSet<Address>,
        _: &V,
        _: Timestamp,
    ) -> Result<Vec<Dropped>, V::Error> {
        Ok(vec![])
    }
}
