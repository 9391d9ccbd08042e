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
            /// What such a text looks like.
            pub const PATTERN: &str = $pattern;
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string", "pattern": $name::PATTERN, "format": $format,
                    "description": $text,
                })
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
    AddressText "^[a-z]{1,20}1q[02-9ac-hj-np-z]{38}$" "address"
        "An address in bech32m; what it begins with names the network.";
    PublicKeyText "^[0-9a-f]{64}$" "public-key" "An Ed25519 public key.";
    SignatureText "^[0-9a-f]{128}$" "signature" "An Ed25519 signature.";
    MultiaddrText "^/(ip4|ip6|dns|dns4|dns6)/[^/]+/tcp/[0-9]{1,5}(/p2p/[0-9A-Za-z]{46,60})?$" "multiaddr"
        "Where a node can be called, such as `/ip4/192.0.2.7/tcp/8401`.";
    PeerIdText "^[1-9A-HJ-NP-Za-km-z]{40,60}$" "peer-id"
        "The id of a node, such as `12D3KooW…`.";
    IpText "^[0-9a-fA-F:.]{2,45}$" "ip" "An IP address, such as `192.0.2.7`.";
    BanId "^([1-9A-HJ-NP-Za-km-z]{40,60}|[0-9a-fA-F:.]{2,45})$" "ban-id"
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
