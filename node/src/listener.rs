//! TCP listeners of the API and the Stratum server.

use anyhow::{Context, Result, anyhow};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use tokio::net::{TcpListener, TcpSocket};

/// The length of the queue of connections that are not accepted yet, as far as the system permits:
/// a farm of miners connects at once when its node is back, and a full queue costs them seconds.
const BACKLOG: u32 = 4_096;

/// Binds an address that the command-line option `flag` sets.
///
/// # Errors
/// The error names the option to change when the address is in use or not permitted.
pub fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    listen(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => anyhow!(
            "{address} is in use, perhaps by another node: choose another address with {flag}"
        ),
        io::ErrorKind::PermissionDenied => {
            anyhow!("this user may not listen on {address}: choose a port from 1024 on with {flag}")
        }
        _ => anyhow!("cannot listen on {address}: {error}"),
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // On Windows, the option would let another process take the port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Whether accepting failed because of one client: it disconnected before it was accepted.
pub fn is_client_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// The address at which clients on this machine reach a listener: the loopback address where it
/// listens on all interfaces.
pub fn local_address(listener: &TcpListener) -> Result<SocketAddr> {
    let mut address = listener.local_addr().context("a listener without an address")?;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Ok(address)
}

/// The addresses from which this machine connects to others, one of each family that a listener on
/// `unspecified` serves. No packet is sent.
pub fn outgoing_addresses(unspecified: IpAddr) -> Vec<IpAddr> {
    // Addresses for documentation, RFC 5737 and RFC 3849; any other has the same route.
    let destinations: [IpAddr; 2] =
        [Ipv4Addr::new(192, 0, 2, 1).into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()];
    let served = if unspecified.is_ipv4() { &destinations[..1] } else { &destinations[..] };
    let address = |destination: &IpAddr| {
        let any: IpAddr = match destination {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect((*destination, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
    };
    served.iter().filter_map(address).collect()
}

/// Most addresses of this machine that are listed.
const MAX_ADDRESSES: usize = 16;

/// The addresses of this machine at which others reach a listener on `unspecified`, that of the default
/// route first; neither loopback nor link-local ones. Those that cannot be read are missing.
pub fn interface_addresses(unspecified: IpAddr) -> Vec<IpAddr> {
    let mut addresses = outgoing_addresses(unspecified);
    for interface in if_addrs::get_if_addrs().unwrap_or_default() {
        let ip = interface.ip();
        let is_served = ip.is_ipv4() || unspecified.is_ipv6();
        let is_global = !ip.is_loopback() && !interface.is_link_local();
        if is_served && is_global && !addresses.contains(&ip) {
            addresses.push(ip);
        }
    }
    addresses.truncate(MAX_ADDRESSES);
    addresses
}

/// The name of this machine.
#[cfg(unix)]
pub fn host_name() -> Option<String> {
    let name = rustix::system::uname();
    let name = name.nodename().to_str().ok().filter(|name| !name.is_empty());
    name.map(ToOwned::to_owned)
}

/// The name of this machine.
#[cfg(not(unix))]
pub fn host_name() -> Option<String> {
    std::env::var("COMPUTERNAME").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn listener_on_all_interfaces_has_loopback_address() {
        let listener = bind("0.0.0.0:0".parse().unwrap(), "--api").unwrap();
        assert_eq!(local_address(&listener).unwrap().ip(), Ipv4Addr::LOCALHOST);
    }

    #[tokio::test]
    async fn error_for_address_in_use_names_address_and_option() {
        let listener = bind("127.0.0.1:0".parse().unwrap(), "--api").unwrap();
        let taken = local_address(&listener).unwrap();
        let error = bind(taken, "--api").unwrap_err().to_string();
        assert!(error.contains(&taken.to_string()) && error.contains("--api"), "{error}");
    }
}
