//! Templates are remembered while their tip is best, in bounded memory.

use super::*;
use crate::clock;
use chain::Params;
use chain::ledger::{self, Options};
use chain::signature::SecretKey;
use chain::tx::{Memo, Payment};

fn template() -> Template {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { cache_bytes: 1 << 20, threads: 1, ..Options::default() };
    let opened = ledger::open(folder.path(), Params::dev(), &options, &mut |_| {}).unwrap();
    let tag = Tag::default();
    let request =
        TemplateRequest { miner: Address::ZERO, now: clock::now(), extra_nonce: [0; 8], tag };
    opened.0.template(request).unwrap()
}

fn transfer(nonce: u64) -> Transfer {
    let (recipient, memo) = (Address::ZERO, Memo::default());
    let payment = Payment { nonce, recipient, amount: 1, fee: 1_000, memo };
    Transfer::sign(payment, &SecretKey::from_seed([1; 32]), Params::dev().genesis_hash())
}

/// A template with these transfers.
fn with_transfers(transfers: &[Transfer]) -> Template {
    extended(template(), transfers)
}

/// A template without transfers, with these added.
fn extended(mut template: Template, transfers: &[Transfer]) -> Template {
    template.ids.extend(transfers.iter().map(Transfer::id));
    template.branch = merkle::Branch::of(&template.ids, 0).unwrap();
    let transactions = transfers.iter().cloned().map(Transaction::Transfer);
    template.block.transactions.extend(transactions);
    template
}

/// A template of the parent with this byte, of a number, which has the same transfers.
fn numbered(template: &Template, parent: u8, number: u64) -> Arc<SharedTemplate> {
    let mut template = template.clone();
    template.block.header.previous = block::Hash::from_bytes([parent; 32]);
    Arc::new(SharedTemplate::new(number, template, &mut Transfers::new()).0)
}

// N03: strangers take templates and change the mempool all the time.
#[test]
fn template_is_honoured_while_its_tip_is_best() {
    let transfers: Vec<Transfer> = (0..1_000).map(transfer).collect();
    let miner = Address::from_bytes([7; 20]);
    let (mut cache, mut known) = (TemplateCache::default(), Transfers::new());
    let (mut given, mut made) = (Vec::new(), 0);
    let empty = template();
    let tip = empty.block.header.previous;
    // A change of the mempool every 30 seconds, for more than eight hours.
    for (change, pending) in (0_u64..).zip(&transfers) {
        let now = Duration::from_secs(30 * change);
        if change == 0 || cache.may_change(tip, now) {
            let next = extended(empty.clone(), std::slice::from_ref(pending));
            let (next, bytes) = SharedTemplate::new(change, next, &mut known);
            cache.insert(Arc::new(next), bytes, now);
            made += 1;
        }
        let latest = Arc::clone(&cache.templates.back().unwrap().0);
        for extra_nonce in 0..100_u64 {
            let nonce = extra_nonce.to_le_bytes();
            let one = issued(Arc::clone(&latest), miner, Timestamp::new(5), nonce);
            if extra_nonce == 50 {
                given.push((one.id(), one.block()));
            }
        }
    }
    assert!((200..600).contains(&made), "{made}");
    for (id, block) in given {
        let found = cache.rebuild(&id).expect("the tip is the same");
        assert_eq!(found.block(), block, "{id}");
    }
}

// N03
#[test]
fn interval_between_templates_grows_with_the_age_of_the_tip() {
    let (mut cache, template) = (TemplateCache::default(), template());
    let tip = block::Hash::from_bytes([1; 32]);
    let mut number = 0;
    let mut made = |cache: &mut TemplateCache, from: u64, to: u64| {
        let before = number;
        for tenth in from * 10..to * 10 {
            let now = Duration::from_millis(tenth * 100);
            if cache.may_change(tip, now) {
                number += 1;
                cache.insert(numbered(&template, 1, number), 100, now);
            }
        }
        number - before
    };
    assert_eq!(made(&mut cache, 0, 10), u64::from(MEMPOOL_BURST) + 1 + 6);
    assert_eq!(made(&mut cache, 10, 100), 90);
    assert!((85..=105).contains(&made(&mut cache, 100, 272)));
    let next = block::Hash::from_bytes([2; 32]);
    assert!(cache.may_change(next, Duration::from_secs(272)), "a new tip");
}

// N03
#[test]
fn templates_are_limited_in_number_and_bytes() {
    let (mut cache, template) = (TemplateCache::default(), template());
    let now = Duration::ZERO;
    for number in 0..400 {
        cache.insert(numbered(&template, 1, number), 1 << 10, now);
    }
    assert!((0..400).all(|number| cache.find(number).is_some()));
    // A new tip.
    cache.insert(numbered(&template, 2, 400), 1 << 10, now);
    assert_eq!(cache.templates.len(), MAX_EARLIER + 1);
    assert!(cache.find(143).is_none() && cache.find(144).is_some());
    let tip = block::Hash::from_bytes([2; 32]);
    let (mut number, mut now) = (401, Duration::from_secs(10));
    while cache.may_change(tip, now) {
        cache.insert(numbered(&template, 2, number), 1 << 20, now);
        number += 1;
        now = now * 11 / 10;
    }
    assert_eq!(number, 401 + 128, "the memory for one tip is full");
    assert!((400..number).all(|number| cache.find(number).is_some()));
    // Of the earlier tip, then, and of the one before, as much as fits.
    cache.insert(numbered(&template, 3, number), 1, now);
    assert_eq!(cache.templates.len(), 32 + 1);
    assert!(cache.find(number - 1).is_some() && cache.find(number).is_some());
    // Back to the earlier tip.
    cache.insert(numbered(&template, 2, number + 1), 1, now);
    assert_eq!(cache.tip.unwrap().bytes, (32 << 20) + 1);
}

// N03
#[test]
fn consecutive_templates_share_their_transfers() {
    let transfers: Vec<Transfer> = (0..4).map(transfer).collect();
    let mut known = Transfers::new();
    let (first, grown) = SharedTemplate::new(1, with_transfers(&transfers[..3]), &mut known);
    let each = size_of::<Transfer>() + transfers[0].size();
    let pointer = size_of::<usize>();
    assert_eq!(grown, 3 * (each + pointer));
    let (second, grown) = SharedTemplate::new(2, with_transfers(&transfers[1..]), &mut known);
    assert_eq!(grown, each + 3 * pointer);
    assert!(Arc::ptr_eq(&first.transfers[1], &second.transfers[0]));
    let ids: Vec<_> = second.transfers().map(Transfer::id).collect();
    assert_eq!(ids, transfers[1..].iter().map(Transfer::id).collect::<Vec<_>>());
}

#[test]
fn issued_template_differs_only_in_coinbase_and_header() {
    let template = with_transfers(&[transfer(0), transfer(1)]);
    let (shared, _) = SharedTemplate::new(7, template.clone(), &mut Transfers::new());
    let (miner, shared) = (Address::from_bytes([7; 20]), Arc::new(shared));
    let given = issued(Arc::clone(&shared), miner, Timestamp::new(u32::MAX), [5; 8]);
    let (number, rest) = given.id().split_once('-').map(|(a, b)| (a.to_owned(), b.len())).unwrap();
    assert_eq!((&*number, rest), ("7", 80));
    assert!(parse_id(&given.id()).is_some());
    let given = given.with_extra_nonce([9; 8]);
    let solved = given.solved(|header| header.nonce = 88);
    let coinbase = solved.coinbase().unwrap();
    assert_eq!((coinbase.recipient, coinbase.extra_nonce), (miner, [9; 8]));
    assert_eq!(coinbase, &given.coinbase());
    assert_eq!(solved.header.merkle_root, merkle::root(&solved.ids()));
    assert_eq!((solved.header.nonce, solved.header.time), (88, Timestamp::new(u32::MAX)));
    assert_eq!(solved.header.previous, template.block.header.previous);
    assert_eq!(solved.transactions[1..], template.block.transactions[1..]);
}

#[test]
fn only_ids_of_templates_are_parsed() {
    let rest = "a".repeat(80);
    assert_eq!(parse_id(&format!("1f-{rest}")), Some((31, &*rest)));
    for wrong in ["", "-", "1f", "0-0", "1f-", &rest] {
        assert_eq!(parse_id(wrong), None, "{wrong}");
    }
    for number in ["", "-1", "+1", "1F", "11111111111111111", "g"] {
        assert_eq!(parse_id(&format!("{number}-{rest}")), None, "{number}");
    }
    assert_eq!(parse_id(&format!("1-{}", "A".repeat(80))), None);
}
