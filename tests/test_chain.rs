//! Valid blocks and transfers of the network `dev`, built without a node.

use chain::ledger::{self, Accepted, Options, Writer};
use chain::mempool::Limits;
use chain::signature::SecretKey;
use chain::template::TemplateRequest;
use chain::tx::{Memo, Payment, Tag};
use chain::{Address, Block, Coinbase, Params, Transaction, Transfer, merkle};
use tempfile::TempDir;

/// The seeds of the keys of accounts 0' and 1', which genesis of `dev` funds.
pub const FUNDED_SEEDS: [&str; 2] = [
    "99a953439861639f9519f43b1697063bc40900eb5b307cd6d1168a6cd2d97ce7",
    "1b3abe0e9fe50d4f66db5ffb71d0852cdff76705e27e3fd36d1e0e49ab1202af",
];

/// The key of a seed of 64 hexadecimal digits.
pub fn key(seed: &str) -> SecretKey {
    SecretKey::from_seed(hex::decode(seed).unwrap().try_into().unwrap())
}

/// An address without coins, different for each number.
pub fn test_address(number: u8) -> Address {
    SecretKey::from_seed([number; 32]).public_key().address()
}

/// The text of an address on `dev`.
pub fn text(address: Address) -> String {
    address.encode(Params::dev().hrp())
}

/// A signed transfer with a fee of 1,000 base units.
pub fn pay(from: &SecretKey, nonce: u64, recipient: Address, amount: u64) -> Transfer {
    let memo = Memo::new(b"for the test".to_vec()).unwrap();
    let payment = Payment { nonce, recipient, amount, fee: 1_000, memo };
    Transfer::sign(payment, from, Params::dev().genesis_hash())
}

/// A ledger that mines blocks on request.
pub struct TestChain {
    writer: Writer,
    miner: Address,
    _folder: TempDir,
}

impl TestChain {
    /// Creates a chain of genesis only, whose further blocks pay a miner.
    pub fn new(miner: Address) -> TestChain {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { cache_bytes: 1 << 20, threads: 1, mempool: Limits::default() };
        let (writer, _) = ledger::open(folder.path(), Params::dev(), options, &mut |_| {}).unwrap();
        TestChain { writer, miner, _folder: folder }
    }

    /// Connects blocks mined elsewhere.
    pub fn connect(&mut self, blocks: &[Block]) {
        for block in blocks {
            let accepted = self.writer.submit_block(block.clone(), block.header.time).unwrap();
            assert_eq!(accepted, Accepted::Connected);
        }
        self.writer.commit().unwrap();
    }

    /// Mines the next block, which contains the transfers.
    pub fn mine_block(&mut self, transfers: impl IntoIterator<Item = Transfer>) -> Block {
        let transfers: Vec<Transfer> = transfers.into_iter().collect();
        let expected = transfers.len() + 1;
        for transfer in transfers {
            self.writer.submit_transfer(transfer).unwrap();
        }
        let mut block = self.template();
        assert_eq!(block.transactions.len(), expected);
        solve(&mut block);
        self.connect(std::slice::from_ref(&block));
        block
    }

    /// Mines a number of blocks without transfers.
    pub fn mine(&mut self, count: usize) -> Vec<Block> {
        (0..count).map(|_| self.mine_block([])).collect()
    }

    /// A read-only view of the chain.
    pub fn reader(&self) -> ledger::Reader {
        self.writer.reader()
    }

    fn template(&self) -> Block {
        let params = self.writer.params();
        let tip = *self.writer.reader().view().tip();
        let time = tip.time.max(params.spec().genesis_time).saturating_add(1);
        let tag = Tag::new(b"test tag".to_vec()).unwrap();
        let request = TemplateRequest { miner: self.miner, now: time, extra_nonce: [0; 8], tag };
        self.writer.template(request).unwrap().block
    }
}

/// Searches the nonce of a block.
fn solve(block: &mut Block) {
    let target = block.header.bits.target().unwrap();
    block.header.nonce = 0;
    while !target.is_met_by(block.header.hash().as_bytes()) {
        block.header.nonce += 1;
    }
}

/// A copy of a branch with a changed coinbase: the headers from this block on are linked and solved
/// again, so that the branch has no other fault.
pub fn with_changed_coinbase(
    branch: &[Block],
    index: usize,
    change: impl FnOnce(&mut Coinbase),
) -> Vec<Block> {
    let mut branch = branch.to_vec();
    let Transaction::Coinbase(coinbase) = &mut branch[index].transactions[0] else {
        panic!("a block begins with its coinbase")
    };
    change(coinbase);
    for position in index..branch.len() {
        if position > index {
            branch[position].header.previous = branch[position - 1].hash();
        }
        let block = &mut branch[position];
        block.header.merkle_root = merkle::root(&block.ids());
        solve(block);
    }
    branch
}
