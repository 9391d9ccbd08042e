//! Transactions: signed transfers, and the coinbase that pays the miner, serialized as in Bitcoin.
//! This module encodes, decodes, signs and identifies them; [`rules`](crate::rules) validates them.
//! Source: PROTOCOL.md, "Transfer" and "Coinbase".

use crate::address::Address;
use crate::codec::{DecodeError, Decoder};
use crate::hash::{digest, sha256d};
use crate::header::{self, Height};
use crate::signature::{PublicKey, SecretKey, Signature};

digest! {
    /// The id of a transaction: for a transfer the SHA-256d of its encoding, for a coinbase that of
    /// its serialization.
    Id
}

/// The size of an encoded transfer without a memo, in bytes.
pub const MIN_TRANSFER_BYTES: usize = 145;
/// The maximum length of a memo, in bytes.
pub const MAX_MEMO_BYTES: usize = 256;
/// The maximum size of an encoded transfer, in bytes.
pub const MAX_TRANSFER_BYTES: usize = MIN_TRANSFER_BYTES + MAX_MEMO_BYTES;
/// The maximum length of the tag of a coinbase, in bytes.
pub const MAX_TAG_BYTES: usize = 40;

const KIND_COINBASE: u8 = 0;
const KIND_TRANSFER: u8 = 2;
/// The domain of a transfer's signature: no other signed message starts with it.
const SIGNING_DOMAIN: &[u8] = b"chain/transfer/1";

/// A signed payment. Its amounts are unchecked until [`rules::tx::check`](crate::rules::tx::check)
/// validates the transfer.
///
/// ```
/// use chain::signature::SecretKey;
/// use chain::tx::{Memo, Payment};
/// use chain::{Address, Params, Transfer};
///
/// let key = SecretKey::from_seed([1; 32]);
/// let memo = Memo::new(b"rent".to_vec()).unwrap();
/// let payment = Payment { nonce: 0, recipient: Address::ZERO, amount: 500, fee: 10, memo };
/// let transfer = Transfer::sign(payment, &key, Params::dev().genesis_hash());
///
/// let decoded = Transfer::decode(&transfer.encode())?;
/// assert_eq!(decoded, transfer);
/// assert_eq!(decoded.sender_address(), key.public_key().address());
/// # Ok::<(), chain::DecodeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The public key of the sender, whose account is the key's address.
    pub sender: PublicKey,
    /// The number of the sender's earlier transfers.
    pub nonce: u64,
    /// The account that receives the amount.
    pub recipient: Address,
    /// The amount for the recipient, in base units.
    pub amount: u64,
    /// The fee for the miner, in base units.
    pub fee: u64,
    /// Opaque bytes for the recipient.
    pub memo: Memo,
    /// The sender's signature of [`signing_bytes`](Transfer::signing_bytes).
    pub signature: Signature,
}

/// The memo of a transfer: at most [`MAX_MEMO_BYTES`] opaque bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memo(Vec<u8>);

impl Memo {
    /// Returns the memo, or `None` if the bytes are too many.
    pub fn new(bytes: Vec<u8>) -> Option<Memo> {
        (bytes.len() <= MAX_MEMO_BYTES).then_some(Memo(bytes))
    }

    /// The bytes of the memo, at most [`MAX_MEMO_BYTES`].
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The unsigned content of a transfer.
#[derive(Clone, Debug)]
pub struct Payment {
    /// The number of the sender's earlier transfers.
    pub nonce: u64,
    /// The account that receives the amount.
    pub recipient: Address,
    /// The amount for the recipient, in base units.
    pub amount: u64,
    /// The fee for the miner, in base units.
    pub fee: u64,
    /// Opaque bytes for the recipient.
    pub memo: Memo,
}

impl Transfer {
    /// Signs a payment for the network that a genesis hash identifies.
    pub fn sign(payment: Payment, key: &SecretKey, genesis: header::Hash) -> Transfer {
        let Payment { nonce, recipient, amount, fee, memo } = payment;
        let sender = key.public_key();
        let unsigned = Signature::from_bytes([0; 64]);
        let mut transfer =
            Transfer { sender, nonce, recipient, amount, fee, memo, signature: unsigned };
        transfer.signature = key.sign(&transfer.signing_bytes(genesis));
        transfer
    }

    /// The message that the sender signs: domain ‖ genesis hash ‖ all fields but the signature.
    pub fn signing_bytes(&self, genesis: header::Hash) -> Vec<u8> {
        let mut bytes = [SIGNING_DOMAIN, genesis.as_bytes()].concat();
        self.write_unsigned(&mut bytes);
        bytes
    }

    /// The address of the account that pays.
    pub fn sender_address(&self) -> Address {
        self.sender.address()
    }

    /// The id of the transfer: the SHA-256d of its encoding.
    pub fn id(&self) -> Id {
        Transfer::id_of_encoded(&self.encode())
    }

    /// The id of the transfer with this encoding.
    pub fn id_of_encoded(encoded: &[u8]) -> Id {
        Id::from_bytes(sha256d(encoded))
    }

    /// The size of the encoded transfer, in bytes.
    pub fn size(&self) -> usize {
        MIN_TRANSFER_BYTES.saturating_add(self.memo.0.len())
    }

    /// Encodes the transfer in its canonical form, with its signature.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.size());
        self.write(&mut bytes);
        bytes
    }

    /// Appends the encoded transfer to a buffer.
    pub fn write(&self, bytes: &mut Vec<u8>) {
        self.write_unsigned(bytes);
        bytes.extend_from_slice(self.signature.as_bytes());
    }

    fn write_unsigned(&self, bytes: &mut Vec<u8>) {
        let memo_length = u32::try_from(self.memo.0.len()).expect("a memo is at most 256 bytes");
        bytes.push(KIND_TRANSFER);
        bytes.extend_from_slice(self.sender.as_bytes());
        bytes.extend_from_slice(&self.nonce.to_le_bytes());
        bytes.extend_from_slice(self.recipient.as_bytes());
        bytes.extend_from_slice(&self.amount.to_le_bytes());
        bytes.extend_from_slice(&self.fee.to_le_bytes());
        bytes.extend_from_slice(&memo_length.to_le_bytes());
        bytes.extend_from_slice(&self.memo.0);
    }

    /// Decodes a transfer, which must use all bytes.
    pub fn decode(bytes: &[u8]) -> Result<Transfer, DecodeError> {
        let mut input = Decoder::new(bytes);
        let transfer = match input.u8()? {
            KIND_TRANSFER => Transfer::read(&mut input)?,
            kind => return Err(DecodeError::UnknownKind { kind }),
        };
        input.finish()?;
        Ok(transfer)
    }

    fn read(input: &mut Decoder) -> Result<Transfer, DecodeError> {
        Ok(Transfer {
            sender: PublicKey::from_bytes(input.array()?),
            nonce: input.u64()?,
            recipient: Address::from_bytes(input.array()?),
            amount: input.u64()?,
            fee: input.u64()?,
            memo: {
                let length = input.u32()?;
                let fits = usize::try_from(length).ok().filter(|length| *length <= MAX_MEMO_BYTES);
                let too_long = DecodeError::MemoTooLong { length, limit: MAX_MEMO_BYTES };
                Memo(input.bytes(fits.ok_or(too_long)?)?.to_vec())
            },
            signature: Signature::from_bytes(input.array()?),
        })
    }
}

/// The transaction that pays the miner of a block, serialized as a Bitcoin coinbase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coinbase {
    /// The height of the block, which makes the coinbase of every block distinct.
    pub height: Height,
    /// Bytes that miners change when all nonces of a header are tried.
    pub extra_nonce: [u8; 8],
    /// Opaque bytes of the miner's choice.
    pub tag: Tag,
    /// The reward for the recipient, in base units; a valid one is the subsidy plus all fees.
    pub reward: u64,
    /// The account that receives the reward once it is mature.
    pub recipient: Address,
    /// The commitment to all accounts after this block.
    pub commitment: [u8; 32],
}

/// The tag of a coinbase: at most [`MAX_TAG_BYTES`] opaque bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tag(Vec<u8>);

impl Tag {
    /// Returns the tag, or `None` if the bytes are too many.
    pub fn new(bytes: Vec<u8>) -> Option<Tag> {
        (bytes.len() <= MAX_TAG_BYTES).then_some(Tag(bytes))
    }

    /// The bytes of the tag, at most [`MAX_TAG_BYTES`].
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The start of a coinbase: version 1, one input, 32 zero bytes, index ffffffff.
const COINBASE_START: [u8; 41] = {
    let mut bytes = [0; 41];
    bytes[0] = 1;
    bytes[4] = 1;
    let mut at = 37;
    while at < 41 {
        bytes[at] = 0xff;
        at += 1;
    }
    bytes
};
/// The bytes between the input script and the outputs: sequence ffffffff, two outputs.
const COINBASE_MIDDLE: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 2];
/// The length of the script of output 0, then "push 0, push 20 bytes".
const REWARD_SCRIPT: [u8; 3] = [22, 0x00, 0x14];
/// Output 1 up to the commitment: value 0, length of its script, "return, push 36 bytes", marker.
const COMMITMENT_OUTPUT: [u8; 15] =
    [0, 0, 0, 0, 0, 0, 0, 0, 38, 0x6a, 0x24, b'a', b'c', b'c', b't'];
const EXTRA_NONCE_BYTES: u8 = 8;

impl Coinbase {
    /// The id of the coinbase: the SHA-256d of its serialization, and leaf 0 of the Merkle tree.
    pub fn id(&self) -> Id {
        Id::from_bytes(sha256d(&self.serialize()))
    }

    /// Serializes the coinbase as Bitcoin does, without witness: 140 to 185 bytes.
    pub fn serialize(&self) -> Vec<u8> {
        let mut script = height_push(self.height);
        script.push(EXTRA_NONCE_BYTES);
        script.extend_from_slice(&self.extra_nonce);
        script.push(u8::try_from(self.tag.0.len()).expect("a tag is at most 40 bytes"));
        script.extend_from_slice(&self.tag.0);

        let mut bytes = COINBASE_START.to_vec();
        bytes.push(u8::try_from(script.len()).expect("a script is at most 56 bytes"));
        bytes.extend_from_slice(&script);
        bytes.extend_from_slice(&COINBASE_MIDDLE);
        bytes.extend_from_slice(&self.reward.to_le_bytes());
        bytes.extend_from_slice(&REWARD_SCRIPT);
        bytes.extend_from_slice(self.recipient.as_bytes());
        bytes.extend_from_slice(&COMMITMENT_OUTPUT);
        bytes.extend_from_slice(&self.commitment);
        bytes.extend_from_slice(&[0; 4]);
        bytes
    }

    /// The offset of the 8 bytes of extra nonce in the serialization.
    pub fn extra_nonce_offset(&self) -> usize {
        // The length of the script precedes the height, that of the extra nonce follows it.
        COINBASE_START.len() + 1 + height_push(self.height).len() + 1
    }

    /// Deserializes a coinbase, which must use all bytes and have its canonical form.
    pub fn deserialize(bytes: &[u8]) -> Result<Coinbase, DecodeError> {
        let mut input = Decoder::new(bytes);
        let coinbase = Coinbase::read(&mut input)?;
        input.finish().map_err(|_| DecodeError::BadCoinbase { what: "bytes are left over" })?;
        Ok(coinbase)
    }

    /// Deserializes the next bytes of an input as a coinbase, which must have its canonical form.
    pub fn read(input: &mut Decoder) -> Result<Coinbase, DecodeError> {
        // Every error within a coinbase is reported as `BadCoinbase`.
        let short = |_| DecodeError::BadCoinbase { what: "it ends early" };
        expect(input, &COINBASE_START, "version or input")?;
        let script_length = input.u8().map_err(short)?;
        let mut script = Decoder::new(input.bytes(usize::from(script_length)).map_err(short)?);
        let height = read_height_push(&mut script)?;
        expect(&mut script, &[EXTRA_NONCE_BYTES], "push of the extra nonce")?;
        let extra_nonce = script.array().map_err(short)?;
        let tag_length = script.u8().map_err(short)?;
        let tag = script.bytes(usize::from(tag_length)).map_err(short)?.to_vec();
        let tag = Tag::new(tag).ok_or(DecodeError::BadCoinbase { what: "tag above 40 bytes" })?;
        script.finish().map_err(|_| DecodeError::BadCoinbase { what: "length of the script" })?;
        expect(input, &COINBASE_MIDDLE, "sequence or number of outputs")?;
        let reward = input.u64().map_err(short)?;
        expect(input, &REWARD_SCRIPT, "script of the reward")?;
        let recipient = Address::from_bytes(input.array().map_err(short)?);
        expect(input, &COMMITMENT_OUTPUT, "output of the account commitment")?;
        let commitment = input.array().map_err(short)?;
        expect(input, &[0; 4], "lock time")?;
        Ok(Coinbase { height, extra_nonce, tag, reward, recipient, commitment })
    }
}

fn expect(input: &mut Decoder, bytes: &[u8], what: &'static str) -> Result<(), DecodeError> {
    match input.bytes(bytes.len()) {
        Ok(found) if found == bytes => Ok(()),
        _ => Err(DecodeError::BadCoinbase { what }),
    }
}

/// The push of a height of BIP 34: an opcode up to 16, above it a push of a minimal script number.
fn height_push(height: Height) -> Vec<u8> {
    match height.get() {
        0 => vec![0x00],
        small @ 1..=16 => vec![0x50 + small.to_le_bytes()[0]],
        height => {
            let mut number = height.to_le_bytes().to_vec();
            while number.last() == Some(&0) {
                number.pop();
            }
            if number.last().is_some_and(|top| top & 0x80 != 0) {
                number.push(0);
            }
            number.insert(0, u8::try_from(number.len()).expect("at most 5 bytes"));
            number
        }
    }
}

fn read_height_push(script: &mut Decoder) -> Result<Height, DecodeError> {
    let malformed = DecodeError::BadCoinbase { what: "push of the height" };
    let mut canonical = *script;
    let height = match script.u8().map_err(|_| malformed)? {
        0x00 => 0,
        opcode @ 0x51..=0x60 => u32::from(opcode) - 0x50,
        length @ 1..=5 => {
            let mut number = [0; 8];
            let bytes = script.bytes(usize::from(length)).map_err(|_| malformed)?;
            number[..bytes.len()].copy_from_slice(bytes);
            u32::try_from(u64::from_le_bytes(number)).map_err(|_| malformed)?
        }
        _ => return Err(malformed),
    };
    let height = Height::new(height);
    // Another push of the same number would be another id for the same coinbase.
    expect(&mut canonical, &height_push(height), "push of the height")?;
    if canonical.remaining() == script.remaining() { Ok(height) } else { Err(malformed) }
}

/// A transaction in the body of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transaction {
    /// The coinbase, which pays the miner.
    Coinbase(Coinbase),
    /// A transfer from its sender to a recipient.
    Transfer(Transfer),
}

impl Transaction {
    /// The id of the transaction, which is its leaf of the block's Merkle tree.
    pub fn id(&self) -> Id {
        match self {
            Transaction::Coinbase(coinbase) => coinbase.id(),
            Transaction::Transfer(transfer) => transfer.id(),
        }
    }

    /// Appends the encoded transaction to a buffer: a transfer as [`Transfer::encode`] does, a
    /// coinbase as kind 0 ‖ u32 length ‖ serialization.
    pub fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Transaction::Transfer(transfer) => transfer.write(bytes),
            Transaction::Coinbase(coinbase) => {
                let serialized = coinbase.serialize();
                let length = u32::try_from(serialized.len()).expect("at most 185 bytes");
                bytes.push(KIND_COINBASE);
                bytes.extend_from_slice(&length.to_le_bytes());
                bytes.extend_from_slice(&serialized);
            }
        }
    }

    /// Encodes the transaction in its canonical form, as in a block.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes
    }

    /// Decodes a transaction, which must use all bytes.
    pub fn decode(bytes: &[u8]) -> Result<Transaction, DecodeError> {
        let mut input = Decoder::new(bytes);
        let transaction = Transaction::read(&mut input)?;
        input.finish()?;
        Ok(transaction)
    }

    /// Decodes the next transaction of an input.
    pub fn read(input: &mut Decoder) -> Result<Transaction, DecodeError> {
        match input.u8()? {
            KIND_TRANSFER => Transfer::read(input).map(Transaction::Transfer),
            KIND_COINBASE => {
                let length = input.count(1)?;
                Coinbase::deserialize(input.bytes(length)?).map(Transaction::Coinbase)
            }
            kind => Err(DecodeError::UnknownKind { kind }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Rule;
    use proptest::prelude::*;

    fn coinbase(height: u32, tag: usize) -> Coinbase {
        Coinbase {
            height: Height::new(height),
            extra_nonce: [1, 2, 3, 4, 5, 6, 7, 8],
            tag: Tag::new(vec![b't'; tag]).unwrap(),
            reward: 5_000_000_000,
            recipient: Address::from_bytes([0xaa; 20]),
            commitment: [0xcc; 32],
        }
    }

    fn transfer(memo: usize) -> Transfer {
        let key = SecretKey::from_seed([3; 32]);
        let memo = Memo::new(vec![0xff; memo]).unwrap();
        let recipient = Address::from_bytes([9; 20]);
        let payment = Payment { nonce: 7, recipient, amount: 1, fee: 2, memo };
        Transfer::sign(payment, &key, header::Hash::from_bytes([5; 32]))
    }

    #[test]
    fn pushes_height_as_in_bip_34() {
        for (height, push) in [
            (0, "00"),
            (1, "51"),
            (16, "60"),
            (17, "0111"),
            (127, "017f"),
            (128, "028000"),
            (255, "02ff00"),
            (256, "020001"),
            (32_768, "03008000"),
            (8_388_608, "0400008000"),
            (u32::MAX, "05ffffffff00"),
        ] {
            assert_eq!(hex::encode(height_push(Height::new(height))), push, "{height}");
            let read = Coinbase::deserialize(&coinbase(height, 3).serialize());
            assert_eq!(read, Ok(coinbase(height, 3)));
        }
    }

    #[test]
    fn extra_nonce_offset_points_at_extra_nonce() {
        for height in [0, 16, 17, 128, 32_768, u32::MAX] {
            let (one, other) = (coinbase(height, 3), coinbase(height, 3));
            let other = Coinbase { extra_nonce: [0xff; 8], ..other };
            let (one, other, at) = (one.serialize(), other.serialize(), one.extra_nonce_offset());
            assert_eq!(one[at..at + 8], [1, 2, 3, 4, 5, 6, 7, 8]);
            assert_eq!((&one[..at], &one[at + 8..]), (&other[..at], &other[at + 8..]));
        }
    }

    #[test]
    fn rejects_non_canonical_height_push() {
        for push in ["0101", "0110", "021100", "0180", "0100", "04ffffffff", "06ffffffff0000", "4f"]
        {
            let bytes = hex::decode(push).unwrap();
            assert!(read_height_push(&mut Decoder::new(&bytes)).is_err(), "{push}");
        }
    }

    #[test]
    fn coinbase_has_140_to_185_bytes_and_rejects_other_forms() {
        assert_eq!(coinbase(0, 0).serialize().len(), 140);
        assert_eq!(coinbase(u32::MAX, MAX_TAG_BYTES).serialize().len(), 185);
        let good = coinbase(300, 5).serialize();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            // A changed byte is rejected, or it is part of a free field: then the coinbase differs.
            if let Ok(read) = Coinbase::deserialize(&bad) {
                assert_eq!(read.serialize(), bad);
                assert_ne!(read, coinbase(300, 5));
            }
            let error = Coinbase::deserialize(&good[..at]).unwrap_err();
            assert_eq!(Rule::from(&error), Rule::BadCoinbaseEncoding);
        }
        let longer = [good.as_slice(), &[0]].concat();
        let error = Coinbase::deserialize(&longer).unwrap_err();
        assert_eq!(Rule::from(&error), Rule::BadCoinbaseEncoding);
    }

    // C03: an inner node of the Merkle tree is 64 bytes.
    #[test]
    fn no_transaction_encodes_to_64_bytes() {
        assert_eq!(transfer(0).encode().len(), MIN_TRANSFER_BYTES);
        assert_eq!(transfer(MAX_MEMO_BYTES).encode().len(), MAX_TRANSFER_BYTES);
        assert!(coinbase(0, 0).serialize().len() > 64);
    }

    // C37, C41, M15
    #[test]
    fn accepts_memo_up_to_limit_and_rejects_longer() {
        assert_eq!(Memo::new(vec![0; MAX_MEMO_BYTES + 1]), None);
        let mut bytes = transfer(MAX_MEMO_BYTES).encode();
        assert_eq!(Transfer::decode(&bytes), Ok(transfer(MAX_MEMO_BYTES)));
        let length_at = 1 + 32 + 8 + 20 + 8 + 8;
        bytes[length_at..length_at + 4].copy_from_slice(&257_u32.to_le_bytes());
        bytes.push(0);
        let error = Transfer::decode(&bytes).unwrap_err();
        assert_eq!(error, DecodeError::MemoTooLong { length: 257, limit: 256 });
        assert_eq!(Rule::from(&error), Rule::MemoTooLong);
    }

    #[test]
    fn rejects_trailing_bytes_and_unknown_kinds() {
        let mut bytes = transfer(0).encode();
        bytes.push(0);
        assert_eq!(Transfer::decode(&bytes), Err(DecodeError::TrailingBytes { count: 1 }));
        bytes[0] = 1;
        assert_eq!(Transaction::decode(&bytes), Err(DecodeError::UnknownKind { kind: 1 }));
        let coinbase = Transaction::Coinbase(coinbase(5, 0)).encode();
        assert_eq!(Transfer::decode(&coinbase), Err(DecodeError::UnknownKind { kind: 0 }));
    }

    proptest! {
        #[test]
        fn decoded_transaction_encodes_to_same_bytes(
            bytes in prop::collection::vec(any::<u8>(), 0..450),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let starts = [bytes, transfer(20).encode(), Transaction::Coinbase(coinbase(900, 9)).encode()];
            for mut bytes in starts {
                for (at, value) in &flips {
                    if !bytes.is_empty() {
                        let at = at.index(bytes.len());
                        bytes[at] = *value;
                    }
                }
                if let Ok(transaction) = Transaction::decode(&bytes) {
                    prop_assert_eq!(transaction.encode(), bytes);
                }
            }
        }
    }
}
