//! Ranges of IP addresses in CIDR notation, such as `192.0.2.0/24`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range of IP addresses. An IPv4-mapped IPv6 address counts as its IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    /// The first address of the range.
    first: IpAddr,
    prefix: u8,
}

/// A text is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a range of IP addresses such as 192.0.2.0/24 or 2001:db8::/32")]
pub struct CidrError(String);

impl Cidr {
    /// Returns the range that contains an address, by the length of its prefix in bits. A length
    /// above that of the address is that of the address.
    pub fn containing(ip: IpAddr, prefix: u8) -> Cidr {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let prefix = prefix.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                Cidr { first: Ipv4Addr::from_bits(ip.to_bits() & mask).into(), prefix }
            }
            IpAddr::V6(ip) => {
                let prefix = prefix.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                Cidr { first: Ipv6Addr::from_bits(ip.to_bits() & mask).into(), prefix }
            }
        }
    }

    /// Returns the first address of the range.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// Returns the length of the prefix in bits: 0 to 32, or to 128 for IPv6.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether an address is in the range.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_ipv4() == self.first.is_ipv4() && Cidr::containing(ip, self.prefix) == *self
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.first, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    /// Parses a range, or a single address. Bits after the prefix are ignored.
    fn from_str(text: &str) -> Result<Cidr, CidrError> {
        let parse = || {
            let (ip, prefix) = match text.split_once('/') {
                Some((ip, prefix)) => (ip, Some(prefix.parse::<u8>().ok()?)),
                None => (text, None),
            };
            let ip: IpAddr = ip.parse().ok()?;
            let bits = if ip.is_ipv4() { 32 } else { 128 };
            let prefix = prefix.unwrap_or(bits);
            // The prefix of a mapped address counts from the start of the IPv6 address.
            let mapped = if ip.is_ipv6() && ip.to_canonical().is_ipv4() { 96 } else { 0 };
            (prefix <= bits).then_some(Cidr::containing(ip, prefix.checked_sub(mapped)?))
        };
        parse().ok_or_else(|| CidrError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    // N22
    #[test]
    fn range_contains_its_addresses_also_as_mapped_ones() {
        for (text, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.0/24", "::ffff:192.0.2.9", "::ffff:192.0.3.9"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "2001:db8::1", "192.0.2.7"),
            ("::ffff:192.0.2.0/120", "192.0.2.255", "192.0.3.0"),
        ] {
            let range = range(text);
            assert!(range.contains(inside.parse().unwrap()), "{text} {inside}");
            assert!(!range.contains(outside.parse().unwrap()), "{text} {outside}");
        }
    }

    #[test]
    fn text_has_the_first_address() {
        assert_eq!(range("192.0.2.77/24").to_string(), "192.0.2.0/24");
        assert_eq!(range("2001:db8::7").to_string(), "2001:db8::7/128");
        for bad in [
            "",
            "192.0.2.0/33",
            "::/129",
            "192.0.2/24",
            "a/8",
            "1.2.3.4/",
            "1.2.3.4/-1",
            "::ffff:0.0.0.0/90",
        ] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }
}
