//! What is kept of events, compactly: one entry for a block and all transfers it confirms, which
//! are read from the chain when somebody wants them.
//!
//! A batch is one record of the log, so it is there whole or not at all: number of its first event
//! u64, hash of the tip after it, then entries up to its end. An entry: kind u8, time u32 (Unix
//! seconds), then as [`What`] has it. All numbers are little-endian.

use super::topic::Topic;
use chain::codec::Decoder;
use chain::rules::tx::TransferDetails;
use chain::tx::{Id, Transfer};
use chain::{Address, DecodeError, Height, block};

/// Some events, as they lie in one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// The number of the first.
    pub first: u64,
    /// The best block once all of them have happened.
    pub tip: block::Hash,
    pub entries: Vec<Entry>,
}

/// One thing that happened: one event or a few.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Unix seconds.
    pub time: u32,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Stands for the block and each of its transfers.
    Connected {
        hash: block::Hash,
        height: Height,
        transfers: u32,
    },
    Disconnected {
        hash: block::Hash,
        height: Height,
    },
    Reorg {
        fork: Height,
        depth: u32,
        connected: u32,
        old: block::Hash,
        new: block::Hash,
    },
    Accepted(Payment),
    Dropped {
        payment: Payment,
        reason: String,
    },
    /// A JSON object.
    Other {
        topic: Topic,
        data: String,
    },
    /// Events were lost here: the disk was full, or a queue.
    Gap,
}

/// What a transfer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Its id.
    pub id: Id,
    /// Who pays.
    pub sender: Address,
    /// Who is paid.
    pub recipient: Address,
    /// Base units.
    pub amount: u64,
    /// Base units.
    pub fee: u64,
    /// How many transfers of the sender come before it.
    pub nonce: u64,
}

impl Payment {
    /// Of a checked transfer.
    pub fn of_terms(terms: &TransferDetails) -> Payment {
        let TransferDetails { id, sender, nonce, recipient, amount, fee, .. } = *terms;
        Payment { id, sender, recipient, amount: amount.units(), fee: fee.units(), nonce }
    }

    /// Of a transfer of a block.
    pub(super) fn of(transfer: &Transfer) -> Payment {
        let Transfer { nonce, recipient, amount, fee, .. } = *transfer;
        Payment {
            id: transfer.id(),
            sender: transfer.sender_address(),
            recipient,
            amount,
            fee,
            nonce,
        }
    }

    /// Whether somebody pays or is paid.
    pub(super) fn names(&self, address: &Address) -> bool {
        self.sender == *address || self.recipient == *address
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.id.as_bytes());
        out.extend_from_slice(self.sender.as_bytes());
        out.extend_from_slice(self.recipient.as_bytes());
        for number in [self.amount, self.fee, self.nonce] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn read(input: &mut Decoder) -> Result<Payment, DecodeError> {
        Ok(Payment {
            id: Id::from_bytes(input.array()?),
            sender: Address::from_bytes(input.array()?),
            recipient: Address::from_bytes(input.array()?),
            amount: input.u64()?,
            fee: input.u64()?,
            nonce: input.u64()?,
        })
    }
}

impl What {
    /// How many events it stands for.
    pub fn count(&self) -> u64 {
        match self {
            What::Connected { transfers, .. } => 1 + u64::from(*transfers),
            _ => 1,
        }
    }
}

impl Batch {
    /// How many events it has.
    pub fn count(&self) -> u64 {
        self.entries.iter().map(|entry| entry.what.count()).sum()
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.first.to_le_bytes().to_vec();
        out.extend_from_slice(self.tip.as_bytes());
        for entry in &self.entries {
            entry.write(&mut out);
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Batch, DecodeError> {
        let mut input = Decoder::new(bytes);
        let (first, tip) = (input.u64()?, block::Hash::from_bytes(input.array()?));
        let mut entries = Vec::new();
        while input.remaining() > 0 {
            entries.push(Entry::read(&mut input)?);
        }
        Ok(Batch { first, tip, entries })
    }
}

impl Entry {
    fn write(&self, out: &mut Vec<u8>) {
        let (kind, time) = (self.what.kind(), self.time.to_le_bytes());
        out.push(kind);
        out.extend_from_slice(&time);
        match &self.what {
            What::Connected { hash, height, transfers } => {
                out.extend_from_slice(hash.as_bytes());
                out.extend_from_slice(&height.get().to_le_bytes());
                out.extend_from_slice(&transfers.to_le_bytes());
            }
            What::Disconnected { hash, height } => {
                out.extend_from_slice(hash.as_bytes());
                out.extend_from_slice(&height.get().to_le_bytes());
            }
            What::Reorg { fork, depth, connected, old, new } => {
                for number in [fork.get(), *depth, *connected] {
                    out.extend_from_slice(&number.to_le_bytes());
                }
                out.extend_from_slice(old.as_bytes());
                out.extend_from_slice(new.as_bytes());
            }
            What::Accepted(payment) => payment.write(out),
            What::Dropped { payment, reason } => {
                payment.write(out);
                write_text(reason, out);
            }
            What::Other { topic, data } => {
                out.push(*topic as u8);
                write_text(data, out);
            }
            What::Gap => {}
        }
    }

    fn read(input: &mut Decoder) -> Result<Entry, DecodeError> {
        let (kind, time) = (input.u8()?, input.u32()?);
        let what = match kind {
            1 => What::Connected {
                hash: read_hash(input)?,
                height: Height::new(input.u32()?),
                transfers: input.u32()?,
            },
            2 => What::Disconnected { hash: read_hash(input)?, height: Height::new(input.u32()?) },
            3 => What::Reorg {
                fork: Height::new(input.u32()?),
                depth: input.u32()?,
                connected: input.u32()?,
                old: read_hash(input)?,
                new: read_hash(input)?,
            },
            4 => What::Accepted(Payment::read(input)?),
            5 => What::Dropped { payment: Payment::read(input)?, reason: read_text(input)? },
            6 => {
                let code = input.u8()?;
                let topic =
                    Topic::from_code(code).ok_or(DecodeError::UnknownKind { kind: code })?;
                What::Other { topic, data: read_text(input)? }
            }
            7 => What::Gap,
            kind => return Err(DecodeError::UnknownKind { kind }),
        };
        Ok(Entry { time, what })
    }
}

impl What {
    fn kind(&self) -> u8 {
        match self {
            What::Connected { .. } => 1,
            What::Disconnected { .. } => 2,
            What::Reorg { .. } => 3,
            What::Accepted(_) => 4,
            What::Dropped { .. } => 5,
            What::Other { .. } => 6,
            What::Gap => 7,
        }
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    let length = u32::try_from(text.len()).expect("what is told has at most a MiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn read_text(input: &mut Decoder) -> Result<String, DecodeError> {
    let length = input.count(1)?;
    Ok(String::from_utf8_lossy(input.bytes(length)?).into_owned())
}

fn read_hash(input: &mut Decoder) -> Result<block::Hash, DecodeError> {
    input.array().map(block::Hash::from_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_kind() -> Batch {
        let hash = block::Hash::from_bytes([1; 32]);
        let payment = Payment {
            id: Id::from_bytes([2; 32]),
            sender: Address::from_bytes([3; 20]),
            recipient: Address::from_bytes([4; 20]),
            amount: 5,
            fee: 6,
            nonce: u64::MAX,
        };
        let height = Height::new(7);
        let whats = [
            What::Connected { hash, height, transfers: 8 },
            What::Disconnected { hash, height },
            What::Reorg { fork: height, depth: 1, connected: 2, old: hash, new: hash },
            What::Accepted(payment),
            What::Dropped { payment, reason: "expired".to_owned() },
            What::Other { topic: Topic::JobUpdated, data: "{\"a\":\"ü\"}".to_owned() },
            What::Gap,
        ];
        let entries = whats.into_iter().zip(1..).map(|(what, time)| Entry { time, what });
        Batch { first: 9, tip: hash, entries: entries.collect() }
    }

    #[test]
    fn a_batch_is_read_as_it_was_written() {
        let batch = every_kind();
        assert_eq!(Batch::decode(&batch.encode()), Ok(batch.clone()));
        assert_eq!(batch.count(), 9 + 6);
        let empty = Batch { entries: Vec::new(), ..batch };
        assert_eq!(Batch::decode(&empty.encode()), Ok(empty));
    }

    #[test]
    fn half_a_batch_and_unknown_kinds_are_refused() {
        let batch = every_kind();
        let bytes = batch.encode();
        let mut whole = 0;
        for end in 0..bytes.len() {
            // Ends between two entries look like a shorter batch: that is what the CRC is for.
            whole += usize::from(Batch::decode(&bytes[..end]).is_ok());
        }
        assert_eq!(whole, batch.entries.len());
        for kind in [0, 8, 255] {
            let bytes = [&bytes[..40], &[kind, 0, 0, 0, 0]].concat();
            assert_eq!(Batch::decode(&bytes), Err(DecodeError::UnknownKind { kind }));
        }
    }

    #[test]
    fn codes_of_topics_are_their_places() {
        for topic in Topic::ALL {
            assert_eq!(Topic::from_code(*topic as u8), Some(*topic));
            assert_eq!(topic.name().parse(), Ok(*topic));
        }
        assert_eq!(Topic::from_code(11), None);
        assert!("block".parse::<Topic>().unwrap_err().to_string().contains("block.connected"));
    }
}
