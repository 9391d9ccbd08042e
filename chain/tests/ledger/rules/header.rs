//! The header alone, then after its parent.

use super::{both, is_known_invalid, is_not_remembered};
use crate::world::{easy, is_met, later, lively, lively_with};
use chain::ledger::{Accepted, SubmitError};
use chain::{Bits, Block, Header, Params, Timestamp, block};

// bad-version, C40
#[test]
fn accept_any_value_of_the_bits_that_may_roll() {
    let (mut world, mut node) = both(&easy());
    let mut parent = world.genesis();
    for rolled in [0, 1 << 13, 1 << 28, 0x1fff_e000, 0x0555_4000] {
        let block = world.draft(parent).header(|header| header.version |= rolled).seal();
        node.connect(&block);
        parent = block.hash();
    }
}

// bad-version, C40
#[test]
fn reject_every_other_bit_of_the_version() {
    let (mut world, mut node) = both(&easy());
    let genesis = world.genesis();
    let fixed = (0..32).map(|bit| Header::VERSION ^ (1 << bit));
    let fixed = fixed.filter(|version| version & !Header::ROLLING_BITS != Header::VERSION);
    let versions: Vec<i32> = fixed.chain([0, 1, 2, -1, i32::MIN, 0x3fff_ffff]).collect();
    assert_eq!(versions.len(), 32 - 16 + 6);
    for version in versions {
        let block = world.draft(genesis).header(|header| header.version = version).seal();
        is_not_remembered(&mut node, &block, "bad-version");
    }
}

// bad-bits, wrong-bits, C12
#[test]
fn accept_the_bits_that_the_schedule_demands() {
    let (mut world, mut node) = both(&lively());
    let mut parent = world.genesis();
    let mut met = std::collections::BTreeSet::new();
    for seconds in [10, 0, 0, 5, 0, 61, 1_000, 3, 0, 10] {
        let block = world.draft(parent).after(seconds).seal();
        met.insert(block.header.bits.raw());
        node.connect(&block);
        parent = block.hash();
    }
    assert!(met.len() > 4, "the difficulty moves");
}

// bad-bits, C12
#[test]
fn reject_bits_that_are_no_target_or_above_the_limit() {
    let (mut world, mut node) = both(&easy());
    let genesis = world.genesis();
    let negative = [0x20ff_ffff, 0x0180_3456];
    let zero = [0, 0x2000_0000, 0x0080_0000];
    let overflow = [0xff12_3456, 0x2101_0000, u32::MAX >> 9 | 0xff00_0000];
    let not_canonical = [0x2100_7fff, 0x0500_1234];
    let above = [0x2100_8000, 0x2100_ffff];
    for raw in [&negative[..], &zero, &overflow, &not_canonical, &above].concat() {
        let spoil = |header: &mut Header| header.bits = Bits::new(raw);
        let block = world.draft(genesis).header(spoil).seal();
        is_not_remembered(&mut node, &block, "bad-bits");
    }
}

// high-hash, C13
#[test]
fn accept_a_hash_that_meets_the_target() {
    let (mut world, mut node) = both(&easy());
    let block = world.draft(world.genesis()).seal();
    assert!(is_met(&block.header));
    node.connect(&block);
}

// high-hash, C13
#[test]
fn reject_a_hash_above_the_target() {
    let (mut world, mut node) = both(&easy());
    let mut block = world.draft(world.genesis()).seal();
    while is_met(&block.header) {
        block.header.nonce += 1;
    }
    is_not_remembered(&mut node, &block, "high-hash");
}

// unknown-parent, C21
#[test]
fn accept_blocks_in_the_order_of_their_parents() {
    let (mut world, mut node) = both(&easy());
    let blocks = world.grow(world.genesis(), 3);
    node.refuse(&blocks[1]);
    node.connect_all(&blocks);
    node.agrees(&world, &blocks[2]);
}

// unknown-parent, C21
#[test]
fn reject_a_block_without_its_parent_and_forget_it() {
    let (mut world, mut node) = both(&easy());
    let blocks = world.grow(world.genesis(), 3);
    for orphan in [&blocks[2], &blocks[1]] {
        let error = node.refuse(orphan);
        assert!(matches!(error, SubmitError::UnknownParent { parent }
            if parent == orphan.header.previous));
        assert_eq!(error.code(), Some("unknown-parent"));
        assert_eq!(node.reader().view().block_count(), 1);
    }
    // Parents that do not exist at all, and one from another place in the chain.
    for parent in [block::Hash::ZERO, block::Hash::from_bytes([0xab; 32]), orphaned(&blocks[0])] {
        let spoil = |header: &mut Header| header.previous = parent;
        let block = world.draft(world.genesis()).header(spoil).seal();
        assert_eq!(node.refuse(&block).code(), Some("unknown-parent"));
    }
}

/// The hash of a block that is not there, but for one bit.
fn orphaned(block: &Block) -> block::Hash {
    let mut bytes = *block.hash().as_bytes();
    bytes[31] ^= 0x80;
    block::Hash::from_bytes(bytes)
}

// invalid-ancestor, C45
#[test]
fn accept_a_child_of_an_invalid_blocks_sibling() {
    let (mut world, mut node) = both(&easy());
    let bad = world.draft(world.genesis()).coinbase(|coinbase| coinbase.reward += 1).seal();
    is_known_invalid(&mut world, &mut node, &bad, "wrong-reward");
    let good = world.grow(world.genesis(), 2);
    node.connect_all(&good);
}

// genesis ─ a1 ─ a2 ─ a3
//        └─ b1 ─ b2 ─ b3 ─ b4         b2 takes too much, which shows when b4 makes it heavier
//
// invalid-ancestor, C23, C45
#[test]
fn reject_descendants_of_a_block_that_was_found_invalid_later() {
    let (mut world, mut node) = both(&easy());
    let genesis = world.genesis();
    node.connect_all(&world.grow(genesis, 3));
    let b1 = world.draft(genesis).seal();
    let b2 = world.draft(b1.hash()).coinbase(|coinbase| coinbase.reward += 1).seal();
    let b3 = world.draft(b2.hash()).seal();
    let b4 = world.draft(b3.hash()).seal();
    node.take_aside(&[b1.clone(), b2.clone(), b3.clone()]);
    let error = super::is_refused(&mut node, &b4, "invalid-ancestor");
    assert_eq!(error.expected_and_actual(), None);
    assert!(error.to_string().contains(&b2.hash().to_string()));
    // The code each is known by from now on; b1 is as good as before.
    for (block, code) in
        [(&b2, "wrong-reward"), (&b3, "invalid-ancestor"), (&b4, "invalid-ancestor")]
    {
        let error = node.refuse(block);
        assert!(
            matches!(error, SubmitError::KnownInvalid { rule: known, .. } if known.code() == code)
        );
    }
    assert_eq!(node.take(&b1).unwrap(), Accepted::AlreadyKnown);
    for parent in [&b2, &b3, &b4] {
        let child = world.draft(parent.hash()).seal();
        super::is_refused(&mut node, &child, "invalid-ancestor");
    }
    let better = world.grow(b1.hash(), 3);
    node.take_aside(&better[..2]);
    node.connect(&better[2]);
    node.agrees(&world, &better[2]);
}

// wrong-bits, C12
#[test]
fn reject_bits_that_the_schedule_does_not_demand() {
    let (mut world, mut node) = both(&lively());
    let first = world.draft(world.genesis()).after(0).seal();
    node.connect(&first);
    // Easier and harder by the least step, and the limit itself.
    let second = world.draft(first.hash()).after(0).seal();
    node.connect(&second);
    let demanded = world.next_bits(second.hash()).raw();
    for raw in [demanded + 1, demanded - 1, 0x207f_ffff] {
        let spoil = |header: &mut Header| header.bits = Bits::new(raw);
        let block = world.draft(second.hash()).header(spoil).seal();
        is_not_remembered(&mut node, &block, "wrong-bits");
    }
}

// wrong-bits
#[test]
fn reject_other_bits_than_those_of_genesis_in_block_1_and_on_a_fixed_network() {
    for params in [easy(), lively()] {
        let (mut world, mut node) = both(&params);
        let spoil = |header: &mut Header| header.bits = Bits::new(0x207f_fffe);
        let block = world.draft(world.genesis()).header(spoil).seal();
        is_not_remembered(&mut node, &block, "wrong-bits");
    }
}

// time-too-old, C16
#[test]
fn accept_the_parents_own_time() {
    let (mut world, mut node) = both(&easy());
    let block = world.draft(world.genesis()).after(0).seal();
    node.connect(&block);
}

// time-too-old, C16
#[test]
fn reject_a_time_before_the_parents() {
    let (mut world, mut node) = both(&easy());
    let block = world.draft(world.genesis()).after(-1).seal();
    is_not_remembered(&mut node, &block, "time-too-old");
}

// time-too-new, C17
#[test]
fn accept_a_time_as_far_ahead_as_the_network_allows() {
    let (mut world, mut node) = both(&lively());
    node.now = world.params.spec().genesis_time;
    let block = world.draft(world.genesis()).after(60).seal();
    node.connect(&block);
}

// time-too-new, C17
#[test]
fn reject_a_time_too_far_ahead_until_it_comes() {
    let (mut world, mut node) = both(&lively());
    let start = world.params.spec().genesis_time;
    node.now = start;
    let block = world.draft(world.genesis()).after(61).seal();
    is_not_remembered(&mut node, &block, "time-too-new");
    node.now = later(start, 1);
    node.connect(&block);
}

// C18
#[test]
fn the_last_second_of_32_bits_does_not_wrap() {
    let params = lively_with(|spec| spec.genesis_time = Timestamp::new(u32::MAX - 5));
    let (mut world, mut node) = both(&params);
    // The clock's allowance ends with the last second too.
    node.now = Timestamp::new(u32::MAX - 10);
    let mut parent = world.genesis();
    for seconds in [5, 0, 0] {
        let block = world.draft(parent).after(seconds).seal();
        node.connect(&block);
        parent = block.hash();
    }
    assert_eq!(world.block(parent).header.time, Timestamp::new(u32::MAX));
    let before = world.draft(parent).after(-1).seal();
    is_not_remembered(&mut node, &before, "time-too-old");
}

// C46
#[test]
fn reject_the_genesis_of_another_network() {
    let (_, mut node) = both(&easy());
    for other in [lively(), Params::dev()] {
        let error = node.refuse(other.genesis());
        assert!(matches!(error.code(), Some("high-hash" | "unknown-parent" | "bad-bits")));
    }
    let own = easy().genesis().clone();
    assert_eq!(node.take(&own).unwrap(), Accepted::AlreadyKnown);
}

// Cheap first: a header that breaks several rules is refused by the first of them.
#[test]
fn rules_of_the_header_are_checked_in_the_order_of_the_table() {
    let (mut world, mut node) = both(&lively());
    node.now = world.params.spec().genesis_time;
    let first = world.draft(world.genesis()).seal();
    node.connect(&first);
    let cases = [
        (1, 0x2100_ffff, "bad-version"),
        (Header::VERSION, 0x2100_ffff, "bad-bits"),
        (Header::VERSION, 0x207f_fffe, "wrong-bits"),
    ];
    let mut drafted = |version, bits| {
        let spoil = |header: &mut Header| {
            header.version = version;
            header.bits = Bits::new(bits);
        };
        world.draft(first.hash()).after(-1).header(spoil).seal()
    };
    for (version, bits, code) in cases {
        assert_eq!(node.refuse(&drafted(version, bits)).code(), Some(code));
    }
    let mut unproven = drafted(Header::VERSION, 0x207f_fffe);
    while is_met(&unproven.header) {
        unproven.header.nonce += 1;
    }
    assert_eq!(node.refuse(&unproven).code(), Some("high-hash"));
}
