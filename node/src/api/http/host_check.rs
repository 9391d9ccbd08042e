//! What web pages may make the browser of an operator request. A page can make it send requests to the
//! node under the page's own name (DNS rebinding); the `Host` header is then a foreign name. And any
//! page can make it send requests to the node under the node's name, whose answers it cannot read, but
//! which make work or change state.

use crate::api::http::problem::{Kind, Problem};
use anyhow::{Result, bail};
use axum::extract::Request;
use axum::http::HeaderName;
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::Response;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// The relation of the page that sends a request to the host that receives it.
/// Source: W3C, "Fetch Metadata Request Headers".
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The host names under which clients may reach the API. IP addresses are always allowed: a page
/// cannot be served under the address of another machine.
#[derive(Clone, Debug)]
pub struct AllowedHosts {
    allowed: Arc<HashSet<String>>,
}

impl AllowedHosts {
    /// Allows `localhost` and `extra` names.
    pub fn new(extra: &[String]) -> Result<AllowedHosts> {
        let mut allowed = HashSet::from(["localhost".to_owned()]);
        for name in extra {
            match host_of(name) {
                Some(host) if !name.is_empty() => allowed.insert(host),
                _ => bail!("api_host `{name}` is not a host name such as node.example.org"),
            };
        }
        Ok(AllowedHosts { allowed: Arc::new(allowed) })
    }

    /// Returns whether the value of a `Host` header, with or without a port, is allowed.
    pub fn allow(&self, header: &str) -> bool {
        host_of(header)
            .is_some_and(|host| host.parse::<IpAddr>().is_ok() || self.allowed.contains(&host))
    }

    /// Checks the `Host` header, and the authority of the request line if it has one.
    ///
    /// # Errors
    /// Returns the problem to respond with if the name is not allowed.
    pub fn check(&self, request: &Request) -> Result<(), Problem> {
        let mut headers = request.headers().get_all(HOST).iter();
        let (Some(host), None) = (headers.next(), headers.next()) else {
            let detail = "a request must have exactly one Host header";
            return Err(Problem::new(Kind::BAD_REQUEST, detail));
        };
        // An authority in the request line takes precedence over the header.
        let line = request.uri().authority().map(Authority::as_str);
        let allowed = host.to_str().is_ok_and(|host| self.allow(host))
            && line.is_none_or(|line| self.allow(line));
        if allowed {
            return Ok(());
        }
        let detail = "host name not allowed: use an IP address or localhost, or start the node with \
                      --api-host NAME";
        Err(Problem::new(Kind::FORBIDDEN_HOST, detail))
    }
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port` in normal form: lower case, without a
/// trailing dot, addresses in canonical notation.
fn host_of(header: &str) -> Option<String> {
    host_and_port(header).map(|(host, _)| host)
}

/// The host in normal form, and the port if there is one.
fn host_and_port(header: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match header.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let address = IpAddr::V6(address.parse::<Ipv6Addr>().ok()?);
            let port = if port.is_empty() { None } else { Some(port.strip_prefix(':')?) };
            (address.to_canonical().to_string(), port)
        }
        None => {
            let (name, port) =
                header.split_once(':').map_or((header, None), |(name, port)| (name, Some(port)));
            (name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase(), port)
        }
    };
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    let well_formed = !host.is_empty() && host.bytes().all(letter);
    let port = port.map(|port| port.parse::<u16>().ok());
    match port {
        Some(None) => None,
        port => well_formed.then_some((host, port.flatten())),
    }
}

/// Whether an `Origin` header names the host and port of a `Host` header. A missing port is the
/// default of the origin's scheme: behind a proxy, the scheme of the host is not known.
fn is_origin_of(origin: &str, host: &str) -> bool {
    let parts = [("http://", 80), ("https://", 443)]
        .into_iter()
        .find_map(|(scheme, port)| Some((host_and_port(origin.strip_prefix(scheme)?)?, port)));
    parts.is_some_and(|((name, port), default)| {
        host_and_port(host).is_some_and(|(host, host_port)| {
            host == name && host_port.unwrap_or(default) == port.unwrap_or(default)
        })
    })
}

/// Checks that no page of another host sends the request. Clients other than browsers name no page.
///
/// # Errors
/// Returns the problem to respond with if `Sec-Fetch-Site` says that another site sends it, or if the
/// `Origin` is another host or port.
pub fn check_same_origin(request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    let is_foreign = |site: &str| matches!(site, "cross-site" | "same-site");
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
    let from_other_site = sites.any(|site| site.to_str().is_ok_and(is_foreign));
    let line = request.uri().authority().map(Authority::as_str);
    let host = line.or_else(|| headers.get(HOST)?.to_str().ok());
    let mut origins = headers.get_all(ORIGIN).iter();
    let is_own = origins.all(|origin| {
        host.is_some_and(|host| origin.to_str().is_ok_and(|origin| is_origin_of(origin, host)))
    });
    if is_own && !from_other_site {
        return Ok(());
    }
    let detail = "a page of another host may not send this request: its Origin must be the host and \
                  port of the node";
    Err(Problem::new(Kind::FORBIDDEN_HOST, detail))
}

/// Middleware that applies `check_same_origin` to requests that read but make work.
pub async fn same_origin(request: Request, next: Next) -> Result<Response, Problem> {
    check_same_origin(&request)?;
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn hosts(extra: &[&str]) -> Result<AllowedHosts> {
        let extra: Vec<String> = extra.iter().map(ToString::to_string).collect();
        AllowedHosts::new(&extra)
    }

    // R13: an address cannot be rebound, and orchestrators probe containers by theirs.
    #[test]
    fn allows_addresses_and_extra_names_in_every_notation() {
        let hosts = hosts(&["Node.Example.org"]).unwrap();
        for host in [
            "localhost",
            "localhost:8400",
            "LocalHost.:80",
            "127.0.0.1",
            "127.9.9.9:1",
            "[::1]",
            "[::1]:8400",
            "[0:0:0:0:0:0:0:1]:8400",
            "[::ffff:127.0.0.1]",
            "192.0.2.1:8400",
            "10.42.0.17:8400",
            "[2001:DB8::1]:8400",
            "node.example.org",
            "NODE.example.ORG.:443",
        ] {
            assert!(hosts.allow(host), "{host}");
        }
    }

    // R13
    #[test]
    fn rejects_every_other_host() {
        let hosts = hosts(&["node.example.org"]).unwrap();
        for host in [
            "",
            ".",
            "evil.example",
            "evil.example:8400",
            "localhost.evil.example",
            "localhost..",
            "localhost:",
            "localhost:99999",
            "localhost:80:80",
            "evil.example#localhost",
            "evil@localhost",
            "localhost@evil.example",
            "127.0.0.1.evil.example",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "[::1",
            "::1",
            "[::1]x",
            "xn--nde-sna.example.org",
            "node.example.org.evil.example",
            " localhost",
        ] {
            assert!(!hosts.allow(host), "{host}");
        }
    }

    fn check(headers: &[(&str, &str)]) -> bool {
        let request = headers
            .iter()
            .fold(Request::post("/"), |request, (name, value)| request.header(*name, *value));
        check_same_origin(&request.body(Body::empty()).unwrap()).is_ok()
    }

    // R31
    #[test]
    fn origin_is_the_host_and_port_of_the_node() {
        for (origin, host) in [
            ("http://localhost:8400", "localhost:8400"),
            ("http://LOCALHOST", "localhost:80"),
            ("https://node.example.org", "node.example.org"),
            ("https://node.example.org", "node.example.org:443"),
            ("http://[::1]:1", "[0:0::1]:1"),
        ] {
            assert!(check(&[("host", host), ("origin", origin)]), "{origin} {host}");
        }
        for (origin, host) in [
            ("http://localhost:3000", "localhost:8400"),
            ("http://localhost", "localhost:8400"),
            ("http://127.0.0.1:8400", "localhost:8400"),
            ("null", "localhost"),
            ("", "localhost"),
            ("http://", "localhost"),
            ("localhost", "localhost"),
            ("file://localhost", "localhost"),
            ("https://evil.example", "localhost"),
            ("http://localhost.evil.example", "localhost"),
            ("http://evil@localhost", "localhost"),
            ("http://localhost:", "localhost"),
        ] {
            assert!(!check(&[("host", host), ("origin", origin)]), "{origin} {host}");
        }
        assert!(!check(&[("host", "a"), ("origin", "http://a"), ("origin", "http://b")]));
    }

    // R31
    #[test]
    fn request_of_another_site_is_rejected_and_one_without_a_page_passes() {
        assert!(check(&[("host", "localhost")]));
        for (site, is_allowed) in
            [("same-origin", true), ("none", true), ("cross-site", false), ("same-site", false)]
        {
            assert_eq!(check(&[("host", "localhost"), ("sec-fetch-site", site)]), is_allowed);
        }
    }

    #[test]
    fn rejects_malformed_extra_names() {
        for name in ["", "http://node.example.org", "a b", "*"] {
            assert!(hosts(&[name]).is_err(), "{name}");
        }
    }
}
