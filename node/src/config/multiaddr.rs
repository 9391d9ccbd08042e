//! Parsing of the multiaddrs of nodes, of TCP only.

use anyhow::{Context, Result, ensure};
use p2p::Multiaddr;
use p2p::multiaddr::Protocol;
use std::net::IpAddr;

/// Parses the boot nodes of a network.
pub fn boot_nodes(texts: &[String]) -> Result<Vec<Multiaddr>> {
    texts.iter().map(|text| address(text).context("boot_nodes")).collect()
}

/// Parses the address of a node: an IP address or a name, a TCP port, optionally a peer id.
pub fn address(text: &str) -> Result<Multiaddr> {
    let address: Option<Multiaddr> = text.parse().ok();
    let address = address
        .with_context(|| format!("`{text}` is not a multiaddr such as /ip4/192.0.2.7/tcp/8401"))?;
    let mut parts = address.iter();
    let host_is_good = match parts.next() {
        Some(Protocol::Ip4(ip)) => is_dialable(ip.into()),
        Some(Protocol::Ip6(ip)) => is_dialable(ip.to_canonical()),
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)) => true,
        _ => false,
    };
    ensure!(host_is_good, "`{text}` does not start with the IP address or name of a node");
    let port_is_good = matches!(parts.next(), Some(Protocol::Tcp(port)) if port != 0);
    ensure!(port_is_good, "`{text}` has no TCP port such as /tcp/8401 after its host");
    let end_is_good = matches!((parts.next(), parts.next()), (None | Some(Protocol::P2p(_)), None));
    ensure!(end_is_good, "`{text}` has more after its port than a peer id such as /p2p/12D3Koo…");
    Ok(address)
}

/// Whether an address is that of a single machine and not link-local: cloud metadata services, which
/// expose credentials, have link-local addresses.
fn is_dialable(ip: IpAddr) -> bool {
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(is_link_local || ip.is_unspecified() || ip.is_multicast())
}

#[cfg(test)]
mod tests {
    use super::*;

    // R16
    #[test]
    fn address_accepts_single_hosts_over_tcp_only() {
        let id = "12D3KooWGjMGHr6D5Yw2nUYB4pVZ5cmGwDXyMrqxqHrqhXKYVQdz";
        for good in [
            "/ip4/127.0.0.1/tcp/8401",
            "/ip6/::1/tcp/65535",
            "/dns/node.example.org/tcp/1",
            "/dns4/localhost/tcp/8401",
            &format!("/ip4/10.0.0.1/tcp/8401/p2p/{id}"),
        ] {
            assert_eq!(address(good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            "127.0.0.1:8401",
            "http://127.0.0.1:8401",
            "file:///etc/passwd",
            "/ip4/127.0.0.1",
            "/ip4/127.0.0.1/tcp/0",
            "/ip4/127.0.0.1/tcp/65536",
            "/ip4/127.0.0.1/udp/8401",
            "/ip4/127.0.0.1/udp/8401/quic-v1",
            "/ip4/127.0.0.1/tcp/80/http",
            "/unix/tmp",
            "/memory/7",
            "/ip4/0.0.0.0/tcp/8401",
            "/ip4/169.254.169.254/tcp/80",
            "/ip6/::ffff:169.254.169.254/tcp/80",
            "/ip6/fe80::1/tcp/8401",
            "/ip4/224.0.0.1/tcp/8401",
            "/ip4/255.255.255.255/tcp/8401",
            &format!("/p2p/{id}"),
            &format!("/ip4/10.0.0.1/tcp/8401/p2p/{id}/p2p-circuit"),
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
        assert!(
            address("10.0.0.1:8401")
                .unwrap_err()
                .to_string()
                .contains("not a multiaddr such as /ip4/192.0.2.7/tcp/8401")
        );
    }
}
