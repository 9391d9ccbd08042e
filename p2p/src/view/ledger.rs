//! The chain of this node as sync, relay and the answers to peers see it. Nothing is read from the
//! disk while the writer waits.

use super::{ChainView, Known, Tip};
use crate::message::RawBlock;
use chain::Params;
use chain::block::{self, Header, Height};
use chain::ledger::Reader;
use chain::store::StoreError;
use chain::tree::Node;
use chain::tx::{Id, Transfer};
use std::sync::Arc;

impl From<&Node> for Tip {
    fn from(node: &Node) -> Tip {
        Tip { hash: node.hash, height: node.height, chain_work: node.chain_work }
    }
}

impl ChainView for Reader {
    fn params(&self) -> &Params {
        Reader::params(self)
    }

    fn tip(&self) -> Tip {
        self.view().tip().into()
    }

    fn find(&self, hash: &block::Hash) -> Option<Known> {
        let view = self.view();
        let node = view.find(hash)?;
        Some(Known {
            tip: node.into(),
            as_parent: view.as_parent(node),
            is_best: view.is_best(node),
            is_invalid: view.is_invalid(node),
        })
    }

    fn is_condemned(&self, hash: &block::Hash) -> bool {
        self.view().is_condemned(hash)
    }

    fn at(&self, height: Height) -> Option<block::Hash> {
        self.view().at(height).map(|node| node.hash)
    }

    fn headers(&self, from: Height, max: usize) -> Vec<Header> {
        let nodes: Vec<Node> = {
            let view = self.view();
            let heights = (from.get()..=view.tip().height.get()).take(max);
            heights.filter_map(|height| view.at(Height::new(height)).copied()).collect()
        };
        read(Reader::headers(self, &nodes)).unwrap_or_default()
    }

    fn block(&self, hash: &block::Hash) -> Option<RawBlock> {
        let node = self.view().find(hash).copied()?;
        read(self.raw_block(&node)).map(RawBlock::from)
    }

    fn transfer(&self, id: &Id) -> Option<Arc<Transfer>> {
        let view = self.view();
        let entry = view.mempool().get(id)?;
        Some(Arc::new(entry.transfer.transfer().clone()))
    }

    fn pool_ids(&self) -> Vec<Id> {
        let mut ids: Vec<Id> = self.view().mempool().ids().copied().collect();
        ids.sort_unstable();
        ids
    }
}

/// What could not be read is not there for peers; the writer ends the node where that matters.
fn read<T>(result: Result<T, StoreError>) -> Option<T> {
    result.inspect_err(|error| tracing::error!("cannot read what a peer needs: {error}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chain::address::Address;
    use chain::ledger::{self, Options, Writer};
    use chain::mempool::Limits;
    use chain::template::Wish;
    use chain::tx::Tag;

    /// Takes in the next block that pays a miner.
    fn grow(writer: &mut Writer, miner: u8) -> block::Hash {
        let tip = *writer.reader().view().tip();
        let now = tip.time.max(writer.params().spec().genesis_time).saturating_add(1);
        let tag = Tag::new(Vec::new()).unwrap();
        let miner = Address::from_bytes([miner; 20]);
        let wish = Wish { miner, now, extra_nonce: [0; 8], tag };
        let mut block = writer.template(wish).unwrap().block;
        let target = block.header.bits.target().unwrap();
        while !target.is_met_by(block.header.hash().as_bytes()) {
            block.header.nonce += 1;
        }
        let hash = block.hash();
        writer.block(block, now).unwrap();
        writer.commit().unwrap();
        hash
    }

    #[test]
    fn the_ledger_shows_its_best_chain() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { cache_bytes: 1 << 20, threads: 1, mempool: Limits::default() };
        let (mut writer, reader) =
            ledger::open(folder.path(), Params::dev(), options, &mut |_| {}).unwrap();
        let genesis = Params::dev().genesis_hash();
        let hashes: Vec<_> = (1..=3).map(|miner| grow(&mut writer, miner)).collect();
        let view: &dyn ChainView = &reader;
        assert_eq!((view.tip().hash, view.tip().height), (hashes[2], Height::new(3)));
        let headers = view.headers(Height::new(1), 2);
        let shown: Vec<_> = headers.iter().map(Header::hash).collect();
        assert_eq!(shown, hashes[..2]);
        assert_eq!(view.headers(Height::GENESIS, 10).len(), 4);
        assert!(view.headers(Height::new(4), 10).is_empty());
        assert_eq!(view.at(Height::new(2)), Some(hashes[1]));
        let known = view.find(&hashes[1]).unwrap();
        assert!(known.is_best && !known.is_invalid);
        assert_eq!(known.as_parent.time, headers[1].time);
        assert_eq!(known.as_parent.grandparent_time, Some(headers[0].time));
        assert_eq!(view.find(&genesis).unwrap().as_parent.grandparent_time, None);
        let raw = view.block(&hashes[0]).unwrap();
        assert_eq!(chain::Block::decode(&raw).unwrap().hash(), hashes[0]);
        let unknown = block::Hash::from_bytes([7; 32]);
        assert!(view.find(&unknown).is_none() && view.block(&unknown).is_none());
        assert!(!view.is_condemned(&unknown));
    }
}
