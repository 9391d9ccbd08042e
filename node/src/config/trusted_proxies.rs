//! Reverse proxies that the operator trusts: the client of a request that they forward is the
//! rightmost address of `X-Forwarded-For` or `Forwarded` that is not theirs.

use anyhow::{Context, Result};
use axum::http::HeaderMap;
use axum::http::header::{FORWARDED, HeaderName};
use p2p::Cidr;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const VIA: HeaderName = HeaderName::from_static("via");

/// The networks of trusted proxies. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Arc<[Cidr]>);

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the peer of the connection.
    Direct,
    /// From a client of a trusted proxy.
    Forwarded(IpAddr),
    /// From a client of a trusted proxy that does not name it properly: it counts as the proxy.
    Unnamed,
}

impl TrustedProxies {
    /// Parses networks such as `10.0.0.0/8`, and addresses.
    pub fn parse(networks: &[String]) -> Result<TrustedProxies> {
        let parse = |text: &String| text.parse::<Cidr>().context("trusted_proxy");
        Ok(TrustedProxies(networks.iter().map(parse).collect::<Result<_>>()?))
    }

    /// Whether no proxy is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn contains(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(ip))
    }

    /// Determines where a request comes from. Only a trusted peer is believed; if it sends both
    /// headers, one of them may be its client's, so that neither is.
    pub fn origin(&self, peer: IpAddr, headers: &HeaderMap) -> Origin {
        if !self.contains(peer) || !is_forwarded(headers) {
            return Origin::Direct;
        }
        let is_named = |name: &HeaderName| headers.contains_key(name);
        let client = match (is_named(&X_FORWARDED_FOR), is_named(&FORWARDED)) {
            (true, false) => self.client(headers, &X_FORWARDED_FOR, address),
            (false, true) => self.client(headers, &FORWARDED, forwarded_for),
            _ => None,
        };
        client.map_or(Origin::Unnamed, Origin::Forwarded)
    }

    /// The rightmost address that is not of a trusted proxy; `None` if an element on the way there
    /// is malformed, or if there is none.
    fn client(
        &self,
        headers: &HeaderMap,
        name: &HeaderName,
        parse: impl Fn(&str) -> Option<IpAddr>,
    ) -> Option<IpAddr> {
        for value in headers.get_all(name).iter().rev() {
            for element in value.to_str().ok()?.rsplit(',') {
                let ip = parse(element.trim())?.to_canonical();
                if !self.contains(ip) {
                    // A proxy cannot vouch for the privileges of this machine.
                    return (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip);
                }
            }
        }
        None
    }
}

/// Whether a proxy added a header to a request.
pub fn is_forwarded(headers: &HeaderMap) -> bool {
    [X_FORWARDED_FOR, FORWARDED, VIA].iter().any(|name| headers.contains_key(name))
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse().ok().map(|socket: SocketAddr| socket.ip());
    text.parse().ok().or_else(with_port).or_else(bracketed)
}

/// The address of `for=` in an element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    address(value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(peer: &str, headers: &[(&'static str, &str)]) -> Origin {
        let trusted = ["10.0.0.0/8", "127.0.0.1", "2001:db8:1::/48"].map(str::to_owned);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        TrustedProxies::parse(&trusted).unwrap().origin(peer.parse().unwrap(), &map)
    }

    fn client(text: &str) -> Origin {
        Origin::Forwarded(text.parse().unwrap())
    }

    // R10
    #[test]
    fn rightmost_untrusted_hop_is_the_client() {
        for (header, value, expected) in [
            ("x-forwarded-for", "192.0.2.1", client("192.0.2.1")),
            ("x-forwarded-for", "203.0.113.9, 192.0.2.1, 10.1.2.3", client("192.0.2.1")),
            ("x-forwarded-for", "nonsense, 192.0.2.1:1234", client("192.0.2.1")),
            ("x-forwarded-for", "[2001:db8::1]:80", client("2001:db8::1")),
            ("x-forwarded-for", "::ffff:192.0.2.1", client("192.0.2.1")),
            (
                "forwarded",
                "for=203.0.113.9;proto=https, for=\"[2001:db8::1]:9\"",
                client("2001:db8::1"),
            ),
            ("forwarded", "by=10.0.0.1; For=192.0.2.1", client("192.0.2.1")),
            ("x-forwarded-for", "", Origin::Unnamed),
            ("x-forwarded-for", "192.0.2.1, unknown", Origin::Unnamed),
            ("x-forwarded-for", "192.0.2.1,", Origin::Unnamed),
            ("x-forwarded-for", "192.0.2.1, localhost", Origin::Unnamed),
            ("x-forwarded-for", "10.0.0.1, 10.0.0.2", Origin::Unnamed),
            ("forwarded", "for=_hidden", Origin::Unnamed),
            ("via", "1.1 proxy", Origin::Unnamed),
        ] {
            assert_eq!(origin("10.0.0.7", &[(header, value)]), expected, "{header}: {value}");
        }
        let lines = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(origin("127.0.0.1", &lines), client("192.0.2.1"));
    }

    // R10
    #[test]
    fn forged_headers_gain_nothing() {
        let forged = [("x-forwarded-for", "127.0.0.1")];
        assert_eq!(origin("192.0.2.5", &forged), Origin::Direct, "the peer is no trusted proxy");
        assert_eq!(origin("10.0.0.7", &[("x-forwarded-for", "::1")]), Origin::Unnamed);
        assert_eq!(origin("10.0.0.7", &[("x-forwarded-for", "127.0.0.5")]), Origin::Unnamed);
        let both = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.1")];
        assert_eq!(origin("10.0.0.7", &both), Origin::Unnamed);
        assert_eq!(origin("10.0.0.7", &[]), Origin::Direct);
        assert_eq!(
            TrustedProxies::default().origin([10, 0, 0, 7].into(), &HeaderMap::new()),
            Origin::Direct
        );
    }
}
