//! The payout address in the user name of HTTP Basic, with an optional worker name after a dot.
//! Source: RFC 7617.

use super::error::Error;
use crate::state::NodeState;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use chain::Address;

/// Base 64 with or without padding; `headers`, the usual parser of this header, requires it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The payout address: the user name, or else the node's default.
pub(super) fn payout_address(headers: &HeaderMap, node: &NodeState) -> Result<Address, Error> {
    let hrp = node.reader.params().hrp();
    let named = headers.get(AUTHORIZATION).and_then(|value| user(value.to_str().ok()?));
    let address = match named.as_deref() {
        None | Some("") => node.default_miner,
        Some(user) => {
            let address = user.split_once('.').map_or(user, |(address, _)| address);
            Address::decode_for(address, hrp).ok()
        }
    };
    address.ok_or_else(|| {
        let network = node.reader.params().name();
        let message = format!("the user name must be an address of the network {network} to pay");
        Error::new(Error::UNAUTHORIZED, message)
    })
}

/// Parses the user name from the value of an `Authorization` header.
fn user(value: &str) -> Option<String> {
    let (scheme, credentials) = value.split_once(' ')?;
    let bytes =
        scheme.eq_ignore_ascii_case("basic").then(|| BASE64.decode(credentials.trim()).ok())??;
    let text = String::from_utf8(bytes).ok()?;
    text.split_once(':').map(|(user, _)| user.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 4648, section 10; RFC 7617, section 2.
    #[test]
    fn user_name_precedes_the_colon() {
        for (text, expected) in [
            ("", &b""[..]),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9vYg==", b"foob"),
            ("Zm9vYmE", b"fooba"),
            ("Zm9vYmFy", b"foobar"),
            ("+/+/", b"\xfb\xff\xbf"),
        ] {
            assert_eq!(BASE64.decode(text).ok().as_deref(), Some(expected), "{text}");
        }
        for wrong in ["Z", "Zm9vY", "Zm9 v", "Zm9-", "\u{e4}"] {
            assert!(BASE64.decode(wrong).is_err(), "{wrong}");
        }
        for scheme in ["Basic ", "basic  "] {
            let header = format!("{scheme}QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
            assert_eq!(user(&header).as_deref(), Some("Aladdin"));
        }
        for wrong in ["", "Basic", "Bearer QTpC", "Basic QQ==", "Basic /w=="] {
            assert_eq!(user(wrong), None, "{wrong}");
        }
    }
}
