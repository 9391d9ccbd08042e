//! The records of the mempool's journal. A record is a list of entries, each with a kind byte and
//! its fields; integers are little-endian. The first entry of a journal is the header.
//!
//! | kind | entry | fields |
//! |---|---|---|
//! | 1 | header | version u8, genesis hash |
//! | 2 | added | 1 if submitted to this node or 0, mempool time in seconds u64, encoded transfer |
//! | 3 | removed | id, reject reason: its code u8 and its fields; 0 if confirmed |
//! | 4 | submitted to this node | id |
//! | 5 | time | mempool time in seconds u64 |
//! | 6 | tip | block hash |

use crate::block;
use crate::codec::{DecodeError, Decoder};
use crate::mempool::{RejectReason, Source};
use crate::tx::{Id, Transaction, Transfer};

/// The version of the format. Journals of another version are not read.
pub(super) const VERSION: u8 = 1;

/// The size in bytes from which entries go into a further record. A damaged record costs all transfers in it.
const RECORD_BYTES: usize = 4 << 10;

/// One entry of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The format and the network of the journal.
    Header { version: u8, genesis: block::Hash },
    /// A transfer entered the mempool at a mempool time.
    Added { source: Source, seconds: u64, transfer: Transfer },
    /// A transfer left the mempool. Without a reason it was confirmed.
    Removed { id: Id, reason: Option<RejectReason> },
    /// A transfer of the mempool was submitted to this node after a peer had sent it.
    Local { id: Id },
    /// The mempool time has come to this number of seconds.
    Time { seconds: u64 },
    /// The mempool is up to date with a tip.
    Tip { hash: block::Hash },
}

impl Entry {
    /// Decodes all entries of a record.
    pub(super) fn decode_all(record: &[u8]) -> Result<Vec<Entry>, DecodeError> {
        let mut input = Decoder::new(record);
        let mut entries = Vec::new();
        while input.remaining() > 0 {
            entries.push(Entry::decode(&mut input)?);
        }
        Ok(entries)
    }

    fn decode(input: &mut Decoder) -> Result<Entry, DecodeError> {
        Ok(match input.u8()? {
            1 => Entry::Header {
                version: input.u8()?,
                genesis: block::Hash::from_bytes(input.array()?),
            },
            2 => {
                let source = if input.u8()? == 1 { Source::Local } else { Source::Peer };
                let seconds = input.u64()?;
                match Transaction::read(input)? {
                    Transaction::Transfer(transfer) => Entry::Added { source, seconds, transfer },
                    Transaction::Coinbase(_) => {
                        return Err(DecodeError::BadCoinbase { what: "it is in the mempool" });
                    }
                }
            }
            3 => {
                Entry::Removed { id: Id::from_bytes(input.array()?), reason: decode_reason(input)? }
            }
            4 => Entry::Local { id: Id::from_bytes(input.array()?) },
            5 => Entry::Time { seconds: input.u64()? },
            6 => Entry::Tip { hash: block::Hash::from_bytes(input.array()?) },
            kind => return Err(DecodeError::UnknownKind { kind }),
        })
    }
}

/// Encodes entries into records of limited size.
#[derive(Debug, Default)]
pub(super) struct Records {
    records: Vec<Vec<u8>>,
}

impl Records {
    pub(super) fn header(&mut self, genesis: block::Hash) {
        let record = self.record(1);
        record.push(VERSION);
        record.extend_from_slice(genesis.as_bytes());
    }

    pub(super) fn added(&mut self, source: Source, seconds: u64, transfer: &Transfer) {
        let record = self.record(2);
        record.push(u8::from(source == Source::Local));
        record.extend_from_slice(&seconds.to_le_bytes());
        transfer.write(record);
    }

    pub(super) fn removed(&mut self, id: &Id, reason: Option<&RejectReason>) {
        let record = self.record(3);
        record.extend_from_slice(id.as_bytes());
        encode_reason(reason, record);
    }

    pub(super) fn local(&mut self, id: &Id) {
        self.record(4).extend_from_slice(id.as_bytes());
    }

    pub(super) fn time(&mut self, seconds: u64) {
        self.record(5).extend_from_slice(&seconds.to_le_bytes());
    }

    pub(super) fn tip(&mut self, hash: block::Hash) {
        self.record(6).extend_from_slice(hash.as_bytes());
    }

    /// Returns the encoded records.
    pub(super) fn finish(self) -> Vec<Vec<u8>> {
        self.records
    }

    /// Starts an entry in a record that has room.
    fn record(&mut self, kind: u8) -> &mut Vec<u8> {
        if self.records.last().is_none_or(|record| record.len() >= RECORD_BYTES) {
            self.records.push(Vec::new());
        }
        let record = self.records.last_mut().expect("a record was pushed");
        record.push(kind);
        record
    }
}

fn encode_reason(reason: Option<&RejectReason>, out: &mut Vec<u8>) {
    let Some(reason) = reason else { return out.push(0) };
    let (code, fields, by): (u8, [Option<u64>; 3], Option<&Id>) = match reason {
        RejectReason::NonceUsed { expected, actual } => {
            (1, [Some(*expected), Some(*actual), None], None)
        }
        RejectReason::NonceTooFar { latest, actual } => {
            (2, [Some(*latest), Some(*actual), None], None)
        }
        RejectReason::InsufficientBalance { needed, available } => {
            (3, [Some(*needed), Some(*available), None], None)
        }
        RejectReason::MinFee { rate, needed, actual } => {
            (4, [Some(*rate), Some(*needed), Some(*actual)], None)
        }
        RejectReason::MempoolFull { needed, actual } => {
            (5, [Some(*needed), Some(*actual), None], None)
        }
        RejectReason::MempoolFullOfPending => (6, [None; 3], None),
        RejectReason::ReplacementTooCheap { needed, actual } => {
            (7, [Some(*needed), Some(*actual), None], None)
        }
        RejectReason::SenderLimit { limit } => (8, [Some(*limit as u64), None, None], None),
        RejectReason::ReplacementLimit { limit } => (9, [Some(*limit as u64), None, None], None),
        RejectReason::Replaced { by } => (10, [None; 3], Some(by)),
        RejectReason::Expired { missing } => (11, [Some(*missing), None, None], None),
        RejectReason::WouldReplace { id } => (12, [None; 3], Some(id)),
        RejectReason::Removed => (13, [None; 3], None),
    };
    out.push(code);
    fields.iter().flatten().for_each(|field| out.extend_from_slice(&field.to_le_bytes()));
    out.extend(by.iter().flat_map(|id| id.as_bytes()));
}

fn decode_reason(input: &mut Decoder) -> Result<Option<RejectReason>, DecodeError> {
    let limit = |input: &mut Decoder| Ok(usize::try_from(input.u64()?).unwrap_or(usize::MAX));
    Ok(Some(match input.u8()? {
        0 => return Ok(None),
        1 => RejectReason::NonceUsed { expected: input.u64()?, actual: input.u64()? },
        2 => RejectReason::NonceTooFar { latest: input.u64()?, actual: input.u64()? },
        3 => RejectReason::InsufficientBalance { needed: input.u64()?, available: input.u64()? },
        4 => {
            RejectReason::MinFee { rate: input.u64()?, needed: input.u64()?, actual: input.u64()? }
        }
        5 => RejectReason::MempoolFull { needed: input.u64()?, actual: input.u64()? },
        6 => RejectReason::MempoolFullOfPending,
        7 => RejectReason::ReplacementTooCheap { needed: input.u64()?, actual: input.u64()? },
        8 => RejectReason::SenderLimit { limit: limit(input)? },
        9 => RejectReason::ReplacementLimit { limit: limit(input)? },
        10 => RejectReason::Replaced { by: Id::from_bytes(input.array()?) },
        11 => RejectReason::Expired { missing: input.u64()? },
        12 => RejectReason::WouldReplace { id: Id::from_bytes(input.array()?) },
        13 => RejectReason::Removed,
        kind => return Err(DecodeError::UnknownKind { kind }),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mempool::tests::pay;

    fn every_entry() -> Vec<Entry> {
        let id = Id::from_bytes([7; 32]);
        let transfer = pay(1, 0).signed().transfer().clone();
        let reasons = [
            RejectReason::NonceUsed { expected: 1, actual: 2 },
            RejectReason::NonceTooFar { latest: 3, actual: 4 },
            RejectReason::InsufficientBalance { needed: 5, available: 6 },
            RejectReason::MinFee { rate: 7, needed: 8, actual: 9 },
            RejectReason::MempoolFull { needed: 10, actual: 11 },
            RejectReason::MempoolFullOfPending,
            RejectReason::ReplacementTooCheap { needed: 12, actual: u64::MAX },
            RejectReason::SenderLimit { limit: 13 },
            RejectReason::ReplacementLimit { limit: 14 },
            RejectReason::Replaced { by: id },
            RejectReason::Expired { missing: 15 },
            RejectReason::WouldReplace { id },
            RejectReason::Removed,
        ];
        let mut entries = vec![
            Entry::Header { version: VERSION, genesis: block::Hash::from_bytes([5; 32]) },
            Entry::Added { source: Source::Local, seconds: 1, transfer: transfer.clone() },
            Entry::Added { source: Source::Peer, seconds: u64::MAX, transfer },
            Entry::Removed { id, reason: None },
            Entry::Local { id },
            Entry::Time { seconds: 16 },
            Entry::Tip { hash: block::Hash::from_bytes([17; 32]) },
        ];
        entries.extend(reasons.map(|reason| Entry::Removed { id, reason: Some(reason) }));
        entries
    }

    fn encode(entries: &[Entry]) -> Vec<Vec<u8>> {
        let mut records = Records::default();
        for entry in entries {
            match entry {
                Entry::Header { genesis, .. } => records.header(*genesis),
                Entry::Added { source, seconds, transfer } => {
                    records.added(*source, *seconds, transfer);
                }
                Entry::Removed { id, reason } => records.removed(id, reason.as_ref()),
                Entry::Local { id } => records.local(id),
                Entry::Time { seconds } => records.time(*seconds),
                Entry::Tip { hash } => records.tip(*hash),
            }
        }
        records.finish()
    }

    #[test]
    fn entries_round_trip() {
        let entries = every_entry();
        let records = encode(&entries);
        assert_eq!(records.len(), 1);
        assert_eq!(Entry::decode_all(&records[0]), Ok(entries));
    }

    #[test]
    fn records_have_limited_size() {
        let many: Vec<Entry> = every_entry().into_iter().cycle().take(5_000).collect();
        let records = encode(&many);
        assert!(records.len() > 1);
        let largest = RECORD_BYTES + crate::tx::MAX_TRANSFER_BYTES + 10;
        assert!(records.iter().all(|record| record.len() <= largest));
        let decoded: Vec<Entry> =
            records.iter().flat_map(|record| Entry::decode_all(record).unwrap()).collect();
        assert_eq!(decoded, many);
    }

    #[test]
    fn truncated_and_unknown_entries_are_errors() {
        let record = &encode(&every_entry())[0];
        let mut whole = 0;
        for end in 0..record.len() {
            whole += usize::from(Entry::decode_all(&record[..end]).is_ok());
        }
        assert_eq!(whole, every_entry().len(), "a record may end only between two entries");
        for kind in [0, 7, 255] {
            assert_eq!(Entry::decode_all(&[kind]), Err(DecodeError::UnknownKind { kind }));
        }
    }
}
