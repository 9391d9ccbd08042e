//! Message signatures, which show that the owner of an address wrote a text.
//! The signature is over `"chain/message/1"` ‖ text. The signing bytes of a transfer start differently,
//! so neither signature is valid for the other, on any network.

use chain::Address;
use chain::signature::{PublicKey, SecretKey, Signature};

/// Domain separator of message signatures.
const DOMAIN: &[u8] = b"chain/message/1";

/// The signature of a message with the public key of the signer, which an address does not reveal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageSignature {
    /// The public key of the signer.
    pub key: PublicKey,
    /// The signature of the message with the prefix `DOMAIN`.
    pub signature: Signature,
}

/// The text is not a message signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature of a message is 192 hexadecimal digits: public key and signature")]
pub struct MessageSignatureError;

impl MessageSignature {
    /// Signs a message with the prefix `DOMAIN`, so that the signature is not valid for a transfer.
    pub fn sign(key: &SecretKey, message: &[u8]) -> MessageSignature {
        MessageSignature { key: key.public_key(), signature: key.sign(&signed_bytes(message)) }
    }

    /// Whether the signature is valid for a message.
    pub fn verifies(&self, message: &[u8]) -> bool {
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

    /// Parses the output of `encode`.
    pub fn decode(text: &str) -> Result<MessageSignature, MessageSignatureError> {
        let mut bytes = [0; 96];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| MessageSignatureError)?;
        let (key, signature) = bytes.split_first_chunk::<32>().ok_or(MessageSignatureError)?;
        let signature = <[u8; 64]>::try_from(signature).map_err(|_| MessageSignatureError)?;
        Ok(MessageSignature {
            key: PublicKey::from_bytes(*key),
            signature: Signature::from_bytes(signature),
        })
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
    fn verifies_for_its_message_and_key_only() {
        let signed = MessageSignature::sign(&key(), b"I was here");
        assert_eq!(MessageSignature::decode(&signed.encode()), Ok(signed));
        assert_eq!(signed.address(), key().public_key().address());
        assert!(signed.verifies(b"I was here"));
        assert!(!signed.verifies(b"I was there"));
        let other = SecretKey::from_seed([4; 32]).public_key();
        assert!(!MessageSignature { key: other, ..signed }.verifies(b"I was here"));
    }

    #[test]
    fn rejects_texts_other_than_192_digits() {
        let text = MessageSignature::sign(&key(), b"").encode();
        for bad in ["", &text[1..], &text[2..], &format!("{text}00"), &text.replace('a', "g")] {
            assert_eq!(MessageSignature::decode(bad), Err(MessageSignatureError), "{bad}");
        }
    }

    // C30: the signature of a transfer's bytes as a message is not valid for the transfer, and vice versa.
    #[test]
    fn message_signature_is_invalid_for_a_transfer() {
        let genesis = block::Hash::from_bytes([9; 32]);
        let recipient = Address::from_bytes([1; 20]);
        let payment = Payment { nonce: 0, recipient, amount: 1, fee: 1, memo: Memo::default() };
        let transfer = Transfer::sign(payment, &key(), genesis);
        let signing_bytes = transfer.signing_bytes(genesis);
        assert!(transfer.sender.verify(&signing_bytes, &transfer.signature));

        let signed = MessageSignature::sign(&key(), &signing_bytes);
        assert!(!transfer.sender.verify(&signing_bytes, &signed.signature));
        let stolen = MessageSignature { key: transfer.sender, signature: transfer.signature };
        assert!(!stolen.verifies(&signing_bytes));
        assert!(!signing_bytes.starts_with(DOMAIN));
    }
}
