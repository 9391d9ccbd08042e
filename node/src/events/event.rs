//! Rendering of events. What a record leaves out is read from the chain: a block never changes, on
//! whatever branch it is, so an event is the same whenever it is read.

use super::data::{
    ConfirmedTransfer, ConnectedBlock, DisconnectedBlock, DroppedTransfer, Reorg, Reset, Transfer,
};
use super::filter::Filter;
use super::record::{EventKind, Payment, Record};
use super::topic::Topic;
use axum::body::Bytes;
use chain::address::Hrp;
use chain::ledger::Reader;
use chain::store::StoreError;
use chain::{Address, Block, block};
use serde::Serialize;
use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// Most blocks in the cache.
const MAX_CACHED_BLOCKS: usize = 256;
/// Most transfers in all cached blocks together: some 5 MB.
const MAX_CACHED_TRANSFERS: usize = 50_000;

/// An event as subscribers receive it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The position in the log; numbers only grow, also over restarts.
    pub number: u64,
    /// The topic; `None` for a reset, which reports that missed events are gone.
    pub topic: Option<Topic>,
    /// A JSON object on one line.
    pub data: String,
}

impl Event {
    /// The name of the topic, or `reset`.
    pub fn name(&self) -> &'static str {
        self.topic.map_or("reset", Topic::name)
    }

    /// An event whose data is the JSON object `fields` with `number` and `time` before its members.
    fn new(number: u64, topic: Option<Topic>, time: u32, fields: &str) -> Event {
        let mut data = format!("{{\"number\":{number},\"time\":{time}");
        match fields.strip_prefix('{') {
            Some("}") | None => data.push('}'),
            Some(members) => {
                data.push(',');
                data.push_str(members);
            }
        }
        Event { number, topic, data }
    }

    fn of(
        number: u64,
        topic: impl Into<Option<Topic>>,
        time: u32,
        fields: &impl Serialize,
    ) -> Event {
        let fields = serde_json::to_string(fields).expect("the keys of the fields are strings");
        Event::new(number, topic.into(), time, &fields)
    }

    /// A reset: the requested events up to `number` are gone. Retained are those from `oldest` to
    /// `newest`.
    pub(super) fn reset(number: u64, time: u32, oldest: u64, newest: u64) -> Event {
        Event::of(number, None, time, &Reset { oldest, newest })
    }

    /// Appends the event as a server-sent event.
    pub fn write_sse(&self, out: &mut String) {
        let Event { number, data, .. } = self;
        let name = self.name();
        write!(out, "id: {number}\nevent: {name}\ndata: {data}\n\n")
            .expect("writing to a string does not fail");
    }

    /// Encodes events as server-sent events.
    pub fn encode_sse(events: &[Event]) -> Bytes {
        let mut out = String::new();
        events.iter().for_each(|event| event.write_sse(&mut out));
        out.into()
    }

    /// The event as a WebSocket message.
    pub fn to_message(&self) -> String {
        let Event { number, data, .. } = self;
        format!("{{\"event\":\"{}\",\"id\":{number},\"data\":{data}}}", self.name())
    }
}

/// The parts of a block that its events carry.
struct BlockSummary {
    hash: block::Hash,
    previous: String,
    time: u32,
    miner: Address,
    size: usize,
    reward: u64,
    fees: u64,
    payments: Vec<Payment>,
}

/// The blocks that were read last: subscribers mostly read the same ones.
#[derive(Default)]
pub(super) struct BlockCache(Mutex<VecDeque<Arc<BlockSummary>>>);

impl BlockCache {
    /// Reads a block through the cache; `None` if the chain does not have it. One block is read at a
    /// time, so that many subscribers need no more memory than one.
    fn get(
        &self,
        chain: &Reader,
        hash: &block::Hash,
    ) -> Result<Option<Arc<BlockSummary>>, StoreError> {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(block) = cached.iter().find(|block| block.hash == *hash) {
            return Ok(Some(Arc::clone(block)));
        }
        let Some(block) = BlockSummary::read(chain, hash)? else { return Ok(None) };
        let block = Arc::new(block);
        cached.push_front(Arc::clone(&block));
        let mut transfers = 0_usize;
        let retained = cached.iter().take(MAX_CACHED_BLOCKS).take_while(|block| {
            transfers = transfers.saturating_add(block.payments.len());
            transfers <= MAX_CACHED_TRANSFERS
        });
        let retained = retained.count();
        cached.truncate(retained);
        Ok(Some(block))
    }
}

impl BlockSummary {
    fn read(chain: &Reader, hash: &block::Hash) -> Result<Option<BlockSummary>, StoreError> {
        let Some(node) = chain.view().find(hash).copied() else { return Ok(None) };
        let bytes = chain.raw_block(&node)?;
        let block =
            Block::decode(&bytes).map_err(|_| StoreError::BadRecord { location: node.location })?;
        let subsidy = chain.params().subsidy(node.height).units();
        let reward = node.reward.units();
        Ok(Some(BlockSummary {
            hash: *hash,
            previous: block.header.previous.to_string(),
            time: node.time.get(),
            miner: node.miner,
            size: bytes.len(),
            reward,
            fees: reward.saturating_sub(subsidy),
            payments: block.transfers().map(|(_, transfer)| Payment::of(transfer)).collect(),
        }))
    }
}

/// Passes the events of a record, from the number `from` on, to `emit` as far as the filter selects
/// them, until `emit` returns false. `first` is the number of the record's first event.
///
/// Returns the number of the next event; `None` if the chain does not have the record's block.
pub(super) fn emit(
    chain: &Reader,
    blocks: &BlockCache,
    (first, record): (u64, &Record),
    from: u64,
    filter: &Filter,
    mut emit: impl FnMut(Event) -> bool,
) -> Result<Option<u64>, StoreError> {
    let after = first.saturating_add(record.kind.event_count());
    let hrp = chain.params().hrp();
    if let EventKind::Connected { hash, height, transfers } = &record.kind {
        let selects_transfers = filter.matches_topic(Topic::TransactionConfirmed) && *transfers > 0;
        let selects_block = filter.matches_topic(Topic::BlockConnected) && from == first;
        if !selects_transfers && !selects_block {
            return Ok(Some(after));
        }
        let Some(block) = blocks.get(chain, hash)? else { return Ok(None) };
        if selects_block && filter.matches_address(&block.miner) {
            let event = block.connected_event(first, record.time, height.get(), hrp);
            if !emit(event) {
                return Ok(Some(first + 1));
            }
        }
        if !selects_transfers {
            return Ok(Some(after));
        }
        // The number of a transfer's event is that of the block's plus the transfer's position.
        for (payment, position) in block.payments.iter().zip(1..) {
            let number = first + position;
            if number < from || !filter.matches_payment(payment) {
                continue;
            }
            let transfer = Transfer::of(payment, hrp);
            let (block, height) = (hash.to_string(), height.get());
            let fields = ConfirmedTransfer { transfer, block, height, position };
            if !emit(Event::of(number, Topic::TransactionConfirmed, record.time, &fields)) {
                return Ok(Some(number + 1));
            }
        }
        return Ok(Some(after));
    }
    if let EventKind::Disconnected { hash, height } = &record.kind {
        if filter.matches_topic(Topic::BlockDisconnected) {
            let Some(block) = blocks.get(chain, hash)? else { return Ok(None) };
            if filter.matches_address(&block.miner) {
                emit(block.disconnected_event(first, record.time, height.get(), hrp));
            }
        }
        return Ok(Some(after));
    }
    render(first, record, filter, hrp).map(&mut emit);
    Ok(Some(after))
}

impl BlockSummary {
    fn connected_event(&self, number: u64, time: u32, height: u32, hrp: Hrp) -> Event {
        let fields = ConnectedBlock {
            hash: self.hash.to_string(),
            height,
            previous: self.previous.clone(),
            block_time: self.time,
            miner: self.miner.encode(hrp),
            transaction_count: self.payments.len() + 1,
            size: self.size,
            reward: self.reward,
            fees: self.fees,
        };
        Event::of(number, Topic::BlockConnected, time, &fields)
    }

    fn disconnected_event(&self, number: u64, time: u32, height: u32, hrp: Hrp) -> Event {
        let (hash, miner) = (self.hash.to_string(), self.miner.encode(hrp));
        let fields = DisconnectedBlock { hash, height, miner, reward: self.reward };
        Event::of(number, Topic::BlockDisconnected, time, &fields)
    }
}

/// The event of a record that stands for one, if the filter selects it.
fn render(number: u64, record: &Record, filter: &Filter, hrp: Hrp) -> Option<Event> {
    let time = record.time;
    if record.kind.topic().is_some_and(|topic| !filter.matches_topic(topic)) {
        return None;
    }
    let event = match &record.kind {
        // It concerns every address: rewards and transfers of the old branch may be gone.
        EventKind::Reorg { fork, depth, connected, old, new } => {
            let fields = Reorg {
                fork_height: fork.get(),
                depth: *depth,
                old_tip: old.to_string(),
                new_tip: new.to_string(),
                connected: *connected,
            };
            Event::of(number, Topic::Reorg, time, &fields)
        }
        EventKind::Accepted(payment) if filter.matches_payment(payment) => {
            Event::of(number, Topic::TransactionAccepted, time, &Transfer::of(payment, hrp))
        }
        EventKind::Dropped { payment, reason } if filter.matches_payment(payment) => {
            let transfer = Transfer::of(payment, hrp);
            let fields = DroppedTransfer { transfer, reason: reason.clone() };
            Event::of(number, Topic::TransactionDropped, time, &fields)
        }
        EventKind::Other { topic, data } if filter.matches_object(data, hrp) => {
            Event::new(number, Some(*topic), time, data)
        }
        // Every subscriber learns of a gap, whatever it selects.
        EventKind::Gap => Event::reset(number, time, number + 1, number),
        _ => return None,
    };
    Some(event)
}
