//! Everything a reader can see, compared with what the reference says.

use super::{Node, World};
use chain::accounts::AccountView;
use chain::ledger::{ChainTipStatus, View};
use chain::{Address, Block, Height, block};
use std::collections::BTreeSet;

impl Node {
    /// Whether it stands at a block, and agrees with the reference about every account there.
    #[track_caller]
    pub(crate) fn agrees(&self, world: &World, tip: &Block) {
        let (view, tip) = (self.reader().view(), tip.hash());
        let known = world.known(tip);
        let found = view.tip();
        assert_eq!((found.hash, found.height), (tip, Height::new(known.height)));
        assert_eq!(found.chain_work, known.work);
        for address in world.addresses() {
            let account = view.account(&address).expect("the index works");
            let purse = world.purse(tip, address);
            assert_eq!((account.balance.units(), account.nonce), (purse.balance, purse.nonce));
            assert_eq!(view.immature_balance(&address).units(), world.immature(tip, address));
        }
    }

    /// Whether it agrees about everything, all blocks it has taken in being valid.
    #[track_caller]
    pub(crate) fn agrees_in_full(&self, world: &World, tip: &Block) {
        self.agrees_about_the_chain(world, tip);
        let view = self.reader().view();
        assert_eq!(view.block_count(), self.taken.len());
        self.agrees_about_blocks(&view, world, &world.chain(tip.hash()));
    }

    /// Whether it agrees about accounts, heights, histories and transactions.
    #[track_caller]
    pub(crate) fn agrees_about_the_chain(&self, world: &World, tip: &Block) {
        self.agrees(world, tip);
        let (view, tip) = (self.reader().view(), tip.hash());
        let chain = world.chain(tip);
        for (height, hash) in (0..).zip(&chain) {
            assert_eq!(view.at_height(Height::new(height)).expect("a block is there").hash, *hash);
        }
        assert!(view.at_height(Height::new(world.known(tip).height + 1)).is_none());
        for address in world.addresses() {
            agrees_about_history(&view, world, tip, address);
        }
        let in_chain = |(height, hash): (u32, &block::Hash)| {
            let ids = world.block(*hash).ids().into_iter();
            (0..).zip(ids).map(|(position, id)| (id, (height, position))).collect::<Vec<_>>()
        };
        let mut placed: Vec<_> = (0..).zip(&chain).skip(1).flat_map(in_chain).collect();
        placed.sort();
        for id in world.transactions() {
            let found = view.transaction(&id).expect("the index works");
            let location = found.map(|(block, entry)| {
                assert_eq!(block.ids()[entry.position as usize], id);
                (entry.height.get(), entry.position)
            });
            let expected = placed.binary_search_by_key(&id, |(id, _)| *id).ok();
            assert_eq!(location, expected.map(|at| placed[at].1));
        }
    }

    fn agrees_about_blocks(&self, view: &View, world: &World, chain: &[block::Hash]) {
        let best: BTreeSet<_> = chain.iter().collect();
        let parents: BTreeSet<_> =
            self.taken.iter().filter_map(|hash| world.parent(*hash)).collect();
        let mut ends = Vec::new();
        for hash in &self.taken {
            let (known, found) = (world.known(*hash), view.find(hash).expect("it was taken in"));
            assert_eq!((found.hash, found.height.get()), (*hash, known.height));
            assert_eq!(view.block(found).expect("the log works"), known.block);
            assert_eq!(view.raw_block(found).expect("the log works"), known.block.encode());
            assert_eq!(view.header(found).expect("the log works"), known.block.header);
            assert_eq!(view.is_in_best_chain(found), best.contains(hash));
            let above = chain.len() - chain.len().min(known.height as usize);
            let confirmations = if best.contains(hash) { above } else { 0 };
            assert_eq!(view.confirmations(found) as usize, confirmations);
            if !parents.contains(hash) {
                let off = world.chain(*hash).iter().filter(|hash| !best.contains(hash)).count();
                ends.push((*hash, known.height, off, best.contains(hash)));
            }
        }
        let branches = view.chain_tips();
        assert!(branches.iter().skip(1).map(|end| end.height).is_sorted_by(|a, b| a >= b));
        let mut found: Vec<_> = branches
            .iter()
            .map(|end| {
                let active = end.status == ChainTipStatus::Active;
                assert!(active || end.status == ChainTipStatus::ValidFork);
                (end.hash, end.height.get(), end.branch_length as usize, active)
            })
            .collect();
        assert!(found[0].3);
        found.sort();
        ends.sort();
        assert_eq!(found, ends);
    }
}

fn agrees_about_history(view: &View, world: &World, tip: block::Hash, address: Address) {
    let expected = world.history(tip, address);
    let entries = u32::try_from(expected.len()).expect("short");
    assert_eq!(view.transaction_count(&address).expect("the index works"), entries);
    let history = |below, limit| {
        let found = view.history(&address, below, limit).expect("the index works");
        found.into_iter().map(|(at, entry)| (at, (entry.height.get(), entry.position)))
    };
    let newest_first: Vec<_> = (0..entries).zip(expected).rev().collect();
    assert_eq!(history(u32::MAX, usize::MAX).collect::<Vec<_>>(), newest_first);
    // The same in pages, as one is asked for after the other.
    let (mut below, mut paged) = (entries, Vec::new());
    while below > 0 {
        let page: Vec<_> = history(below, 7).collect();
        below = page.last().expect("there is more").0;
        paged.extend(page);
    }
    assert_eq!(paged, newest_first);
}
