//! Whether the header commits to the body. A wrong body does not invalidate the header: the body is
//! rejected, and the right one is still accepted.

use super::{assert_rejects_without_invalidating, setup};
use crate::harness::{BlockBuilder, Reference, TestNode, fixed_params, varying_params, wallet};
use chain::ledger::{Accepted, SubmitError};
use chain::rules::{RuleError, Stage};
use chain::tx::MAX_MEMO_BYTES;
use chain::{Block, Header, Transaction};

/// Decodes and submits a block, as if a peer had sent it.
fn submit_encoded(node: &mut TestNode, bytes: &[u8]) -> Result<Accepted, SubmitError> {
    let block = Block::decode(bytes).map_err(RuleError::from)?;
    node.submit(&block)
}

/// A block with four transfers, the last with a memo of maximum length.
fn full_block(reference: &mut Reference) -> Block {
    let (rich, poor) = (wallet(0), wallet(20));
    let builder = reference.build_on(reference.genesis());
    let builder = (1..=3)
        .fold(builder, |builder: BlockBuilder, amount| builder.pay(&rich, poor.address, amount, 1));
    builder.pay_with_memo(&rich, poor.address, 9, 1, &[0xff; MAX_MEMO_BYTES]).mine()
}

/// Asserts that encoded blocks derived from a valid one are rejected with a code and do not
/// invalidate its header: the valid block is then accepted.
fn assert_encodings_rejected(code: &str, corrupt: impl Fn(&Block) -> Vec<Vec<u8>>) {
    let (mut reference, mut node) = setup(&fixed_params());
    let honest = full_block(&mut reference);
    let bodies = corrupt(&honest);
    assert!(!bodies.is_empty());
    for body in bodies {
        let error = submit_encoded(&mut node, &body).unwrap_err();
        let SubmitError::Invalid(error) = error else { panic!("{error}") };
        assert_eq!((error.code(), error.rule().stage()), (code, Stage::Commitment));
        assert!(!error.invalidates_header());
        assert_eq!(node.reader().view().block_count(), 1);
    }
    assert_eq!(submit_encoded(&mut node, &honest.encode()).unwrap(), Accepted::Connected);
    node.commit();
    node.assert_tip_matches(&reference, &honest);
}

/// The offset of the coinbase's serialization in an encoded block: header, count, kind, length.
const COINBASE_AT: usize = Header::BYTES + 4 + 1 + 4;

// bad-encoding, bad-coinbase-encoding, memo-too-long, mutated-body, bad-merkle-root
#[test]
fn accept_body_that_header_commits_to() {
    let (mut reference, mut node) = setup(&fixed_params());
    let block = full_block(&mut reference);
    assert_eq!(submit_encoded(&mut node, &block.encode()).unwrap(), Accepted::Connected);
    node.commit();
    node.assert_tip_matches(&reference, &block);
    let view = node.reader().view();
    assert_eq!(view.raw_block(view.tip()).unwrap(), block.encode());
}

// bad-encoding, C37
#[test]
fn reject_non_canonical_block_encoding() {
    assert_encodings_rejected("bad-encoding", |block| {
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
            // Counts above and below the number of transactions, and the largest one.
            with(Header::BYTES, &6_u32.to_le_bytes()),
            with(Header::BYTES, &4_u32.to_le_bytes()),
            with(Header::BYTES, &u32::MAX.to_le_bytes()),
            // Unknown kinds, and a coinbase longer than the rest of the block.
            with(Header::BYTES + 4, &[1]),
            with(Header::BYTES + 4 + coinbase_bytes, &[3]),
            with(Header::BYTES + 5, &u32::MAX.to_le_bytes()),
        ];
        // Truncated anywhere in the transfers.
        let transfers_at = Header::BYTES + 4 + coinbase_bytes;
        bodies.extend((transfers_at..bytes.len()).map(|end| bytes[..end].to_vec()));
        bodies
    });
}

// bad-coinbase-encoding
#[test]
fn reject_non_canonical_coinbase_encoding() {
    assert_encodings_rejected("bad-coinbase-encoding", |block| {
        let bytes = block.encode();
        let coinbase = block.coinbase().unwrap().serialize();
        // Every byte that is equal in all coinbases.
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
        // An additional byte, and a tag above its limit.
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
fn reject_memo_above_limit() {
    assert_encodings_rejected("memo-too-long", |block| {
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
    let (mut reference, mut node) = setup(&fixed_params());
    let mut parent = reference.genesis();
    for bytes in [&b"\0\0"[..], &[0xff; 40], "\u{202e}gnp.exe\u{1b}[2J".as_bytes(), b"</script>"] {
        let tag = chain::tx::Tag::new(bytes.to_vec()).unwrap();
        let block = reference
            .build_on(parent)
            .pay_with_memo(&wallet(0), wallet(1).address, 1, 0, bytes)
            .edit_coinbase(|coinbase| coinbase.tag = tag)
            .mine();
        node.connect(&block);
        let view = node.reader().view();
        assert_eq!(view.block(view.tip()).unwrap(), block);
        parent = block.hash();
    }
}

// mutated-body, C01
#[test]
fn reject_repeated_transactions_with_same_root() {
    let (rich, poor) = (wallet(0), wallet(20));
    for transfers in [2, 4, 5, 6, 9, 10, 12] {
        let (mut reference, mut node) = setup(&fixed_params());
        let builder = reference.build_on(reference.genesis());
        let honest = (1..=transfers)
            .fold(builder, |builder, amount| builder.pay(&rich, poor.address, amount, 0))
            .mine();
        let mutants = mutants(&honest);
        assert!(!mutants.is_empty(), "{transfers}");
        for mutant in &mutants {
            assert_eq!(chain::merkle::root(&mutant.ids()), honest.header.merkle_root);
            assert_eq!(mutant.hash(), honest.hash());
            assert_rejects_without_invalidating(&mut node, mutant, "mutated-body");
        }
        node.connect(&honest);
        // The header is known now, so another body is not validated.
        assert_eq!(node.submit(&mutants[0]).unwrap(), Accepted::AlreadyKnown);
    }
}

/// All bodies with a repeated tail that have the Merkle root of a block.
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
fn reject_other_body_under_same_header() {
    let (mut reference, mut node) = setup(&fixed_params());
    let honest = full_block(&mut reference);
    let other = reference.build_on(reference.genesis()).mine();
    let edits: [fn(&mut Vec<Transaction>); 7] = [
        |body| drop(body.pop()),
        |body| body.swap(1, 2),
        |body| body.push(body[1].clone()),
        |body| body.clear(),
        |body| drop(body.remove(0)),
        |body| {
            let Transaction::Coinbase(coinbase) = &mut body[0] else { panic!() };
            coinbase.reward += 1;
        },
        // One bit of a signature, to which the id commits.
        |body| {
            let Transaction::Transfer(transfer) = &mut body[1] else { panic!() };
            let mut bytes = *transfer.signature.as_bytes();
            bytes[63] ^= 1;
            transfer.signature = chain::signature::Signature::from_bytes(bytes);
        },
    ];
    for edit in edits {
        let mut block = honest.clone();
        edit(&mut block.transactions);
        assert_rejects_without_invalidating(&mut node, &block, "bad-merkle-root");
    }
    let swapped = Block { header: honest.header, transactions: other.transactions.clone() };
    assert_rejects_without_invalidating(&mut node, &swapped, "bad-merkle-root");
    node.connect(&honest);
}

// On a side branch, and under a header whose parent is on one.
#[test]
fn bad_body_on_side_branch_does_not_invalidate_branch() {
    let (mut reference, mut node) = setup(&varying_params());
    let genesis = reference.genesis();
    node.connect_all(&reference.mine_chain(genesis, 2));
    let side = reference.mine_chain(genesis, 3);
    for block in &side[..2] {
        let mut bad = block.clone();
        bad.transactions.push(bad.transactions[0].clone());
        assert_rejects_without_invalidating(&mut node, &bad, "mutated-body");
        node.submit_side_branch(std::slice::from_ref(block));
    }
    node.connect(&side[2]);
    node.assert_tip_matches(&reference, &side[2]);
}
