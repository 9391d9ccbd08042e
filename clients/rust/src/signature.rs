//! Keys, addresses and signed transfers, as chain/PROTOCOL.md specifies them.

use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32m, ByteIterExt, Fe32, Fe32IterExt, Hrp};
use ed25519_zebra::{SigningKey, VerificationKeyBytes};
use sha2::{Digest, Sha256, Sha512};

/// The words whose first ten accounts own coins from the genesis block on, in `dev` and in local
/// testnets.
pub const TEST_WORDS: &str = "test test test test test test test test test test test junk";
/// Maximum length of a memo in bytes.
const MAX_MEMO: u32 = 256;

/// A text is not an address with the prefix of the network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an address with the prefix {hrp}1")]
pub struct AddressError {
    text: String,
    hrp: String,
}

/// Encodes the 20 bytes of an address with the prefix of a network, such as `dch`.
///
/// # Panics
/// If `hrp` is not a prefix of addresses.
pub fn encode_address(payload: &[u8; 20], hrp: &str) -> String {
    let hrp = Hrp::parse(hrp).expect("a prefix of addresses");
    let digits = payload.iter().copied().bytes_to_fes();
    digits.with_checksum::<Bech32m>(&hrp).with_witness_version(Fe32::Q).chars().collect()
}

/// Decodes an address of the network with a prefix to its 20 bytes.
pub fn decode_address(text: &str, hrp: &str) -> Result<[u8; 20], AddressError> {
    let decode = || {
        let mut checked = CheckedHrpstring::new::<Bech32m>(text).ok()?;
        let version = checked.remove_witness_version()?;
        checked.validate_segwit_padding().ok()?;
        let bytes: Vec<u8> = checked.byte_iter().collect();
        let is_of_network = checked.hrp().to_lowercase() == hrp;
        (is_of_network && version == Fe32::Q).then(|| bytes.try_into().ok())?
    };
    decode().ok_or_else(|| AddressError { text: text.to_owned(), hrp: hrp.to_owned() })
}

/// The fields of a transfer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payment {
    /// The 20 bytes of the recipient's address.
    pub recipient: [u8; 20],
    /// The amount in base units, 100,000,000 per coin.
    pub amount: u64,
    /// The fee in base units.
    pub fee: u64,
    /// The number of earlier transfers of the sender.
    pub nonce: u64,
    /// Any text or bytes.
    pub memo: Vec<u8>,
}

/// A signed transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTransfer {
    /// The transaction id.
    pub id: String,
    /// The encoding in hexadecimal, as `POST /v1/transactions` accepts it.
    pub hex: String,
}

/// A private key of Ed25519.
#[derive(Clone)]
pub struct Key(SigningKey);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", hex::encode(self.public()))
    }
}

impl Key {
    /// The key of 32 secret bytes.
    pub fn from_secret(secret: [u8; 32]) -> Key {
        Key(SigningKey::from(secret))
    }

    /// Derives the key of an account from a mnemonic by SLIP-0010, as `chain wallet` does.
    pub fn from_words(words: &str, account: u32) -> Key {
        let seed = stretch(words.as_bytes(), b"mnemonic");
        let mut node = hmac(b"ed25519 seed", &[&seed]);
        for index in [44, 1, account] {
            let index = index | 1 << 31;
            node = hmac(&node[32..], &[&[0], &node[..32], &index.to_be_bytes()]);
        }
        let mut secret = [0; 32];
        secret.copy_from_slice(&node[..32]);
        Key::from_secret(secret)
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        VerificationKeyBytes::from(&self.0).into()
    }

    /// The address of the key in the network with a prefix.
    pub fn address(&self, hrp: &str) -> String {
        let digest = Sha256::new().chain_update(b"chain/address/1").chain_update(self.public());
        let mut payload = [0; 20];
        payload.copy_from_slice(&digest.finalize()[..20]);
        encode_address(&payload, hrp)
    }

    /// Signs a transfer, for the network of a genesis hash in internal order.
    ///
    /// # Panics
    /// If the memo is longer than 256 bytes.
    pub fn sign_transfer(&self, genesis: &[u8; 32], payment: &Payment) -> SignedTransfer {
        let Payment { recipient, amount, fee, nonce, memo } = payment;
        let length = u32::try_from(memo.len()).unwrap_or(u32::MAX);
        assert!(length <= MAX_MEMO, "a memo has {MAX_MEMO} bytes at most, not {length}");
        let mut bytes = vec![2];
        bytes.extend(self.public());
        bytes.extend(nonce.to_le_bytes());
        bytes.extend(recipient);
        bytes.extend(amount.to_le_bytes());
        bytes.extend(fee.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(memo);
        let message = [&b"chain/transfer/1"[..], genesis, &bytes].concat();
        bytes.extend(self.0.sign(&message).to_bytes());
        let mut id: [u8; 32] = Sha256::digest(Sha256::digest(&bytes)).into();
        id.reverse();
        SignedTransfer { id: hex::encode(id), hex: hex::encode(bytes) }
    }
}

/// HMAC-SHA512 over the concatenation of parts. Source: RFC 2104.
fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 64] {
    const BLOCK: usize = 128;
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..64].copy_from_slice(&Sha512::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner =
        parts.iter().fold(Sha512::new_with_prefix(block.map(|byte| byte ^ 0x36)), |hash, part| {
            hash.chain_update(part)
        });
    let outer = Sha512::new_with_prefix(block.map(|byte| byte ^ 0x5c));
    outer.chain_update(inner.finalize()).finalize().into()
}

/// PBKDF2 with HMAC-SHA512 and 2,048 rounds. Source: BIP 39; RFC 8018.
fn stretch(password: &[u8], salt: &[u8]) -> [u8; 64] {
    let mut round = hmac(password, &[salt, &1_u32.to_be_bytes()]);
    let mut sum = round;
    for _ in 1..2_048 {
        round = hmac(password, &[&round]);
        sum.iter_mut().zip(round).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of `name = value` in PROTOCOL.md, which continues in indented lines.
    fn vector(name: &str) -> String {
        let document = include_str!("../../../chain/PROTOCOL.md");
        let is_it =
            |line: &&str| line.split_once(" = ").is_some_and(|(left, _)| left.trim_end() == name);
        let mut lines = document.lines().skip_while(|line| !is_it(line));
        let first = lines.next().unwrap().split_once(" = ").unwrap().1.to_owned();
        lines
            .take_while(|line| line.starts_with(' '))
            .fold(first, |it, line| it + line.trim_start())
    }

    #[test]
    fn keys_and_addresses_match_the_vectors() {
        assert_eq!(vector("key.mnemonic"), TEST_WORDS);
        assert_eq!(hex::encode(stretch(TEST_WORDS.as_bytes(), b"mnemonic")), vector("key.seed"));
        let key = Key::from_words(TEST_WORDS, 0);
        assert_eq!(hex::encode(key.public()), vector("key.public"));
        let secret = hex::decode(vector("key.secret")).unwrap().try_into().unwrap();
        assert_eq!(Key::from_secret(secret).public(), key.public());
        for (hrp, name) in [("ch", "key.main"), ("tch", "key.testnet"), ("dch", "key.dev")] {
            let address = vector(name);
            assert_eq!(key.address(hrp), address);
            assert_eq!(hex::encode(decode_address(&address, hrp).unwrap()), vector("key.address"));
        }
    }

    #[test]
    fn signed_transfer_matches_the_vector() {
        let mut genesis: [u8; 32] = hex::decode(vector("genesis.dev")).unwrap().try_into().unwrap();
        genesis.reverse();
        let recipient = Key::from_words(TEST_WORDS, 1).address("dch");
        let recipient = decode_address(&recipient, "dch").unwrap();
        let payment = Payment {
            recipient,
            amount: 150_000_000,
            fee: 1_000,
            nonce: 0,
            memo: b"hello".to_vec(),
        };
        let signed = Key::from_words(TEST_WORDS, 0).sign_transfer(&genesis, &payment);
        assert_eq!(signed.hex, vector("transfer.bytes"));
        assert_eq!(signed.id, vector("transfer.id"));
    }

    // RFC 4231, test cases 2 and 6: a short key, and one longer than a block.
    #[test]
    fn hmac_matches_rfc_4231() {
        let short = hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert!(hex::encode(short).starts_with("164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd6"));
        let long = hmac(&[0xaa; 131], &[b"Test Using Larger Than Block-Size Key - Hash Key First"]);
        assert!(hex::encode(long).starts_with("80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1"));
    }

    #[test]
    fn malformed_address_is_rejected() {
        for text in [
            "",
            "dch1",
            "dch1qm3qtyy6z0gzcaekzhjyhhh2gq5mak060jua96q",
            "Dch1qm3qtyy6z0gzcaekzhjyhhh2gq5mak060jua960",
            "tch1qm3qtyy6z0gzcaekzhjyhhh2gq5mak060e5nt9r",
        ] {
            let error = decode_address(text, "dch").unwrap_err().to_string();
            assert_eq!(error, format!("`{text}` is not an address with the prefix dch1"));
        }
    }
}
