//! Events as readers see them. What an entry leaves out is read from the chain, where a block stays
//! what it is, on whatever branch: so each event is of one state, whenever it is read.

use super::filter::Filter;
use super::record::{Entry, Payment, What};
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

/// Blocks that are kept at hand for other readers, and transfers in all of them: some 5 MB.
const BLOCKS_AT_HAND: usize = 256;
const TRANSFERS_AT_HAND: usize = 50_000;

/// An event as it goes to readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number.
    pub number: u64,
    /// `None` for a reset: what was missed is gone.
    pub topic: Option<Topic>,
    /// A JSON object on one line.
    pub data: String,
}

impl Event {
    /// Its name to readers.
    pub fn name(&self) -> &'static str {
        self.topic.map_or("reset", Topic::name)
    }

    /// One of its time; `rest` is a JSON object without `number` and `time`.
    fn new(number: u64, topic: Option<Topic>, time: u32, rest: &str) -> Event {
        let mut data = format!("{{\"number\":{number},\"time\":{time}");
        match rest.strip_prefix('{') {
            Some("}") | None => data.push('}'),
            Some(members) => {
                data.push(',');
                data.push_str(members);
            }
        }
        Event { number, topic, data }
    }

    fn of(number: u64, topic: Topic, time: u32, shape: &impl Serialize) -> Event {
        let rest = serde_json::to_string(shape).expect("the keys of shapes are strings");
        Event::new(number, Some(topic), time, &rest)
    }

    /// Says that events are gone: those up to `number` that a reader asked for. What is kept
    /// begins with `oldest` and ends with `newest`.
    pub(super) fn reset(number: u64, time: u32, oldest: u64, newest: u64) -> Event {
        let rest = format!("{{\"oldest\":{oldest},\"newest\":{newest}}}");
        Event::new(number, None, time, &rest)
    }

    /// As a server-sent event.
    pub fn write_sse(&self, out: &mut String) {
        let Event { number, data, .. } = self;
        let name = self.name();
        write!(out, "id: {number}\nevent: {name}\ndata: {data}\n\n").expect("text has room");
    }

    /// Several as server-sent events.
    pub fn sse(events: &[Event]) -> Bytes {
        let mut out = String::new();
        events.iter().for_each(|event| event.write_sse(&mut out));
        out.into()
    }

    /// As a message of a WebSocket.
    pub fn message(&self) -> String {
        let Event { number, data, .. } = self;
        format!("{{\"event\":\"{}\",\"id\":{number},\"data\":{data}}}", self.name())
    }
}

#[derive(Serialize)]
struct Connected<'a> {
    hash: String,
    height: u32,
    previous: &'a str,
    block_time: u32,
    miner: &'a str,
    transaction_count: usize,
    size: usize,
    reward: u64,
    fees: u64,
}

#[derive(Serialize)]
struct Disconnected {
    hash: String,
    height: u32,
}

#[derive(Serialize)]
struct Reorg {
    fork_height: u32,
    depth: u32,
    old_tip: String,
    new_tip: String,
    connected: u32,
}

#[derive(Serialize)]
struct Transfer {
    id: String,
    #[serde(flatten)]
    place: Option<Place>,
    sender: String,
    recipient: String,
    amount: u64,
    fee: u64,
    nonce: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize)]
struct Place {
    block: String,
    height: u32,
    position: u64,
}

impl Transfer {
    fn of(payment: &Payment, hrp: Hrp) -> Transfer {
        let Payment { id, sender, recipient, amount, fee, nonce } = *payment;
        Transfer {
            id: id.to_string(),
            place: None,
            sender: sender.encode(hrp),
            recipient: recipient.encode(hrp),
            amount,
            fee,
            nonce,
            reason: None,
        }
    }
}

/// What events tell of a block.
struct Contents {
    hash: block::Hash,
    previous: String,
    time: u32,
    miner: Address,
    size: usize,
    reward: u64,
    fees: u64,
    payments: Vec<Payment>,
}

/// The blocks that were read last, since readers mostly want the same.
#[derive(Default)]
pub(super) struct Blocks(Mutex<VecDeque<Arc<Contents>>>);

impl Blocks {
    /// One block is read at a time, so a crowd of readers takes no more memory than one.
    fn get(&self, chain: &Reader, hash: &block::Hash) -> Result<Option<Arc<Contents>>, StoreError> {
        let mut at_hand = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(contents) = at_hand.iter().find(|contents| contents.hash == *hash) {
            return Ok(Some(Arc::clone(contents)));
        }
        let Some(contents) = Contents::read(chain, hash)? else { return Ok(None) };
        let contents = Arc::new(contents);
        at_hand.push_front(Arc::clone(&contents));
        let mut transfers = 0_usize;
        let kept = at_hand.iter().take(BLOCKS_AT_HAND).take_while(|contents| {
            transfers = transfers.saturating_add(contents.payments.len());
            transfers <= TRANSFERS_AT_HAND
        });
        let kept = kept.count();
        at_hand.truncate(kept);
        Ok(Some(contents))
    }
}

impl Contents {
    fn read(chain: &Reader, hash: &block::Hash) -> Result<Option<Contents>, StoreError> {
        let Some(node) = chain.view().find(hash).copied() else { return Ok(None) };
        let bytes = chain.raw_block(&node)?;
        let block =
            Block::decode(&bytes).map_err(|_| StoreError::BadRecord { location: node.location })?;
        let subsidy = chain.params().subsidy(node.height).units();
        let reward = node.reward.units();
        Ok(Some(Contents {
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

/// Shows an entry's events from a number on, as far as a filter lets them through, until `is_full`.
/// The number of the next event to show; `None` if the chain does not have what it takes.
pub(super) fn show(
    chain: &Reader,
    blocks: &Blocks,
    (first, entry): (u64, &Entry),
    from: u64,
    filter: &Filter,
    mut out: impl FnMut(Event) -> bool,
) -> Result<Option<u64>, StoreError> {
    let (time, after) = (entry.time, first.saturating_add(entry.what.count()));
    let hrp = chain.params().hrp();
    let one = |topic, shape: &dyn Fn() -> Event| filter.wants(topic).then(shape);
    let event = match &entry.what {
        What::Connected { hash, height, transfers } => {
            let wants_transfers = filter.wants(Topic::TransactionConfirmed) && *transfers > 0;
            let wants_block = filter.wants(Topic::BlockConnected) && from == first;
            if !wants_transfers && !wants_block {
                return Ok(Some(after));
            }
            let Some(contents) = blocks.get(chain, hash)? else { return Ok(None) };
            if wants_block && filter.concerns(&contents.miner) {
                let shape = Connected {
                    hash: hash.to_string(),
                    height: height.get(),
                    previous: &contents.previous,
                    block_time: contents.time,
                    miner: &contents.miner.encode(hrp),
                    transaction_count: contents.payments.len() + 1,
                    size: contents.size,
                    reward: contents.reward,
                    fees: contents.fees,
                };
                if !out(Event::of(first, Topic::BlockConnected, time, &shape)) {
                    return Ok(Some(first + 1));
                }
            }
            if !wants_transfers {
                return Ok(Some(after));
            }
            // A transfer's number is the block's plus its position, as the coinbase is at 0.
            for (payment, position) in contents.payments.iter().zip(1..) {
                let number = first + position;
                if number < from || !filter.concerns_payment(payment) {
                    continue;
                }
                let place = Place { block: hash.to_string(), height: height.get(), position };
                let shape = Transfer { place: Some(place), ..Transfer::of(payment, hrp) };
                if !out(Event::of(number, Topic::TransactionConfirmed, time, &shape)) {
                    return Ok(Some(number + 1));
                }
            }
            return Ok(Some(after));
        }
        What::Disconnected { hash, height } if filter.address.is_none() => {
            let shape = Disconnected { hash: hash.to_string(), height: height.get() };
            let topic = Topic::BlockDisconnected;
            one(topic, &|| Event::of(first, topic, time, &shape))
        }
        What::Reorg { fork, depth, connected, old, new } if filter.address.is_none() => {
            let shape = Reorg {
                fork_height: fork.get(),
                depth: *depth,
                old_tip: old.to_string(),
                new_tip: new.to_string(),
                connected: *connected,
            };
            one(Topic::Reorg, &|| Event::of(first, Topic::Reorg, time, &shape))
        }
        What::Accepted(payment) if filter.concerns_payment(payment) => {
            let topic = Topic::TransactionAccepted;
            one(topic, &|| Event::of(first, topic, time, &Transfer::of(payment, hrp)))
        }
        What::Dropped { payment, reason } if filter.concerns_payment(payment) => {
            let topic = Topic::TransactionDropped;
            let shape = Transfer { reason: Some(reason.clone()), ..Transfer::of(payment, hrp) };
            one(topic, &|| Event::of(first, topic, time, &shape))
        }
        What::Other { topic, data } if filter.concerns_object(data, hrp) => {
            one(*topic, &|| Event::new(first, Some(*topic), time, data))
        }
        // Whatever somebody reads, they should know.
        What::Gap => Some(Event::reset(first, time, first + 1, first)),
        _ => None,
    };
    event.map(&mut out);
    Ok(Some(after))
}
