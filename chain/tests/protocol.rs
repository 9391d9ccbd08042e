//! Checks of PROTOCOL.md against the code: its tables and test vectors are parsed from the document
//! and recomputed. A table is identified by its first line, a test vector by its name.

use chain::accounts::{AccountView, LtHash, Overlay};
use chain::address::Hrp;
use chain::amount::COIN;
use chain::difficulty::{Schedule, asert};
use chain::params::{Params, Ports, Spec};
use chain::pow::BitsError;
use chain::rules::header::Parent;
use chain::rules::{self, Rule, RuleError, Stage, body};
use chain::signature::SecretKey;
use chain::tx::{self, Memo, Payment, Tag};
use chain::{
    Account, Address, Amount, Bits, Block, Coinbase, Header, Height, Timestamp, Transaction,
    Transfer, merkle,
};
use sha2::{Digest, Sha512};
use std::collections::{BTreeSet, HashMap};

const DOCUMENT: &str = include_str!("../PROTOCOL.md");

/// The value of the test vector `name = value`, including indented continuation lines.
fn vector(name: &str) -> String {
    let mut lines = DOCUMENT.lines();
    let found = lines.by_ref().find_map(|line| {
        let (left, value) = line.split_once(" = ")?;
        (left.trim_end() == name).then_some(value)
    });
    let first = found.unwrap_or_else(|| panic!("there is no test vector {name}"));
    lines
        .take_while(|line| line.starts_with(' '))
        .fold(first.to_owned(), |value, line| value + line.trim_start())
}

/// The bytes of a hexadecimal test vector.
fn bytes(name: &str) -> Vec<u8> {
    hex::decode(vector(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The cells of the table with a first line, without backticks.
fn table(first_line: &str) -> Vec<Vec<&'static str>> {
    let mut lines = DOCUMENT.lines().skip_while(|line| *line != first_line).skip(1);
    assert!(lines.next().is_some_and(|line| line.starts_with("|---")), "{first_line}");
    let rows = lines.take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells = row.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().trim_matches('`')).collect()
    })
    .collect()
}

fn number<N: std::str::FromStr>(text: &str) -> N {
    text.parse().unwrap_or_else(|_| panic!("{text} is not a number in range"))
}

fn bits(text: &str) -> Bits {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// HMAC-SHA-512 (RFC 2104) with a key of at most 128 bytes.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 64] {
    let padded = |pad: u8| {
        let mut block = [pad; 128];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha512::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha512::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

/// The seed of a mnemonic without passphrase (BIP 39): PBKDF2 with 2,048 rounds.
fn seed(mnemonic: &str) -> [u8; 64] {
    let mut round = hmac(mnemonic.as_bytes(), b"mnemonic\0\0\0\x01");
    let mut seed = round;
    for _ in 1..2_048 {
        round = hmac(mnemonic.as_bytes(), &round);
        seed.iter_mut().zip(round).for_each(|(byte, other)| *byte ^= other);
    }
    seed
}

/// The secret key at `m/44'/1'/account'` (SLIP-0010).
fn derived(seed: &[u8], account: u32) -> [u8; 32] {
    let root = hmac(b"ed25519 seed", seed);
    let node = [44, 1, account].into_iter().fold(root, |node, index| {
        let (key, chain_code) = node.split_at(32);
        let index = (index | 1 << 31).to_be_bytes();
        hmac(chain_code, &[&[0], key, index.as_slice()].concat())
    });
    node[..32].try_into().expect("half of 64 bytes")
}

/// The key and the address of an account of `dev`.
fn dev_account(account: u32) -> (SecretKey, Address) {
    let key = SecretKey::from_seed(derived(&seed(&vector("key.mnemonic")), account));
    let address = key.public_key().address();
    (key, address)
}

fn account(balance: u64, nonce: u64) -> Account {
    Account { balance: Amount::new(balance).expect("a vector's balance is in range"), nonce }
}

#[test]
fn mnemonic_derives_documented_keys_and_addresses() {
    let seed = seed(&vector("key.mnemonic"));
    assert_eq!(seed.as_slice(), bytes("key.seed"));
    assert_eq!(derived(&seed, 0).as_slice(), bytes("key.secret"));
    let (key, address) = dev_account(0);
    assert_eq!(key.public_key().as_bytes().as_slice(), bytes("key.public"));
    assert_eq!(address.as_bytes().as_slice(), bytes("key.address"));
    for params in Params::built_in() {
        assert_eq!(address.encode(params.hrp()), vector(&format!("key.{}", params.name())));
    }
}

#[test]
fn dev_allocations_are_documented_accounts() {
    let dev = Params::dev();
    let rows = table("| account | address | 20 bytes |");
    let mut funded = Vec::new();
    for (account, row) in (0..).zip(&rows) {
        let (_, address) = dev_account(account);
        let shown =
            [account.to_string(), address.encode(dev.hrp()), hex::encode(address.as_bytes())];
        assert_eq!(row[..], shown);
        funded.push((address, Amount::new(10_000 * COIN).unwrap()));
    }
    funded.sort();
    assert_eq!(funded, dev.spec().allocations);
}

#[test]
fn table_of_networks_matches_code() {
    let rows = table("| | `main` | `testnet` | `dev` |");
    for (column, params) in (1..).zip(Params::built_in()) {
        let spec = params.spec();
        let Ports { api, peers, stratum } = spec.ports;
        let allocations = match spec.allocations.first() {
            Some((_, amount)) => format!("{} × {}", spec.allocations.len(), amount.units()),
            None => "none".to_owned(),
        };
        let expected = [
            ("hrp", spec.hrp.clone()),
            ("spacing_seconds", spec.spacing_seconds.to_string()),
            ("half_life_seconds", spec.half_life_seconds.to_string()),
            ("fixed_difficulty", spec.fixed_difficulty.to_string()),
            ("limit_bits", spec.limit_bits.to_string()),
            ("genesis_bits", spec.genesis_bits.to_string()),
            ("genesis_time", spec.genesis_time.to_string()),
            ("initial_subsidy", spec.initial_subsidy.units().to_string()),
            ("halving_interval", spec.halving_interval.to_string()),
            ("maturity", spec.maturity.to_string()),
            ("max_future_seconds", spec.max_future_seconds.to_string()),
            ("max_block_bytes", spec.max_block_bytes.to_string()),
            ("message", spec.message.clone()),
            ("allocations", allocations),
            ("total issuance", params.max_issuance().units().to_string()),
            ("default ports: API, peers, Stratum", format!("{api}, {peers}, {stratum}")),
        ];
        let published = rows.iter().skip(1).map(|row| (row[0], row[column].to_owned()));
        assert_eq!(published.collect::<Vec<_>>(), expected, "{}", params.name());
    }
}

#[test]
fn genesis_blocks_have_documented_hashes() {
    for params in Params::built_in() {
        let published = vector(&format!("genesis.{}", params.name()));
        assert_eq!(params.genesis_hash().to_string(), published);
    }
    let genesis = Params::testnet().genesis().clone();
    let parameters = chain::hash::sha256d(&bytes("testnet.parameters"));
    assert_eq!(genesis.header.previous.as_bytes(), &parameters);
    assert_eq!(genesis.header.encode().as_slice(), bytes("testnet.header"));
    assert_eq!(genesis.coinbase().unwrap().serialize(), bytes("testnet.coinbase"));
}

#[test]
fn example_network_file_has_every_key_and_documented_hash() {
    let (_, rest) = DOCUMENT.split_once("```toml\n").unwrap();
    let (file, _) = rest.split_once("```").unwrap();
    let file: toml::Table = file.parse().unwrap();
    let rows = table("| key | type | limits |");
    let documented: BTreeSet<&str> = rows.iter().flat_map(|row| row[0].split("`, `")).collect();
    assert_eq!(file.keys().map(String::as_str).collect::<BTreeSet<_>>(), documented);

    let text = |key: &str| file[key].as_str().unwrap().to_owned();
    let small = |key: &str| u32::try_from(file[key].as_integer().unwrap()).unwrap();
    let amount = |value: &toml::Value| {
        Amount::new(u64::try_from(value.as_integer().unwrap()).unwrap()).unwrap()
    };
    let hrp = Hrp::new(&text("hrp")).unwrap();
    let allocations = file["allocations"].as_array().unwrap().iter().map(|allocation| {
        let address = allocation["address"].as_str().unwrap();
        (Address::decode_for(address, hrp).unwrap(), amount(&allocation["amount"]))
    });
    let spec = Spec {
        name: text("name"),
        hrp: text("hrp"),
        spacing_seconds: small("spacing_seconds"),
        half_life_seconds: small("half_life_seconds"),
        fixed_difficulty: file["fixed_difficulty"].as_bool().unwrap(),
        limit_bits: bits(&text("limit_bits")),
        genesis_bits: bits(&text("genesis_bits")),
        genesis_time: Timestamp::new(small("genesis_time")),
        initial_subsidy: amount(&file["initial_subsidy"]),
        halving_interval: small("halving_interval"),
        maturity: small("maturity"),
        max_future_seconds: small("max_future_seconds"),
        max_block_bytes: small("max_block_bytes"),
        allocations: allocations.collect(),
        message: text("message"),
        boot_nodes: Vec::new(),
        ports: Ports::default(),
    };
    let hash = Params::new(spec).unwrap().genesis_hash();
    assert_eq!(hash.to_string(), vector("genesis.example"));
}

#[test]
fn table_of_rules_matches_code() {
    let stage = |text: &str| match text {
        "header" => Stage::Header,
        "after parent" => Stage::HeaderAfterParent,
        "commitment" => Stage::Commitment,
        "body" => Stage::Body,
        "on parent" => Stage::BodyOnParent,
        _ => panic!("{text}"),
    };
    let rows = table("| code | stage | requirement |");
    let documented: Vec<_> = rows.iter().map(|row| (row[0], stage(row[1]))).collect();
    let declared: Vec<_> = Rule::ALL.iter().map(|rule| (rule.code(), rule.stage())).collect();
    assert_eq!(documented, declared);
    for row in table("| stage | for the header | for the sender |") {
        let is_permanent = matches!(stage(row[0]), Stage::Body | Stage::BodyOnParent);
        assert_eq!(row[1].contains("permanently invalid"), is_permanent, "{row:?}");
    }
    assert!(
        RuleError::NoCoinbase.invalidates_header() && !RuleError::MutatedBody.invalidates_header()
    );
}

// C12
#[test]
fn bits_encode_documented_targets() {
    for row in table("| bits | target or what is wrong |") {
        let expected = match row[1] {
            "not canonical" => Err(BitsError::NotCanonical),
            "zero" => Err(BitsError::Zero),
            "negative" => Err(BitsError::Negative),
            "overflow" => Err(BitsError::Overflow),
            target => Ok(target.to_owned()),
        };
        assert_eq!(bits(row[0]).target().map(|target| target.to_string()), expected, "{row:?}");
    }
}

#[test]
fn heights_are_pushed_as_documented() {
    let pushes =
        &table("| height | 0 | 1 | 16 | 17 | 127 | 128 | 255 | 256 | 32768 | 4294967295 |")[0];
    let heights = [0, 1, 16, 17, 127, 128, 255, 256, 32_768, u32::MAX];
    assert_eq!(pushes.len(), heights.len() + 1);
    for (height, push) in heights.into_iter().zip(&pushes[1..]) {
        let coinbase = Coinbase { height: Height::new(height), ..example_coinbase([0; 32]) };
        let script = hex::encode(&coinbase.serialize()[42..]);
        assert!(script.starts_with(&format!("{push}08{}", hex::encode(coinbase.extra_nonce))));
    }
}

fn example_transfer() -> Transfer {
    let (key, _) = dev_account(0);
    let memo = Memo::new(b"hello".to_vec()).expect("5 bytes are allowed");
    let recipient = dev_account(1).1;
    let payment = Payment { nonce: 0, recipient, amount: 150_000_000, fee: 1_000, memo };
    Transfer::sign(payment, &key, Params::dev().genesis_hash())
}

#[test]
fn transfer_is_signed_and_encoded_as_documented() {
    let (transfer, dev) = (example_transfer(), Params::dev());
    assert_eq!(transfer.signing_bytes(dev.genesis_hash()), bytes("transfer.signing"));
    assert_eq!(transfer.encode(), bytes("transfer.bytes"));
    assert_eq!(transfer.id().to_string(), vector("transfer.id"));
    assert!(rules::tx::check(transfer.clone(), dev.genesis_hash()).is_ok());
    // C29
    let elsewhere = rules::tx::check(transfer, Params::testnet().genesis_hash());
    assert_eq!(elsewhere.unwrap_err().code(), "bad-signature");
}

#[test]
fn accounts_have_documented_commitments() {
    let shown = |name: &str, commitment: &LtHash| {
        assert_eq!(hex::encode(commitment.digest()), vector(name));
        hex::encode(&commitment.encode()[..16])
    };
    let mut commitment = LtHash::empty();
    shown("accounts.none", &commitment);
    commitment.add(&dev_account(0).1, &account(100_000_000, 0));
    assert_eq!(shown("accounts.first", &commitment), vector("accounts.first.lanes"));
    commitment.add(&dev_account(1).1, &account(5, 6));
    assert_eq!(shown("accounts.both", &commitment), vector("accounts.both.lanes"));
}

fn example_coinbase(commitment: [u8; 32]) -> Coinbase {
    Coinbase {
        height: Height::new(1),
        extra_nonce: 1_u64.to_be_bytes(),
        tag: Tag::new(b"example".to_vec()).expect("7 bytes are allowed"),
        reward: 50 * COIN + 1_000,
        recipient: dev_account(2).1,
        commitment,
    }
}

#[test]
fn block_is_valid_and_encoded_as_documented() {
    let dev = Params::dev();
    let commitment = bytes("block.accounts").try_into().unwrap();
    let coinbase = example_coinbase(commitment);
    assert_eq!(coinbase.serialize(), bytes("block.coinbase"));
    assert_eq!(coinbase.id().to_string(), vector("block.coinbase.id"));
    let ids = [coinbase.id(), example_transfer().id()];
    let header = Header {
        version: Header::VERSION,
        previous: dev.genesis_hash(),
        merkle_root: merkle::root(&ids),
        time: Timestamp::new(number(&vector("block.time"))),
        bits: dev.spec().genesis_bits,
        nonce: 0,
    };
    assert_eq!(header.merkle_root.to_string(), vector("block.merkle_root"));
    let candidates = (0..).map(|nonce| Header { nonce, ..header });
    let header =
        candidates.into_iter().find(|header| rules::header::check_standalone(header, &dev).is_ok());
    let header = header.unwrap();
    assert_eq!(header.nonce, number::<u32>(&vector("block.nonce")));
    assert_eq!(header.encode().as_slice(), bytes("block.header"));
    assert_eq!(header.hash().to_string(), vector("block.hash"));

    let transactions =
        vec![Transaction::Coinbase(coinbase), Transaction::Transfer(example_transfer())];
    let block = Block { header, transactions };
    assert_eq!(block.encode(), bytes("block"));
    assert_eq!(Block::decode(&bytes("block")), Ok(block.clone()));
    let Spec { genesis_bits, genesis_time, .. } = dev.spec();
    let parent = Parent { bits: *genesis_bits, time: *genesis_time, grandparent_time: None };
    rules::header::check_contextual(&header, &parent, &dev, header.time).unwrap();
    let checked = body::check(block, &dev, |_| false, 1).unwrap();

    let allocations = dev.spec().allocations.iter();
    let accounts: HashMap<Address, Account> =
        allocations.map(|(address, amount)| (*address, account(amount.units(), 0))).collect();
    let mut overlay = Overlay::new(accounts);
    let mut accounts_hash = dev.genesis_accounts_hash().clone();
    let context = body::BlockContext { height: Height::new(1), matured: None };
    body::connect(&checked, &context, &dev, &mut overlay, &mut accounts_hash, 1).unwrap();
    let after = [0, 1, 2].map(|number| overlay.account(&dev_account(number).1).unwrap());
    let funded = 10_000 * COIN;
    assert_eq!(after[0], account(funded - 150_001_000, 1));
    assert_eq!(after[1], account(funded + 150_000_000, 0));
    assert_eq!(after[2], account(funded, 0), "the reward is not mature yet");
}

// C01
#[test]
fn merkle_root_of_three_leaves_is_as_documented() {
    let ids = [1, 2, 3, 3].map(|byte| tx::Id::from_bytes([byte; 32]));
    assert_eq!(merkle::root(&ids[..3]).to_string(), vector("merkle.three"));
    assert_eq!(merkle::root(&ids).to_string(), vector("merkle.three"));
    assert!(!merkle::is_mutated(&ids[..3]) && merkle::is_mutated(&ids));
}

// Recomputes each step by the formulas of the document, in integers that do not overflow.
#[test]
fn difficulty_follows_documented_steps() {
    let testnet = Params::testnet();
    let (spacing, half_life) = (testnet.spec().spacing_seconds, testnet.spec().half_life_seconds);
    let rows = table("| seconds | exponent | shifts | fraction | factor | target | bits |");
    for row in &rows {
        let seconds: u32 = number(row[0]);
        let solve_time = i128::from(seconds.min(half_life));
        let exponent = (solve_time - i128::from(spacing)) * 65_536 / i128::from(half_life);
        let shifts = exponent.div_euclid(65_536);
        let fraction = exponent - shifts * 65_536;
        let cubic = 195_766_423_245_049 * fraction
            + 971_821_376 * fraction.pow(2)
            + 5_127 * fraction.pow(3)
            + (1 << 47);
        let factor = 65_536 + cubic / (1 << 48);
        assert_eq!(row[1..5], [exponent, shifts, fraction, factor].map(|step| step.to_string()));

        let parent = bits("1c3f0000");
        let next =
            asert(parent.target().unwrap(), solve_time, 0, spacing, half_life, testnet.limit());
        assert_eq!(row[5], next.to_string());
        let [before, now] = [0, seconds].map(|second| Timestamp::new(1_767_225_600 + second));
        let next = Schedule::of(&testnet).next_bits((parent, now), Some(before));
        assert_eq!(row[6], next.to_string());
    }
    assert_eq!(rows.len(), 5);
}
