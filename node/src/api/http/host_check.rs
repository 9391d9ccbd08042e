//! The names to which the API answers. A web page can make a browser on this machine send requests
//! here under a name of the page's own (DNS rebinding); the `Host` header then gives it away.

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

/// The names and numbers by which clients may call the API.
#[derive(Clone, Debug)]
pub struct Hosts {
    allowed: Arc<HashSet<String>>,
}

impl Hosts {
    /// Those of the loopback interface, the address the API is bound to, and further names.
    pub fn new(bound: IpAddr, further: &[String]) -> Result<Hosts> {
        let mut allowed = HashSet::from(["localhost".to_owned()]);
        if !bound.is_unspecified() {
            allowed.insert(bound.to_canonical().to_string());
        }
        for name in further {
            match host_of(name) {
                Some(host) if !name.is_empty() => allowed.insert(host),
                _ => bail!("api_host `{name}` is not a host name such as node.example.org"),
            };
        }
        Ok(Hosts { allowed: Arc::new(allowed) })
    }

    /// Whether a `Host` header, port and all, names this node.
    fn allow(&self, header: &str) -> bool {
        host_of(header).is_some_and(|host| {
            let number = host.parse::<IpAddr>();
            number.is_ok_and(|ip| ip.is_loopback()) || self.allowed.contains(&host)
        })
    }

    /// Whether a request calls this node by one of its names.
    ///
    /// # Errors
    /// What to answer when it does not.
    pub fn check(&self, request: &Request) -> Result<(), Problem> {
        let mut headers = request.headers().get_all(HOST).iter();
        let (Some(host), None) = (headers.next(), headers.next()) else {
            let detail = "a request must have exactly one Host header";
            return Err(Problem::new(Kind::BAD_REQUEST, detail));
        };
        // A request line with a host of its own overrides the header.
        let line = request.uri().authority().map(Authority::as_str);
        let allowed = host.to_str().is_ok_and(|host| self.allow(host))
            && line.is_none_or(|line| self.allow(line));
        if allowed {
            return Ok(());
        }
        let detail = "this name is not among those the node answers to: call it by localhost, or \
                      start the node with --api-host NAME";
        Err(Problem::new(Kind::FORBIDDEN_HOST, detail))
    }

    /// Whether an `Origin` header is of a page that this node, or one by the same name, has sent.
    fn allow_origin(&self, header: &str) -> bool {
        let host = header.strip_prefix("http://").or_else(|| header.strip_prefix("https://"));
        host.is_some_and(|host| self.allow(host))
    }
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port` in its one spelling: lower case, without
/// the dot that may end a name, numbers as numbers are written.
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

/// Lets no page of another host through: browsers open WebSockets to anywhere, and say for whom in
/// the `Origin` header. Programs that are no browsers send none.
pub async fn check_origin(
    State(hosts): State<Hosts>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let mut origins = request.headers().get_all(ORIGIN).iter();
    if origins.all(|origin| origin.to_str().is_ok_and(|origin| hosts.allow_origin(origin))) {
        return Ok(next.run(request).await);
    }
    let detail = "a page of another host may not open this: to let it, start the node with \
                  --api-host NAME";
    Err(Problem::new(Kind::FORBIDDEN_HOST, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(further: &[&str]) -> Result<Hosts> {
        let further: Vec<String> = further.iter().map(ToString::to_string).collect();
        Hosts::new("192.0.2.1".parse().unwrap(), &further)
    }

    // R13
    #[test]
    fn loopback_the_bound_address_and_further_names_are_allowed_in_every_spelling() {
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
    fn every_other_name_is_forbidden() {
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
    fn only_pages_of_allowed_names_may_open_sockets() {
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
    fn a_further_name_must_be_one() {
        for name in ["", "http://node.example.org", "a b", "*"] {
            assert!(hosts(&[name]).is_err(), "{name}");
        }
    }
}
