//! No rule without its two tests.

use chain::rules::Rule;

const SOURCES: [&str; 4] = [
    include_str!("header.rs"),
    include_str!("belonging.rs"),
    include_str!("body.rs"),
    include_str!("on_parent.rs"),
];

/// Codes that the comment right above a test names, where its name begins like that.
fn tested(start: &str) -> Vec<String> {
    let start = format!("fn {start}_");
    let mut codes = Vec::new();
    for source in SOURCES {
        let lines: Vec<&str> = source.lines().collect();
        for (at, _) in lines.iter().enumerate().filter(|(_, line)| line.starts_with(&start)) {
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
    for start in ["accept", "reject"] {
        let tested = tested(start);
        for rule in Rule::ALL {
            let code = rule.code();
            assert!(tested.iter().any(|other| other == code), "{code}: no {start}_ test");
        }
    }
}
