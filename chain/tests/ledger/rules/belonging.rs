//! Whether a body belongs to its header. A body that does not says nothing about the header: it is
//! refused, whoever sent it is at fault, and the right body is taken in the next moment.

use super::{both, is_not_remembered};
use crate::world::{Draft, Node, World, easy, lively, person};
use chain::ledger::{Accepted, SubmitError};
use chain::rules::{RuleError, Stage};
use chain::tx::MAX_MEMO_BYTES;
use chain::{Block, Header, Transaction};

/// A body as it comes from a peer.
fn receive(node: &mut Node, bytes: &[u8]) -> Result<Accepted, SubmitError> {
    let block = Block::decode(bytes).map_err(RuleError::from)?;
    node.take(&block)
}

/// A block with four transfers, the last with a memo as long as they get.
fn full(world: &mut World) -> Block {
    let (rich, poor) = (person(0), person(20));
    let draft = world.draft(world.genesis());
    let draft =
        (1..=3).fold(draft, |draft: Draft, amount| draft.pay(&rich, poor.address, amount, 1));
    draft.pay_with_memo(&rich, poor.address, 9, 1, &[0xff; MAX_MEMO_BYTES]).seal()
}

/// These bytes are refused with a code that says nothing about the header, whose own body is then
/// taken in.
fn is_refused_for_the_honest_body(code: &str, spoil: impl Fn(&Block) -> Vec<Vec<u8>>) {
    let (mut world, mut node) = both(&easy());
    let honest = full(&mut world);
    let bodies = spoil(&honest);
    assert!(!bodies.is_empty());
    for body in bodies {
        let error = receive(&mut node, &body).unwrap_err();
        let SubmitError::Invalid(error) = error else { panic!("{error}") };
        assert_eq!((error.code(), error.rule().stage()), (code, Stage::Commitment));
        assert!(!error.invalidates_header());
        assert_eq!(node.reader().view().block_count(), 1);
    }
    assert_eq!(receive(&mut node, &honest.encode()).unwrap(), Accepted::Connected);
    node.commit();
    node.agrees(&world, &honest);
}

/// The offset of the coinbase's serialization in an encoded block: header, count, kind, length.
const COINBASE_AT: usize = Header::BYTES + 4 + 1 + 4;

// bad-encoding, bad-coinbase-encoding, memo-too-long, mutated-body, bad-merkle-root
#[test]
fn accept_a_body_exactly_as_its_header_commits_to_it() {
    let (mut world, mut node) = both(&easy());
    let block = full(&mut world);
    assert_eq!(receive(&mut node, &block.encode()).unwrap(), Accepted::Connected);
    node.commit();
    node.agrees(&world, &block);
    let view = node.reader().view();
    assert_eq!(view.raw_block(view.tip()).unwrap(), block.encode());
}

// bad-encoding, C37
#[test]
fn reject_bytes_that_are_not_exactly_a_block() {
    is_refused_for_the_honest_body("bad-encoding", |block| {
        let bytes = block.encode();
        let longer = [bytes.as_slice(), &[0]].concat();
        let coinbase_bytes = block.transactions[0].encode().len();
        let with = |at: usize, new: &[u8]| {
            let mut bytes = bytes.clone();
            bytes[at..at + new.len()].copy_from_slice(new);
            bytes
        };
        let mut bodies = vec![
            longer,
            // One transaction more and one less than there are, and more than anything can hold.
            with(Header::BYTES, &6_u32.to_le_bytes()),
            with(Header::BYTES, &4_u32.to_le_bytes()),
            with(Header::BYTES, &u32::MAX.to_le_bytes()),
            // Kinds that do not exist; a coinbase longer than the rest of the block.
            with(Header::BYTES + 4, &[1]),
            with(Header::BYTES + 4 + coinbase_bytes, &[3]),
            with(Header::BYTES + 5, &u32::MAX.to_le_bytes()),
        ];
        // Cut off anywhere in the transfers.
        let transfers_at = Header::BYTES + 4 + coinbase_bytes;
        bodies.extend((transfers_at..bytes.len()).map(|end| bytes[..end].to_vec()));
        bodies
    });
}

// bad-coinbase-encoding
#[test]
fn reject_a_coinbase_of_another_shape() {
    is_refused_for_the_honest_body("bad-coinbase-encoding", |block| {
        let bytes = block.encode();
        let coinbase = block.coinbase().unwrap().serialize();
        // Every byte that is the same in all coinbases.
        let height_extra_nonce_tag = 42..42 + 1 + 1 + 8 + 1;
        let middle = height_extra_nonce_tag.end + 5;
        let reward = middle..middle + 8;
        let recipient = reward.end + 3..reward.end + 3 + 20;
        let commitment = recipient.end + 15..recipient.end + 15 + 32;
        let free = [height_extra_nonce_tag, reward, recipient, commitment];
        let fixed = (0..coinbase.len()).filter(|at| free.iter().all(|range| !range.contains(at)));
        let mut bodies: Vec<Vec<u8>> = fixed
            .map(|at| {
                let mut bytes = bytes.clone();
                bytes[COINBASE_AT + at] ^= 1;
                bytes
            })
            .collect();
        // A byte more inside, and a tag above its limit.
        let with_coinbase = |coinbase: &[u8]| {
            let length = u32::try_from(coinbase.len()).unwrap().to_le_bytes();
            let rest = &bytes[COINBASE_AT + block.coinbase().unwrap().serialize().len()..];
            [&bytes[..COINBASE_AT - 4], &length, coinbase, rest].concat()
        };
        bodies.push(with_coinbase(&[coinbase.as_slice(), &[0]].concat()));
        let mut long_tag = coinbase.clone();
        long_tag[41] += 41;
        let tag_length_at = 42 + 1 + 1 + 8;
        long_tag[tag_length_at] = 41;
        long_tag.splice(tag_length_at + 1..tag_length_at + 1, [b'x'; 41]);
        bodies.push(with_coinbase(&long_tag));
        bodies
    });
}

// memo-too-long, C41
#[test]
fn reject_a_memo_above_its_limit() {
    is_refused_for_the_honest_body("memo-too-long", |block| {
        let bytes = block.encode();
        // The last transfer ends with length, memo and signature.
        let length_at = bytes.len() - 64 - MAX_MEMO_BYTES - 4;
        let with_length = |length: u32| {
            let mut bytes = bytes.clone();
            bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
            bytes.insert(length_at + 4, 0xff);
            bytes
        };
        vec![with_length(257), with_length(1 << 20), with_length(u32::MAX)]
    });
}

// C41: bytes are opaque.
#[test]
fn accept_any_bytes_as_memo_and_tag() {
    let (mut world, mut node) = both(&easy());
    let mut parent = world.genesis();
    for bytes in [&b"\0\0"[..], &[0xff; 40], "\u{202e}gnp.exe\u{1b}[2J".as_bytes(), b"</script>"] {
        let tag = chain::tx::Tag::new(bytes.to_vec()).unwrap();
        let block = world
            .draft(parent)
            .pay_with_memo(&person(0), person(1).address, 1, 0, bytes)
            .coinbase(|coinbase| coinbase.tag = tag)
            .seal();
        node.connect(&block);
        let view = node.reader().view();
        assert_eq!(view.block(view.tip()).unwrap(), block);
        parent = block.hash();
    }
}

// mutated-body, C01
#[test]
fn reject_a_body_that_repeats_transactions_and_keeps_the_root() {
    let (rich, poor) = (person(0), person(20));
    for transfers in [2, 4, 5, 6, 9, 10, 12] {
        let (mut world, mut node) = both(&easy());
        let draft = world.draft(world.genesis());
        let honest = (1..=transfers)
            .fold(draft, |draft, amount| draft.pay(&rich, poor.address, amount, 0))
            .seal();
        let mutants = mutants(&honest);
        assert!(!mutants.is_empty(), "{transfers}");
        for mutant in &mutants {
            assert_eq!(chain::merkle::root(&mutant.ids()), honest.header.merkle_root);
            assert_eq!(mutant.hash(), honest.hash());
            is_not_remembered(&mut node, mutant, "mutated-body");
        }
        node.connect(&honest);
        // Known now: whatever body comes with the header is not looked at.
        assert_eq!(node.take(&mutants[0]).unwrap(), Accepted::AlreadyKnown);
    }
}

/// All bodies with repeated ends that have a block's Merkle root.
fn mutants(block: &Block) -> Vec<Block> {
    let count = block.transactions.len();
    let repeated = (1..=count).map(|tail| {
        let mut mutant = block.clone();
        mutant.transactions.extend_from_slice(&block.transactions[count - tail..]);
        mutant
    });
    repeated
        .filter(|mutant| chain::merkle::root(&mutant.ids()) == block.header.merkle_root)
        .collect()
}

// bad-merkle-root, C01, C33
#[test]
fn reject_another_body_under_the_same_header() {
    let (mut world, mut node) = both(&easy());
    let honest = full(&mut world);
    let other = world.draft(world.genesis()).seal();
    let spoils: [fn(&mut Vec<Transaction>); 7] = [
        |body| drop(body.pop()),
        |body| body.swap(1, 2),
        |body| body.push(body[1].clone()),
        |body| body.clear(),
        |body| drop(body.remove(0)),
        |body| {
            let Transaction::Coinbase(coinbase) = &mut body[0] else { panic!() };
            coinbase.reward += 1;
        },
        // One bit of a signature, which the id covers.
        |body| {
            let Transaction::Transfer(transfer) = &mut body[1] else { panic!() };
            let mut bytes = *transfer.signature.as_bytes();
            bytes[63] ^= 1;
            transfer.signature = chain::signature::Signature::from_bytes(bytes);
        },
    ];
    for spoil in spoils {
        let mut block = honest.clone();
        spoil(&mut block.transactions);
        is_not_remembered(&mut node, &block, "bad-merkle-root");
    }
    let swapped = Block { header: honest.header, transactions: other.transactions.clone() };
    is_not_remembered(&mut node, &swapped, "bad-merkle-root");
    node.connect(&honest);
}

// A bad body on a side branch, and under a header whose parent is on one.
#[test]
fn a_bad_body_on_a_side_branch_leaves_the_branch_as_it_was() {
    let (mut world, mut node) = both(&lively());
    let genesis = world.genesis();
    node.connect_all(&world.grow(genesis, 2));
    let side = world.grow(genesis, 3);
    for block in &side[..2] {
        let mut bad = block.clone();
        bad.transactions.push(bad.transactions[0].clone());
        is_not_remembered(&mut node, &bad, "mutated-body");
        node.take_aside(std::slice::from_ref(block));
    }
    node.connect(&side[2]);
    node.agrees(&world, &side[2]);
}
