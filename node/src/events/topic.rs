//! Topics of events.

use std::fmt;
use std::str::FromStr;

/// Declares the topics, and the list of them all.
macro_rules! topics {
    ($($name:ident = $code:literal $text:literal $doc:literal;)*) => {
        /// What an event is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Topic {
            $(#[doc = $doc] $name = $code,)*
        }

        impl Topic {
            /// Every topic.
            pub const ALL: &[Topic] = &[$(Topic::$name),*];

            /// Its name to readers.
            pub const fn name(self) -> &'static str {
                match self { $(Topic::$name => $text,)* }
            }
        }
    };
}

topics! {
    BlockConnected = 0 "block.connected" "A block entered the best chain.";
    BlockDisconnected = 1 "block.disconnected" "A block left it.";
    Reorg = 2 "reorg" "Blocks left and others entered; told after all of them.";
    TransactionAccepted = 3 "transaction.accepted" "A transfer waits for the next block.";
    TransactionDropped = 4 "transaction.dropped" "A transfer left the pool other than into a block.";
    TransactionConfirmed = 5 "transaction.confirmed" "A transfer is in the best chain.";
    JobUpdated = 6 "job.updated" "A mining job changed.";
    PeerConnected = 7 "peer.connected" "Another node is connected.";
    PeerDisconnected = 8 "peer.disconnected" "It is not any more.";
    SyncProgress = 9 "sync.progress" "How far this node is behind others.";
    MiningHashrate = 10 "mining.hashrate" "How fast this node mines.";
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
#[error("there is no topic `{0}`: the topics are {all}", all = names())]
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
