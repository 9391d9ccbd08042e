//! The body alone: from here on a broken rule condemns the header.

use super::{both, is_known_invalid, is_refused};
use crate::world::{Draft, FUNDS, World, easy, easy_with, lively, lively_with, person};
use chain::signature::{PublicKey, Signature};
use chain::tx::{Memo, Payment, Transfer};
use chain::{Address, Amount, Block, Params, Transaction, block};

/// A payment with the sender's first nonce.
fn payment(amount: u64, fee: u64) -> Payment {
    Payment { nonce: 0, recipient: person(20).address, amount, fee, memo: Memo::default() }
}

// no-coinbase, coinbase-misplaced, C09
#[test]
fn accept_a_block_with_nothing_but_its_coinbase() {
    let (mut world, mut node) = both(&easy());
    let block = world.draft(world.genesis()).seal();
    assert_eq!(block.transactions.len(), 1);
    node.connect(&block);
    node.agrees(&world, &block);
}

// no-coinbase, C09
#[test]
fn reject_a_block_without_coinbase() {
    let (mut world, mut node) = both(&easy());
    let genesis = world.genesis();
    let empty = world.draft(genesis).body(Vec::clear).seal();
    is_known_invalid(&mut world, &mut node, &empty, "no-coinbase");
    let only_transfers = world
        .draft(genesis)
        .pay(&person(0), person(1).address, 1, 0)
        .body(|body| drop(body.remove(0)))
        .seal();
    is_known_invalid(&mut world, &mut node, &only_transfers, "no-coinbase");
}

// coinbase-misplaced, C09
#[test]
fn reject_a_second_coinbase_and_one_that_is_not_first() {
    let spoils: [fn(&mut Vec<Transaction>); 4] = [
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
    let (mut world, mut node) = both(&easy());
    for spoil in spoils {
        let block = world
            .draft(world.genesis())
            .pay(&person(0), person(1).address, 1, 0)
            .pay(&person(0), person(1).address, 2, 0)
            .body(spoil)
            .seal();
        is_known_invalid(&mut world, &mut node, &block, "coinbase-misplaced");
    }
}

/// A block of exactly so many bytes, of which a transfer's memo and a tag make up for the rest.
fn of_size(world: &mut World, bytes: usize) -> Block {
    let (rich, poor) = (person(0), person(20));
    let parent = world.genesis();
    let bare = world.draft(parent).seal().encode().len();
    let transfers = (bytes - bare) / 145;
    let memo = vec![b'm'; (bytes - bare) % 145];
    let draft = world.draft(parent).pay_with_memo(&rich, poor.address, 1, 0, &memo);
    let block =
        (1..transfers).fold(draft, |draft: Draft, _| draft.pay(&rich, poor.address, 1, 0)).seal();
    assert_eq!(block.encode().len(), bytes);
    block
}

// block-too-large, C37
#[test]
fn accept_a_block_of_the_largest_size() {
    let (mut world, mut node) = both(&lively());
    let block = of_size(&mut world, 1_000);
    node.connect(&block);
    node.agrees(&world, &block);
}

// block-too-large, C37
#[test]
fn reject_a_block_one_byte_larger() {
    let (mut world, mut node) = both(&lively());
    for bytes in [1_001, 1_400] {
        let block = of_size(&mut world, bytes);
        let error = is_known_invalid(&mut world, &mut node, &block, "block-too-large");
        assert_eq!(error.expected_and_actual(), Some(("1000".into(), bytes.to_string())));
    }
}

// C37: as many transfers as a block can ever have, and one more.
#[test]
fn two_megabytes_of_the_smallest_transfers_are_taken_and_one_more_is_not() {
    let (mut world, mut node) = both(&easy());
    let (rich, genesis) = (person(0), world.genesis());
    let bare = world.draft(genesis).seal().encode().len();
    let most = (2_000_000 - bare) / 145;
    let transfers: Vec<Transfer> = (0..=most as u64)
        .map(|nonce| Transfer::sign(Payment { nonce, ..payment(1, 1) }, &rich.key, genesis))
        .collect();
    let draft = |world: &mut World, count: usize| {
        let draft = world.draft(genesis);
        transfers[..count].iter().cloned().fold(draft, Draft::transfer).seal()
    };
    let too_many = draft(&mut world, most + 1);
    is_refused(&mut node, &too_many, "block-too-large");
    let full = draft(&mut world, most);
    assert_eq!(full.transactions.len(), 13_792);
    node.connect(&full);
    node.agrees(&world, &full);
}

// duplicate-transaction
#[test]
fn accept_transfers_that_differ_in_their_nonce_only() {
    let (mut world, mut node) = both(&easy());
    let draft = world.draft(world.genesis());
    let block =
        (0..7).fold(draft, |draft: Draft, _| draft.pay(&person(0), person(1).address, 5, 1)).seal();
    node.connect(&block);
    node.agrees(&world, &block);
}

// duplicate-transaction, C27
#[test]
fn reject_the_same_transfer_twice_in_a_block() {
    let (mut world, mut node) = both(&easy());
    let genesis = world.genesis();
    let once = Transfer::sign(payment(5, 1), &person(0).key, genesis);
    // Not neighbours in the Merkle tree, and neighbours that are not paired there.
    for between in [1, 2, 4] {
        let draft = world.draft(genesis).transfer(once.clone());
        let draft =
            (0..between).fold(draft, |draft, _| draft.pay(&person(2), person(1).address, 1, 0));
        let block = draft.transfer(once.clone()).seal();
        is_known_invalid(&mut world, &mut node, &block, "duplicate-transaction");
    }
    let draft = world.draft(genesis);
    let neighbours = draft.transfer(once.clone()).transfer(once).seal();
    is_known_invalid(&mut world, &mut node, &neighbours, "duplicate-transaction");
}

// zero-amount, C35
#[test]
fn accept_an_amount_of_one_without_fee() {
    let (mut world, mut node) = both(&easy());
    let block = world.draft(world.genesis()).pay(&person(0), person(30).address, 1, 0).seal();
    node.connect(&block);
    node.agrees(&world, &block);
}

// zero-amount, C35
#[test]
fn reject_an_amount_of_zero() {
    let (mut world, mut node) = both(&easy());
    for (to, fee) in [(person(1).address, 5), (person(0).address, 0), (Address::ZERO, 1)] {
        let block = world.draft(world.genesis()).pay(&person(0), to, 0, fee).seal();
        is_known_invalid(&mut world, &mut node, &block, "zero-amount");
    }
}

/// One person owns all there can ever be.
fn one_owner() -> Params {
    lively_with(|spec| {
        spec.initial_subsidy = Amount::ZERO;
        spec.allocations = vec![(person(0).address, Amount::MAX)];
    })
}

// amount-overflow, C04, C05
#[test]
fn accept_all_that_exists_in_one_transfer() {
    for (amount, fee) in [(Amount::MAX.units(), 0), (1, Amount::MAX.units() - 1)] {
        let (mut world, mut node) = both(&one_owner());
        let draft = world.draft(world.genesis()).miner(person(1).address);
        let block = draft.pay(&person(0), person(1).address, amount, fee).seal();
        node.connect(&block);
        // The fee is the reward, which comes back as soon as it is mature: nothing overflows.
        let blocks = world.grow(block.hash(), 3);
        node.connect_all(&blocks);
        node.agrees(&world, &blocks[2]);
        let all = world.purse(blocks[2].hash(), person(1).address);
        assert_eq!(all.balance, Amount::MAX.units());
    }
}

// amount-overflow, C04
#[test]
fn reject_amounts_whose_sum_is_above_the_largest() {
    let (mut world, mut node) = both(&one_owner());
    let most = Amount::MAX.units();
    let edges = [1, most, most + 1, 1 << 63, u64::MAX - 1, u64::MAX];
    let pairs = edges.iter().flat_map(|amount| edges.map(|fee| (*amount, fee)));
    let genesis = world.genesis();
    let mut tried = 0;
    for (amount, fee) in pairs.chain([(most - 1, 2), (1, most), (most, 1)]) {
        if amount == 1 && fee == 1 {
            continue;
        }
        // The wrapped or unlimited sum of amount and fee would be affordable in many of these.
        let block = world.draft(genesis).payment(&person(0), payment(amount, fee)).seal();
        is_known_invalid(&mut world, &mut node, &block, "amount-overflow");
        tried += 1;
    }
    assert_eq!(tried, 38);
    let blocks = world.grow(genesis, 1);
    node.connect_all(&blocks);
    node.agrees(&world, &blocks[0]);
}

// bad-signature, C31, C32
#[test]
fn accept_a_key_of_small_order_as_zip_215_does() {
    // 32 zero bytes are a point of order 4, and R = 0 with s = 0 is its signature of everything.
    let key = PublicKey::from_bytes([0; 32]);
    let signature = Signature::from_bytes([0; 64]);
    let nobodys = |nonce| {
        let Payment { recipient, amount, fee, memo, .. } = payment(1, 0);
        Transfer { sender: key, nonce, recipient, amount, fee, memo, signature }
    };
    let (mut world, mut node) = both(&easy());
    let funded = world.draft(world.genesis()).pay(&person(0), key.address(), 100, 0).seal();
    let alone = world.draft(funded.hash()).transfer(nobodys(0)).seal();
    // Together with others, where the signatures are checked in one equation.
    let draft = world.draft(alone.hash()).pay(&person(1), person(2).address, 1, 1);
    let batch = draft.transfer(nobodys(1)).transfer(nobodys(2)).seal();
    node.connect_all(&[funded, alone, batch.clone()]);
    node.agrees(&world, &batch);
    assert_eq!(world.purse(batch.hash(), key.address()).balance, 97);
}

/// The order of the group, little-endian: 2^252 + 27742317777372353535851937790883648493.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The same signature with s + order, which RFC 8032 forbids.
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
fn reject_a_transfer_its_sender_did_not_sign_for_this_network_and_purpose() {
    let (mut world, mut node) = both(&easy());
    let (owner, thief) = (person(0), person(20));
    let genesis = world.genesis();
    let signed = Transfer::sign(payment(5, 1), &owner.key, genesis);
    let other_network =
        |params: Params| Transfer::sign(payment(5, 1), &owner.key, params.genesis_hash()).signature;
    let over = |message: &[u8]| owner.key.sign(message);
    let bytes = signed.signing_bytes(genesis);
    let signatures = [
        other_network(Params::dev()),
        other_network(Params::main()),
        other_network(Params::testnet()),
        other_network(lively()),
        Transfer::sign(payment(5, 1), &thief.key, genesis).signature,
        Transfer::sign(payment(5, 2), &owner.key, genesis).signature,
        Transfer::sign(Payment { nonce: 1, ..payment(5, 1) }, &owner.key, genesis).signature,
        malleated(&signed.signature),
        Signature::from_bytes([0; 64]),
        Signature::from_bytes([0xff; 64]),
        // The same bytes without their purpose, for another one, or hashed first.
        over(&bytes["chain/transfer/1".len()..]),
        over(&[b"chain/message/1".as_slice(), &bytes["chain/transfer/1".len()..]].concat()),
        over(&chain::hash::sha256(&bytes)),
        over(&signed.encode()),
    ];
    for signature in signatures {
        let forged = Transfer { signature, ..signed.clone() };
        let block = world.draft(genesis).transfer(forged.clone()).seal();
        is_known_invalid(&mut world, &mut node, &block, "bad-signature");
        // And in any place among good ones, which are checked together.
        for place in 0..3 {
            let mut draft = world.draft(genesis);
            for at in 0..3 {
                draft = if at == place {
                    draft.transfer(forged.clone())
                } else {
                    draft.pay(&person(1), person(2).address, 1, 0)
                };
            }
            let error = is_refused(&mut node, &draft.seal(), "bad-signature");
            assert!(error.to_string().contains(&forged.id().to_string()));
        }
    }
}

// C29: a signature is good on the network whose genesis it names, and on no other.
#[test]
fn no_network_takes_a_transfer_of_another() {
    let networks: Vec<Params> = Params::built_in().into_iter().chain([easy(), lively()]).collect();
    for signed_for in &networks {
        let transfer = Transfer::sign(payment(1, 1), &person(0).key, signed_for.genesis_hash());
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

// A transfer that breaks several rules is refused by the first of them, and rules of the body alone
// come before those on its parent.
#[test]
fn rules_of_the_body_are_checked_in_the_order_of_the_table() {
    let (mut world, mut node) = both(&easy_with(|spec| spec.max_block_bytes = 1_000));
    let genesis = world.genesis();
    let unsigned = |amount, fee| {
        let elsewhere = block::Hash::from_bytes([1; 32]);
        Transfer::sign(Payment { nonce: 7, ..payment(amount, fee) }, &person(0).key, elsewhere)
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
        let spoil = |coinbase: &mut chain::Coinbase| coinbase.reward = 1;
        let draft = world.draft(genesis).coinbase(spoil);
        let block = transfers.into_iter().fold(draft, Draft::transfer).seal();
        is_known_invalid(&mut world, &mut node, &block, code);
    }
}
