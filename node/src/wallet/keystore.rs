//! The content of a wallet file: the encrypted mnemonic, and unencrypted public data. JSON, version 2:
//!
//! - `protected`: whether the wallet has a password (without one, the empty password is used);
//! - `accounts`: number → address (hexadecimal: the same on every network) of those in use;
//! - `identity`: a `key` that is derived from the mnemonic, and its `signature` of the fields above, by
//!   which a change of an address is detected without the password;
//! - `kdf`: Argon2id and its cost, which derive a 256-bit key from password and `salt`;
//! - `cipher`: XChaCha20-Poly1305 and its `nonce`, new at every write;
//! - `ciphertext`: the words of the mnemonic. All other fields are its associated data, so that
//!   changes are detected.
//!
//! Version 1 has no `identity`: its addresses are authenticated by the password only.
//!
//! Hexadecimal is lower case. Source: RFC 9106; draft-irtf-cfrg-xchacha-03.

use super::derivation::{self, Index};
use super::mnemonic::Mnemonic;
use super::password::Password;
use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chain::Address;
use chain::signature::{PublicKey, Signature};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

const VERSION: u32 = 2;
/// The version without an identity, which is still read.
const VERSION_WITHOUT_IDENTITY: u32 = 1;

/// Domain separator of the signatures of wallet files. Those of transfers and messages start
/// differently.
const DOMAIN: &[u8] = b"chain/wallet/2";

/// Fills a slice with random bytes: `getrandom::fill`.
pub type Random = fn(&mut [u8]) -> Result<(), getrandom::Error>;

/// The encryption key that is derived from a password.
pub type Key = Zeroizing<[u8; 32]>;

/// The contents of a wallet file: the encrypted mnemonic, the parameters of its encryption, and the
/// addresses of its accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keystore {
    version: u32,
    protected: bool,
    accounts: BTreeMap<Index, Hex<[u8; 20]>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<Identity>,
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: Hex<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    key: Hex<[u8; 32]>,
    signature: Hex<[u8; 64]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kdf {
    algorithm: KdfAlgorithm,
    memory_kib: u32,
    iterations: u32,
    parallelism: u32,
    salt: Hex<[u8; 16]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KdfAlgorithm {
    Argon2id,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cipher {
    algorithm: CipherAlgorithm,
    nonce: Hex<[u8; 24]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum CipherAlgorithm {
    XChaCha20Poly1305,
}

/// Why bytes are not a wallet.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Not JSON, or not that of a wallet.
    #[error("not a wallet, or damaged")]
    Json(#[from] serde_json::Error),
    /// The format is of a later version.
    #[error("wallet version {found} is not supported, only up to version {VERSION}")]
    Version {
        /// The version of the file.
        found: u32,
    },
    /// The public part does not have the signature of the wallet's own key.
    #[error("its addresses were changed by another program: restore the wallet from its mnemonic")]
    Changed,
    /// The cost is below the policy, which would help to guess the password, or too high for this
    /// machine.
    #[error(
        "key derivation with {memory_kib} KiB × {iterations} × {parallelism} is out of range: the \
         wallet is damaged"
    )]
    Cost {
        /// The memory that the key derivation demands, in KiB.
        memory_kib: u32,
        /// The passes of the key derivation over its memory.
        iterations: u32,
        /// The lanes of the key derivation.
        parallelism: u32,
    },
}

/// Why a wallet cannot be decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecryptError {
    /// Decryption failed: the password is wrong or the file was changed.
    #[error("wrong password (or the file was changed)")]
    WrongPassword,
    /// The key derivation cannot allocate its memory.
    #[error("not enough memory to check the password: {memory_kib} KiB are needed")]
    OutOfMemory {
        /// The memory that the key derivation needs, in KiB.
        memory_kib: u32,
    },
}

impl Kdf {
    /// The second recommended option of RFC 9106, section 4: 64 MiB, 3 passes, 4 lanes; some tenths of
    /// a second on a laptop. The empty password of a wallet without one has the least cost of Argon2:
    /// there is nothing to guess. Lower costs are rejected.
    fn policy(protected: bool, salt: [u8; 16]) -> Kdf {
        let algorithm = KdfAlgorithm::Argon2id;
        let (memory_kib, iterations, parallelism) =
            if protected { (1 << 16, 3, 4) } else { (8, 1, 1) };
        Kdf { algorithm, memory_kib, iterations, parallelism, salt: Hex(salt) }
    }

    /// Rejects costs above 1 GiB, 16 passes or 16 lanes, some ten seconds on a laptop. Later policies
    /// may exceed the present one.
    fn check(&self, protected: bool) -> Result<(), FormatError> {
        let &Kdf { memory_kib, iterations, parallelism, .. } = self;
        let least = Kdf::policy(protected, [0; 16]);
        let accepted = (least.memory_kib..=1 << 20).contains(&memory_kib)
            && (least.iterations..=16).contains(&iterations)
            && (1..=16).contains(&parallelism)
            // Argon2 needs 8 KiB for each lane.
            && memory_kib / 8 >= parallelism;
        accepted.then_some(()).ok_or(FormatError::Cost { memory_kib, iterations, parallelism })
    }

    fn key(&self, password: &Password) -> Result<Key, DecryptError> {
        let params = Params::new(self.memory_kib, self.iterations, self.parallelism, Some(32))
            .expect("`check` accepts nothing that Argon2 does not");
        let mut key = Key::default();
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password.as_bytes(), &self.salt.0, key.as_mut_slice())
            .map_err(|_| DecryptError::OutOfMemory { memory_kib: self.memory_kib })?;
        Ok(key)
    }
}

/// Why a wallet cannot be encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncryptError {
    /// The system has no random bytes.
    #[error("the system has no random bytes, nothing was written")]
    Random(#[from] getrandom::Error),
    /// The key derivation cannot allocate its memory.
    #[error(transparent)]
    Memory(#[from] DecryptError),
}

impl Keystore {
    /// Encrypts a mnemonic with a password; also returns the key, for `reencrypt`.
    pub fn encrypt(
        mnemonic: &Mnemonic,
        accounts: &BTreeMap<Index, Address>,
        password: Option<&Password>,
        random: Random,
    ) -> Result<(Keystore, Key), EncryptError> {
        let mut salt = [0; 16];
        random(&mut salt)?;
        let kdf = Kdf::policy(password.is_some(), salt);
        let key = kdf.key(password.unwrap_or(&Password::none()))?;
        let cipher = Cipher { algorithm: CipherAlgorithm::XChaCha20Poly1305, nonce: Hex([0; 24]) };
        let mut keystore = Keystore {
            version: VERSION,
            protected: password.is_some(),
            accounts: BTreeMap::new(),
            identity: None,
            kdf,
            cipher,
            ciphertext: Hex(Vec::new()),
        };
        keystore.reencrypt(mnemonic, accounts, &key, random)?;
        Ok((keystore, key))
    }

    /// Encrypts the mnemonic again, with other accounts, in the latest version.
    pub fn reencrypt(
        &mut self,
        mnemonic: &Mnemonic,
        accounts: &BTreeMap<Index, Address>,
        key: &Key,
        random: Random,
    ) -> Result<(), getrandom::Error> {
        let mut nonce = [0; 24];
        random(&mut nonce)?;
        self.version = VERSION;
        self.cipher.nonce = Hex(nonce);
        self.accounts =
            accounts.iter().map(|(index, address)| (*index, Hex(*address.as_bytes()))).collect();
        let identity = derivation::identity_key(mnemonic);
        let signature = Hex(*identity.sign(&self.signed_bytes()).as_bytes());
        self.identity = Some(Identity { key: Hex(*identity.public_key().as_bytes()), signature });
        let phrase = mnemonic.phrase();
        let payload = Payload { msg: phrase.as_bytes(), aad: &self.associated_data() };
        let encrypted = cipher(key).encrypt(&nonce.into(), payload);
        self.ciphertext = Hex(encrypted.expect("a mnemonic is far below the cipher's limit"));
        Ok(())
    }

    /// Parses a file and checks its bounds, without decryption.
    pub fn parse(bytes: &[u8]) -> Result<Keystore, FormatError> {
        /// The field that all versions have.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        match serde_json::from_slice(bytes)? {
            Versioned { version: VERSION_WITHOUT_IDENTITY | VERSION } => {}
            Versioned { version: found } => return Err(FormatError::Version { found }),
        }
        let keystore: Keystore = serde_json::from_slice(bytes)?;
        keystore.kdf.check(keystore.protected)?;
        let is_signed = match &keystore.identity {
            Some(Identity { key, signature }) => {
                let signature = Signature::from_bytes(signature.0);
                PublicKey::from_bytes(key.0).verify(&keystore.signed_bytes(), &signature)
            }
            None => keystore.version == VERSION_WITHOUT_IDENTITY,
        };
        if is_signed { Ok(keystore) } else { Err(FormatError::Changed) }
    }

    /// The key that has signed the public part; `None` in a file of version 1.
    pub fn identity(&self) -> Option<PublicKey> {
        self.identity.as_ref().map(|identity| PublicKey::from_bytes(identity.key.0))
    }

    /// Encodes the wallet as the contents of its file: JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json =
            serde_json::to_vec_pretty(self).expect("numbers, texts and maps of them serialize");
        json.push(b'\n');
        json
    }

    /// Whether a password is needed.
    pub fn is_protected(&self) -> bool {
        self.protected
    }

    /// The accounts in use, as the owner of `identity` has signed them. Whether that is the owner of
    /// the wallet is known when `decrypt` succeeds.
    pub fn accounts(&self) -> BTreeMap<Index, Address> {
        let address = |(index, bytes): (&Index, &Hex<_>)| (*index, Address::from_bytes(bytes.0));
        self.accounts.iter().map(address).collect()
    }

    /// Derives the key from a password; deliberately slow, some tenths of a second.
    pub fn key(&self, password: &Password) -> Result<Key, DecryptError> {
        self.kdf.key(password)
    }

    /// Decrypts the mnemonic; fails with a wrong key or if any field was changed.
    pub fn decrypt(&self, key: &Key) -> Result<Mnemonic, DecryptError> {
        let payload = Payload { msg: &self.ciphertext.0, aad: &self.associated_data() };
        let nonce = self.cipher.nonce.0.into();
        let decrypted = cipher(key).decrypt(&nonce, payload).map(Zeroizing::new);
        let words = decrypted.map_err(|_| DecryptError::WrongPassword)?;
        let text = std::str::from_utf8(&words).map_err(|_| DecryptError::WrongPassword)?;
        Mnemonic::parse(text).map_err(|_| DecryptError::WrongPassword)
    }

    /// Every field but the ciphertext, in order, as compact JSON.
    fn associated_data(&self) -> Vec<u8> {
        let Keystore { version, protected, accounts, identity, kdf, cipher, ciphertext: _ } = self;
        match identity {
            Some(identity) => {
                serde_json::to_vec(&(version, protected, accounts, identity, kdf, cipher))
            }
            None => serde_json::to_vec(&(version, protected, accounts, kdf, cipher)),
        }
        .expect("numbers, texts and maps of them serialize")
    }

    /// What the wallet's own key signs: the fields before `identity`, as compact JSON.
    fn signed_bytes(&self) -> Vec<u8> {
        let Keystore { version, protected, accounts, .. } = self;
        let fields = serde_json::to_vec(&(version, protected, accounts));
        [DOMAIN, &fields.expect("numbers and maps of texts serialize")].concat()
    }
}

fn cipher(key: &Key) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new((&**key).into())
}

/// Bytes as lower-case hexadecimal text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hex<T>(T);

impl<T: AsRef<[u8]>> Serialize for Hex<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de, T: TryFrom<Vec<u8>>> Deserialize<'de> for Hex<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hex<T>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let upper_case = text.bytes().any(|byte| byte.is_ascii_uppercase());
        let bytes = hex::decode(&text).ok().filter(|_| !upper_case);
        bytes
            .and_then(|bytes| T::try_from(bytes).ok())
            .map(Hex)
            .ok_or_else(|| serde::de::Error::custom("expected lower-case hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str =
        "legal winner thank year wave sausage worth useful legal winner thank yellow";

    fn encrypted() -> (Keystore, Key) {
        let accounts =
            [(Index::default(), Address::ZERO), (Index::new(7).unwrap(), Address::of(&[1; 32]))];
        let mnemonic = Mnemonic::parse(WORDS).unwrap();
        let password = Password::new("correct horse");
        Keystore::encrypt(&mnemonic, &accounts.into(), Some(&password), getrandom::fill).unwrap()
    }

    // W02: with the right key, so that only the file decides.
    #[test]
    fn detects_changed_removed_and_added_bytes() {
        let (keystore, key) = encrypted();
        let file = keystore.to_json();
        let opens = |bytes: &[u8]| Keystore::parse(bytes).is_ok_and(|it| it.decrypt(&key).is_ok());
        assert!(opens(&file));
        for at in 0..file.len() {
            for flip in [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff] {
                let mut changed = file.clone();
                changed[at] ^= flip;
                assert!(!opens(&changed), "byte {at} ^ {flip:02x}");
            }
            // White space may be doubled, and the final line end may be missing.
            let mut doubled = file.clone();
            doubled.insert(at, file[at]);
            let blank = file[at].is_ascii_whitespace();
            assert!(blank || !opens(&doubled), "byte {at} doubled");
            assert!(at == file.len() - 1 || !opens(&file[..at]), "cut at {at}");
        }
    }

    // W02
    #[test]
    fn rejects_key_derivation_costs_out_of_range() {
        let (keystore, _) = encrypted();
        let with = |change: fn(&mut Kdf)| {
            let mut changed = keystore.clone();
            change(&mut changed.kdf);
            Keystore::parse(&changed.to_json())
        };
        assert!(with(|_| {}).is_ok());
        assert!(with(|kdf| (kdf.memory_kib, kdf.iterations) = (1 << 20, 16)).is_ok());
        let rejected: [fn(&mut Kdf); 8] = [
            |kdf| kdf.memory_kib = u32::MAX, // 4 TiB
            |kdf| kdf.memory_kib = (1 << 20) + 1,
            |kdf| kdf.memory_kib = (1 << 16) - 1,
            |kdf| kdf.iterations = 17,
            |kdf| kdf.iterations = 2,
            |kdf| kdf.iterations = 0,
            |kdf| kdf.parallelism = 17,
            |kdf| kdf.parallelism = 0,
        ];
        for change in rejected {
            assert!(matches!(with(change), Err(FormatError::Cost { .. })));
        }
    }

    // W02: a file that claims to have no password needs the empty one.
    #[test]
    fn least_cost_is_for_wallets_without_a_password_only() {
        let (keystore, _) = encrypted();
        let none = Password::none();
        let unprotected = Keystore::encrypt(
            &Mnemonic::parse(WORDS).unwrap(),
            &BTreeMap::new(),
            None,
            getrandom::fill,
        );
        let (unprotected, key) = unprotected.unwrap();
        assert_eq!(unprotected.kdf.memory_kib, 8);
        let parsed = Keystore::parse(&unprotected.to_json()).unwrap();
        assert_eq!(parsed.key(&none).unwrap(), key);

        let mut changed = unprotected.clone();
        changed.kdf.parallelism = 2;
        let error = Keystore::parse(&changed.to_json());
        assert!(matches!(error, Err(FormatError::Cost { .. })));
        let mut changed = keystore;
        (changed.protected, changed.kdf) = (false, unprotected.kdf);
        let wrong = changed.key(&Password::new("correct horse")).unwrap();
        assert_eq!(changed.decrypt(&wrong), Err(DecryptError::WrongPassword));
        assert!(matches!(Keystore::parse(&changed.to_json()), Err(FormatError::Changed)));
    }

    // W02
    #[test]
    fn rejects_wrong_password() {
        let (keystore, key) = encrypted();
        let wrong = keystore.key(&Password::new("correct horsf")).unwrap();
        assert_eq!(keystore.decrypt(&wrong), Err(DecryptError::WrongPassword));
        assert_eq!(keystore.decrypt(&key), Ok(Mnemonic::parse(WORDS).unwrap()));
    }

    #[test]
    fn rejects_later_versions() {
        let error = Keystore::parse(br#"{"version": 3, "anything": []}"#).unwrap_err();
        assert!(matches!(error, FormatError::Version { found: 3 }), "{error}");
    }

    // W14: without the password.
    #[test]
    fn changed_address_or_missing_signature_is_detected_without_the_password() {
        let (keystore, _) = encrypted();
        assert!(Keystore::parse(&keystore.to_json()).is_ok());
        let changes: [fn(&mut Keystore); 5] = [
            |it| it.accounts = [(Index::default(), Hex([9; 20]))].into(),
            |it| {
                it.accounts.pop_last();
            },
            |it| it.protected = false,
            |it| it.identity = None,
            |it| {
                // The attacker's own key.
                let own = chain::signature::SecretKey::from_seed([9; 32]);
                let signature = it.identity.take().unwrap().signature;
                it.identity = Some(Identity { key: Hex(*own.public_key().as_bytes()), signature });
            },
        ];
        for change in changes {
            let mut changed = keystore.clone();
            change(&mut changed);
            let error = Keystore::parse(&changed.to_json()).unwrap_err();
            assert!(matches!(error, FormatError::Changed), "{error}");
        }
    }

    #[test]
    fn each_write_has_a_new_nonce() {
        let (mut keystore, key) = encrypted();
        let first = keystore.clone();
        let mnemonic = Mnemonic::parse(WORDS).unwrap();
        keystore.reencrypt(&mnemonic, &first.accounts(), &key, getrandom::fill).unwrap();
        assert_ne!(keystore.cipher.nonce, first.cipher.nonce);
        assert_ne!(keystore.ciphertext, first.ciphertext);
        assert_eq!(keystore.decrypt(&key), Ok(mnemonic));
    }

    // W11
    #[test]
    fn fails_without_random_bytes() {
        let mnemonic = Mnemonic::parse(WORDS).unwrap();
        let broken: Random = |_| Err(getrandom::Error::UNSUPPORTED);
        let error = Keystore::encrypt(&mnemonic, &BTreeMap::new(), None, broken).unwrap_err();
        assert_eq!(error, EncryptError::Random(getrandom::Error::UNSUPPORTED));
    }

    // W06
    #[test]
    fn file_does_not_contain_the_words() {
        let (keystore, _) = encrypted();
        let file = String::from_utf8(keystore.to_json()).unwrap();
        let hidden = [WORDS.split(' ').next().unwrap().to_owned(), hex::encode("legal")];
        assert!(hidden.iter().all(|secret| !file.contains(secret)), "{file}");
        assert!(file.contains(&hex::encode(Address::of(&[1; 32]).as_bytes())));
    }
}
