//! Peer ids as text in `peers.json`, for `#[serde(with = …)]`.

use libp2p::PeerId;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

pub(super) fn serialize<S: Serializer>(peer: &PeerId, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(peer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<PeerId, D::Error> {
    String::deserialize(input)?.parse().map_err(Error::custom)
}

/// Serializes optional peer ids as text.
pub(super) mod option {
    use super::{Deserialize, Deserializer, Error, PeerId, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(
        peer: &Option<PeerId>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        match peer {
            Some(peer) => out.collect_str(peer),
            None => out.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<Option<PeerId>, D::Error> {
        let text = Option::<String>::deserialize(input)?;
        text.map(|text| text.parse().map_err(Error::custom)).transpose()
    }
}
