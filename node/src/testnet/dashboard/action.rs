//! What the buttons of the dashboard do: each is a command of `chain testnet`, which the page shows.

use crate::testnet::topology::NodeNumber;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::{Command, Stdio};

/// Bytes of a command's output that the page shows.
const MAX_OUTPUT: usize = 4 << 10;

/// A request of the page.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// Disconnects the nodes of each side from all others.
    Partition { sides: Vec<Vec<NodeNumber>> },
    /// Ends the partition and all cuts.
    Heal {},
    /// Sets the conditions of the link of two nodes.
    Link(LinkConditions),
    /// Kills a node.
    Kill { node: NodeNumber },
    /// Starts a node.
    Start { node: NodeNumber },
    /// Pauses a node.
    Pause { node: NodeNumber },
    /// Resumes a node.
    Resume { node: NodeNumber },
    /// Sets the clock of a node.
    Skew { node: NodeNumber, seconds: i64 },
    /// Reorganises one node, or without one all of them.
    Reorg { depth: u32, node: Option<NodeNumber> },
}

/// The conditions of a link, in both directions or in one.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct LinkConditions {
    from: NodeNumber,
    to: NodeNumber,
    latency_ms: u32,
    jitter_ms: u32,
    loss_percent: f64,
    bandwidth_kbit: Option<u32>,
    cut: bool,
    one_way: bool,
}

/// A command that was executed.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The command line, without the directory.
    command: String,
    is_success: bool,
    /// The last lines of its output.
    output: String,
}

impl Action {
    /// The arguments of `chain testnet`.
    fn arguments(&self) -> Vec<String> {
        let one = |name: &str, node: &NodeNumber| vec![name.to_owned(), number(*node)];
        match self {
            Action::Partition { sides } => {
                let side = |nodes: &Vec<NodeNumber>| {
                    nodes.iter().copied().map(number).collect::<Vec<_>>().join(",")
                };
                ["partition".to_owned()].into_iter().chain(sides.iter().map(side)).collect()
            }
            Action::Heal {} => vec!["heal".to_owned()],
            Action::Link(conditions) => conditions.arguments(),
            Action::Kill { node } => one("kill", node),
            Action::Start { node } => one("start", node),
            Action::Pause { node } => one("pause", node),
            Action::Resume { node } => one("resume", node),
            Action::Skew { node, seconds } => {
                vec!["skew".to_owned(), number(*node), seconds.to_string()]
            }
            Action::Reorg { depth, node } => {
                let node = node.iter().copied().map(number);
                let depth = ["--depth".to_owned(), depth.to_string()];
                ["reorg".to_owned()].into_iter().chain(node).chain(depth).collect()
            }
        }
    }

    /// Executes the command on the testnet of a directory, and waits for its end.
    pub fn execute(&self, program: &Path, directory: &Path) -> Result<Outcome> {
        let arguments = self.arguments();
        let mut command = Command::new(program);
        command.args(["testnet", "--dir"]).arg(directory).args(&arguments);
        let done = command.stdin(Stdio::null()).output();
        let done = done.with_context(|| format!("cannot execute {}", program.display()))?;
        let output = [done.stdout, done.stderr].concat();
        let output = String::from_utf8_lossy(&output[output.len().saturating_sub(MAX_OUTPUT)..]);
        Ok(Outcome {
            command: format!("chain testnet {}", arguments.join(" ")),
            is_success: done.status.success(),
            output: output.trim().to_owned(),
        })
    }
}

impl LinkConditions {
    fn arguments(&self) -> Vec<String> {
        let LinkConditions { from, to, latency_ms, jitter_ms, loss_percent, .. } = self;
        let mut arguments = vec!["link".to_owned(), number(*from), number(*to)];
        let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        if *latency_ms > 0 {
            option("--latency", format!("{latency_ms}ms"));
        }
        if *jitter_ms > 0 {
            option("--jitter", format!("{jitter_ms}ms"));
        }
        if *loss_percent > 0.0 {
            option("--loss", format!("{loss_percent}%"));
        }
        if let Some(bandwidth) = self.bandwidth_kbit {
            option("--bandwidth", format!("{bandwidth}kbit"));
        }
        let flags = [("--cut", self.cut), ("--one-way", self.one_way)];
        let flags = flags.into_iter().filter(|(_, is_set)| *is_set);
        arguments.extend(flags.map(|(name, _)| name.to_owned()));
        arguments
    }
}

fn number(node: NodeNumber) -> String {
    usize::from(node).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn arguments(action: serde_json::Value) -> String {
        serde_json::from_value::<Action>(action).unwrap().arguments().join(" ")
    }

    #[test]
    fn buttons_are_commands() {
        for (action, expected) in [
            (json!({"action": "partition", "sides": [[1, 2], [3]]}), "partition 1,2 3"),
            (json!({"action": "heal"}), "heal"),
            (json!({"action": "kill", "node": 2}), "kill 2"),
            (json!({"action": "skew", "node": 2, "seconds": -30}), "skew 2 -30"),
            (json!({"action": "reorg", "depth": 3}), "reorg --depth 3"),
            (json!({"action": "reorg", "depth": 3, "node": 2}), "reorg 2 --depth 3"),
        ] {
            assert_eq!(arguments(action), expected);
        }
        let mut link = json!({
            "action": "link", "from": 1, "to": 2, "latency_ms": 300, "jitter_ms": 50,
            "loss_percent": 2.5, "bandwidth_kbit": 1_000, "cut": true, "one_way": true,
        });
        let all = "link 1 2 --latency 300ms --jitter 50ms --loss 2.5% --bandwidth 1000kbit";
        assert_eq!(arguments(link.clone()), format!("{all} --cut --one-way"));
        for field in ["latency_ms", "jitter_ms", "loss_percent"] {
            link[field] = json!(0);
        }
        link["bandwidth_kbit"] = json!(null);
        link["cut"] = json!(false);
        assert_eq!(arguments(link), "link 1 2 --one-way");
    }

    // An argument of a page is never an option.
    #[test]
    fn other_requests_are_rejected() {
        for action in [
            json!({"action": "down"}),
            json!({"action": "kill", "node": "--help"}),
            json!({"action": "kill", "node": 0}),
            json!({"action": "kill", "node": 1, "dir": "/"}),
            json!({"action": "partition", "sides": [["1,2 --dir"]]}),
            json!({"action": "reorg", "depth": -1}),
            json!({}),
        ] {
            assert!(serde_json::from_value::<Action>(action.clone()).is_err(), "{action}");
        }
    }
}
