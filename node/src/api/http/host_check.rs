//! The allow-list for the `Host` header. A web page can make a browser on this machine send requests
//! to the node under the page's own name (DNS rebinding); its `Host` header is then a foreign name.

use crate::api::http::problem::{Kind, Problem};
use anyhow::{Result, bail};
use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::Response;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// The host names and addresses under which clients may reach the API.
#[derive(Clone, Debug)]
pub struct AllowedHosts {
    allowed: Arc<HashSet<String>>,
}

impl AllowedHosts {
    /// Allows the loopback names, the address the API is bound to and `extra` names.
    pub fn new(bound: IpAddr, extra: &[String]) -> Result<AllowedHosts> {
        let mut allowed = HashSet::from(["localhost".to_owned()]);
        if !bound.is_unspecified() {
            allowed.insert(bound.to_canonical().to_string());
        }
        for name in extra {
            match host_of(name) {
                Some(host) if !name.is_empty() => allowed.insert(host),
                _ => bail!("api_host `{name}` is not a host name such as node.example.org"),
            };
        }
        Ok(AllowedHosts { allowed: Arc::new(allowed) })
    }

    /// Returns whether the value of a `Host` header, with or without a port, is allowed.
    fn allow(&self, header: &str) -> bool {
        host_of(header).is_some_and(|host| {
            let number = host.parse::<IpAddr>();
            number.is_ok_and(|ip| ip.is_loopback()) || self.allowed.contains(&host)
        })
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
        let detail = "host name not allowed: use localhost, or start the node with --api-host NAME";
        Err(Problem::new(Kind::FORBIDDEN_HOST, detail))
    }

    /// Returns whether the value of an `Origin` header is a page served under an allowed name.
    fn allow_origin(&self, header: &str) -> bool {
        let host = header.strip_prefix("http://").or_else(|| header.strip_prefix("https://"));
        host.is_some_and(|host| self.allow(host))
    }
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port` in normal form: lower case, without a
/// trailing dot, addresses in canonical notation.
fn host_of(header: &str) -> Option<String> {
    let (host, port) = match header.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let address = IpAddr::V6(address.parse::<Ipv6Addr>().ok()?);
            let port = if port.is_empty() { "0" } else { port.strip_prefix(':')? };
            (address.to_canonical().to_string(), port)
        }
        None => {
            let (name, port) = header.split_once(':').unwrap_or((header, "0"));
            (name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase(), port)
        }
    };
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    let well_formed = !host.is_empty() && host.bytes().all(letter);
    (well_formed && port.parse::<u16>().is_ok()).then_some(host)
}

/// Middleware that rejects pages of other hosts: browsers open WebSockets to any host and name the
/// page's own in the `Origin` header. Clients other than browsers send none.
pub async fn check_origin(
    State(hosts): State<AllowedHosts>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let mut origins = request.headers().get_all(ORIGIN).iter();
    if origins.all(|origin| origin.to_str().is_ok_and(|origin| hosts.allow_origin(origin))) {
        return Ok(next.run(request).await);
    }
    let detail =
        "cross-origin request not allowed: start the node with --api-host NAME to allow it";
    Err(Problem::new(Kind::FORBIDDEN_HOST, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(extra: &[&str]) -> Result<AllowedHosts> {
        let extra: Vec<String> = extra.iter().map(ToString::to_string).collect();
        AllowedHosts::new("192.0.2.1".parse().unwrap(), &extra)
    }

    // R13
    #[test]
    fn allows_loopback_bound_address_and_extra_names_in_every_notation() {
        let hosts = hosts(&["Node.Example.org", "[2001:db8::1]"]).unwrap();
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
            "node.example.org",
            "NODE.example.ORG.:443",
            "[2001:DB8::1]:8400",
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
            "0.0.0.0",
            "[::]",
            "[::1",
            "::1",
            "[::1]x",
            "192.0.2.2",
            "xn--nde-sna.example.org",
            "node.example.org.evil.example",
            " localhost",
        ] {
            assert!(!hosts.allow(host), "{host}");
        }
    }

    // R11, R13
    #[test]
    fn allows_only_origins_with_allowed_names() {
        let hosts = hosts(&["node.example.org"]).unwrap();
        for origin in ["http://localhost:8400", "https://node.example.org", "http://[::1]:1"] {
            assert!(hosts.allow_origin(origin), "{origin}");
        }
        for origin in [
            "null",
            "",
            "http://",
            "localhost",
            "file://localhost",
            "https://evil.example",
            "http://localhost.evil.example",
            "http://evil@localhost",
        ] {
            assert!(!hosts.allow_origin(origin), "{origin}");
        }
    }

    #[test]
    fn rejects_malformed_extra_names() {
        for name in ["", "http://node.example.org", "a b", "*"] {
            assert!(hosts(&[name]).is_err(), "{name}");
        }
    }
}
