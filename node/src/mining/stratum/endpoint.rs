//! Where miners reach the Stratum server.

use crate::listener;
use std::net::{IpAddr, SocketAddr};

/// The scheme of the server's URLs.
const SCHEME: &str = "stratum+tcp://";
/// The scheme of its URLs with TLS.
const TLS_SCHEME: &str = "stratum+ssl://";

/// The address of the server, and the URLs for miners.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The address on which it listens.
    ip: IpAddr,
    /// The address for clients on this machine.
    local: SocketAddr,
    /// The URL that the operator wants to be shown.
    url: Option<String>,
    /// Whether the server has a certificate.
    has_tls: bool,
}

impl Endpoint {
    /// The server that listens on `ip`, and that clients on this machine reach at `local`. The URL of the
    /// operator replaces all others. With a certificate it is reached by TLS, too.
    pub fn new(ip: IpAddr, local: SocketAddr, url: Option<String>, has_tls: bool) -> Endpoint {
        Endpoint { ip, local, url, has_tls }
    }

    /// The address for clients on this machine.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The URL for clients on this machine.
    pub fn local_url(&self) -> String {
        format!("{SCHEME}{}", self.local)
    }

    /// The URLs for miners: that of the operator, or else one for each address of this machine that
    /// the server listens on, that of the default route first. Those with TLS come last.
    pub fn urls(&self) -> Vec<String> {
        if let Some(url) = &self.url {
            return vec![url.clone()];
        }
        let addresses = match self.ip.is_unspecified() {
            true => listener::interface_addresses(self.ip),
            false => Vec::new(),
        };
        let port = self.local.port();
        let mut addresses: Vec<_> =
            addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        if addresses.is_empty() {
            addresses.push(self.local);
        }
        let schemes = [Some(SCHEME), self.has_tls.then_some(TLS_SCHEME)].into_iter().flatten();
        schemes.flat_map(|scheme| addresses.iter().map(move |at| format!("{scheme}{at}"))).collect()
    }

    /// The URL for a client that names this machine by a host name; that of the operator if there is one.
    pub fn url_at(&self, host: &str) -> String {
        self.url.clone().unwrap_or_else(|| format!("{SCHEME}{host}:{}", self.local.port()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn url_for_miners_is_never_that_of_this_machine_only_if_there_is_another() {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 3333));
        for any in [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()] {
            let endpoint = Endpoint::new(any, local, None, false);
            let has_others = !listener::interface_addresses(any).is_empty();
            let urls = endpoint.urls();
            assert!(!urls.is_empty() && urls.iter().all(|url| url.ends_with(":3333")), "{urls:?}");
            let is_local = |url: &String| url.contains("127.0.0.1") || url.contains("[::1]");
            assert_eq!(urls.iter().any(is_local), !has_others, "{urls:?}");
            assert!(!urls.iter().any(|url| url.contains("0.0.0.0") || url.contains("[::]")));
        }
        let endpoint = Endpoint::new(local.ip(), local, None, false);
        assert_eq!(endpoint.urls(), ["stratum+tcp://127.0.0.1:3333"]);
        assert_eq!(endpoint.url_at("node.lan"), "stratum+tcp://node.lan:3333");
        let tls = Endpoint::new(local.ip(), local, None, true);
        assert_eq!(tls.urls(), ["stratum+tcp://127.0.0.1:3333", "stratum+ssl://127.0.0.1:3333"]);
        let url = "stratum+tcp://pool.example.org:4444".to_owned();
        let endpoint = Endpoint::new(Ipv4Addr::UNSPECIFIED.into(), local, Some(url.clone()), true);
        assert_eq!((endpoint.urls(), endpoint.url_at("node.lan")), (vec![url.clone()], url));
        assert_eq!(endpoint.local_url(), "stratum+tcp://127.0.0.1:3333");
    }
}
