//! The encodings of both documents. Decoders return `None` for malformed bytes.

use sha2::{Digest as _, Sha256};

/// 32 bytes in internal order.
pub type Hash = [u8; 32];
/// An encoded header.
pub type Header = [u8; 80];
/// A 256-bit number, little-endian.
pub type U256 = [u8; 32];

pub fn sha256d(bytes: &[u8]) -> Hash {
    Sha256::digest(Sha256::digest(bytes)).into()
}

/// Reads the fields of a message one after another.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (read, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(read)
    }

    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub fn u8(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A list whose items have a number of bytes or more each.
    pub fn list<T>(
        &mut self,
        min_bytes: usize,
        mut item: impl FnMut(&mut Reader<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let count = self.u32()? as usize;
        if count.checked_mul(min_bytes)? > self.0.len() {
            return None;
        }
        (0..count).map(|_| item(self)).collect()
    }

    /// The value, if nothing is left over.
    pub fn finish<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

pub fn list<T: AsRef<[u8]>>(items: &[T]) -> Vec<u8> {
    let mut bytes = u32::try_from(items.len()).unwrap().to_le_bytes().to_vec();
    items.iter().for_each(|item| bytes.extend_from_slice(item.as_ref()));
    bytes
}

/// The prefix of the names of a network's protocols: `/pow/g/`.
pub fn prefix(genesis: &Hash) -> String {
    let digest = blake3::hash(genesis);
    let hex: String = digest.as_bytes()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("/pow/{hex}/")
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub min_version: u16,
    pub max_version: u16,
    pub features: u64,
    pub genesis: Hash,
    pub tip: Hash,
    pub height: u32,
    pub chain_work: U256,
    pub relay: bool,
    pub clock: u64,
    pub nonce: u64,
}

impl Status {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.min_version.to_le_bytes().to_vec();
        bytes.extend(self.max_version.to_le_bytes());
        bytes.extend(self.features.to_le_bytes());
        bytes.extend(self.genesis);
        bytes.extend(self.tip);
        bytes.extend(self.height.to_le_bytes());
        bytes.extend(self.chain_work);
        bytes.push(self.relay.into());
        bytes.extend(self.clock.to_le_bytes());
        bytes.extend(self.nonce.to_le_bytes());
        bytes.extend(0_u16.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<Status> {
        let mut reader = Reader(bytes);
        let status = Status {
            min_version: reader.u16()?,
            max_version: reader.u16()?,
            features: reader.u64()?,
            genesis: reader.array()?,
            tip: reader.array()?,
            height: reader.u32()?,
            chain_work: reader.array()?,
            relay: reader.u8()? != 0,
            clock: reader.u64()?,
            nonce: reader.u64()?,
        };
        let length = reader.u16()?;
        reader.bytes(length.into())?;
        reader.finish(status)
    }
}

pub fn header_hash(header: &Header) -> Hash {
    sha256d(header)
}

pub fn previous(header: &Header) -> Hash {
    header[4..36].try_into().unwrap()
}

pub fn bits(header: &Header) -> u32 {
    u32::from_le_bytes(header[72..76].try_into().unwrap())
}

/// The target of bits; `None` for 0 and for what exceeds 256 bits.
pub fn target(bits: u32) -> Option<U256> {
    let (exponent, mantissa) = (bits >> 24, bits & 0x007f_ffff);
    let mut target = [0; 32];
    for (at, byte) in (0..3).zip(mantissa.to_le_bytes()) {
        match usize::try_from(i64::from(exponent) - 3 + at) {
            Ok(at) if at < 32 => target[at] = byte,
            _ if byte == 0 || exponent < 3 => {}
            _ => return None,
        }
    }
    (target != [0; 32]).then_some(target)
}

/// Compares little-endian numbers.
pub fn compare(one: &U256, other: &U256) -> std::cmp::Ordering {
    one.iter().rev().cmp(other.iter().rev())
}

pub fn has_work(header: &Header) -> bool {
    target(bits(header)).is_some_and(|target| compare(&header_hash(header), &target).is_le())
}

/// One number plus another one, at most 2^256 − 1.
pub fn add(one: &U256, other: &U256) -> U256 {
    let (mut sum, mut carry) = ([0; 32], 0);
    for at in 0..32 {
        let digit = u16::from(one[at]) + u16::from(other[at]) + carry;
        (sum[at], carry) = (digit.to_le_bytes()[0], digit >> 8);
    }
    if carry == 0 { sum } else { [0xff; 32] }
}

/// The work of a block: 2^256 / (target + 1), by binary long division.
pub fn work(bits: u32) -> U256 {
    let Some(target) = target(bits) else { return [0; 32] };
    let divisor = add(&target, &{
        let mut one = [0; 32];
        one[0] = 1;
        one
    });
    let (mut quotient, mut rest) = ([0_u8; 32], [0_u8; 32]);
    // The dividend is a one and 256 zeros; a target is below 2^255, so the rest does not overflow.
    rest[0] = 1;
    for bit in (0..256).rev() {
        rest = add(&rest, &rest);
        if compare(&rest, &divisor).is_ge() {
            rest = subtract(&rest, &divisor);
            quotient[bit / 8] |= 1 << (bit % 8);
        }
    }
    quotient
}

fn subtract(one: &U256, other: &U256) -> U256 {
    let (mut difference, mut borrow) = ([0; 32], 0);
    for at in 0..32 {
        let digit = 256 + u16::from(one[at]) - u16::from(other[at]) - borrow;
        (difference[at], borrow) = (digit.to_le_bytes()[0], 1 - (digit >> 8));
    }
    difference
}

/// The header and the encoded transactions of a block.
pub fn split_block(block: &[u8]) -> Option<(Header, Vec<&[u8]>)> {
    let mut reader = Reader(block);
    let header = reader.array()?;
    let transactions = reader.list(1, split_transaction)?;
    reader.finish((header, transactions))
}

pub fn split_transaction<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let start = reader.0;
    let length = match reader.u8()? {
        0 => 5 + usize::try_from(reader.u32()?).ok()?,
        2 => {
            reader.bytes(76)?;
            145 + usize::try_from(reader.u32()?).ok().filter(|memo| *memo <= 256)?
        }
        _ => return None,
    };
    *reader = Reader(start);
    reader.bytes(length)
}

/// The id of an encoded transaction: of a coinbase without the type and length before it.
pub fn transaction_id(transaction: &[u8]) -> Hash {
    sha256d(if transaction[0] == 0 { &transaction[5..] } else { transaction })
}

/// The Merkle root of ids; `None` if the body is mutated.
pub fn merkle_root(mut level: Vec<Hash>) -> Option<Hash> {
    while level.len() > 1 {
        if level.chunks_exact(2).any(|pair| pair[0] == pair[1]) {
            return None;
        }
        let node = |pair: &[Hash]| sha256d(&[pair[0], *pair.last().unwrap()].concat());
        level = level.chunks(2).map(node).collect();
    }
    level.pop()
}

/// Whether a block has its header's proof of work and Merkle root.
pub fn block_is_plausible(block: &[u8]) -> bool {
    split_block(block).is_some_and(|(header, transactions)| {
        let ids = transactions.into_iter().map(transaction_id).collect();
        has_work(&header) && merkle_root(ids).is_some_and(|root| root == header[36..68])
    })
}

/// Whether an encoded transfer is signed by its sender for a network.
pub fn transfer_is_signed(transfer: &[u8], genesis: &Hash) -> bool {
    let mut reader = Reader(transfer);
    let is_whole = split_transaction(&mut reader).is_some() && reader.0.is_empty();
    if !is_whole || transfer[0] != 2 {
        return false;
    }
    let (fields, signature) = transfer.split_at(transfer.len() - 64);
    let signed = [&b"chain/transfer/1"[..], genesis, fields].concat();
    let key = libp2p::identity::ed25519::PublicKey::try_from_bytes(&transfer[1..33]);
    key.is_ok_and(|key| key.verify(&signed, signature))
}
