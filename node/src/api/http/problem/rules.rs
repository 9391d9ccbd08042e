//! What each consensus rule demands, in a sentence for people. PROTOCOL.md has the rules themselves.

/// The sentence for a rule's code.
pub(super) fn text(code: &str) -> &'static str {
    let row = TEXTS.iter().find(|(of, _)| *of == code);
    row.map_or("A rule of the network is broken.", |(_, text)| text)
}

/// A sentence for every rule, in the order of checking.
const TEXTS: [(&str, &str); 25] = [
    ("bad-version", "A header's version is 20000000, but for the bits that miners may roll."),
    ("bad-bits", "A header's bits stand for a target, and for none above the network's limit."),
    ("high-hash", "A header's hash is at most the target its bits stand for: its proof of work."),
    ("unknown-parent", "This node does not have the block's parent: hand that in first."),
    ("invalid-ancestor", "A block that descends from an invalid one is invalid."),
    ("wrong-bits", "A header's bits are those that its parent and the times before it demand."),
    ("time-too-old", "A block's time is not before its parent's."),
    ("time-too-new", "A block's time is not far ahead of the node's clock. It may become valid."),
    ("bad-encoding", "A block or a transaction is encoded in the one way there is."),
    ("bad-coinbase-encoding", "So is a coinbase."),
    ("memo-too-long", "A transfer's memo has at most so many bytes."),
    ("mutated-body", "A body does not repeat transactions in a way that keeps the Merkle root."),
    ("bad-merkle-root", "A body's transactions have the Merkle root in the header."),
    ("no-coinbase", "A block begins with a coinbase."),
    ("coinbase-misplaced", "A block has no other coinbase than its first transaction."),
    ("block-too-large", "A block has at most as many bytes as the network allows."),
    ("duplicate-transaction", "No transaction stands in a block twice."),
    ("zero-amount", "A transfer moves at least one base unit."),
    ("amount-overflow", "Amount, fee and their sums are at most 2^53 − 1 base units."),
    ("bad-signature", "A transfer is signed by its sender, for this network."),
    ("wrong-coinbase-height", "A coinbase says at which height its block stands."),
    ("bad-nonce", "A sender's transfers come in the order of their nonces, none left out."),
    ("insufficient-balance", "A sender has what its transfer takes: amount and fee."),
    ("wrong-reward", "A coinbase takes the subsidy and the fees, no more and no less."),
    ("wrong-accounts", "A coinbase commits to all accounts as they are after its block."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use chain::rules::TABLE;

    #[test]
    fn every_rule_has_its_sentence() {
        let codes = TEXTS.iter().map(|(code, _)| *code);
        assert!(codes.eq(TABLE.iter().map(|(code, _)| *code)));
    }
}
