//! Random blocks, branches, faults and restarts, compared with the reference, which determines the
//! tip and the accounts at any time.

use crate::harness::{BlockBuilder, Reference, TestNode, varying_params_with, wallet};
use chain::ledger::Accepted;
use chain::{Block, Coinbase, Params, Transaction, block};
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeSet;

/// The fault of a block.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Reward,
    Accounts,
    Signature,
    /// A copy of a transfer of an earlier block, which is invalid if that is an ancestor.
    Replay(u8),
    /// A body to which the header does not commit, followed by the right one.
    Body,
}

#[derive(Clone, Debug)]
enum Step {
    /// A block on one of the latest blocks.
    Block {
        parent: u8,
        miner: u8,
        seconds: u8,
        pays: Vec<(u8, u8, Index, u8)>,
        fault: Option<Fault>,
    },
    Commit,
    Flush,
    Restart {
        clean: bool,
        without_index: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fault = prop_oneof![
        Just(Fault::Reward),
        Just(Fault::Accounts),
        Just(Fault::Signature),
        any::<u8>().prop_map(Fault::Replay),
        Just(Fault::Body),
    ];
    let pays = prop::collection::vec((0..6_u8, 0..8_u8, any::<Index>(), 0..3_u8), 0..5);
    let fault = prop::option::weighted(0.25, fault);
    // Mostly one of the last two blocks, sometimes a much earlier one.
    let parent = prop_oneof![4 => 0..2_u8, 2 => 2..6_u8, 1 => 6..40_u8];
    let block = (parent, 0..8_u8, 0..60_u8, pays, fault).prop_map(
        |(parent, miner, seconds, pays, fault)| Step::Block { parent, miner, seconds, pays, fault },
    );
    let restart = any::<(bool, bool)>();
    let restart = restart.prop_map(|(clean, without_index)| Step::Restart { clean, without_index });
    let step = prop_oneof![
        30 => block,
        4 => Just(Step::Commit),
        1 => Just(Step::Flush),
        1 => restart,
    ];
    prop::collection::vec(step, 1..70)
}

fn network() -> Params {
    varying_params_with(|spec| {
        spec.max_block_bytes = 2_000;
        // Few allocations, so that balances run out.
        spec.allocations.retain(|(address, _)| (0..3).any(|n| wallet(n).address == *address));
    })
}

/// A node with the state that the reference expects of it.
struct Model {
    reference: Reference,
    node: TestNode,
    /// The accepted blocks, which may become parents, oldest first.
    accepted: Vec<block::Hash>,
    /// The blocks that are valid with all their ancestors.
    valid: BTreeSet<block::Hash>,
    tip: block::Hash,
}

impl Model {
    fn new() -> Model {
        let params = network();
        let genesis = params.genesis_hash();
        Model {
            node: TestNode::new(&params),
            reference: Reference::new(params),
            accepted: vec![genesis],
            valid: BTreeSet::from([genesis]),
            tip: genesis,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Block { parent, miner, seconds, pays, fault } => {
                let parent =
                    self.accepted[self.accepted.len().saturating_sub(1 + usize::from(parent))];
                let block = self.build_on(parent, miner, seconds, &pays, fault);
                self.submit(&block, fault);
            }
            Step::Commit => {
                self.node.commit();
                self.compare();
            }
            Step::Flush => self.node.writer().flush().unwrap(),
            Step::Restart { clean, without_index } => {
                if clean {
                    self.node.close();
                } else {
                    self.node.kill();
                }
                if without_index {
                    std::fs::remove_dir_all(self.node.path().join("index")).unwrap();
                }
                self.node.start();
                self.compare();
            }
        }
    }

    fn build_on(
        &mut self,
        parent: block::Hash,
        miner: u8,
        seconds: u8,
        pays: &[(u8, u8, Index, u8)],
        fault: Option<Fault>,
    ) -> Block {
        let genesis = self.reference.genesis();
        let replayed = match fault {
            Some(Fault::Replay(at)) => {
                let from = self.accepted[usize::from(at) % self.accepted.len()];
                self.reference.block(from).transfers().map(|(_, transfer)| transfer.clone()).next()
            }
            _ => None,
        };
        let mut builder = self
            .reference
            .build_on(parent)
            .miner(wallet(miner).address)
            .seconds_after(seconds.into());
        for (from, to, amount, fee) in pays {
            builder = pay(builder, *from, *to, amount, *fee);
        }
        builder = match fault {
            Some(Fault::Reward) => {
                builder.edit_coinbase(|coinbase: &mut Coinbase| coinbase.reward += 1)
            }
            Some(Fault::Accounts) => {
                builder.edit_coinbase(|coinbase: &mut Coinbase| coinbase.commitment[7] ^= 1)
            }
            Some(Fault::Signature) => {
                let recipient = wallet(1).address;
                let memo = chain::tx::Memo::default();
                let nonce = builder.account(wallet(0).address).nonce;
                let payment = chain::tx::Payment { nonce, recipient, amount: 1, fee: 0, memo };
                let mut forged = chain::tx::Transfer::sign(payment, &wallet(1).key, genesis);
                forged.sender = wallet(0).key.public_key();
                builder.transfer(forged)
            }
            Some(Fault::Replay(_)) => match replayed {
                Some(transfer) => builder.transfer(transfer),
                None => builder,
            },
            Some(Fault::Body) | None => builder,
        };
        builder.mine()
    }

    fn submit(&mut self, block: &Block, fault: Option<Fault>) {
        if fault == Some(Fault::Body) {
            let mut other = block.clone();
            other.transactions.push(Transaction::Transfer(chain::tx::Transfer::sign(
                chain::tx::Payment {
                    nonce: 0,
                    recipient: wallet(3).address,
                    amount: 1,
                    fee: 0,
                    memo: chain::tx::Memo::default(),
                },
                &wallet(2).key,
                self.reference.genesis(),
            )));
            assert!(self.node.submit(&other).is_err());
        }
        let (hash, parent) = (block.hash(), block.header.previous);
        let entry = self.reference.entry(hash);
        let is_honest = matches!(fault, None | Some(Fault::Body | Fault::Replay(_)));
        let is_valid = is_honest && entry.is_affordable && self.valid.contains(&parent);
        let is_heavier = entry.work > self.reference.entry(self.tip).work;
        let result = self.node.submit(block);
        match (is_valid, is_heavier) {
            (true, true) => assert_eq!(result.unwrap(), Accepted::Connected),
            (true, false) => assert_eq!(result.unwrap(), Accepted::SideBranch),
            // An invalid block may be accepted on a side branch, where it is not connected.
            (false, false) => assert!(!matches!(result, Ok(Accepted::Connected))),
            (false, true) => assert!(result.is_err()),
        }
        if self.node.accepted.last() == Some(&hash) {
            self.accepted.push(hash);
        }
        if is_valid {
            self.valid.insert(hash);
            self.tip = if is_heavier { hash } else { self.tip };
        }
    }

    /// Asserts that readers see what the reference expects, and that the supply is as issued.
    fn compare(&self) {
        let tip = self.reference.block(self.tip);
        self.node.assert_chain_matches(&self.reference, tip);
        let entry = self.reference.entry(self.tip);
        let view = self.node.reader().view();
        let sum = |address| {
            let account = chain::accounts::AccountView::account(&view, address).unwrap();
            account.balance.units() + view.immature_balance(address).units()
        };
        let found: u64 = self.reference.addresses().iter().map(sum).sum();
        assert_eq!(found, self.reference.issued(entry.height));
        assert_eq!(found, view.params().issued(view.tip().height).units());
        let chain = self.reference.chain(self.tip);
        let ids: Vec<_> = chain.iter().flat_map(|hash| self.reference.block(*hash).ids()).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    }
}

/// Adds a transfer of a part of the sender's balance, if there is any.
fn pay<'w>(
    builder: BlockBuilder<'w>,
    from: u8,
    to: u8,
    amount: &Index,
    fee: u8,
) -> BlockBuilder<'w> {
    let (from, to) = (wallet(from), wallet(to));
    let most = builder.account(from.address).balance.saturating_sub(fee.into());
    match usize::try_from(most).unwrap() {
        0 => builder,
        most => builder.pay(&from, to.address, 1 + amount.index(most) as u64, fee.into()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    // C10, C27, C34, C42, C43
    #[test]
    fn random_blocks_branches_and_restarts_match_reference(steps in steps()) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
        }
        model.node.commit();
        model.compare();
        model.node.close();
        let verified = model.node.verify().unwrap();
        let entry = model.reference.entry(model.tip);
        prop_assert_eq!(verified.tip, model.tip);
        prop_assert_eq!(verified.height.get(), entry.height);
        prop_assert_eq!(verified.accounts, entry.accounts.len());
        prop_assert_eq!(verified.issued.units(), model.reference.issued(entry.height));
        prop_assert_eq!(verified.commitment, entry.block.coinbase().unwrap().commitment);
        prop_assert_eq!(verified.blocks, model.accepted.len());
    }
}
