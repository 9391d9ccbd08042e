//! Signed messages: that the owner of an address wrote a text, without moving any money.
//! The signature is over `"chain/message/1"` ‖ text; a transfer's signing bytes start differently,
//! so neither can pass for the other, on any network.

use chain::Address;
use chain::signature::{PublicKey, SecretKey, Signature};

/// Domain of the signature.
const DOMAIN: &[u8] = b"chain/message/1";

/// Who signed, and the signature. An address does not tell its key, so both travel together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The key of the signer.
    pub key: PublicKey,
    /// The signature.
    pub signature: Signature,
}

/// Why a text is not a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature of a message is 192 hexadecimal digits: a key and its signature")]
pub struct ProofError;

impl Proof {
    /// Signs a message.
    pub fn sign(key: &SecretKey, message: &[u8]) -> Proof {
        Proof { key: key.public_key(), signature: key.sign(&signed_bytes(message)) }
    }

    /// Whether the holder of the key signed this message.
    pub fn holds(&self, message: &[u8]) -> bool {
        self.key.verify(&signed_bytes(message), &self.signature)
    }

    /// The address of the signer.
    pub fn address(&self) -> Address {
        self.key.address()
    }

    /// Key and signature as 192 hexadecimal digits.
    pub fn encode(&self) -> String {
        hex::encode(self.key.as_bytes()) + &hex::encode(self.signature.as_bytes())
    }

    /// Reads what `encode` writes.
    pub fn decode(text: &str) -> Result<Proof, ProofError> {
        let mut bytes = [0; 96];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ProofError)?;
        let (key, signature) = bytes.split_first_chunk::<32>().ok_or(ProofError)?;
        let signature = <[u8; 64]>::try_from(signature).map_err(|_| ProofError)?;
        Ok(Proof { key: PublicKey::from_bytes(*key), signature: Signature::from_bytes(signature) })
    }
}

fn signed_bytes(message: &[u8]) -> Vec<u8> {
    [DOMAIN, message].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chain::block;
    use chain::tx::{Memo, Payment, Transfer};

    fn key() -> SecretKey {
        SecretKey::from_seed([3; 32])
    }

    #[test]
    fn a_proof_holds_for_its_message_and_key_only() {
        let proof = Proof::sign(&key(), b"I was here");
        assert_eq!(Proof::decode(&proof.encode()), Ok(proof));
        assert_eq!(proof.address(), key().public_key().address());
        assert!(proof.holds(b"I was here"));
        assert!(!proof.holds(b"I was there"));
        let other = SecretKey::from_seed([4; 32]).public_key();
        assert!(!Proof { key: other, ..proof }.holds(b"I was here"));
    }

    #[test]
    fn only_192_digits_are_a_proof() {
        let text = Proof::sign(&key(), b"").encode();
        for bad in ["", &text[1..], &text[2..], &format!("{text}00"), &text.replace('a', "g")] {
            assert_eq!(Proof::decode(bad), Err(ProofError), "{bad}");
        }
    }

    // C30: signing the bytes of a transfer as a message signs no transfer, and the other way round.
    #[test]
    fn a_message_is_never_a_transfer() {
        let genesis = block::Hash::from_bytes([9; 32]);
        let recipient = Address::from_bytes([1; 20]);
        let payment = Payment { nonce: 0, recipient, amount: 1, fee: 1, memo: Memo::default() };
        let transfer = Transfer::sign(payment, &key(), genesis);
        let signing_bytes = transfer.signing_bytes(genesis);
        assert!(transfer.sender.verify(&signing_bytes, &transfer.signature));

        let proof = Proof::sign(&key(), &signing_bytes);
        assert!(!transfer.sender.verify(&signing_bytes, &proof.signature));
        let stolen = Proof { key: transfer.sender, signature: transfer.signature };
        assert!(!stolen.holds(&signing_bytes));
        assert!(!signing_bytes.starts_with(DOMAIN));
    }
}
