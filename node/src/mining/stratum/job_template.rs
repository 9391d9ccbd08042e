//! The template of a Stratum job.

use crate::mining::templates::{IssuedTemplate, SharedTemplate};
use chain::Address;
use chain::template::TemplateRequest;
use chain::tx::Tag;
use miner::stratum::{CoinbaseParts, CoinbaseSource};
use std::sync::Arc;

/// A template of the writer from which the coinbase of each miner is made.
#[derive(Debug)]
pub(super) struct JobTemplate {
    pub(super) template: Arc<SharedTemplate>,
    /// The tag of all coinbases. Different for each job of each run of each node, so that a share of
    /// one is not valid for another.
    pub(super) tag: Tag,
}

impl JobTemplate {
    /// The template with the coinbase of a miner.
    pub(super) fn issue(&self, miner: Address, extra_nonce: [u8; 8]) -> IssuedTemplate {
        // The time is replaced by that of the header that the miner submits.
        let now = self.template.header.time;
        let request = TemplateRequest { miner, now, extra_nonce, tag: self.tag.clone() };
        IssuedTemplate::new(Arc::clone(&self.template), request)
    }
}

impl CoinbaseSource for JobTemplate {
    type PayoutAddress = Address;

    fn coinbase(&self, payout_address: &Address) -> CoinbaseParts {
        let coinbase = self.issue(*payout_address, [0; 8]).coinbase();
        let (mut prefix, at) = (coinbase.serialize(), coinbase.extra_nonce_offset());
        let suffix = prefix.split_off(at + coinbase.extra_nonce.len());
        prefix.truncate(at);
        CoinbaseParts { prefix, suffix }
    }
}
