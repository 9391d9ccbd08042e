//! `ChainView` of the ledger. Nothing is read from the disk under the ledger's lock.

use super::{ChainView, Known, Tip};
use crate::message::RawBlock;
use chain::Params;
use chain::block::{self, Header, Height};
use chain::block_index::BlockNode;
use chain::ledger::Reader;
use chain::store::StoreError;
use chain::tx::{Id, Transfer};
use std::sync::Arc;

impl From<&BlockNode> for Tip {
    fn from(node: &BlockNode) -> Tip {
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
            bytes: node.location.length as usize,
            is_best: view.is_in_best_chain(node),
            is_invalid: node.is_invalid(),
        })
    }

    fn is_known_invalid(&self, hash: &block::Hash) -> bool {
        self.view().is_known_invalid(hash)
    }

    fn at(&self, height: Height) -> Option<block::Hash> {
        self.view().at_height(height).map(|node| node.hash)
    }

    fn headers(&self, from: Height, max: usize) -> Vec<Header> {
        let nodes: Vec<BlockNode> = {
            let view = self.view();
            let heights = (from.get()..=view.tip().height.get()).take(max);
            heights.filter_map(|height| view.at_height(Height::new(height)).copied()).collect()
        };
        read(Reader::headers(self, &nodes)).unwrap_or_default()
    }

    fn block(&self, hash: &block::Hash) -> Option<RawBlock> {
        let node = {
            let view = self.view();
            view.find(hash).filter(|node| node.is_valid()).copied()?
        };
        read(self.raw_block(&node)).map(RawBlock::from)
    }

    fn transfer(&self, id: &Id) -> Option<Arc<Transfer>> {
        let view = self.view();
        let entry = view.mempool().get(id)?;
        Some(Arc::new(entry.transfer.transfer().clone()))
    }

    fn mempool_page(&self, from: u64, max: usize) -> (Vec<Id>, u64) {
        let view = self.view();
        let (mut ids, mut next) = (Vec::new(), from);
        for (arrival, id) in view.mempool().ids_since(from).take(max) {
            ids.push(*id);
            next = arrival.saturating_add(1);
        }
        (ids, next)
    }

    fn mempool_transfers(&self, is_wanted: &dyn Fn(&Id) -> bool) -> Vec<(Id, Transfer)> {
        let view = self.view();
        let pool = view.mempool();
        let wanted = pool.ids().filter(|id| is_wanted(id));
        wanted.filter_map(|id| Some((*id, pool.get(id)?.transfer.transfer().clone()))).collect()
    }
}

/// Logs a read error and treats the item as missing. The writer stops the node where that matters.
fn read<T>(result: Result<T, StoreError>) -> Option<T> {
    result
        .inspect_err(|error| tracing::error!("cannot read from the store for a peer: {error}"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chain::address::Address;
    use chain::ledger::{self, Options, Writer};
    use chain::mempool::{Replacement, Source};
    use chain::params::Spec;
    use chain::signature::SecretKey;
    use chain::testing::{mine_on_tip, with_changed_coinbase};
    use chain::tx::{Memo, Payment};
    use chain::{Amount, Block};
    use tempfile::TempDir;

    fn rich() -> SecretKey {
        SecretKey::from_seed([1; 32])
    }

    /// The parameters of `dev` with funds for one account.
    fn params() -> Params {
        let funds = (rich().public_key().address(), Amount::new(1_000_000).unwrap());
        let spec = Spec { allocations: vec![funds], ..Params::dev().spec().clone() };
        Params::new(spec).unwrap()
    }

    fn open() -> (TempDir, Writer, Reader) {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { cache_bytes: 1 << 20, threads: 1, ..Options::default() };
        let (writer, reader) =
            ledger::open(folder.path(), params(), &options, &mut |_| {}).unwrap();
        (folder, writer, reader)
    }

    fn accept(writer: &mut Writer, block: &Block) {
        writer.submit_block(block.clone(), block.header.time).unwrap();
        writer.commit().unwrap();
    }

    /// Mines and connects a number of blocks.
    fn grow(writer: &mut Writer, blocks: usize, miner: u8) -> Vec<Block> {
        let mut next = || {
            let block = mine_on_tip(writer, Address::from_bytes([miner; 20]));
            accept(writer, &block);
            block
        };
        (0..blocks).map(|_| next()).collect()
    }

    #[test]
    fn reads_the_best_chain() {
        let (_folder, mut writer, reader) = open();
        let genesis = params().genesis_hash();
        let blocks = grow(&mut writer, 3, 1);
        let headers: Vec<Header> = blocks.iter().map(|block| block.header).collect();
        let view: &dyn ChainView = &reader;
        assert_eq!((view.tip().hash, view.tip().height), (blocks[2].hash(), Height::new(3)));
        assert_eq!(view.headers(Height::new(1), 2), headers[..2]);
        assert_eq!(view.headers(Height::GENESIS, 10).len(), 4);
        assert!(view.headers(Height::new(4), 10).is_empty());
        assert_eq!(view.at(Height::new(2)), Some(blocks[1].hash()));
        assert_eq!(view.at(Height::new(4)), None);
        let known = view.find(&blocks[1].hash()).unwrap();
        assert!(known.is_best && !known.is_invalid);
        assert_eq!(known.as_parent.time, headers[1].time);
        assert_eq!(known.as_parent.grandparent_time, Some(headers[0].time));
        assert_eq!(view.find(&genesis).unwrap().as_parent.grandparent_time, None);
        let raw = view.block(&blocks[0].hash()).unwrap();
        assert_eq!(*raw, *blocks[0].encode());
        let unknown = block::Hash::from_bytes([7; 32]);
        assert!(view.find(&unknown).is_none() && view.block(&unknown).is_none());
        assert!(!view.is_known_invalid(&unknown));
    }

    #[test]
    fn serves_blocks_of_side_branch_once_they_are_valid() {
        let (_folder, mut writer, reader) = open();
        let (_other_folder, mut other, _) = open();
        let (ours, theirs) = (grow(&mut writer, 2, 1), grow(&mut other, 3, 2));
        accept(&mut writer, &theirs[0]);
        let side = theirs[0].hash();
        let known = reader.find(&side).unwrap();
        assert!(!known.is_best && !known.is_invalid);
        assert!(ChainView::block(&reader, &side).is_none(), "it is not validated yet");
        accept(&mut writer, &theirs[1]);
        accept(&mut writer, &theirs[2]);
        assert_eq!(ChainView::tip(&reader).hash, theirs[2].hash());
        assert!(ChainView::block(&reader, &side).is_some());
        assert!(!reader.find(&ours[1].hash()).unwrap().is_best);
        assert!(ChainView::block(&reader, &ours[1].hash()).is_some(), "it was valid before");
    }

    #[test]
    fn a_block_that_breaks_a_rule_is_known_invalid() {
        let (_folder, mut writer, reader) = open();
        let block = mine_on_tip(&writer, Address::ZERO);
        let change = |coinbase: &mut chain::Coinbase| coinbase.commitment = [0; 32];
        let [block] = with_changed_coinbase(&[block], 0, change).try_into().unwrap();
        let hash = block.hash();
        writer.submit_block(block.clone(), block.header.time).unwrap_err();
        writer.commit().unwrap();
        assert!(reader.is_known_invalid(&hash));
        assert!(reader.find(&hash).is_none());
    }

    #[test]
    fn reads_mempool_pages_in_order_of_acceptance() {
        let (_folder, mut writer, reader) = open();
        let genesis = params().genesis_hash();
        let pay = |nonce| {
            let recipient = Address::from_bytes([5; 20]);
            let payment = Payment { nonce, recipient, amount: 1, fee: 500, memo: Memo::default() };
            Transfer::sign(payment, &rich(), genesis)
        };
        let transfers: Vec<Transfer> = (0..7).map(pay).collect();
        for transfer in &transfers {
            writer.submit_transfer(transfer.clone(), Replacement::Allowed, Source::Local).unwrap();
        }
        let ids: Vec<Id> = transfers.iter().map(Transfer::id).collect();
        assert_eq!(reader.mempool_page(0, 100), (ids.clone(), 7));
        assert_eq!(reader.mempool_page(0, 3), (ids[..3].to_vec(), 3));
        assert_eq!(reader.mempool_page(3, 3), (ids[3..6].to_vec(), 6));
        assert_eq!(reader.mempool_page(7, 3), (vec![], 7));
        assert_eq!(reader.mempool_page(u64::MAX, 3), (vec![], u64::MAX));
        let second = &transfers[1];
        assert_eq!(*ChainView::transfer(&reader, &second.id()).unwrap(), *second);
        assert!(ChainView::transfer(&reader, &Id::ZERO).is_none());
        let picked = reader.mempool_transfers(&|id| *id == second.id());
        assert_eq!(picked, [(second.id(), second.clone())]);
    }
}
