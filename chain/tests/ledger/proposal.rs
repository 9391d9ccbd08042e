//! Proposed blocks: every rule is checked but proof of work, and nothing changes.

use crate::harness::{Reference, TestNode, fixed_params, log_bytes, wallet};
use chain::Block;
use chain::ledger::ProposalError;
use chain::testing::unsolve_header;

/// Proposes a block, and returns the code of the rule that it breaks, or how else it is not the next
/// block. Asserts that the chain and the log are unchanged.
fn propose(node: &mut TestNode, block: &Block) -> Result<(), String> {
    let (tip, log, now) = (node.tip(), log_bytes(node.path()), node.now);
    let checked = node.reader().check_proposal(block.clone(), now);
    let result = checked.and_then(|checked| node.writer().check_proposal(&checked));
    assert!(!node.writer().has_uncommitted());
    assert!(node.tip() == tip && log_bytes(node.path()) == log);
    result.map_err(|error| match error {
        ProposalError::AlreadyKnown => "known".to_owned(),
        ProposalError::NotOnTip { parent } => {
            assert_eq!(parent, block.header.previous);
            "not on tip".to_owned()
        }
        ProposalError::Rejected(error) => error.code().expect("the disk works").to_owned(),
    })
}

/// The block with a nonce that does not meet the target.
fn without_work(block: &Block) -> Block {
    let mut block = block.clone();
    unsolve_header(&mut block.header);
    block
}

#[test]
fn proposal_needs_no_work_and_obeys_all_other_rules() {
    let mut reference = Reference::new(fixed_params());
    let mut node = TestNode::new(&fixed_params());
    let genesis = reference.genesis();
    let first = reference.build_on(genesis).mine();
    node.connect(&first);
    let build = |reference: &mut Reference, excess: u64| {
        let builder = reference.build_on(first.hash()).pay(&wallet(0), wallet(1).address, 5, 1);
        builder.edit_coinbase(|coinbase| coinbase.reward += excess).mine()
    };
    let valid = build(&mut reference, 0);
    let proposed = without_work(&valid);
    assert_eq!(propose(&mut node, &proposed), Ok(()));
    assert_eq!(propose(&mut node, &valid), Ok(()));

    let excessive = without_work(&build(&mut reference, 1));
    assert_eq!(propose(&mut node, &excessive), Err("wrong-reward".to_owned()));
    let mut changed = proposed.clone();
    changed.transactions.pop();
    assert_eq!(propose(&mut node, &changed), Err("bad-merkle-root".to_owned()));
    let mut early = proposed.clone();
    early.header.time = genesis_time();
    assert_eq!(propose(&mut node, &early), Err("time-too-old".to_owned()));
    let mut version = proposed.clone();
    version.header.version = 0;
    assert_eq!(propose(&mut node, &version), Err("bad-version".to_owned()));
    let mut orphan = proposed.clone();
    orphan.header.previous = valid.hash();
    assert_eq!(propose(&mut node, &orphan), Err("unknown-parent".to_owned()));
    let sibling = without_work(&reference.build_on(genesis).seconds_after(7).mine());
    assert_eq!(propose(&mut node, &sibling), Err("not on tip".to_owned()));
    assert_eq!(propose(&mut node, &first), Err("known".to_owned()));

    // A proposal of before the tip changed.
    let now = node.now;
    let checked = node.reader().check_proposal(proposed, now).unwrap();
    node.connect(&valid);
    let outdated = node.writer().check_proposal(&checked);
    assert!(matches!(outdated, Err(ProposalError::NotOnTip { .. })), "{outdated:?}");
}

fn genesis_time() -> chain::Timestamp {
    fixed_params().spec().genesis_time
}
