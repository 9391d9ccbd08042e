//! Ed25519 keys and signatures under ZIP-215, the rule set under which checking one signature and
//! checking a batch always agree. Signing and curve arithmetic are `ed25519-zebra`'s.
//! Source: ZIP 215; RFC 8032.

use crate::address::Address;
use ed25519_zebra::{SigningKey, VerificationKey, VerificationKeyBytes, batch};
use std::fmt;

/// Signatures a thread checks in one equation: beyond some hundred the gain per signature is flat,
/// and a bad one costs checking its batch one by one.
const BATCH: usize = 256;

/// 32 bytes that claim to be a curve point; `verify` finds out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// From the bytes on the wire, unchecked.
    pub const fn from_bytes(bytes: [u8; 32]) -> PublicKey {
        PublicKey(bytes)
    }

    /// The bytes on the wire.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The account this key owns.
    pub fn address(&self) -> Address {
        Address::of(&self.0)
    }

    /// Whether the signature is this key's over the message, as ZIP-215 says.
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

/// 64 bytes that claim to be a signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// From the bytes on the wire, unchecked.
    pub const fn from_bytes(bytes: [u8; 64]) -> Signature {
        Signature(bytes)
    }

    /// The bytes on the wire.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", hex::encode(self.0))
    }
}

/// The secret half of a key pair: an RFC 8032 seed. Wiped when dropped, never shown.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Any 32 bytes are a seed.
    pub fn from_seed(seed: [u8; 32]) -> SecretKey {
        SecretKey(SigningKey::from(seed))
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(VerificationKeyBytes::from(&self.0).into())
    }

    /// Signs; the same message always gives the same signature.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// A claim to check: this key signed this message.
#[derive(Clone, Debug)]
pub struct SignatureCheck {
    /// Whose signature it is said to be.
    pub key: PublicKey,
    /// What was signed.
    pub message: Vec<u8>,
    /// The signature.
    pub signature: Signature,
}

impl SignatureCheck {
    fn holds(&self) -> bool {
        self.key.verify(&self.message, &self.signature)
    }
}

/// Checks all claims, in batches over `threads` threads; the index of the first one that is false.
pub fn verify_all(claims: &[SignatureCheck], threads: usize) -> Result<(), usize> {
    let share = claims.len().div_ceil(threads.max(1)).max(BATCH);
    if claims.len() <= share {
        return verify_batches(claims);
    }
    let verdicts: Vec<_> = std::thread::scope(|scope| {
        let checks: Vec<_> =
            claims.chunks(share).map(|part| scope.spawn(|| verify_batches(part))).collect();
        checks.into_iter().map(|check| check.join().expect("verification does not panic")).collect()
    });
    verdicts.into_iter().enumerate().try_for_each(|(part, verdict)| {
        verdict.map_err(|at: usize| part.saturating_mul(share).saturating_add(at))
    })
}

fn verify_batches(claims: &[SignatureCheck]) -> Result<(), usize> {
    for (number, claims) in claims.chunks(BATCH).enumerate() {
        if claims.len() > 1 && batch_holds(claims) {
            continue;
        }
        if let Some(at) = claims.iter().position(|claim| !claim.holds()) {
            return Err(number.saturating_mul(BATCH).saturating_add(at));
        }
    }
    Ok(())
}

fn batch_holds(claims: &[SignatureCheck]) -> bool {
    let mut verifier = batch::Verifier::new();
    for SignatureCheck { key, message, signature } in claims {
        verifier.queue((key.0.into(), signature.0.into(), message));
    }
    verifier.verify(Coefficients::of(claims)).is_ok()
}

/// The random coefficients of a batch, drawn from a hash of the whole batch: whoever makes the
/// signatures cannot know them before, and no source of randomness is needed.
struct Coefficients(blake3::OutputReader);

impl Coefficients {
    fn of(claims: &[SignatureCheck]) -> Coefficients {
        let mut hasher = blake3::Hasher::new();
        for SignatureCheck { key, message, signature } in claims {
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

    fn claim(number: u32) -> SignatureCheck {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        let key = SecretKey::from_seed(seed);
        let message = number.to_le_bytes().to_vec();
        SignatureCheck { key: key.public_key(), signature: key.sign(&message), message }
    }

    #[test]
    fn the_first_false_claim_is_found_wherever_it_stands() {
        let good: Vec<SignatureCheck> = (0..600).map(claim).collect();
        assert_eq!(verify_all(&good, 2), Ok(()));
        assert_eq!(verify_all(&[], 2), Ok(()));
        for bad in [0, 255, 256, 299, 300, 599] {
            let mut claims = good.clone();
            claims[bad].message.push(0);
            claims[599].message.push(0);
            assert_eq!(verify_all(&claims, 2), Err(bad));
            assert_eq!(verify_all(&claims, 1), Err(bad));
        }
    }

    // RFC 8032, 7.1, test 2.
    #[test]
    fn signs_as_the_standard_says() {
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
    fn a_secret_key_is_never_shown() {
        assert_eq!(format!("{:?}", SecretKey::from_seed([1; 32])), "SecretKey(…)");
    }
}
