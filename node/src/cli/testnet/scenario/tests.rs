use super::file::{BUILT_IN, Scenario};

fn error(text: &str) -> String {
    format!("{:#}", Scenario::parse(text).unwrap_err())
}

const GOOD: &str =
    "title = \"t\"\nlimit = \"9s\"\nsteps = [\n    \"heal\",\n]\n[testnet]\nnodes = 2\n";

#[test]
fn built_in_scenarios_are_well_formed() {
    assert_eq!(BUILT_IN.len(), 12);
    for (name, text) in BUILT_IN {
        let scenario = Scenario::parse(text).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        assert!(text.starts_with("# "), "{name} is explained");
        assert!(!scenario.title.is_empty());
    }
}

#[test]
fn wrong_files_are_reported_with_line_and_reason() {
    Scenario::parse(GOOD).unwrap();
    for (from, to, reason) in [
        ("heal", "heel", "line 4: unrecognized subcommand 'heel'"),
        ("title", "titel", "line 1: unknown key `titel`"),
        ("9s", "9", "line 2: limit: `9` is not a duration"),
        ("nodes = 2", "node = 2", "line 7: unknown key `node`"),
        ("nodes = 2", "nodes = 0", "nodes: 0 is not 1 to 64"),
        ("nodes = 2", "nodes = 2\n[testnet.disks]\n3 = 9", "disks: no node `3`: it has 2"),
        ("    \"heal\",\n", "", "it has no steps"),
    ] {
        let message = error(&GOOD.replace(from, to));
        assert!(message.contains(reason), "{message}");
    }
}
