//! Addresses: 20 bytes derived from a public key, and their text in bech32m. The human-readable
//! part is that of the network, so that an address of another network is rejected.
//! Source: BIP 350 (bech32m), BIP 173 (layout). Unlike segwit, version 0 uses bech32m too.

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, ByteIterExt, Fe32, Fe32IterExt, Hrp as RawHrp};
use std::fmt;

/// The domain of the hash that derives an address from a public key.
const DOMAIN: &[u8] = b"chain/address/1";

/// The address of an account: the first 20 bytes of SHA-256(`"chain/address/1"` ‖ public key).
///
/// ```
/// use chain::Address;
/// use chain::address::Hrp;
///
/// let hrp = Hrp::new("dch").unwrap();
/// let address = Address::from_bytes([1; 20]);
/// let text = address.encode(hrp);
/// assert!(text.starts_with("dch1q"));
/// assert_eq!(Address::decode_for(&text, hrp), Ok(address));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address([u8; 20]);

impl Address {
    /// The recipient of the genesis coinbase, for which no key is known.
    pub const ZERO: Address = Address([0; 20]);

    /// Returns the address with the given bytes.
    pub const fn from_bytes(bytes: [u8; 20]) -> Address {
        Address(bytes)
    }

    /// Derives the address of an encoded public key.
    pub fn of(public_key: &[u8; 32]) -> Address {
        let digest = crate::hash::sha256(&[DOMAIN, public_key].concat());
        let mut bytes = [0; 20];
        bytes.copy_from_slice(&digest[..20]);
        Address(bytes)
    }

    /// The bytes of the address.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// Encodes the address for a network: human-readable part, version 0, the bytes and a checksum.
    pub fn encode(&self, hrp: Hrp) -> String {
        let bytes = self.0.iter().copied();
        bytes
            .bytes_to_fes()
            .with_checksum::<Bech32m>(&hrp.raw())
            .with_witness_version(Fe32::Q)
            .chars()
            .collect()
    }

    /// Decodes an address of any network, with the human-readable part of the network.
    pub fn decode(text: &str) -> Result<(Hrp, Address), ParseAddressError> {
        let mut checked =
            CheckedHrpstring::new::<Bech32m>(text).map_err(|_| ParseAddressError::Checksum)?;
        if checked.remove_witness_version() != Some(Fe32::Q) {
            return Err(ParseAddressError::Version);
        }
        checked.validate_segwit_padding().map_err(|_| ParseAddressError::Length)?;
        let mut bytes = [0; 20];
        let mut decoded = checked.byte_iter();
        if decoded.len() != bytes.len() {
            return Err(ParseAddressError::Length);
        }
        bytes.fill_with(|| decoded.next().unwrap_or_default());
        let hrp = Hrp::new(&checked.hrp().to_lowercase()).ok_or(ParseAddressError::Checksum)?;
        Ok((hrp, Address(bytes)))
    }

    /// Decodes an address of the network with a human-readable part.
    pub fn decode_for(text: &str, hrp: Hrp) -> Result<Address, ParseAddressError> {
        match Address::decode(text)? {
            (found, address) if found == hrp => Ok(address),
            (found, _) => Err(ParseAddressError::OtherNetwork { expected: hrp, found }),
        }
    }
}

/// Formats the bytes in hexadecimal, since [`Address::encode`] needs a network.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", hex::encode(self.0))
    }
}

/// The human-readable part of the addresses of a network: 1 to 20 lower-case letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hrp {
    letters: [u8; 20],
    length: u8,
}

impl Hrp {
    /// Returns the human-readable part, or `None` unless it is 1 to 20 lower-case letters.
    pub fn new(text: &str) -> Option<Hrp> {
        let mut hrp = Hrp { letters: [0; 20], length: u8::try_from(text.len()).ok()? };
        hrp.letters.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        let lower_case = text.bytes().all(|byte| byte.is_ascii_lowercase());
        (lower_case && !text.is_empty()).then_some(hrp)
    }

    /// The human-readable part as text.
    pub fn as_str(&self) -> &str {
        let letters = &self.letters[..usize::from(self.length)];
        std::str::from_utf8(letters).expect("`new` accepts letters only")
    }

    fn raw(&self) -> RawHrp {
        RawHrp::parse(self.as_str()).expect("1 to 20 lower-case letters are a valid part")
    }
}

impl fmt::Display for Hrp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error of a text that is not an address of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseAddressError {
    /// The text is not bech32m, or its checksum does not match.
    #[error("not an address: its checksum does not match, so there is probably a typing mistake")]
    Checksum,
    /// The version is not 0.
    #[error("an address of a version this program does not know")]
    Version,
    /// The address does not have 20 bytes.
    #[error("not an address: it does not hold 20 bytes")]
    Length,
    /// The address is valid on another network.
    #[error(
        "an address of another network: it starts with {found}1, this network's with {expected}1"
    )]
    OtherNetwork {
        /// The human-readable part of this network.
        expected: Hrp,
        /// The human-readable part of the address.
        found: Hrp,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hrp(text: &str) -> Hrp {
        Hrp::new(text).unwrap()
    }

    #[test]
    fn address_round_trips_on_every_network() {
        for network in ["ch", "tch", "dch"] {
            let address = Address::of(&[7; 32]);
            let text = address.encode(hrp(network));
            assert!(text.starts_with(&format!("{network}1q")), "{text}");
            assert_eq!(Address::decode(&text), Ok((hrp(network), address)));
            assert_eq!(Address::decode(&text.to_uppercase()), Ok((hrp(network), address)));
        }
    }

    // W09
    #[test]
    fn rejects_address_of_other_network() {
        let text = Address::of(&[7; 32]).encode(hrp("tch"));
        let error = Address::decode_for(&text, hrp("dch")).unwrap_err();
        assert_eq!(
            error,
            ParseAddressError::OtherNetwork { expected: hrp("dch"), found: hrp("tch") }
        );
    }

    // W08
    #[test]
    fn detects_every_single_character_error() {
        let text = Address::of(&[9; 32]).encode(hrp("tch"));
        for at in 0..text.len() {
            for letter in "qpzry9x8gf2tvdw0s3jn54khce6mua7l1b".chars() {
                let mut changed: Vec<char> = text.chars().collect();
                if changed[at] == letter {
                    continue;
                }
                changed[at] = letter;
                let changed: String = changed.into_iter().collect();
                assert!(Address::decode_for(&changed, hrp("tch")).is_err(), "{changed}");
            }
        }
    }

    #[test]
    fn rejects_bech32_and_other_versions_and_lengths() {
        use bech32::Bech32;
        let network = RawHrp::parse("tch").unwrap();
        let encode = |version, bytes: &[u8]| -> String {
            let fes = bytes.iter().copied().bytes_to_fes();
            fes.with_checksum::<Bech32m>(&network).with_witness_version(version).chars().collect()
        };
        let old: String = [1_u8; 20]
            .iter()
            .copied()
            .bytes_to_fes()
            .with_checksum::<Bech32>(&network)
            .with_witness_version(Fe32::Q)
            .chars()
            .collect();
        assert_eq!(Address::decode(&old), Err(ParseAddressError::Checksum));
        assert_eq!(Address::decode(&encode(Fe32::P, &[1; 20])), Err(ParseAddressError::Version));
        assert_eq!(Address::decode(&encode(Fe32::Q, &[1; 19])), Err(ParseAddressError::Length));
        assert_eq!(Address::decode(&encode(Fe32::Q, &[1; 32])), Err(ParseAddressError::Length));
        assert_eq!(Address::decode(""), Err(ParseAddressError::Checksum));
    }

    #[test]
    fn human_readable_parts_are_short_and_lower_case() {
        for bad in ["", "CH", "c1", "c-h", "abcdefghijklmnopqrstu"] {
            assert!(Hrp::new(bad).is_none(), "{bad}");
        }
        assert!(Hrp::new("abcdefghijklmnopqrst").is_some());
    }
}
