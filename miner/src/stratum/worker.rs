//! Workers: the user name of a miner, `ADDRESS` or `ADDRESS.worker`.

/// The maximum length of a worker name in bytes.
const MAX_NAME: usize = 64;

/// A worker: a payout address and a name that its owner chose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Worker<P> {
    /// The address that its blocks pay.
    pub payout_address: P,
    /// At most 64 ASCII letters, digits, dots, hyphens and underscores; may be empty.
    pub name: String,
}

impl<P> Worker<P> {
    /// Parses a user name. Returns `None` if its first part is not a payout address.
    pub fn parse(user: &str, parse_address: impl FnOnce(&str) -> Option<P>) -> Option<Worker<P>> {
        let (address, name) = user.split_once('.').unwrap_or((user, ""));
        Some(Worker::new(parse_address(address)?, name))
    }

    /// A worker with a name, of which unfit characters are replaced, and those above the maximum
    /// length dropped.
    pub fn new(payout_address: P, name: &str) -> Worker<P> {
        Worker { payout_address, name: sanitize(name) }
    }
}

/// Truncates a name and replaces every character that is special to a terminal, a browser or a
/// file system.
fn sanitize(name: &str) -> String {
    let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || "-_.".contains(*letter);
    name.chars().take(MAX_NAME).map(|it| if is_plain(&it) { it } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(user: &str) -> Option<String> {
        let parse_address = |address: &str| (address == "me").then_some(());
        Worker::parse(user, parse_address).map(|worker| worker.name)
    }

    // Q09
    #[test]
    fn names_are_sanitized_and_truncated() {
        for (user, expected) in [
            ("me", Some("")),
            ("me.", Some("")),
            ("me.rig-1", Some("rig-1")),
            ("me.hall.rig_2", Some("hall.rig_2")),
            ("me.<script>\r\n", Some("_script___")),
            ("me.../../etc", Some(".._.._etc")),
            ("me.grün\u{202e}", Some("gr_n_")),
            ("you.rig", None),
            ("", None),
        ] {
            assert_eq!(name(user).as_deref(), expected, "{user}");
        }
        assert_eq!(name(&format!("me.{}", "ü".repeat(100))).unwrap().len(), MAX_NAME);
    }
}
