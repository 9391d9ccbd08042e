//! Who mines: `ADDRESS` or `ADDRESS.worker`, as the miner says.

/// Most bytes of a worker's name.
const MAX_NAME: usize = 64;

/// A worker: whom its blocks pay, and what its owner calls it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Worker<P> {
    /// Whom its blocks pay.
    pub payout_address: P,
    /// At most 64 letters, digits, dots, lines and underscores; may be empty.
    pub name: String,
}

impl<P> Worker<P> {
    /// From a user name; `None` if it does not begin with a payout_address.
    pub(super) fn of_user(
        user: &str,
        payout_address: impl FnOnce(&str) -> Option<P>,
    ) -> Option<Worker<P>> {
        let (address, name) = user.split_once('.').unwrap_or((user, ""));
        Some(Worker { payout_address: payout_address(address)?, name: plain(name) })
    }
}

/// A name that means nothing to a terminal, a browser or a file system.
fn plain(name: &str) -> String {
    let is_plain = |letter: &char| letter.is_ascii_alphanumeric() || "-_.".contains(*letter);
    name.chars().take(MAX_NAME).map(|it| if is_plain(&it) { it } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(user: &str) -> Option<String> {
        let payout_address = |address: &str| (address == "me").then_some(());
        Worker::of_user(user, payout_address).map(|worker| worker.name)
    }

    // Q09
    #[test]
    fn names_are_plain_and_short() {
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
