//! Blocks of side branches that fork far below the tip.

use crate::harness::{Reference, TestNode, fixed_params, fixed_params_with, log_bytes};
use chain::ledger::{Accepted, HeadersError, Pruned, Submission, SubmitError};
use chain::rules::RuleError;
use chain::testing::{solve_header, unsolve_header};
use chain::{Block, Header};

/// The number of blocks below the tip down to which this network stores lighter branches.
const HORIZON: usize = 1_000;

fn headers(blocks: &[Block]) -> Vec<Header> {
    blocks.iter().map(|block| block.header).collect()
}

#[track_caller]
fn assert_too_deep(node: &mut TestNode, block: &Block, expected: (u32, u32)) {
    assert!(node.precheck(std::slice::from_ref(block))[0].precheck_result().is_none());
    let error = node.expect_rejection(block);
    assert_eq!(error.code(), Some("too-deep"));
    let SubmitError::TooDeep { depth, horizon } = error else { panic!("{error}") };
    assert_eq!((depth, horizon), expected);
}

// C20, C25
#[test]
fn lighter_branch_is_stored_down_to_the_horizon() {
    let mut reference = Reference::new(fixed_params());
    let chain = reference.mine_chain(reference.genesis(), HORIZON + 2);
    let mut node = TestNode::with_blocks(&reference.params, &chain);
    // Forks at heights 1 and 2.
    let below = reference.build_on(chain[0].hash()).mine();
    let above = reference.mine_chain(chain[1].hash(), 3);
    assert_too_deep(&mut node, &below, (1_001, 1_000));
    // Neither its body nor the error is kept.
    let mut mutated = below.clone();
    mutated.transactions.clear();
    assert_too_deep(&mut node, &mutated, (1_001, 1_000));
    node.submit_side_branch(&above[..2]);
    let orphan = reference.mine_chain(below.hash(), 1).remove(0);
    assert_eq!(node.expect_rejection(&orphan).code(), Some("unknown-parent"));

    // The same branch is not extended once it is deeper.
    let next = reference.mine_chain(chain[HORIZON + 1].hash(), 1);
    node.connect_all(&next);
    assert_too_deep(&mut node, &above[2], (1_001, 1_000));
    // What was stored remains, also when the index is rebuilt.
    node.close();
    std::fs::remove_dir_all(node.path().join("index")).unwrap();
    node.start();
    node.assert_tip_matches(&reference, &next[0]);
    assert_eq!(node.submit(&above[1]).unwrap(), Accepted::AlreadyKnown);
    assert_too_deep(&mut node, &above[2], (1_001, 1_000));
}

#[test]
fn horizon_is_ten_half_lives_if_these_are_more_blocks() {
    let params = fixed_params_with(|spec| {
        spec.spacing_seconds = 2;
        spec.half_life_seconds = 201;
    });
    let mut reference = Reference::new(params);
    let chain = reference.mine_chain(reference.genesis(), HORIZON + 7);
    let mut node = TestNode::with_blocks(&reference.params, &chain);
    let stored = reference.mine_chain(chain[1].hash(), 1);
    node.submit_side_branch(&stored);
    let below = reference.build_on(chain[0].hash()).mine();
    assert_too_deep(&mut node, &below, (1_006, 1_005));
}

// genesis ─ a1 ─ … ─ a1100
//        └─ b1 ─ … ─ b1101
//
// C22
#[test]
fn heavier_branch_is_stored_at_any_depth_once_its_headers_are_known() {
    let mut reference = Reference::new(fixed_params());
    let genesis = reference.genesis();
    let a = reference.mine_chain(genesis, HORIZON + 100);
    let b = reference.mine_chain(genesis, HORIZON + 101);
    let mut node = TestNode::with_blocks(&reference.params, &a);
    assert_too_deep(&mut node, &b[0], (1_100, 1_000));
    let (most, last) = b.split_at(HORIZON + 100);
    let now = node.now;
    let branch = node.writer().submit_headers(&headers(&most[..600]), now).unwrap();
    assert_eq!((branch.hash, branch.new, branch.has_more_work), (most[599].hash(), 600, false));
    let branch = node.writer().submit_headers(&headers(&most[590..]), now).unwrap();
    assert_eq!((branch.height.get(), branch.new, branch.has_more_work), (1_100, 500, false));
    assert_too_deep(&mut node, &b[0], (1_100, 1_000));
    let branch = node.writer().submit_headers(&headers(last), now).unwrap();
    assert_eq!((branch.height.get(), branch.new, branch.has_more_work), (1_101, 1, true));
    assert_eq!(branch.chain_work, reference.entry(last[0].hash()).work);

    // The bodies; after a restart, which forgets headers, they have to be submitted again.
    node.submit_side_branch(&b[..600]);
    node.close();
    node.start();
    assert_too_deep(&mut node, &b[600], (1_100, 1_000));
    let branch = node.writer().submit_headers(&headers(&b), now).unwrap();
    assert_eq!((branch.new, branch.has_more_work), (501, true));
    node.submit_side_branch(&b[600..HORIZON + 100]);
    node.connect_all(last);
    node.assert_tip_matches(&reference, &last[0]);

    // The branch that was left is not extended, unless it becomes heavier.
    let back = reference.mine_chain(a[HORIZON + 99].hash(), 2);
    assert_too_deep(&mut node, &back[0], (1_101, 1_000));
    node.writer().submit_headers(&headers(&back), now).unwrap();
    node.submit_side_branch(&back[..1]);
    node.connect_all(&back[1..]);
    node.assert_tip_matches(&reference, &back[1]);
}

// C22: sync validates headers itself.
#[test]
fn branch_whose_headers_the_sender_has_validated_is_stored_at_any_depth() {
    let mut reference = Reference::new(fixed_params());
    let genesis = reference.genesis();
    let a = reference.mine_chain(genesis, HORIZON + 1);
    let b = reference.mine_chain(genesis, HORIZON + 2);
    let mut node = TestNode::with_blocks(&reference.params, &a);
    let (now, end) = (node.now, b.last().unwrap());
    let work = |block: &Block| reference.entry(block.hash()).work;
    let submission =
        |block: &Block, end| Submission { branch_work: work(end), ..block.clone().into() };
    let equal = submission(&b[0], &b[HORIZON]);
    assert!(matches!(node.writer().submit_block(equal, now), Err(SubmitError::TooDeep { .. })));
    let all: Vec<_> = b.iter().map(|block| submission(block, end)).collect();
    let prechecked = node.writer().prechecker().precheck(all, now);
    assert!(prechecked.iter().all(|block| block.precheck_result() == Some(Ok(()))));
    for block in prechecked {
        node.writer().submit_block(block, now).unwrap();
    }
    node.commit();
    assert_eq!(node.tip(), end.hash());
}

#[test]
fn headers_are_validated_like_those_of_blocks() {
    let mut reference = Reference::new(fixed_params());
    let genesis = reference.genesis();
    let a = reference.mine_chain(genesis, 3);
    let b = headers(&reference.mine_chain(genesis, 4));
    let mut node = TestNode::with_blocks(&reference.params, &a);
    let now = node.now;
    let mut submit = |headers: &[Header]| node.writer().submit_headers(headers, now);
    assert!(matches!(submit(&[]), Err(HeadersError::Empty)));
    assert!(matches!(submit(&[b[0], b[2]]), Err(HeadersError::Discontinuous { index: 1 })));
    let mut at_2 = |headers: [Header; 3]| match node.writer().submit_headers(&headers, now) {
        Err(HeadersError::Invalid { index: 2, error: SubmitError::Invalid(error) }) => error,
        other => panic!("{other:?}"),
    };
    let changed = |change: fn(&mut Header)| {
        let mut header = b[2];
        change(&mut header);
        [b[0], b[1], header]
    };
    let error = at_2(changed(unsolve_header));
    assert!(matches!(error, RuleError::HighHash { .. }));
    let error = at_2(changed(|header| {
        header.time = header.time.saturating_add(100_000_000);
        solve_header(header);
    }));
    assert!(matches!(error, RuleError::TimeTooNew { .. }));
    let unknown = node.writer().submit_headers(&b[3..], now).unwrap_err();
    let expected = SubmitError::UnknownParent { parent: b[2].hash() }.to_string();
    assert_eq!(unknown.to_string(), format!("header 0: {expected}"));
    // The two before the invalid ones are known, and so are those of stored blocks.
    let branch = node.writer().submit_headers(&b, now).unwrap();
    assert_eq!((branch.new, branch.has_more_work), (2, true));
    let branch = node.writer().submit_headers(&headers(&a), now).unwrap();
    assert_eq!((branch.hash, branch.new, branch.has_more_work), (a[2].hash(), 0, false));

    let bad = reference.build_on(genesis).edit_coinbase(|coinbase| coinbase.reward += 1).mine();
    let child = reference.mine_chain(bad.hash(), 1);
    let ends = [bad.clone(), child[0].clone()];
    node.writer().invalidate(a[0].hash()).unwrap();
    node.commit();
    node.expect_rejection(&bad);
    let known = node.writer().submit_headers(&headers(&ends), now).unwrap_err();
    assert!(known.to_string().starts_with("header 0: wrong-reward"), "{known}");
    let known = node.writer().submit_headers(&headers(&child), now).unwrap_err();
    assert!(known.to_string().starts_with("header 0: invalid-ancestor"), "{known}");
}

// genesis ─ a1 ─ … ─ a1100      invalidated, then reconsidered
//        └─ b1 ─ … ─ b1110
#[test]
fn branch_that_the_operator_invalidated_or_reconsidered_is_extended_at_any_depth() {
    let mut reference = Reference::new(fixed_params());
    let genesis = reference.genesis();
    let mut a = reference.mine_chain(genesis, HORIZON + 100);
    let b = reference.mine_chain(genesis, HORIZON + 110);
    let end = a[HORIZON + 99].hash();
    a.extend(reference.mine_chain(end, 4));
    let mut node = TestNode::with_blocks(&reference.params, &a[..HORIZON + 100]);
    node.writer().invalidate(a[0].hash()).unwrap();
    node.connect_all(&b);
    let mut next = a[HORIZON + 100..].iter();
    node.submit_side_branch(std::slice::from_ref(next.next().unwrap()));
    node.writer().reconsider(a[0].hash()).unwrap();
    node.commit();
    assert_eq!(node.tip(), b.last().unwrap().hash(), "it has more work");
    node.submit_side_branch(std::slice::from_ref(next.next().unwrap()));
    node.close();
    node.start();
    node.submit_side_branch(std::slice::from_ref(next.next().unwrap()));
    // The other branch is no one's.
    let side = reference.mine_chain(b[0].hash(), 1);
    assert_too_deep(&mut node, &side[0], (1_109, 1_000));
}

/// Removes side branches until nothing more is to be removed, and returns the number of blocks.
fn prune(node: &mut TestNode, max_bytes: u64) -> usize {
    let mut blocks = 0;
    loop {
        let pruned = node.writer().prune(max_bytes).unwrap();
        if pruned == Pruned::default() {
            return blocks;
        }
        assert!(pruned.blocks > 0 && pruned.freed_bytes > 0);
        blocks += pruned.blocks;
    }
}

/// Asserts that some blocks are stored and others are not, now and after every kind of restart.
fn assert_stored(node: &mut TestNode, stored: &[&[Block]], pruned: &[&[Block]]) {
    let restarts: [fn(&mut TestNode); 4] = [
        |_| {},
        |node| {
            node.close();
            node.start();
        },
        |node| {
            node.kill();
            node.start();
        },
        |node| {
            node.close();
            std::fs::remove_dir_all(node.path().join("index")).unwrap();
            node.start();
        },
    ];
    let tip = node.tip();
    for restart in restarts {
        restart(node);
        let view = node.reader().view();
        assert_eq!(view.tip().hash, tip);
        for block in stored.iter().copied().flatten() {
            let found = view.find(&block.hash()).expect("it is stored");
            assert_eq!(view.block(found).unwrap(), *block);
        }
        for block in pruned.iter().copied().flatten() {
            assert!(view.find(&block.hash()).is_none());
        }
        let count: usize = stored.iter().map(|blocks| blocks.len()).sum();
        assert_eq!(view.block_count(), count + 1, "besides genesis");
    }
}

fn size(branches: &[&[Block]]) -> u64 {
    let blocks = branches.iter().copied().flatten();
    blocks.map(|block| block.encode().len() as u64).sum()
}

/// The least limit that leaves these branches, an eighth of it being free.
fn limit_of(branches: &[&[Block]]) -> u64 {
    let size = size(branches);
    (size..).find(|limit| limit - limit / 8 >= size).unwrap()
}

//         ┌─ b1 ─ … ─ b20 ─ … ─ b30
//         │            └─ d1 ─ … ─ d5
// genesis ─ a1 ─ … ─ a200 ─ … ─ a1100
//         └─ c1 ─ … ─ c10    └─ e1 ─ e2 ─ e3
//
// C25
#[test]
fn branches_below_the_horizon_are_pruned_to_a_total_size() {
    let mut reference = Reference::new(fixed_params());
    let genesis = reference.genesis();
    let a = reference.mine_chain(genesis, HORIZON + 100);
    let b = reference.mine_chain(genesis, 30);
    let c = reference.mine_chain(genesis, 10);
    let d = reference.mine_chain(b[19].hash(), 5);
    let e = reference.mine_chain(a[199].hash(), 3);
    let mut node = TestNode::with_blocks(&reference.params, &a[..200]);
    for side in [&b, &c, &d] {
        node.submit_side_branch(side);
    }
    node.connect_all(&a[200..210]);
    node.submit_side_branch(&e);
    assert_eq!(prune(&mut node, 0), 0, "all branches fork near the tip");
    node.connect_all(&a[210..]);

    let on_disk = log_bytes(node.path()).len();
    assert_eq!(prune(&mut node, size(&[&b, &c, &d])), 0);
    assert_eq!(log_bytes(node.path()).len(), on_disk);
    // The branch with the least work at its end.
    assert_eq!(prune(&mut node, limit_of(&[&b, &d])), 10);
    assert!((log_bytes(node.path()).len() as u64) < on_disk as u64 - size(&[&c]));
    assert_stored(&mut node, &[&a, &b, &d, &e], &[&c]);
    assert_eq!(node.reader().view().chain_tips(None, usize::MAX).len(), 4);
    assert_too_deep(&mut node, &c[0], (1_100, 1_000));
    let orphan = node.expect_rejection(&c[1]);
    assert_eq!(orphan.code(), Some("unknown-parent"));

    // Next is d, whose fork becomes the middle of a branch.
    assert_eq!(prune(&mut node, limit_of(&[&b])), 5);
    assert_stored(&mut node, &[&a, &b, &e], &[&c, &d]);
    // Within a branch, the upper blocks go first.
    assert_eq!(prune(&mut node, limit_of(&[&b[..21]])), 9);
    assert_stored(&mut node, &[&a, &b[..21], &e], &[&b[21..], &c, &d]);
    let ends = node.reader().view().chain_tips(None, usize::MAX);
    assert!(ends.iter().any(|end| end.hash == b[20].hash()));
    assert_eq!(prune(&mut node, 0), 21);
    assert_stored(&mut node, &[&a, &e], &[&b, &c, &d]);
    node.close();
    assert_eq!(node.verify().unwrap().blocks, HORIZON + 100 + 3 + 1);
}

// C22
#[test]
fn pruned_branch_is_accepted_again_when_it_becomes_heavier() {
    let mut reference = Reference::new(fixed_params());
    let genesis = reference.genesis();
    let a = reference.mine_chain(genesis, HORIZON + 100);
    let b = reference.mine_chain(genesis, HORIZON + 101);
    let mut node = TestNode::with_blocks(&reference.params, &a[..30]);
    node.submit_side_branch(&b[..20]);
    node.connect_all(&a[30..]);
    assert_eq!(prune(&mut node, 0), 20);
    node.submit_headers(&b);
    let (last, before) = b.split_last().unwrap();
    node.submit_side_branch(before);
    assert_eq!(prune(&mut node, 1), 0, "its headers have more work");
    node.connect(last);
    assert_stored(&mut node, &[&a, &b], &[]);
    // Now the branch that was left, with its undo data.
    let on_disk = log_bytes(node.path()).len() as u64;
    assert_eq!(prune(&mut node, 0), HORIZON + 100);
    let freed = on_disk - log_bytes(node.path()).len() as u64;
    // A record of undo data has at least a hash.
    assert!(freed > size(&[&a]) + 32 * a.len() as u64, "{freed}");
    assert_stored(&mut node, &[&b], &[&a]);
    node.assert_tip_matches(&reference, last);
    let back = reference.mine_chain(a[HORIZON + 99].hash(), 2);
    let a: Vec<Block> = a.into_iter().chain(back).collect();
    node.submit_headers(&a);
    let (last, before) = a.split_last().unwrap();
    node.submit_side_branch(before);
    node.connect(last);
    assert_stored(&mut node, &[&a, &b], &[]);
    node.assert_tip_matches(&reference, last);
    node.close();
    node.verify().unwrap();
}

#[test]
fn branch_that_the_operator_invalidated_or_reconsidered_is_not_pruned() {
    let mut reference = Reference::new(fixed_params());
    let genesis = reference.genesis();
    let a = reference.mine_chain(genesis, 30);
    let b = reference.mine_chain(a[3].hash(), HORIZON + 20);
    let c = reference.mine_chain(genesis, 3);
    let mut node = TestNode::with_blocks(&reference.params, &a);
    node.writer().invalidate(a[4].hash()).unwrap();
    node.commit();
    node.connect_all(&b[..5]);
    node.submit_side_branch(&c);
    node.connect_all(&b[5..]);
    assert_eq!(prune(&mut node, 0), 3);
    assert_stored(&mut node, &[&a, &b], &[&c]);
    node.writer().reconsider(a[4].hash()).unwrap();
    node.commit();
    node.close();
    node.start();
    assert_eq!(prune(&mut node, 0), 0);
    assert_stored(&mut node, &[&a, &b], &[]);
}

#[test]
fn invalid_blocks_are_pruned_first_and_stay_invalid() {
    let mut reference = Reference::new(fixed_params());
    let genesis = reference.genesis();
    let a = reference.mine_chain(genesis, HORIZON + 20);
    let b1 = reference.mine_chain(genesis, 1).remove(0);
    let b2 = reference.build_on(b1.hash()).edit_coinbase(|coinbase| coinbase.reward += 1).mine();
    let b3 = reference.mine_chain(b2.hash(), 2);
    let c = reference.mine_chain(genesis, 2);
    let mut node = TestNode::with_blocks(&reference.params, &a[..3]);
    node.submit_side_branch(&[b1.clone(), b2.clone(), b3[0].clone()]);
    node.submit_side_branch(&c);
    assert_eq!(node.expect_rejection(&b3[1]).code(), Some("invalid-ancestor"));
    node.connect_all(&a[3..]);
    assert_eq!(prune(&mut node, limit_of(&[std::slice::from_ref(&b1), &c])), 2);
    let again = node.expect_rejection(&b2);
    assert!(matches!(again, SubmitError::KnownInvalid { .. }), "{again}");
    assert_stored(&mut node, &[&a, &[b1], &c], &[&[b2], &b3]);
}
