//! Ed25519 keys and signatures under the rules of ZIP-215, by which the verification of single
//! signatures and of batches always agrees. `ed25519-zebra` implements signing and verification.
//! Source: ZIP 215; RFC 8032.

use crate::address::Address;
use ed25519_zebra::{SigningKey, VerificationKey, VerificationKeyBytes, batch};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of signatures in a batch. Beyond some hundred the gain per signature is flat, and one
/// invalid signature costs the verification of every signature of its batch.
const BATCH: usize = 256;
/// The number of signatures that outweighs starting a thread.
const MIN_BATCH: usize = 32;

/// An Ed25519 public key: 32 unchecked bytes, which [`PublicKey::verify`] decodes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Returns the key with the given encoding, unchecked.
    pub const fn from_bytes(bytes: [u8; 32]) -> PublicKey {
        PublicKey(bytes)
    }

    /// The encoding of the key as in RFC 8032.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The address of the account that this key controls.
    pub fn address(&self) -> Address {
        Address::of(&self.0)
    }

    /// Whether the signature of the message by this key is valid under ZIP-215.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        VerificationKey::try_from(self.0)
            .is_ok_and(|key| key.verify(&signature.0.into(), message).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", hex::encode(self.0))
    }
}

/// An Ed25519 signature: 64 unchecked bytes, which [`PublicKey::verify`] decodes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// Returns the signature with the given encoding, unchecked.
    pub const fn from_bytes(bytes: [u8; 64]) -> Signature {
        Signature(bytes)
    }

    /// The encoding of the signature as in RFC 8032.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", hex::encode(self.0))
    }
}

/// An Ed25519 secret key. It is erased from memory when dropped, and its `Debug` output omits it.
///
/// ```
/// use chain::signature::SecretKey;
///
/// let key = SecretKey::from_seed([1; 32]);
/// let signature = key.sign(b"message");
/// assert!(key.public_key().verify(b"message", &signature));
/// assert!(!key.public_key().verify(b"another message", &signature));
/// ```
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Returns the key of a seed (RFC 8032), which may be any 32 bytes.
    pub fn from_seed(seed: [u8; 32]) -> SecretKey {
        SecretKey(SigningKey::from(seed))
    }

    /// The public key of this secret key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(VerificationKeyBytes::from(&self.0).into())
    }

    /// Signs a message. Signing is deterministic.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// A signature to verify, with its key and its message.
#[derive(Clone, Debug)]
pub struct SignatureCheck {
    /// The public key of the signer.
    pub key: PublicKey,
    /// The message that was signed.
    pub message: Vec<u8>,
    /// The signature of the message.
    pub signature: Signature,
}

impl SignatureCheck {
    fn is_valid(&self) -> bool {
        self.key.verify(&self.message, &self.signature)
    }
}

/// Verifies signatures in batches on a number of threads. The error is the index of the first
/// invalid signature.
pub fn verify_all(checks: &[SignatureCheck], threads: usize) -> Result<(), usize> {
    let batches = checks.len().div_ceil(BATCH);
    verify_on(checks, threads.min(batches).saturating_sub(1), || ()).0
}

/// Verifies signatures as [`verify_all`] does, while this thread does some work first. Returns the
/// result of that too.
pub fn verify_beside<T>(
    checks: &[SignatureCheck],
    threads: usize,
    work: impl FnOnce() -> T,
) -> (Result<(), usize>, T) {
    let batches = checks.len() / MIN_BATCH;
    verify_on(checks, threads.saturating_sub(1).min(batches), work)
}

/// Verifies signatures on a number of other threads, and on this one after some work.
fn verify_on<T>(
    checks: &[SignatureCheck],
    others: usize,
    work: impl FnOnce() -> T,
) -> (Result<(), usize>, T) {
    let batches =
        Batches { checks, next: AtomicUsize::new(0), invalid: AtomicUsize::new(usize::MAX) };
    let result = std::thread::scope(|scope| {
        for _ in 0..others {
            scope.spawn(|| batches.verify());
        }
        let result = work();
        batches.verify();
        result
    });
    match batches.invalid.into_inner() {
        usize::MAX => (Ok(()), result),
        at => (Err(at), result),
    }
}

/// Signatures that several threads verify, batch by batch.
struct Batches<'a> {
    checks: &'a [SignatureCheck],
    /// The index of the first signature of the next batch.
    next: AtomicUsize,
    /// The index of the first invalid signature that was found.
    invalid: AtomicUsize,
}

impl Batches<'_> {
    /// Verifies batches until none is left.
    fn verify(&self) {
        loop {
            let start = self.next.fetch_add(BATCH, Ordering::Relaxed);
            // An earlier batch than that of an invalid signature was taken before.
            let is_needed = start < self.invalid.load(Ordering::Relaxed);
            let Some(rest) = self.checks.get(start..).filter(|rest| is_needed && !rest.is_empty())
            else {
                return;
            };
            let batch = &rest[..rest.len().min(BATCH)];
            if batch.len() > 1 && is_valid_batch(batch) {
                continue;
            }
            if let Some(at) = batch.iter().position(|check| !check.is_valid()) {
                self.invalid.fetch_min(start.saturating_add(at), Ordering::Relaxed);
            }
        }
    }
}

fn is_valid_batch(checks: &[SignatureCheck]) -> bool {
    let mut verifier = batch::Verifier::new();
    for SignatureCheck { key, message, signature } in checks {
        verifier.queue((key.0.into(), signature.0.into(), message));
    }
    verifier.verify(Coefficients::of(checks)).is_ok()
}

/// The random coefficients of a batch. They are derived from a hash of the whole batch: a signer
/// cannot predict them, and no source of randomness is needed.
struct Coefficients(blake3::OutputReader);

impl Coefficients {
    fn of(checks: &[SignatureCheck]) -> Coefficients {
        let mut hasher = blake3::Hasher::new();
        for SignatureCheck { key, message, signature } in checks {
            hasher.update(&key.0).update(&signature.0).update(blake3::hash(message).as_bytes());
        }
        Coefficients(hasher.finalize_xof())
    }
}

impl rand_core::TryRng for Coefficients {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Coefficients {}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature_check(number: u32) -> SignatureCheck {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        let key = SecretKey::from_seed(seed);
        let message = number.to_le_bytes().to_vec();
        SignatureCheck { key: key.public_key(), signature: key.sign(&message), message }
    }

    #[test]
    fn verify_all_returns_index_of_first_invalid_signature() {
        let good: Vec<SignatureCheck> = (0..600).map(signature_check).collect();
        assert_eq!(verify_all(&good, 2), Ok(()));
        assert_eq!(verify_all(&[], 2), Ok(()));
        for bad in [0, 255, 256, 299, 300, 599] {
            let mut checks = good.clone();
            checks[bad].message.push(0);
            checks[599].message.push(0);
            assert_eq!(verify_all(&checks, 2), Err(bad));
            assert_eq!(verify_all(&checks, 1), Err(bad));
        }
    }

    // RFC 8032, 7.1, test 2.
    #[test]
    fn signs_as_in_rfc_8032() {
        let seed = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
        let mut bytes = [0; 32];
        hex::decode_to_slice(seed, &mut bytes).unwrap();
        let key = SecretKey::from_seed(bytes);
        assert_eq!(
            hex::encode(key.public_key().as_bytes()),
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
        );
        assert_eq!(
            hex::encode(key.sign(&[0x72]).as_bytes()),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
    }

    #[test]
    fn debug_output_omits_secret_key() {
        assert_eq!(format!("{:?}", SecretKey::from_seed([1; 32])), "SecretKey(…)");
    }
}
