//! The payout address in the user name of HTTP Basic, with an optional worker name after a dot.
//! Source: RFC 7617.

use super::error::Error;
use crate::state::NodeState;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use chain::Address;

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
    let bytes = scheme.eq_ignore_ascii_case("basic").then(|| base64(credentials.trim()))??;
    let text = String::from_utf8(bytes).ok()?;
    text.split_once(':').map(|(user, _)| user.to_owned())
}

/// Decodes base 64, with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        let mut bits = 0_u32;
        for digit in group {
            bits = bits << 6 | u32::from(value(*digit)?);
        }
        // Six bits a digit: the last group may have two or three.
        bits <<= 6 * (4 - group.len());
        let whole = (group.len() * 6) / 8;
        bytes.extend_from_slice(bits.to_be_bytes()[1..].get(..whole).filter(|it| !it.is_empty())?);
    }
    Some(bytes)
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 4648, section 10; RFC 7617, section 2.
    #[test]
    fn the_user_name_is_what_stands_before_the_colon() {
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
            assert_eq!(base64(text).as_deref(), Some(expected), "{text}");
        }
        for wrong in ["Z", "Zm9vY", "Zm9 v", "Zm9-", "\u{e4}"] {
            assert_eq!(base64(wrong), None, "{wrong}");
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
