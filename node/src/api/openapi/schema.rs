//! Schema types: text and integer formats used all over the API.
//!
//! The text types only describe fields that are plain strings in Rust; handlers validate them. The
//! integer types also parse: whole and exact, without sign, fraction or exponent, and at most
//! 2^53 − 1, which every JSON reader represents exactly.

use chain::Amount;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected};
use std::borrow::Cow;

/// Declares text formats: name, pattern, format and description.
macro_rules! string_schemas {
    ($($name:ident $pattern:literal $format:literal $text:literal;)*) => {$(
        #[doc = $text]
        #[derive(Debug, Deserialize)]
        #[serde(transparent)]
        pub struct $name(#[allow(dead_code, reason = "some only describe fields")] pub String);

        impl $name {
            /// The pattern; empty if the format has none.
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
                // A pattern cannot express every format, such as a checksum.
                if !$name::PATTERN.is_empty() {
                    schema.insert("pattern".to_owned(), $name::PATTERN.into());
                }
                schema
            }
        }
    )*};
}

string_schemas! {
    BlockHash "^[0-9a-f]{64}$" "block-hash" "A block hash.";
    TransactionId "^[0-9a-f]{64}$" "transaction-id" "A transaction id.";
    BlockId "^(tip|[0-9]{1,10}|[0-9a-f]{64})$" "block-id" "A block height, a block hash, or `tip`.";
    Digest "^[0-9a-f]{64}$" "digest" "32 bytes in hexadecimal.";
    JobId "^[0-9a-f]{8}$" "job-id" "The id of a mining job.";
    Bits "^[0-9a-f]{8}$" "bits" "A target in the compact format of headers.";
    Hex "^([0-9a-f]{2})*$" "hex" "Bytes in lower-case hexadecimal.";
    AddressText "" "address"
        "A bech32m address: the network's prefix, `1q` and 38 characters, a checksum included.";
    PublicKeyText "^[0-9a-f]{64}$" "public-key" "An Ed25519 public key.";
    SignatureText "^[0-9a-f]{128}$" "signature" "An Ed25519 signature.";
    MultiaddrText "" "multiaddr"
        "The multiaddr of a node, such as `/ip4/192.0.2.7/tcp/8401`.";
    PeerIdText "" "peer-id"
        "A peer id, such as `12D3KooW…`.";
    IpText "" "ip" "An IP address or a range of them, such as `192.0.2.7` or `192.0.2.0/24`.";
    BanId "" "ban-id"
        "A peer id, an IP address or a range of IP addresses.";
    WorkerId "^[^/]{1,200}$" "worker-id"
        "The user name of a worker: an address, and a name after a dot unless it is empty.";
    TemplateId "^[0-9a-f]{1,16}-[0-9a-f]{80}$" "template-id" "A template id.";
}

/// An amount in base units, 100,000,000 to a coin.
pub struct Units;

impl JsonSchema for Units {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "integer", "minimum": 0, "maximum": Amount::MAX.units(),
            "description": "An amount in base units, 100,000,000 to a coin.",
        })
    }
}

/// An integer in a JSON body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Integer(pub u64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Integer, D::Error> {
        exact(u64::deserialize(deserializer)?).map(Integer)
    }
}

/// An integer in a JSON body that may be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedInteger(pub i64);

impl<'de> Deserialize<'de> for SignedInteger {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SignedInteger, D::Error> {
        let number = i64::deserialize(deserializer)?;
        exact(number.unsigned_abs()).map(|_| SignedInteger(number))
    }
}

/// An integer in a query: decimal digits only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digits(pub u64);

impl<'de> Deserialize<'de> for Digits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digits, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.parse() {
            // `parse` alone would accept a plus sign.
            Ok(number) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                exact(number).map(Digits)
            }
            _ => Err(D::Error::invalid_value(Unexpected::Str(&text), &"a whole number in digits")),
        }
    }
}

/// Implements inline schemas of the integer types.
macro_rules! integer_schemas {
    ($($name:ident from $least:expr;)*) => {$(
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "integer", "minimum": $least, "maximum": MAX_EXACT})
            }
        }
    )*};
}

/// The largest integer that every JSON reader represents exactly.
const MAX_EXACT: i64 = Amount::MAX.units().cast_signed();

integer_schemas! {
    Integer from 0;
    Digits from 0;
    SignedInteger from -MAX_EXACT;
}

fn exact<E: Error>(number: u64) -> Result<u64, E> {
    if number <= Amount::MAX.units() {
        Ok(number)
    } else {
        Err(E::invalid_value(Unexpected::Unsigned(number), &"a whole number of at most 2^53 − 1"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // R07
    #[test]
    fn integers_are_whole_and_exact() {
        let read = |text: &str| serde_json::from_str::<Integer>(text).map(|integer| integer.0).ok();
        assert_eq!(read("0"), Some(0));
        assert_eq!(read("9007199254740991"), Some((1 << 53) - 1));
        for wrong in [
            "9007199254740992",
            "18446744073709551616",
            "-1",
            "-0",
            "+1",
            "1.0",
            "1e0",
            "01",
            "\"1\"",
            "null",
            "true",
            "[1]",
            "0x1",
            "1_000",
            "NaN",
            "1e400",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn signed_integers_are_whole_and_exact() {
        let read =
            |text: &str| serde_json::from_str::<SignedInteger>(text).map(|number| number.0).ok();
        assert_eq!(read("-9007199254740991"), Some(1 - (1 << 53)));
        assert_eq!((read("0"), read("7")), (Some(0), Some(7)));
        for wrong in ["-9007199254740992", "9007199254740992", "-1.0", "-1e0", "+1", "\"-1\""] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    // R07, R09
    #[test]
    fn query_integers_are_digits_only() {
        let read = |text: &str| {
            let text = serde::de::value::StrDeserializer::<serde::de::value::Error>::new(text);
            Digits::deserialize(text).map(|digits| digits.0).ok()
        };
        assert_eq!(read("25"), Some(25));
        assert_eq!(read("9007199254740991"), Some((1 << 53) - 1));
        for wrong in [
            "",
            "-1",
            "+1",
            " 1",
            "1 ",
            "1.0",
            "1e3",
            "0x10",
            "x",
            "9007199254740992",
            "18446744073709551615",
            "99999999999999999999999",
            "１",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
