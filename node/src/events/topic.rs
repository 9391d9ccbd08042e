//! Topics of events.

use std::fmt;
use std::str::FromStr;

/// Declares the topics: variant, code on disk, public name, description.
macro_rules! topics {
    ($($name:ident = $code:literal $text:literal $doc:literal;)*) => {
        /// The topic of an event: the kind of change that it reports.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Topic {
            $(#[doc = $doc] $name = $code,)*
        }

        impl Topic {
            /// Every topic, in the order of the codes.
            pub const ALL: &[Topic] = &[$(Topic::$name),*];

            /// The name by which clients subscribe to the topic.
            pub const fn name(self) -> &'static str {
                match self { $(Topic::$name => $text,)* }
            }

            /// A sentence that describes its events.
            pub const fn description(self) -> &'static str {
                match self { $(Topic::$name => $doc,)* }
            }
        }
    };
}

topics! {
    BlockConnected = 0 "block.connected" "A block joined the best chain.";
    BlockDisconnected = 1 "block.disconnected" "A block left the best chain.";
    Reorg = 2 "reorg" "The best chain was reorganised; follows the events of its blocks.";
    TransactionAccepted = 3 "transaction.accepted" "A transfer became pending in the mempool.";
    TransactionDropped = 4 "transaction.dropped" "A transfer left the mempool unconfirmed, or was lost with its journal.";
    TransactionConfirmed = 5 "transaction.confirmed" "A transfer is in a block of the best chain.";
    JobUpdated = 6 "job.updated" "A mining job changed.";
    PeerConnected = 7 "peer.connected" "A peer connected.";
    PeerDisconnected = 8 "peer.disconnected" "A peer disconnected.";
    SyncProgress = 9 "sync.progress" "Progress of the initial sync.";
    MiningHashrate = 10 "mining.hashrate" "The hash rate of this node's mining threads.";
    WorkerSilent = 11 "worker.silent" "A worker sent nothing for ten times its usual interval and five minutes.";
    WorkerActive = 12 "worker.active" "A silent worker is active again.";
}

impl Topic {
    pub(super) fn from_code(code: u8) -> Option<Topic> {
        Topic::ALL.get(usize::from(code)).copied()
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No topic has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown topic `{0}`: the topics are {all}", all = names())]
pub struct UnknownTopic(String);

fn names() -> String {
    Topic::ALL.iter().map(|topic| topic.name()).collect::<Vec<_>>().join(", ")
}

impl FromStr for Topic {
    type Err = UnknownTopic;

    fn from_str(text: &str) -> Result<Topic, UnknownTopic> {
        let found = Topic::ALL.iter().find(|topic| topic.name() == text);
        found.copied().ok_or_else(|| UnknownTopic(text.to_owned()))
    }
}
