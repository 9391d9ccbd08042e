#![allow(missing_docs)]
use crate::accounts::{AccountView, Commitment};
use crate::mempool::Mempool;
use crate::rules::body::Reward;
use crate::*;
#[derive(Debug)]
pub struct Template {
    pub block: Block,
    pub height: Height,
    pub target: Target,
}
#[derive(Debug, thiserror::Error)]
pub enum TemplateError<E> {
    #[error("v")]
    View(E),
}
pub struct Parent<'a> {
    pub hash: block::Hash,
    pub height: Height,
    pub header: rules::header::Parent,
    pub matured: Option<Reward>,
    pub commitment: &'a Commitment,
}
#[allow(clippy::too_many_arguments)]
pub fn build<V: AccountView>(
    _: &Params,
    _: &Parent,
    _: &Mempool,
    _: V,
    _: Address,
    _: Timestamp,
    _: [u8; 8],
    _: tx::Tag,
) -> Result<Template, TemplateError<V::Error>> {
    unimplemented!()
}
