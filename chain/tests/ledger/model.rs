//! Random blocks, branches, spoils and restarts against the reference, which knows at any time which
//! block must be the tip and what everybody has there.

use crate::world::{Draft, Node, World, lively_with, person};
use chain::ledger::Accepted;
use chain::{Block, Coinbase, Params, Transaction, block};
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeSet;

/// What is wrong with a block.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Spoil {
    Reward,
    Accounts,
    Signature,
    /// A transfer of an earlier block again: wrong where that is an ancestor.
    Replay(u8),
    /// The body is not the header's; the right one comes next.
    Body,
}

#[derive(Clone, Debug)]
enum Step {
    /// A block on one of the latest.
    Block {
        parent: u8,
        miner: u8,
        seconds: u8,
        pays: Vec<(u8, u8, Index, u8)>,
        spoil: Option<Spoil>,
    },
    Commit,
    Flush,
    Restart {
        clean: bool,
        without_index: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let spoil = prop_oneof![
        Just(Spoil::Reward),
        Just(Spoil::Accounts),
        Just(Spoil::Signature),
        any::<u8>().prop_map(Spoil::Replay),
        Just(Spoil::Body),
    ];
    let pays = prop::collection::vec((0..6_u8, 0..8_u8, any::<Index>(), 0..3_u8), 0..5);
    let spoil = prop::option::weighted(0.25, spoil);
    // Mostly on the last block or two, sometimes far back.
    let parent = prop_oneof![4 => 0..2_u8, 2 => 2..6_u8, 1 => 6..40_u8];
    let block = (parent, 0..8_u8, 0..60_u8, pays, spoil).prop_map(
        |(parent, miner, seconds, pays, spoil)| Step::Block { parent, miner, seconds, pays, spoil },
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
    lively_with(|spec| {
        spec.max_block_bytes = 2_000;
        // Persons 0 to 5 share so little that balances run out.
        spec.allocations.retain(|(address, _)| (0..3).any(|n| person(n).address == *address));
    })
}

/// The reference's idea of a node.
struct Model {
    world: World,
    node: Node,
    /// Blocks the node has, and so blocks that may become parents, oldest first.
    taken: Vec<block::Hash>,
    /// Those that are valid with all their ancestors.
    valid: BTreeSet<block::Hash>,
    tip: block::Hash,
}

impl Model {
    fn new() -> Model {
        let params = network();
        let genesis = params.genesis_hash();
        Model {
            node: Node::new(&params),
            world: World::new(params),
            taken: vec![genesis],
            valid: BTreeSet::from([genesis]),
            tip: genesis,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Block { parent, miner, seconds, pays, spoil } => {
                let parent = self.taken[self.taken.len().saturating_sub(1 + usize::from(parent))];
                let block = self.draft(parent, miner, seconds, &pays, spoil);
                self.hand_in(&block, spoil);
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

    fn draft(
        &mut self,
        parent: block::Hash,
        miner: u8,
        seconds: u8,
        pays: &[(u8, u8, Index, u8)],
        spoil: Option<Spoil>,
    ) -> Block {
        let genesis = self.world.genesis();
        let replayed = match spoil {
            Some(Spoil::Replay(at)) => {
                let from = self.taken[usize::from(at) % self.taken.len()];
                self.world.block(from).transfers().map(|(_, transfer)| transfer.clone()).next()
            }
            _ => None,
        };
        let mut draft = self.world.draft(parent).miner(person(miner).address).after(seconds.into());
        for (from, to, amount, fee) in pays {
            draft = pay(draft, *from, *to, amount, *fee);
        }
        draft = match spoil {
            Some(Spoil::Reward) => draft.coinbase(|coinbase: &mut Coinbase| coinbase.reward += 1),
            Some(Spoil::Accounts) => {
                draft.coinbase(|coinbase: &mut Coinbase| coinbase.commitment[7] ^= 1)
            }
            Some(Spoil::Signature) => {
                let recipient = person(1).address;
                let memo = chain::tx::Memo::default();
                let nonce = draft.purse(person(0).address).nonce;
                let payment = chain::tx::Payment { nonce, recipient, amount: 1, fee: 0, memo };
                let mut forged = chain::tx::Transfer::sign(payment, &person(1).key, genesis);
                forged.sender = person(0).key.public_key();
                draft.transfer(forged)
            }
            Some(Spoil::Replay(_)) => match replayed {
                Some(transfer) => draft.transfer(transfer),
                None => draft,
            },
            Some(Spoil::Body) | None => draft,
        };
        draft.seal()
    }

    fn hand_in(&mut self, block: &Block, spoil: Option<Spoil>) {
        if spoil == Some(Spoil::Body) {
            let mut other = block.clone();
            other.transactions.push(Transaction::Transfer(chain::tx::Transfer::sign(
                chain::tx::Payment {
                    nonce: 0,
                    recipient: person(3).address,
                    amount: 1,
                    fee: 0,
                    memo: chain::tx::Memo::default(),
                },
                &person(2).key,
                self.world.genesis(),
            )));
            assert!(self.node.take(&other).is_err());
        }
        let (hash, parent) = (block.hash(), block.header.previous);
        let known = self.world.known(hash);
        let is_honest = matches!(spoil, None | Some(Spoil::Body | Spoil::Replay(_)));
        let is_valid = is_honest && known.is_affordable && self.valid.contains(&parent);
        let is_heavier = known.work > self.world.known(self.tip).work;
        let result = self.node.take(block);
        match (is_valid, is_heavier) {
            (true, true) => assert_eq!(result.unwrap(), Accepted::Connected),
            (true, false) => assert_eq!(result.unwrap(), Accepted::SideBranch),
            // It may be taken for valid as long as nothing depends on it.
            (false, false) => assert!(!matches!(result, Ok(Accepted::Connected))),
            (false, true) => assert!(result.is_err()),
        }
        if self.node.taken.last() == Some(&hash) {
            self.taken.push(hash);
        }
        if is_valid {
            self.valid.insert(hash);
            self.tip = if is_heavier { hash } else { self.tip };
        }
    }

    /// What readers see is what the reference says, and no money was made or lost.
    fn compare(&self) {
        let tip = self.world.block(self.tip);
        self.node.agrees_about_the_chain(&self.world, tip);
        let known = self.world.known(self.tip);
        let view = self.node.reader().view();
        let sum = |address| {
            let account = chain::accounts::AccountView::account(&view, address).unwrap();
            account.balance.units() + view.immature_balance(address).units()
        };
        let found: u64 = self.world.addresses().iter().map(sum).sum();
        assert_eq!(found, self.world.issued(known.height));
        assert_eq!(found, view.params().issued(view.tip().height).units());
        let chain = self.world.chain(self.tip);
        let ids: Vec<_> = chain.iter().flat_map(|hash| self.world.block(*hash).ids()).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    }
}

/// Somebody pays any part of what he has, perhaps to himself or to whoever mines the block.
fn pay<'w>(draft: Draft<'w>, from: u8, to: u8, amount: &Index, fee: u8) -> Draft<'w> {
    let (from, to) = (person(from), person(to));
    let most = draft.purse(from.address).balance.saturating_sub(fee.into());
    match usize::try_from(most).unwrap() {
        0 => draft,
        most => draft.pay(&from, to.address, 1 + amount.index(most) as u64, fee.into()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    // C10, C27, C34, C42, C43
    #[test]
    fn random_blocks_branches_and_restarts_end_where_the_reference_ends(steps in steps()) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
        }
        model.node.commit();
        model.compare();
        model.node.close();
        let verified = model.node.verify().unwrap();
        let known = model.world.known(model.tip);
        prop_assert_eq!(verified.tip, model.tip);
        prop_assert_eq!(verified.height.get(), known.height);
        prop_assert_eq!(verified.accounts, known.purses.len());
        prop_assert_eq!(verified.issued.units(), model.world.issued(known.height));
        prop_assert_eq!(verified.commitment, known.block.coinbase().unwrap().commitment);
        prop_assert_eq!(verified.blocks, model.taken.len());
    }
}
