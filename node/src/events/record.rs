//! Events as they are stored: compact records, of which one stands for a block and all transfers
//! that it confirms. Those are read from the chain when a subscriber selects them.
//!
//! A batch of records is one record of the block-log format, so a crash loses it whole or not at
//! all. Its layout: number of the first event u64, hash of the tip after the batch, then records up
//! to the end. A record: code of the kind u8, time u32 (Unix seconds), then the fields of
//! [`EventKind`] in their order. All numbers are little-endian.

use super::topic::Topic;
use chain::codec::Decoder;
use chain::rules::tx::TransferDetails;
use chain::tx::{Id, Transfer};
use chain::{Address, DecodeError, Height, block};

/// Consecutive events that are stored together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// The number of the first event.
    pub first: u64,
    /// The best block after the last event.
    pub tip: block::Hash,
    pub records: Vec<Record>,
}

/// One stored event, or a block with its transfers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The wall-clock time at which the event was logged, in Unix seconds.
    pub time: u32,
    pub kind: EventKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EventKind {
    /// A connected block: one event, and one more for each of its transfers.
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
    /// An event of another topic; `data` is a JSON object.
    Other {
        topic: Topic,
        data: String,
    },
    /// Events were lost here because the disk or the queue was full.
    Gap,
}

/// The parts of a transfer that its events carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The id of the transfer.
    pub id: Id,
    /// The address that pays.
    pub sender: Address,
    /// The address that is paid.
    pub recipient: Address,
    /// The amount in base units.
    pub amount: u64,
    /// The fee in base units.
    pub fee: u64,
    /// The number of transfers that the sender made before.
    pub nonce: u64,
}

impl Payment {
    /// The payment of a verified transfer.
    pub fn of_details(details: &TransferDetails) -> Payment {
        let TransferDetails { id, sender, nonce, recipient, amount, fee, .. } = *details;
        Payment { id, sender, recipient, amount: amount.units(), fee: fee.units(), nonce }
    }

    /// The payment of a transfer in a block.
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

    /// Whether an address is the sender or the recipient.
    pub(super) fn involves(&self, address: &Address) -> bool {
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

impl EventKind {
    /// The number of events that the record stands for.
    pub fn event_count(&self) -> u64 {
        match self {
            EventKind::Connected { transfers, .. } => 1 + u64::from(*transfers),
            _ => 1,
        }
    }
}

impl EventKind {
    /// The topic of the event; `None` for a gap.
    pub fn topic(&self) -> Option<Topic> {
        match self {
            EventKind::Connected { .. } => Some(Topic::BlockConnected),
            EventKind::Disconnected { .. } => Some(Topic::BlockDisconnected),
            EventKind::Reorg { .. } => Some(Topic::Reorg),
            EventKind::Accepted(_) => Some(Topic::TransactionAccepted),
            EventKind::Dropped { .. } => Some(Topic::TransactionDropped),
            EventKind::Other { topic, .. } => Some(*topic),
            EventKind::Gap => None,
        }
    }
}

impl Batch {
    /// The number of events in the batch.
    pub fn event_count(&self) -> u64 {
        self.records.iter().map(|record| record.kind.event_count()).sum()
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.first.to_le_bytes().to_vec();
        out.extend_from_slice(self.tip.as_bytes());
        for record in &self.records {
            record.write(&mut out);
        }
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Batch, DecodeError> {
        let mut input = Decoder::new(bytes);
        let (first, tip) = (input.u64()?, block::Hash::from_bytes(input.array()?));
        let mut records = Vec::new();
        while input.remaining() > 0 {
            records.push(Record::read(&mut input)?);
        }
        Ok(Batch { first, tip, records })
    }
}

impl Record {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(self.kind.code());
        out.extend_from_slice(&self.time.to_le_bytes());
        match &self.kind {
            EventKind::Connected { hash, height, transfers } => {
                out.extend_from_slice(hash.as_bytes());
                out.extend_from_slice(&height.get().to_le_bytes());
                out.extend_from_slice(&transfers.to_le_bytes());
            }
            EventKind::Disconnected { hash, height } => {
                out.extend_from_slice(hash.as_bytes());
                out.extend_from_slice(&height.get().to_le_bytes());
            }
            EventKind::Reorg { fork, depth, connected, old, new } => {
                for number in [fork.get(), *depth, *connected] {
                    out.extend_from_slice(&number.to_le_bytes());
                }
                out.extend_from_slice(old.as_bytes());
                out.extend_from_slice(new.as_bytes());
            }
            EventKind::Accepted(payment) => payment.write(out),
            EventKind::Dropped { payment, reason } => {
                payment.write(out);
                write_text(reason, out);
            }
            EventKind::Other { topic, data } => {
                out.push(*topic as u8);
                write_text(data, out);
            }
            EventKind::Gap => {}
        }
    }

    fn read(input: &mut Decoder) -> Result<Record, DecodeError> {
        let (code, time) = (input.u8()?, input.u32()?);
        let kind = match code {
            1 => EventKind::Connected {
                hash: read_hash(input)?,
                height: Height::new(input.u32()?),
                transfers: input.u32()?,
            },
            2 => EventKind::Disconnected {
                hash: read_hash(input)?,
                height: Height::new(input.u32()?),
            },
            3 => EventKind::Reorg {
                fork: Height::new(input.u32()?),
                depth: input.u32()?,
                connected: input.u32()?,
                old: read_hash(input)?,
                new: read_hash(input)?,
            },
            4 => EventKind::Accepted(Payment::read(input)?),
            5 => EventKind::Dropped { payment: Payment::read(input)?, reason: read_text(input)? },
            6 => {
                let code = input.u8()?;
                let topic =
                    Topic::from_code(code).ok_or(DecodeError::UnknownKind { kind: code })?;
                EventKind::Other { topic, data: read_text(input)? }
            }
            7 => EventKind::Gap,
            kind => return Err(DecodeError::UnknownKind { kind }),
        };
        Ok(Record { time, kind })
    }
}

impl EventKind {
    fn code(&self) -> u8 {
        match self {
            EventKind::Connected { .. } => 1,
            EventKind::Disconnected { .. } => 2,
            EventKind::Reorg { .. } => 3,
            EventKind::Accepted(_) => 4,
            EventKind::Dropped { .. } => 5,
            EventKind::Other { .. } => 6,
            EventKind::Gap => 7,
        }
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    let length = u32::try_from(text.len()).expect("an event has at most a MiB");
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
        let kinds = [
            EventKind::Connected { hash, height, transfers: 8 },
            EventKind::Disconnected { hash, height },
            EventKind::Reorg { fork: height, depth: 1, connected: 2, old: hash, new: hash },
            EventKind::Accepted(payment),
            EventKind::Dropped { payment, reason: "expired".to_owned() },
            EventKind::Other { topic: Topic::JobUpdated, data: "{\"a\":\"ü\"}".to_owned() },
            EventKind::Gap,
        ];
        let records = kinds.into_iter().zip(1..).map(|(kind, time)| Record { time, kind });
        Batch { first: 9, tip: hash, records: records.collect() }
    }

    #[test]
    fn batch_round_trips() {
        let batch = every_kind();
        assert_eq!(Batch::decode(&batch.encode()), Ok(batch.clone()));
        assert_eq!(batch.event_count(), 9 + 6);
        let empty = Batch { records: Vec::new(), ..batch };
        assert_eq!(Batch::decode(&empty.encode()), Ok(empty));
    }

    #[test]
    fn rejects_truncated_batches_and_unknown_kinds() {
        let batch = every_kind();
        let bytes = batch.encode();
        let mut decoded = 0;
        for end in 0..bytes.len() {
            // An end between two records reads as a shorter batch; the log's CRC detects that.
            decoded += usize::from(Batch::decode(&bytes[..end]).is_ok());
        }
        assert_eq!(decoded, batch.records.len());
        for kind in [0, 8, 255] {
            let bytes = [&bytes[..40], &[kind, 0, 0, 0, 0]].concat();
            assert_eq!(Batch::decode(&bytes), Err(DecodeError::UnknownKind { kind }));
        }
    }

    #[test]
    fn topics_round_trip_through_codes_and_names() {
        for topic in Topic::ALL {
            assert_eq!(Topic::from_code(*topic as u8), Some(*topic));
            assert_eq!(topic.name().parse(), Ok(*topic));
        }
        assert_eq!(Topic::from_code(u8::MAX), None);
        assert!("block".parse::<Topic>().unwrap_err().to_string().contains("block.connected"));
    }
}
