//! A check that every rule has its two tests.

use chain::rules::Rule;

const SOURCES: [&str; 4] = [
    include_str!("header.rs"),
    include_str!("commitment.rs"),
    include_str!("body.rs"),
    include_str!("body_on_parent.rs"),
];

/// The codes in the comments right above the tests whose names start with a prefix.
fn tested(prefix: &str) -> Vec<String> {
    let prefix = format!("fn {prefix}_");
    let mut codes = Vec::new();
    for source in SOURCES {
        let lines: Vec<&str> = source.lines().collect();
        for (at, _) in lines.iter().enumerate().filter(|(_, line)| line.starts_with(&prefix)) {
            assert_eq!(lines[at - 1], "#[test]");
            let comment = lines[..at - 1].iter().rev().take_while(|line| line.starts_with("// "));
            let words = comment.flat_map(|line| line[3..].split([',', ':', ' ']));
            codes.extend(words.map(str::to_owned));
        }
    }
    codes
}

#[test]
fn every_rule_has_a_test_that_accepts_and_one_that_rejects() {
    for prefix in ["accept", "reject"] {
        let tested = tested(prefix);
        for rule in Rule::ALL {
            let code = rule.code();
            assert!(tested.iter().any(|other| other == code), "{code}: no {prefix}_ test");
        }
    }
}
