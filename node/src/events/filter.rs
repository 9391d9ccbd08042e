//! Which events a reader wants, and from where on.

use super::record::Payment;
use super::topic::Topic;
use chain::Address;
use chain::address::Hrp;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// With what comes.
    Now,
    /// After the event of this number.
    Number(u64),
}

/// Which events somebody wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// `None` for every topic.
    pub topics: Option<Vec<Topic>>,
    /// Only what names this address: transfers from and to it, its blocks, its jobs.
    pub address: Option<Address>,
}

impl Filter {
    pub(super) fn wants(&self, topic: Topic) -> bool {
        self.topics.as_ref().is_none_or(|topics| topics.contains(&topic))
    }

    pub(super) fn concerns(&self, address: &Address) -> bool {
        self.address.is_none_or(|wanted| wanted == *address)
    }

    pub(super) fn concerns_payment(&self, payment: &Payment) -> bool {
        self.address.is_none_or(|wanted| payment.names(&wanted))
    }

    /// Whether a JSON object names the address as its miner.
    pub(super) fn concerns_object(&self, data: &str, hrp: Hrp) -> bool {
        #[derive(serde::Deserialize)]
        struct Named {
            miner: Option<String>,
        }
        self.address.is_none_or(|wanted| {
            let named = serde_json::from_str::<Named>(data).ok().and_then(|named| named.miner);
            named.is_some_and(|miner| miner == wanted.encode(hrp))
        })
    }
}
