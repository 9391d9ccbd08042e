//! Reading the chain from any thread.

use super::records::{read_header_and_count, read_raw_block};
use super::state::Shared;
use super::view::View;
use crate::block::Header;
use crate::block_index::BlockNode;
use crate::params::Params;
use crate::store::StoreError;
use crate::store::blocks::LogReader;
use std::sync::Arc;

/// Reads the chain from any thread. Cheap to clone.
#[derive(Clone)]
pub struct Reader(Arc<Shared>);

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Reader {
        Reader(shared)
    }

    /// Returns a view of the current tip. The writer waits while the view exists: drop it soon, and
    /// never request another view while holding one.
    pub fn view(&self) -> View<'_> {
        View::new(&self.0)
    }

    /// Returns the parameters of the network.
    pub fn params(&self) -> &Params {
        &self.0.params
    }

    /// Reads an encoded block without blocking the writer.
    pub fn raw_block(&self, node: &BlockNode) -> Result<Vec<u8>, StoreError> {
        read_raw_block(&self.log(), node)
    }

    /// Reads the headers of blocks without blocking the writer.
    pub fn headers(&self, nodes: &[BlockNode]) -> Result<Vec<Header>, StoreError> {
        Ok(self.headers_and_counts(nodes)?.into_iter().map(|(header, _)| header).collect())
    }

    /// Reads the headers of blocks and the numbers of their transactions without blocking the
    /// writer.
    pub fn headers_and_counts(
        &self,
        nodes: &[BlockNode],
    ) -> Result<Vec<(Header, u32)>, StoreError> {
        let log = self.log();
        nodes.iter().map(|node| read_header_and_count(&log, node)).collect()
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0
    }

    fn log(&self) -> LogReader {
        self.0.read().log.clone()
    }
}
