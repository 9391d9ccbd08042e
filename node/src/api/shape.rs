//! Texts and numbers of one form that occur all over the API, as its document describes them:
//! named schemas for fields that are plain strings and integers in this program, and what paths
//! are made of. Does not check anything: handlers do.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use std::borrow::Cow;

/// Declares forms of text: name, pattern, format, and what is said of them.
macro_rules! texts {
    ($($name:ident $pattern:literal $format:literal $text:literal;)*) => {$(
        #[doc = $text]
        #[derive(Debug, Deserialize)]
        #[serde(transparent)]
        pub struct $name(#[allow(dead_code, reason = "some only describe fields")] pub String);

        impl $name {
            /// What such a text looks like; empty if no pattern tells.
            pub const PATTERN: &str = $pattern;
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let mut schema = json_schema!({
                    "type": "string", "format": $format, "description": $text,
                });
                // Not every form can be told by a pattern: checksums cannot.
                if !$name::PATTERN.is_empty() {
                    schema.insert("pattern".to_owned(), $name::PATTERN.into());
                }
                schema
            }
        }
    )*};
}

texts! {
    BlockHash "^[0-9a-f]{64}$" "block-hash" "The hash of a block.";
    TransactionId "^[0-9a-f]{64}$" "transaction-id" "The id of a transaction.";
    BlockId "^(tip|[0-9]{1,10}|[0-9a-f]{64})$" "block-id" "A height, the hash of a block, or `tip`.";
    Digest "^[0-9a-f]{64}$" "digest" "32 bytes in hexadecimal.";
    Bits "^[0-9a-f]{8}$" "bits" "A target as headers have it.";
    Hex "^([0-9a-f]{2})*$" "hex" "Bytes in lower-case hexadecimal.";
    AddressText "" "address"
        "An address in bech32m: the network's prefix, `1q`, 38 more characters, a checksum among them.";
    PublicKeyText "^[0-9a-f]{64}$" "public-key" "An Ed25519 public key.";
    SignatureText "^[0-9a-f]{128}$" "signature" "An Ed25519 signature.";
    MultiaddrText "" "multiaddr"
        "Where a node can be called, such as `/ip4/192.0.2.7/tcp/8401`.";
    PeerIdText "" "peer-id"
        "The id of a node, such as `12D3KooW…`.";
    IpText "" "ip" "An IP address, such as `192.0.2.7`.";
    BanId "" "ban-id"
        "The id of a node, or an IP address.";
    TemplateId "^[0-9a-f]{1,16}-[0-9a-f]{16}$" "template-id" "The id of a template.";
}

/// An amount of money, in base units: 100,000,000 to a coin.
pub struct Units;

impl JsonSchema for Units {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "integer", "minimum": 0, "maximum": chain::Amount::MAX.units(),
            "description": "Base units: 100,000,000 to a coin.",
        })
    }
}
