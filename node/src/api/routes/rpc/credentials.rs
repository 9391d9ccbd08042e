//! The credentials of HTTP Basic: a payout address as user name, with an optional worker name after a
//! dot, or the API token as the password of the user `token`.
//! Source: RFC 7617.

use super::error::Error;
use crate::auth::Token;
use crate::state::NodeState;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use chain::Address;
use miner::stratum::Worker;

/// Base 64 with or without padding; `headers`, the usual parser of this header, requires it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The user name whose password is the API token.
const TOKEN_USER: &str = "token";

/// Checks that a request carries the API token, as a password or as `Authorization: Bearer TOKEN`.
///
/// # Errors
/// It does not.
pub(super) fn require_token(headers: &HeaderMap, token: &Token) -> Result<(), Error> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let basic = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().and_then(basic),
        _ => None,
    };
    let is_password =
        basic.is_some_and(|(user, password)| user == TOKEN_USER && token.is_equal_to(&password));
    if is_password || token.is_sent_in(headers) {
        return Ok(());
    }
    let message = "unauthorized: the method needs the user `token` with the API token as password, or \
                   `Authorization: Bearer TOKEN`; the token is in `api-token` in the node's data folder";
    Err(Error::new(Error::UNAUTHORIZED, message))
}

/// The worker: the user name unless it is `token`, or else the node's default payout address.
pub(super) fn worker(headers: &HeaderMap, node: &NodeState) -> Result<Worker<Address>, Error> {
    let hrp = node.reader.params().hrp();
    let named = headers.get(AUTHORIZATION).and_then(|value| basic(value.to_str().ok()?));
    let worker = match named.as_ref().map(|(user, _)| user.as_str()) {
        None | Some("" | TOKEN_USER) => node.default_miner.map(|address| Worker::new(address, "")),
        Some(user) => Worker::parse(user, |address| Address::decode_for(address, hrp).ok()),
    };
    worker.ok_or_else(|| {
        let network = node.reader.params().name();
        let message = format!("the user name must be an address of the network {network} to pay");
        Error::new(Error::UNAUTHORIZED, message)
    })
}

/// Parses user name and password from the value of an `Authorization` header.
fn basic(value: &str) -> Option<(String, String)> {
    let (scheme, credentials) = value.split_once(' ')?;
    let bytes =
        scheme.eq_ignore_ascii_case("basic").then(|| BASE64.decode(credentials.trim()).ok())??;
    let text = String::from_utf8(bytes).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    // R14
    #[test]
    fn token_is_a_password_or_a_bearer_token() {
        let folder = tempfile::tempdir().unwrap();
        let token = Token::open_or_create(folder.path()).unwrap();
        let is_accepted = |values: &[String]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().unwrap());
            }
            let result = require_token(&headers, &token);
            assert!(result.as_ref().err().is_none_or(|error| error.code == Error::UNAUTHORIZED));
            result.is_ok()
        };
        let basic = |user: &str, password: &str| {
            format!("Basic {}", BASE64.encode(format!("{user}:{password}")))
        };
        let text = token.text();
        assert!(is_accepted(&[basic("token", text)]));
        assert!(is_accepted(&[format!("Bearer {text}")]));
        let address = Address::ZERO.encode(chain::Params::dev().hrp());
        for (user, password) in [("token", ""), ("token", "x"), ("", text), (&address, text)] {
            assert!(!is_accepted(&[basic(user, password)]), "{user}:{password}");
        }
        assert!(!is_accepted(&[]));
        assert!(!is_accepted(&[basic("token", text), basic("token", text)]));
        assert!(!is_accepted(&[basic("token", &format!("{text}0"))]));
    }

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
            assert_eq!(basic(&header), Some(("Aladdin".to_owned(), "open sesame".to_owned())));
        }
        for wrong in ["", "Basic", "Bearer QTpC", "Basic QQ==", "Basic /w=="] {
            assert_eq!(basic(wrong), None, "{wrong}");
        }
    }
}
