//! Subscriptions: which events a subscriber receives, and from where in the log.

use super::record::Payment;
use super::topic::Topic;
use chain::Address;
use chain::address::Hrp;

/// The position in the log where a subscription starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// After the last event of the log: new events only.
    Now,
    /// After the event of this number.
    Number(u64),
}

/// Selects events by topic and address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The topics to receive; `None` for all.
    pub topics: Option<Vec<Topic>>,
    /// Selects only events that name this address: transfers from and to it, blocks that pay it, in
    /// both directions, and jobs. Every reorganisation is selected too.
    pub address: Option<Address>,
}

impl Filter {
    pub(super) fn matches_topic(&self, topic: Topic) -> bool {
        self.topics.as_ref().is_none_or(|topics| topics.contains(&topic))
    }

    pub(super) fn matches_address(&self, address: &Address) -> bool {
        self.address.is_none_or(|wanted| wanted == *address)
    }

    pub(super) fn matches_payment(&self, payment: &Payment) -> bool {
        self.address.is_none_or(|wanted| payment.involves(&wanted))
    }

    /// Whether a JSON object names the address as its `miner`.
    pub(super) fn matches_object(&self, data: &str, hrp: Hrp) -> bool {
        #[derive(serde::Deserialize)]
        struct Object {
            miner: Option<String>,
        }
        self.address.is_none_or(|wanted| {
            let miner = serde_json::from_str::<Object>(data).ok().and_then(|object| object.miner);
            miner.is_some_and(|miner| miner == wanted.encode(hrp))
        })
    }
}
