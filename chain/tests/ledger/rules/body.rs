//! Rules of the body alone. From this stage on, a broken rule invalidates the header.

use super::{assert_invalidates, assert_rejects, setup};
use crate::harness::{
    BlockBuilder, FUNDS, Reference, fixed_params, fixed_params_with, varying_params,
    varying_params_with, wallet,
};
use chain::signature::{PublicKey, Signature};
use chain::tx::{Memo, Payment, Transfer};
use chain::{Address, Amount, Block, Params, Transaction, block};

/// A payment with nonce 0.
fn payment(amount: u64, fee: u64) -> Payment {
    Payment { nonce: 0, recipient: wallet(20).address, amount, fee, memo: Memo::default() }
}

// no-coinbase, coinbase-misplaced, C09
#[test]
fn accept_block_with_only_coinbase() {
    let (mut reference, mut node) = setup(&fixed_params());
    let block = reference.build_on(reference.genesis()).mine();
    assert_eq!(block.transactions.len(), 1);
    node.connect(&block);
    node.assert_tip_matches(&reference, &block);
}

// no-coinbase, C09
#[test]
fn reject_block_without_coinbase() {
    let (mut reference, mut node) = setup(&fixed_params());
    let genesis = reference.genesis();
    let empty = reference.build_on(genesis).edit_body(Vec::clear).mine();
    assert_invalidates(&mut reference, &mut node, &empty, "no-coinbase");
    let only_transfers = reference
        .build_on(genesis)
        .pay(&wallet(0), wallet(1).address, 1, 0)
        .edit_body(|body| drop(body.remove(0)))
        .mine();
    assert_invalidates(&mut reference, &mut node, &only_transfers, "no-coinbase");
}

// coinbase-misplaced, C09
#[test]
fn reject_second_or_misplaced_coinbase() {
    let edits: [fn(&mut Vec<Transaction>); 4] = [
        |body| body.swap(0, 1),
        |body| body.rotate_left(1),
        |body| {
            let Transaction::Coinbase(coinbase) = &body[0] else { panic!() };
            let mut second = coinbase.clone();
            second.extra_nonce = [0xff; 8];
            body.push(Transaction::Coinbase(second));
        },
        |body| {
            let Transaction::Coinbase(coinbase) = &body[0] else { panic!() };
            let mut second = coinbase.clone();
            second.reward = 0;
            body.insert(1, Transaction::Coinbase(second));
        },
    ];
    let (mut reference, mut node) = setup(&fixed_params());
    for edit in edits {
        let block = reference
            .build_on(reference.genesis())
            .pay(&wallet(0), wallet(1).address, 1, 0)
            .pay(&wallet(0), wallet(1).address, 2, 0)
            .edit_body(edit)
            .mine();
        assert_invalidates(&mut reference, &mut node, &block, "coinbase-misplaced");
    }
}

/// A block of exactly a number of bytes, padded with the memo of a transfer.
fn of_size(reference: &mut Reference, bytes: usize) -> Block {
    let (rich, poor) = (wallet(0), wallet(20));
    let parent = reference.genesis();
    let bare = reference.build_on(parent).mine().encode().len();
    let transfers = (bytes - bare) / 145;
    let memo = vec![b'm'; (bytes - bare) % 145];
    let builder = reference.build_on(parent).pay_with_memo(&rich, poor.address, 1, 0, &memo);
    let block = (1..transfers)
        .fold(builder, |builder: BlockBuilder, _| builder.pay(&rich, poor.address, 1, 0))
        .mine();
    assert_eq!(block.encode().len(), bytes);
    block
}

// block-too-large, C37
#[test]
fn accept_block_of_maximum_size() {
    let (mut reference, mut node) = setup(&varying_params());
    let block = of_size(&mut reference, 1_000);
    node.connect(&block);
    node.assert_tip_matches(&reference, &block);
}

// block-too-large, C37
#[test]
fn reject_block_above_maximum_size() {
    let (mut reference, mut node) = setup(&varying_params());
    for bytes in [1_001, 1_400] {
        let block = of_size(&mut reference, bytes);
        let error = assert_invalidates(&mut reference, &mut node, &block, "block-too-large");
        assert_eq!(error.expected_and_actual(), Some(("1000".into(), bytes.to_string())));
    }
}

// C37: the maximum number of transfers of a block, and one more.
#[test]
fn accepts_block_of_2_mb_and_rejects_one_more_transfer() {
    let (mut reference, mut node) = setup(&fixed_params());
    let (rich, genesis) = (wallet(0), reference.genesis());
    let bare = reference.build_on(genesis).mine().encode().len();
    let most = (2_000_000 - bare) / 145;
    let transfers: Vec<Transfer> = (0..=most as u64)
        .map(|nonce| Transfer::sign(Payment { nonce, ..payment(1, 1) }, &rich.key, genesis))
        .collect();
    let block_of = |reference: &mut Reference, count: usize| {
        let builder = reference.build_on(genesis);
        transfers[..count].iter().cloned().fold(builder, BlockBuilder::transfer).mine()
    };
    let too_many = block_of(&mut reference, most + 1);
    assert_rejects(&mut node, &too_many, "block-too-large");
    let full = block_of(&mut reference, most);
    assert_eq!(full.transactions.len(), 13_792);
    node.connect(&full);
    node.assert_tip_matches(&reference, &full);
}

// duplicate-transaction
#[test]
fn accept_transfers_that_differ_only_in_nonce() {
    let (mut reference, mut node) = setup(&fixed_params());
    let builder = reference.build_on(reference.genesis());
    let block = (0..7)
        .fold(builder, |builder: BlockBuilder, _| builder.pay(&wallet(0), wallet(1).address, 5, 1))
        .mine();
    node.connect(&block);
    node.assert_tip_matches(&reference, &block);
}

// duplicate-transaction, C27
#[test]
fn reject_duplicate_transfer_in_block() {
    let (mut reference, mut node) = setup(&fixed_params());
    let genesis = reference.genesis();
    let once = Transfer::sign(payment(5, 1), &wallet(0).key, genesis);
    // Leaves that are not adjacent, and adjacent leaves that are not paired.
    for between in [1, 2, 4] {
        let builder = reference.build_on(genesis).transfer(once.clone());
        let builder = (0..between)
            .fold(builder, |builder, _| builder.pay(&wallet(2), wallet(1).address, 1, 0));
        let block = builder.transfer(once.clone()).mine();
        assert_invalidates(&mut reference, &mut node, &block, "duplicate-transaction");
    }
    let builder = reference.build_on(genesis);
    let neighbours = builder.transfer(once.clone()).transfer(once).mine();
    assert_invalidates(&mut reference, &mut node, &neighbours, "duplicate-transaction");
}

// zero-amount, C35
#[test]
fn accept_amount_of_one_without_fee() {
    let (mut reference, mut node) = setup(&fixed_params());
    let block =
        reference.build_on(reference.genesis()).pay(&wallet(0), wallet(30).address, 1, 0).mine();
    node.connect(&block);
    node.assert_tip_matches(&reference, &block);
}

// zero-amount, C35
#[test]
fn reject_zero_amount() {
    let (mut reference, mut node) = setup(&fixed_params());
    for (to, fee) in [(wallet(1).address, 5), (wallet(0).address, 0), (Address::ZERO, 1)] {
        let block = reference.build_on(reference.genesis()).pay(&wallet(0), to, 0, fee).mine();
        assert_invalidates(&mut reference, &mut node, &block, "zero-amount");
    }
}

/// A network on which wallet 0 owns the total supply.
fn one_owner() -> Params {
    varying_params_with(|spec| {
        spec.initial_subsidy = Amount::ZERO;
        spec.allocations = vec![(wallet(0).address, Amount::MAX)];
    })
}

// amount-overflow, C04, C05
#[test]
fn accept_transfer_of_total_supply() {
    for (amount, fee) in [(Amount::MAX.units(), 0), (1, Amount::MAX.units() - 1)] {
        let (mut reference, mut node) = setup(&one_owner());
        let builder = reference.build_on(reference.genesis()).miner(wallet(1).address);
        let block = builder.pay(&wallet(0), wallet(1).address, amount, fee).mine();
        node.connect(&block);
        // The fee is the reward, which matures: nothing overflows.
        let blocks = reference.mine_chain(block.hash(), 3);
        node.connect_all(&blocks);
        node.assert_tip_matches(&reference, &blocks[2]);
        let all = reference.account(blocks[2].hash(), wallet(1).address);
        assert_eq!(all.balance, Amount::MAX.units());
    }
}

// amount-overflow, C04
#[test]
fn reject_amounts_with_overflowing_sum() {
    let (mut reference, mut node) = setup(&one_owner());
    let most = Amount::MAX.units();
    let edges = [1, most, most + 1, 1 << 63, u64::MAX - 1, u64::MAX];
    let pairs = edges.iter().flat_map(|amount| edges.map(|fee| (*amount, fee)));
    let genesis = reference.genesis();
    let mut tried = 0;
    for (amount, fee) in pairs.chain([(most - 1, 2), (1, most), (most, 1)]) {
        if amount == 1 && fee == 1 {
            continue;
        }
        // The wrapped sum of amount and fee is covered by the balance in many of these cases.
        let block = reference.build_on(genesis).payment(&wallet(0), payment(amount, fee)).mine();
        assert_invalidates(&mut reference, &mut node, &block, "amount-overflow");
        tried += 1;
    }
    assert_eq!(tried, 38);
    let blocks = reference.mine_chain(genesis, 1);
    node.connect_all(&blocks);
    node.assert_tip_matches(&reference, &blocks[0]);
}

// bad-signature, C31, C32
#[test]
fn accept_small_order_key_as_in_zip_215() {
    // 32 zero bytes are a point of order 4. R = 0 with s = 0 is its signature of every message.
    let key = PublicKey::from_bytes([0; 32]);
    let signature = Signature::from_bytes([0; 64]);
    let unsigned = |nonce| {
        let Payment { recipient, amount, fee, memo, .. } = payment(1, 0);
        Transfer { sender: key, nonce, recipient, amount, fee, memo, signature }
    };
    let (mut reference, mut node) = setup(&fixed_params());
    let funded =
        reference.build_on(reference.genesis()).pay(&wallet(0), key.address(), 100, 0).mine();
    let alone = reference.build_on(funded.hash()).transfer(unsigned(0)).mine();
    // With other signatures, which are verified in the same batch.
    let builder = reference.build_on(alone.hash()).pay(&wallet(1), wallet(2).address, 1, 1);
    let batch = builder.transfer(unsigned(1)).transfer(unsigned(2)).mine();
    node.connect_all(&[funded, alone, batch.clone()]);
    node.assert_tip_matches(&reference, &batch);
    assert_eq!(reference.account(batch.hash(), key.address()).balance, 97);
}

/// The order of the group, little-endian: 2^252 + 27742317777372353535851937790883648493.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The signature with s + order, which RFC 8032 forbids.
fn malleated(signature: &Signature) -> Signature {
    let mut bytes = *signature.as_bytes();
    let mut carry = 0;
    for (byte, order) in bytes[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        [*byte, _] = sum.to_le_bytes();
        carry = sum >> 8;
    }
    Signature::from_bytes(bytes)
}

// bad-signature, C29, C30, C31
#[test]
fn reject_signature_by_other_key_or_of_other_message() {
    let (mut reference, mut node) = setup(&fixed_params());
    let (owner, thief) = (wallet(0), wallet(20));
    let genesis = reference.genesis();
    let signed = Transfer::sign(payment(5, 1), &owner.key, genesis);
    let other_network =
        |params: Params| Transfer::sign(payment(5, 1), &owner.key, params.genesis_hash()).signature;
    let over = |message: &[u8]| owner.key.sign(message);
    let bytes = signed.signing_bytes(genesis);
    let signatures = [
        other_network(Params::dev()),
        other_network(Params::main()),
        other_network(Params::testnet()),
        other_network(varying_params()),
        Transfer::sign(payment(5, 1), &thief.key, genesis).signature,
        Transfer::sign(payment(5, 2), &owner.key, genesis).signature,
        Transfer::sign(Payment { nonce: 1, ..payment(5, 1) }, &owner.key, genesis).signature,
        malleated(&signed.signature),
        Signature::from_bytes([0; 64]),
        Signature::from_bytes([0xff; 64]),
        // The message without its domain, with another one, or hashed.
        over(&bytes["chain/transfer/1".len()..]),
        over(&[b"chain/message/1".as_slice(), &bytes["chain/transfer/1".len()..]].concat()),
        over(&chain::hash::sha256(&bytes)),
        over(&signed.encode()),
    ];
    for signature in signatures {
        let forged = Transfer { signature, ..signed.clone() };
        let block = reference.build_on(genesis).transfer(forged.clone()).mine();
        assert_invalidates(&mut reference, &mut node, &block, "bad-signature");
        // At any position among valid ones, which are verified in the same batch.
        for position in 0..3 {
            let mut builder = reference.build_on(genesis);
            for at in 0..3 {
                builder = if at == position {
                    builder.transfer(forged.clone())
                } else {
                    builder.pay(&wallet(1), wallet(2).address, 1, 0)
                };
            }
            let error = assert_rejects(&mut node, &builder.mine(), "bad-signature");
            assert!(error.to_string().contains(&forged.id().to_string()));
        }
    }
}

// C29: a signature commits to the genesis hash of its network.
#[test]
fn transfer_is_valid_on_its_own_network_only() {
    let networks: Vec<Params> =
        Params::built_in().into_iter().chain([fixed_params(), varying_params()]).collect();
    for signed_for in &networks {
        let transfer = Transfer::sign(payment(1, 1), &wallet(0).key, signed_for.genesis_hash());
        for network in &networks {
            let checked = chain::rules::tx::check(transfer.clone(), network.genesis_hash());
            match checked {
                Ok(_) => assert_eq!(network.genesis_hash(), signed_for.genesis_hash()),
                Err(error) => {
                    assert_eq!(error.code(), "bad-signature");
                    assert_ne!(network.genesis_hash(), signed_for.genesis_hash());
                }
            }
        }
    }
}

// A block that breaks several rules is rejected by the first of them, and rules of the body alone
// precede those of the body on its parent.
#[test]
fn body_rules_are_checked_in_table_order() {
    let (mut reference, mut node) = setup(&fixed_params_with(|spec| spec.max_block_bytes = 1_000));
    let genesis = reference.genesis();
    let unsigned = |amount, fee| {
        let elsewhere = block::Hash::from_bytes([1; 32]);
        Transfer::sign(Payment { nonce: 7, ..payment(amount, fee) }, &wallet(0).key, elsewhere)
    };
    let overflowing = unsigned(u64::MAX, 1);
    let large = [0, 1, 2, 0, 3, 4, 5].map(|amount| unsigned(amount, u64::MAX)).to_vec();
    let cases: [(Vec<Transfer>, &str); 5] = [
        (large, "block-too-large"),
        (vec![overflowing.clone(), unsigned(0, 0), overflowing.clone()], "duplicate-transaction"),
        (vec![unsigned(0, u64::MAX)], "zero-amount"),
        (vec![overflowing], "amount-overflow"),
        (vec![unsigned(FUNDS, FUNDS)], "bad-signature"),
    ];
    for (transfers, code) in cases {
        let edit = |coinbase: &mut chain::Coinbase| coinbase.reward = 1;
        let builder = reference.build_on(genesis).edit_coinbase(edit);
        let block = transfers.into_iter().fold(builder, BlockBuilder::transfer).mine();
        assert_invalidates(&mut reference, &mut node, &block, code);
    }
}
