//! The chain in memory of `chain::testing`: a ledger accepts its blocks.

use crate::harness::{TestNode, varying_params, wallet};
use chain::accounts::AccountView;
use chain::testing::{TestChain, with_changed_coinbase};
use chain::tx::{Memo, Payment, Transfer};

#[test]
fn ledger_accepts_blocks_of_test_chain() {
    let (params, miner) = (varying_params(), wallet(20).address);
    let pay = |nonce| {
        let recipient = wallet(21).address;
        let payment = Payment { nonce, recipient, amount: 5, fee: 1, memo: Memo::default() };
        Transfer::sign(payment, &wallet(0).key, params.genesis_hash())
    };
    let mut chain = TestChain::new(params.clone(), miner);
    let mut blocks = chain.mine(3);
    blocks.push(chain.mine_block([pay(0), pay(1)]));
    blocks.extend(chain.mine(5));
    let node = TestNode::with_blocks(&params, &blocks);
    let view = node.reader().view();
    for address in [0, 20, 21].map(|number| wallet(number).address) {
        assert_eq!(view.account(&address).unwrap().balance, chain.balance(&address));
    }

    let mut copy = TestChain::new(params, miner);
    copy.connect(&blocks[..4]);
    copy.mine(5);
    assert_eq!((copy.blocks(), chain.blocks()), (&blocks[..], &blocks[..]));
}

#[test]
fn changed_coinbase_is_the_only_fault_of_a_branch() {
    let params = varying_params();
    let blocks = TestChain::new(params.clone(), wallet(20).address).mine(3);
    let changed = with_changed_coinbase(&blocks, 1, |coinbase| coinbase.reward += 1);
    let mut node = TestNode::with_blocks(&params, &changed[..1]);
    assert_eq!(node.expect_rejection(&changed[1]).code(), Some("wrong-reward"));
    assert_eq!(node.expect_rejection(&changed[2]).code(), Some("invalid-ancestor"));
}
