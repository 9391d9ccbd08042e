//! Assertions that everything a reader sees equals the reference.

use super::{Reference, TestNode};
use chain::accounts::AccountView;
use chain::ledger::{ChainTipStatus, View};
use chain::{Address, Block, Height, block};
use std::collections::BTreeSet;

impl TestNode {
    /// Asserts that the tip is a block, with the chain work and the accounts of the reference.
    #[track_caller]
    pub(crate) fn assert_tip_matches(&self, reference: &Reference, tip: &Block) {
        let (view, tip) = (self.reader().view(), tip.hash());
        let entry = reference.entry(tip);
        let found = view.tip();
        assert_eq!((found.hash, found.height), (tip, Height::new(entry.height)));
        assert_eq!(found.chain_work, entry.work);
        for address in reference.addresses() {
            let account = view.account(&address).expect("the index works");
            let expected = reference.account(tip, address);
            let found = (account.balance.units(), account.nonce);
            assert_eq!(found, (expected.balance, expected.nonce));
            assert_eq!(view.immature_balance(&address).units(), reference.immature(tip, address));
        }
    }

    /// Asserts that everything equals the reference. All blocks of the node must be valid.
    #[track_caller]
    pub(crate) fn assert_matches(&self, reference: &Reference, tip: &Block) {
        self.assert_chain_matches(reference, tip);
        let view = self.reader().view();
        assert_eq!(view.block_count(), self.accepted.len());
        self.assert_blocks_match(&view, reference, &reference.chain(tip.hash()));
    }

    /// Asserts that the tip, the accounts, heights, histories and transactions equal the reference.
    #[track_caller]
    pub(crate) fn assert_chain_matches(&self, reference: &Reference, tip: &Block) {
        self.assert_tip_matches(reference, tip);
        let (view, tip) = (self.reader().view(), tip.hash());
        let chain = reference.chain(tip);
        for (height, hash) in (0..).zip(&chain) {
            assert_eq!(view.at_height(Height::new(height)).expect("a block is there").hash, *hash);
        }
        assert!(view.at_height(Height::new(reference.entry(tip).height + 1)).is_none());
        for address in reference.addresses() {
            assert_history_matches(&view, reference, tip, address);
        }
        let in_chain = |(height, hash): (u32, &block::Hash)| {
            let ids = reference.block(*hash).ids().into_iter();
            (0..).zip(ids).map(|(position, id)| (id, (height, position))).collect::<Vec<_>>()
        };
        let mut placed: Vec<_> = (0..).zip(&chain).skip(1).flat_map(in_chain).collect();
        placed.sort();
        for id in reference.transactions() {
            let found = view.transaction(&id).expect("the index works");
            let location = found.map(|(block, entry)| {
                assert_eq!(block.ids()[entry.position as usize], id);
                (entry.height.get(), entry.position)
            });
            let expected = placed.binary_search_by_key(&id, |(id, _)| *id).ok();
            assert_eq!(location, expected.map(|at| placed[at].1));
        }
    }

    fn assert_blocks_match(&self, view: &View, reference: &Reference, chain: &[block::Hash]) {
        let best: BTreeSet<_> = chain.iter().collect();
        let parents: BTreeSet<_> =
            self.accepted.iter().filter_map(|hash| reference.parent(*hash)).collect();
        let mut ends = Vec::new();
        for hash in &self.accepted {
            let (entry, found) =
                (reference.entry(*hash), view.find(hash).expect("the block is known"));
            assert_eq!((found.hash, found.height.get()), (*hash, entry.height));
            assert_eq!(view.block(found).expect("the log works"), entry.block);
            assert_eq!(view.raw_block(found).expect("the log works"), entry.block.encode());
            assert_eq!(view.header(found).expect("the log works"), entry.block.header);
            assert_eq!(view.is_in_best_chain(found), best.contains(hash));
            let above = chain.len() - chain.len().min(entry.height as usize);
            let confirmations = if best.contains(hash) { above } else { 0 };
            assert_eq!(view.confirmations(found) as usize, confirmations);
            if !parents.contains(hash) {
                let off = reference.chain(*hash).iter().filter(|hash| !best.contains(hash)).count();
                ends.push((*hash, entry.height, off, best.contains(hash)));
            }
        }
        let branches = view.chain_tips(None, usize::MAX);
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

fn assert_history_matches(view: &View, reference: &Reference, tip: block::Hash, address: Address) {
    let expected = reference.history(tip, address);
    let entries = u32::try_from(expected.len()).expect("short");
    assert_eq!(view.transaction_count(&address).expect("the index works"), entries);
    let history = |below, limit| {
        let found = view.history(&address, below, limit).expect("the index works");
        found.into_iter().map(|(at, entry)| (at, (entry.height.get(), entry.position)))
    };
    let newest_first: Vec<_> = (0..entries).zip(expected).rev().collect();
    assert_eq!(history(u32::MAX, usize::MAX).collect::<Vec<_>>(), newest_first);
    // The same history in pages, requested one after the other.
    let (mut below, mut paged) = (entries, Vec::new());
    while below > 0 {
        let page: Vec<_> = history(below, 7).collect();
        below = page.last().expect("there is more").0;
        paged.extend(page);
    }
    assert_eq!(paged, newest_first);
}
