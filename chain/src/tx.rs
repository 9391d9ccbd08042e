//! Transactions: transfers that people sign, and the Bitcoin-shaped coinbase that pays the miner.
//! Encoding, ids and signing bytes; whether one is valid is the business of `rules`.

use crate::address::Address;
use crate::codec::{DecodeError, Decoder};
use crate::hash::{digest, sha256d};
use crate::header::{self, Height};
use crate::signature::{PublicKey, SecretKey, Signature};

digest! {
    /// SHA-256d of a whole encoded transaction.
    Id
}

/// Bytes of a transfer without memo.
pub const MIN_TRANSFER_BYTES: usize = 145;
/// Most bytes of a memo.
pub const MAX_MEMO_BYTES: usize = 256;
/// Most bytes of a transfer.
pub const MAX_TRANSFER_BYTES: usize = MIN_TRANSFER_BYTES + MAX_MEMO_BYTES;
/// Most bytes of a coinbase's tag.
pub const MAX_TAG_BYTES: usize = 40;

const KIND_COINBASE: u8 = 0;
const KIND_TRANSFER: u8 = 2;
/// Domain of a transfer's signature: no other message of any kind starts like this.
const SIGNING_DOMAIN: &[u8] = b"chain/transfer/1";

/// A signed payment. `amount` and `fee` are base units as they came in; `rules::tx` bounds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Who pays; the account is the key's address.
    pub sender: PublicKey,
    /// How many transfers of this sender come before it.
    pub nonce: u64,
    /// Who is paid.
    pub recipient: Address,
    /// Base units to the recipient.
    pub amount: u64,
    /// Base units to the miner.
    pub fee: u64,
    /// Opaque, at most `MAX_MEMO_BYTES`.
    pub memo: Memo,
    /// The sender's, over `signing_bytes`.
    pub signature: Signature,
}

/// At most `MAX_MEMO_BYTES` bytes of anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memo(Vec<u8>);

impl Memo {
    /// `None` if it is too long.
    pub fn new(bytes: Vec<u8>) -> Option<Memo> {
        (bytes.len() <= MAX_MEMO_BYTES).then_some(Memo(bytes))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What a sender decides before signing.
#[derive(Clone, Debug)]
pub struct Payment {
    /// How many transfers of this sender come before it.
    pub nonce: u64,
    /// Who is paid.
    pub recipient: Address,
    /// Base units to the recipient.
    pub amount: u64,
    /// Base units to the miner.
    pub fee: u64,
    /// Opaque.
    pub memo: Memo,
}

impl Transfer {
    /// Signs a payment for one network, which its genesis hash names.
    pub fn sign(payment: Payment, key: &SecretKey, genesis: header::Hash) -> Transfer {
        let Payment { nonce, recipient, amount, fee, memo } = payment;
        let sender = key.public_key();
        let unsigned = Signature::from_bytes([0; 64]);
        let mut transfer =
            Transfer { sender, nonce, recipient, amount, fee, memo, signature: unsigned };
        transfer.signature = key.sign(&transfer.signing_bytes(genesis));
        transfer
    }

    /// What the signature is over: purpose, network, and every other field.
    pub fn signing_bytes(&self, genesis: header::Hash) -> Vec<u8> {
        let mut bytes = [SIGNING_DOMAIN, genesis.as_bytes()].concat();
        self.write_unsigned(&mut bytes);
        bytes
    }

    /// The account that pays.
    pub fn sender_address(&self) -> Address {
        self.sender.address()
    }

    /// The id.
    pub fn id(&self) -> Id {
        Id::from_bytes(sha256d(&self.encode()))
    }

    /// Bytes of the encoding.
    pub fn size(&self) -> usize {
        MIN_TRANSFER_BYTES.saturating_add(self.memo.0.len())
    }

    /// The whole encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.size());
        self.write(&mut bytes);
        bytes
    }

    /// Appends the whole encoding.
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

    /// Reads exactly one transfer.
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

/// The transaction that pays a block's miner, serialised as Bitcoin serialises a coinbase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coinbase {
    /// The height of its block, so that no two coinbases are alike.
    pub height: Height,
    /// Searched by miners when the nonces of a header are used up.
    pub extra_nonce: [u8; 8],
    /// Opaque.
    pub tag: Tag,
    /// Base units to the recipient; `rules` demands subsidy and fees.
    pub reward: u64,
    /// Who is paid, once the reward is mature.
    pub recipient: Address,
    /// The accounts after this block.
    pub commitment: [u8; 32],
}

/// At most `MAX_TAG_BYTES` bytes of anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tag(Vec<u8>);

impl Tag {
    /// `None` if it is too long.
    pub fn new(bytes: Vec<u8>) -> Option<Tag> {
        (bytes.len() <= MAX_TAG_BYTES).then_some(Tag(bytes))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Version 1, one input, 32 zero bytes, index ffffffff.
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
/// Sequence ffffffff, two outputs.
const COINBASE_MIDDLE: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 2];
/// Length of output 0's script, then "push 0, push 20 bytes".
const REWARD_SCRIPT: [u8; 3] = [22, 0x00, 0x14];
/// Value 0, length of output 1's script, then "return, push 36 bytes" and the mark.
const COMMITMENT_OUTPUT: [u8; 15] =
    [0, 0, 0, 0, 0, 0, 0, 0, 38, 0x6a, 0x24, b'a', b'c', b'c', b't'];
const EXTRA_NONCE_BYTES: u8 = 8;

impl Coinbase {
    /// The id: leaf 0 of the block's Merkle tree.
    pub fn id(&self) -> Id {
        Id::from_bytes(sha256d(&self.serialise()))
    }

    /// Bitcoin's serialisation, without witness.
    pub fn serialise(&self) -> Vec<u8> {
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

    /// Where the 8 bytes of extra nonce begin in the serialisation.
    pub fn extra_nonce_offset(&self) -> usize {
        // The length of the script stands before it, that of the extra nonce after the height.
        COINBASE_START.len() + 1 + height_push(self.height).len() + 1
    }

    /// Reads exactly one coinbase of exactly this shape.
    pub fn deserialise(bytes: &[u8]) -> Result<Coinbase, DecodeError> {
        // Whatever is wrong inside it has the coinbase's own code.
        let short = |_| DecodeError::BadCoinbase { what: "it ends early" };
        let mut input = Decoder::new(bytes);
        expect(&mut input, &COINBASE_START, "version or input")?;
        let script_length = input.u8().map_err(short)?;
        let mut script = Decoder::new(input.bytes(usize::from(script_length)).map_err(short)?);
        let height = read_height_push(&mut script)?;
        expect(&mut script, &[EXTRA_NONCE_BYTES], "push of the extra nonce")?;
        let extra_nonce = script.array().map_err(short)?;
        let tag_length = script.u8().map_err(short)?;
        let tag = script.bytes(usize::from(tag_length)).map_err(short)?.to_vec();
        let tag = Tag::new(tag).ok_or(DecodeError::BadCoinbase { what: "tag above 40 bytes" })?;
        script.finish().map_err(|_| DecodeError::BadCoinbase { what: "length of the script" })?;
        expect(&mut input, &COINBASE_MIDDLE, "sequence or number of outputs")?;
        let reward = input.u64().map_err(short)?;
        expect(&mut input, &REWARD_SCRIPT, "script of the reward")?;
        let recipient = Address::from_bytes(input.array().map_err(short)?);
        expect(&mut input, &COMMITMENT_OUTPUT, "output of the account commitment")?;
        let commitment = input.array().map_err(short)?;
        expect(&mut input, &[0; 4], "lock time")?;
        input.finish().map_err(|_| DecodeError::BadCoinbase { what: "bytes are left over" })?;
        Ok(Coinbase { height, extra_nonce, tag, reward, recipient, commitment })
    }
}

fn expect(input: &mut Decoder, bytes: &[u8], what: &'static str) -> Result<(), DecodeError> {
    match input.bytes(bytes.len()) {
        Ok(found) if found == bytes => Ok(()),
        _ => Err(DecodeError::BadCoinbase { what }),
    }
}

/// BIP 34: a small number as an opcode, any other as the push of a minimal script number.
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
    // The same number pushed in another way would be another id for the same coinbase.
    expect(&mut canonical, &height_push(height), "push of the height")?;
    if canonical.remaining() == script.remaining() { Ok(height) } else { Err(malformed) }
}

/// Anything a block's body consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transaction {
    /// Pays the miner.
    Coinbase(Coinbase),
    /// Pays whom its sender wants.
    Transfer(Transfer),
}

impl Transaction {
    /// The id.
    pub fn id(&self) -> Id {
        match self {
            Transaction::Coinbase(coinbase) => coinbase.id(),
            Transaction::Transfer(transfer) => transfer.id(),
        }
    }

    /// Appends the encoding: a transfer as it is; a coinbase as kind 0 ‖ u32 length ‖ serialisation.
    pub fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Transaction::Transfer(transfer) => transfer.write(bytes),
            Transaction::Coinbase(coinbase) => {
                let serialised = coinbase.serialise();
                let length = u32::try_from(serialised.len()).expect("at most 185 bytes");
                bytes.push(KIND_COINBASE);
                bytes.extend_from_slice(&length.to_le_bytes());
                bytes.extend_from_slice(&serialised);
            }
        }
    }

    /// The whole encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes
    }

    /// Reads exactly one transaction.
    pub fn decode(bytes: &[u8]) -> Result<Transaction, DecodeError> {
        let mut input = Decoder::new(bytes);
        let transaction = Transaction::read(&mut input)?;
        input.finish()?;
        Ok(transaction)
    }

    /// Reads the next transaction.
    pub fn read(input: &mut Decoder) -> Result<Transaction, DecodeError> {
        match input.u8()? {
            KIND_TRANSFER => Transfer::read(input).map(Transaction::Transfer),
            KIND_COINBASE => {
                let length = input.count(1)?;
                Coinbase::deserialise(input.bytes(length)?).map(Transaction::Coinbase)
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
    fn height_is_pushed_as_bip_34_says() {
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
            let read = Coinbase::deserialise(&coinbase(height, 3).serialise());
            assert_eq!(read, Ok(coinbase(height, 3)));
        }
    }

    #[test]
    fn the_extra_nonce_stands_where_it_is_said_to() {
        for height in [0, 16, 17, 128, 32_768, u32::MAX] {
            let (one, other) = (coinbase(height, 3), coinbase(height, 3));
            let other = Coinbase { extra_nonce: [0xff; 8], ..other };
            let (one, other, at) = (one.serialise(), other.serialise(), one.extra_nonce_offset());
            assert_eq!(one[at..at + 8], [1, 2, 3, 4, 5, 6, 7, 8]);
            assert_eq!((&one[..at], &one[at + 8..]), (&other[..at], &other[at + 8..]));
        }
    }

    #[test]
    fn another_push_of_the_same_height_is_refused() {
        for push in ["0101", "0110", "021100", "0180", "0100", "04ffffffff", "06ffffffff0000", "4f"]
        {
            let bytes = hex::decode(push).unwrap();
            assert!(read_height_push(&mut Decoder::new(&bytes)).is_err(), "{push}");
        }
    }

    #[test]
    fn a_coinbase_has_140_to_185_bytes_and_every_other_shape_is_refused() {
        assert_eq!(coinbase(0, 0).serialise().len(), 140);
        assert_eq!(coinbase(u32::MAX, MAX_TAG_BYTES).serialise().len(), 185);
        let good = coinbase(300, 5).serialise();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            // A changed byte is refused, or it is one of the free fields and gives another coinbase.
            if let Ok(read) = Coinbase::deserialise(&bad) {
                assert_eq!(read.serialise(), bad);
                assert_ne!(read, coinbase(300, 5));
            }
            let error = Coinbase::deserialise(&good[..at]).unwrap_err();
            assert_eq!(Rule::from(&error), Rule::BadCoinbaseEncoding);
        }
        let longer = [good.as_slice(), &[0]].concat();
        let error = Coinbase::deserialise(&longer).unwrap_err();
        assert_eq!(Rule::from(&error), Rule::BadCoinbaseEncoding);
    }

    // C03: an inner node of the Merkle tree is 64 bytes.
    #[test]
    fn no_transaction_encodes_to_64_bytes() {
        assert_eq!(transfer(0).encode().len(), MIN_TRANSFER_BYTES);
        assert_eq!(transfer(MAX_MEMO_BYTES).encode().len(), MAX_TRANSFER_BYTES);
        assert!(coinbase(0, 0).serialise().len() > 64);
    }

    // C37, C41, M15
    #[test]
    fn a_memo_is_any_bytes_up_to_its_limit() {
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
    fn trailing_bytes_and_unknown_kinds_are_refused() {
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
        fn whatever_decodes_encodes_to_the_same_bytes(
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
