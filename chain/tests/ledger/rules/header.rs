//! Rules of the header: alone, then after its parent.

use super::{assert_invalidates, assert_rejects_without_invalidating, setup};
use crate::harness::{add_seconds, fixed_params, varying_params, varying_params_with};
use chain::ledger::{Accepted, SubmitError};
use chain::testing::{meets_target, unsolve_header};
use chain::{Bits, Block, Header, Params, Timestamp, block};

// bad-version, C40
#[test]
fn accept_any_rolling_version_bits() {
    let (mut reference, mut node) = setup(&fixed_params());
    let mut parent = reference.genesis();
    for rolled in [0, 1 << 13, 1 << 28, 0x1fff_e000, 0x0555_4000] {
        let block =
            reference.build_on(parent).edit_header(|header| header.version |= rolled).mine();
        node.connect(&block);
        parent = block.hash();
    }
}

// bad-version, C40
#[test]
fn reject_changed_fixed_version_bits() {
    let (mut reference, mut node) = setup(&fixed_params());
    let genesis = reference.genesis();
    let fixed = (0..32).map(|bit| Header::VERSION ^ (1 << bit));
    let fixed = fixed.filter(|version| version & !Header::ROLLING_BITS != Header::VERSION);
    let versions: Vec<i32> = fixed.chain([0, 1, 2, -1, i32::MIN, 0x3fff_ffff]).collect();
    assert_eq!(versions.len(), 32 - 16 + 6);
    for version in versions {
        let block =
            reference.build_on(genesis).edit_header(|header| header.version = version).mine();
        assert_rejects_without_invalidating(&mut node, &block, "bad-version");
    }
}

// bad-bits, wrong-bits, C12
#[test]
fn accept_required_bits() {
    let (mut reference, mut node) = setup(&varying_params());
    let mut parent = reference.genesis();
    let mut seen = std::collections::BTreeSet::new();
    for seconds in [10, 0, 0, 5, 0, 61, 1_000, 3, 0, 10] {
        let block = reference.build_on(parent).seconds_after(seconds).mine();
        seen.insert(block.header.bits.raw());
        node.connect(&block);
        parent = block.hash();
    }
    assert!(seen.len() > 4, "the difficulty moves");
}

// bad-bits, C12
#[test]
fn reject_bits_without_target_or_above_limit() {
    let (mut reference, mut node) = setup(&fixed_params());
    let genesis = reference.genesis();
    let negative = [0x20ff_ffff, 0x0180_3456];
    let zero = [0, 0x2000_0000, 0x0080_0000];
    let overflow = [0xff12_3456, 0x2101_0000, u32::MAX >> 9 | 0xff00_0000];
    let not_canonical = [0x2100_7fff, 0x0500_1234];
    let above = [0x2100_8000, 0x2100_ffff];
    for raw in [&negative[..], &zero, &overflow, &not_canonical, &above].concat() {
        let edit = |header: &mut Header| header.bits = Bits::new(raw);
        let block = reference.build_on(genesis).edit_header(edit).mine();
        assert_rejects_without_invalidating(&mut node, &block, "bad-bits");
    }
}

// high-hash, C13
#[test]
fn accept_hash_that_meets_target() {
    let (mut reference, mut node) = setup(&fixed_params());
    let block = reference.build_on(reference.genesis()).mine();
    assert!(meets_target(&block.header));
    node.connect(&block);
}

// high-hash, C13
#[test]
fn reject_hash_above_target() {
    let (mut reference, mut node) = setup(&fixed_params());
    let mut block = reference.build_on(reference.genesis()).mine();
    unsolve_header(&mut block.header);
    assert_rejects_without_invalidating(&mut node, &block, "high-hash");
}

// unknown-parent, C21
#[test]
fn accept_blocks_after_their_parents() {
    let (mut reference, mut node) = setup(&fixed_params());
    let blocks = reference.mine_chain(reference.genesis(), 3);
    node.expect_rejection(&blocks[1]);
    node.connect_all(&blocks);
    node.assert_tip_matches(&reference, &blocks[2]);
}

// unknown-parent, C21
#[test]
fn reject_orphan_without_storing_it() {
    let (mut reference, mut node) = setup(&fixed_params());
    let blocks = reference.mine_chain(reference.genesis(), 3);
    for orphan in [&blocks[2], &blocks[1]] {
        let error = node.expect_rejection(orphan);
        assert!(matches!(error, SubmitError::UnknownParent { parent }
            if parent == orphan.header.previous));
        assert_eq!(error.code(), Some("unknown-parent"));
        assert_eq!(node.reader().view().block_count(), 1);
    }
    // Parents that do not exist.
    for parent in [block::Hash::ZERO, block::Hash::from_bytes([0xab; 32]), flip_bit(&blocks[0])] {
        let edit = |header: &mut Header| header.previous = parent;
        let block = reference.build_on(reference.genesis()).edit_header(edit).mine();
        assert_eq!(node.expect_rejection(&block).code(), Some("unknown-parent"));
    }
}

/// The hash of a block with one bit flipped.
fn flip_bit(block: &Block) -> block::Hash {
    let mut bytes = *block.hash().as_bytes();
    bytes[31] ^= 0x80;
    block::Hash::from_bytes(bytes)
}

// invalid-ancestor, C45
#[test]
fn accept_child_of_sibling_of_invalid_block() {
    let (mut reference, mut node) = setup(&fixed_params());
    let bad = reference
        .build_on(reference.genesis())
        .edit_coinbase(|coinbase| coinbase.reward += 1)
        .mine();
    assert_invalidates(&mut reference, &mut node, &bad, "wrong-reward");
    let good = reference.mine_chain(reference.genesis(), 2);
    node.connect_all(&good);
}

// genesis ─ a1 ─ a2 ─ a3
//        └─ b1 ─ b2 ─ b3 ─ b4         the reward of b2 is too high, which is detected when b4 is
// submitted
//
// invalid-ancestor, C23, C45
#[test]
fn reject_descendants_of_block_found_invalid_later() {
    let (mut reference, mut node) = setup(&fixed_params());
    let genesis = reference.genesis();
    node.connect_all(&reference.mine_chain(genesis, 3));
    let b1 = reference.build_on(genesis).mine();
    let b2 = reference.build_on(b1.hash()).edit_coinbase(|coinbase| coinbase.reward += 1).mine();
    let b3 = reference.build_on(b2.hash()).mine();
    let b4 = reference.build_on(b3.hash()).mine();
    node.submit_side_branch(&[b1.clone(), b2.clone(), b3.clone()]);
    let error = super::assert_rejects(&mut node, &b4, "invalid-ancestor");
    assert_eq!(error.expected_and_actual(), None);
    assert!(error.to_string().contains(&b2.hash().to_string()));
    // The recorded code of each; b1 is still valid.
    for (block, code) in
        [(&b2, "wrong-reward"), (&b3, "invalid-ancestor"), (&b4, "invalid-ancestor")]
    {
        let error = node.expect_rejection(block);
        assert!(
            matches!(error, SubmitError::KnownInvalid { rule: known, .. } if known.code() == code)
        );
    }
    assert_eq!(node.submit(&b1).unwrap(), Accepted::AlreadyKnown);
    for parent in [&b2, &b3, &b4] {
        let child = reference.build_on(parent.hash()).mine();
        super::assert_rejects(&mut node, &child, "invalid-ancestor");
    }
    let better = reference.mine_chain(b1.hash(), 3);
    node.submit_side_branch(&better[..2]);
    node.connect(&better[2]);
    node.assert_tip_matches(&reference, &better[2]);
}

// wrong-bits, C12
#[test]
fn reject_other_bits_than_required() {
    let (mut reference, mut node) = setup(&varying_params());
    let first = reference.build_on(reference.genesis()).seconds_after(0).mine();
    node.connect(&first);
    // Easier and harder by the smallest step, and the limit.
    let second = reference.build_on(first.hash()).seconds_after(0).mine();
    node.connect(&second);
    let required = reference.next_bits(second.hash()).raw();
    for raw in [required + 1, required - 1, 0x207f_ffff] {
        let edit = |header: &mut Header| header.bits = Bits::new(raw);
        let block = reference.build_on(second.hash()).edit_header(edit).mine();
        assert_rejects_without_invalidating(&mut node, &block, "wrong-bits");
    }
}

// wrong-bits
#[test]
fn reject_other_bits_than_genesis_in_block_1_and_at_fixed_difficulty() {
    for params in [fixed_params(), varying_params()] {
        let (mut reference, mut node) = setup(&params);
        let edit = |header: &mut Header| header.bits = Bits::new(0x207f_fffe);
        let block = reference.build_on(reference.genesis()).edit_header(edit).mine();
        assert_rejects_without_invalidating(&mut node, &block, "wrong-bits");
    }
}

// time-too-old, C16
#[test]
fn accept_time_of_parent() {
    let (mut reference, mut node) = setup(&fixed_params());
    let block = reference.build_on(reference.genesis()).seconds_after(0).mine();
    node.connect(&block);
}

// time-too-old, C16
#[test]
fn reject_time_before_parent() {
    let (mut reference, mut node) = setup(&fixed_params());
    let block = reference.build_on(reference.genesis()).seconds_after(-1).mine();
    assert_rejects_without_invalidating(&mut node, &block, "time-too-old");
}

// time-too-new, C17
#[test]
fn accept_time_at_future_limit() {
    let (mut reference, mut node) = setup(&varying_params());
    node.now = reference.params.spec().genesis_time;
    let block = reference.build_on(reference.genesis()).seconds_after(60).mine();
    node.connect(&block);
}

// time-too-new, C17
#[test]
fn reject_time_above_future_limit_until_clock_advances() {
    let (mut reference, mut node) = setup(&varying_params());
    let start = reference.params.spec().genesis_time;
    node.now = start;
    let block = reference.build_on(reference.genesis()).seconds_after(61).mine();
    assert_rejects_without_invalidating(&mut node, &block, "time-too-new");
    node.now = add_seconds(start, 1);
    node.connect(&block);
}

// C18
#[test]
fn last_second_of_32_bits_does_not_wrap() {
    let params = varying_params_with(|spec| spec.genesis_time = Timestamp::new(u32::MAX - 5));
    let (mut reference, mut node) = setup(&params);
    // The latest accepted time saturates at the last second.
    node.now = Timestamp::new(u32::MAX - 10);
    let mut parent = reference.genesis();
    for seconds in [5, 0, 0] {
        let block = reference.build_on(parent).seconds_after(seconds).mine();
        node.connect(&block);
        parent = block.hash();
    }
    assert_eq!(reference.block(parent).header.time, Timestamp::new(u32::MAX));
    let before = reference.build_on(parent).seconds_after(-1).mine();
    assert_rejects_without_invalidating(&mut node, &before, "time-too-old");
}

// C46
#[test]
fn reject_genesis_of_other_network() {
    let (_, mut node) = setup(&fixed_params());
    for other in [varying_params(), Params::dev()] {
        let error = node.expect_rejection(other.genesis());
        assert!(matches!(error.code(), Some("high-hash" | "unknown-parent" | "bad-bits")));
    }
    let own = fixed_params().genesis().clone();
    assert_eq!(node.submit(&own).unwrap(), Accepted::AlreadyKnown);
}

// A header that breaks several rules is rejected by the first of them.
#[test]
fn header_rules_are_checked_in_table_order() {
    let (mut reference, mut node) = setup(&varying_params());
    node.now = reference.params.spec().genesis_time;
    let first = reference.build_on(reference.genesis()).mine();
    node.connect(&first);
    let cases = [
        (1, 0x2100_ffff, "bad-version"),
        (Header::VERSION, 0x2100_ffff, "bad-bits"),
        (Header::VERSION, 0x207f_fffe, "wrong-bits"),
    ];
    let mut build = |version, bits| {
        let edit = |header: &mut Header| {
            header.version = version;
            header.bits = Bits::new(bits);
        };
        reference.build_on(first.hash()).seconds_after(-1).edit_header(edit).mine()
    };
    for (version, bits, code) in cases {
        assert_eq!(node.expect_rejection(&build(version, bits)).code(), Some(code));
    }
    let mut unproven = build(Header::VERSION, 0x207f_fffe);
    unsolve_header(&mut unproven.header);
    assert_eq!(node.expect_rejection(&unproven).code(), Some("high-hash"));
}
