//! SHA-256, double SHA-256, and the 32-byte identifiers derived from them.
//! Identifiers are stored in internal byte order; their text is byte-reversed, as in Bitcoin.
//! Source: FIPS 180-4; Bitcoin developer reference, "Hash Byte Order".

use sha2::{Digest, Sha256};

/// Returns the SHA-256 of the bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Returns the SHA-256 of the SHA-256 of the bytes: the hash of blocks, transactions and Merkle
/// nodes.
pub fn sha256d(bytes: &[u8]) -> [u8; 32] {
    sha256(&sha256(bytes))
}

/// The state of SHA-256 after a number of 64-byte blocks. A miner reuses the midstate of the first
/// block of a header, which does not contain the nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Midstate([u32; 8]);

impl Midstate {
    /// The state before any input (FIPS 180-4, 5.3.3).
    pub const INITIAL: Midstate = Midstate([
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ]);

    /// Returns the state after one more block.
    pub fn compress(mut self, block: &[u8; 64]) -> Midstate {
        sha2::block_api::compress256(&mut self.0, std::slice::from_ref(block));
        self
    }

    /// The eight words of the state.
    pub fn words(self) -> [u32; 8] {
        self.0
    }
}

/// The error of a text that is not a 32-byte identifier in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal digits")]
pub struct ParseDigestError;

/// Declares a 32-byte identifier, which is stored in internal byte order and formatted as reversed
/// hexadecimal.
macro_rules! digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The identifier with all bytes zero.
            pub const ZERO: $name = $name([0; 32]);

            /// Returns the identifier with the given bytes in internal order.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                $name(bytes)
            }

            /// The bytes in internal order.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl From<$name> for [u8; 32] {
            fn from(digest: $name) -> [u8; 32] {
                digest.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let mut reversed = self.0;
                reversed.reverse();
                let mut digits = [0; 64];
                hex::encode_to_slice(reversed, &mut digits).expect("two digits a byte");
                f.write_str(std::str::from_utf8(&digits).expect("digits are ASCII"))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::hash::ParseDigestError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes)
                    .map_err(|_| $crate::hash::ParseDigestError)?;
                bytes.reverse();
                Ok($name(bytes))
            }
        }
    };
}
pub(crate) use digest;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn midstate_yields_digest() {
        // "abc" padded to one block by hand, FIPS 180-4 example B.1.
        let mut block = [0; 64];
        block[..3].copy_from_slice(b"abc");
        block[3] = 0x80;
        block[63] = 24;
        let words = Midstate::INITIAL.compress(&block).words();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        assert_eq!(bytes, sha256(b"abc"));
        assert_eq!(
            hex::encode(&bytes),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
