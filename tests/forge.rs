//! Blocks and transfers of the network `dev`, made by the rules outside of any node.

use chain::ledger::{self, Accepted, Options, Writer};
use chain::mempool::Limits;
use chain::signature::SecretKey;
use chain::template::TemplateRequest;
use chain::tx::{Memo, Payment, Tag};
use chain::{Address, Block, Coinbase, Params, Transaction, Transfer, merkle};
use tempfile::TempDir;

/// Keys of the accounts 0' and 1' that `dev` begins with.
pub const RICH: [&str; 2] = [
    "99a953439861639f9519f43b1697063bc40900eb5b307cd6d1168a6cd2d97ce7",
    "1b3abe0e9fe50d4f66db5ffb71d0852cdff76705e27e3fd36d1e0e49ab1202af",
];

/// A key of 64 hexadecimal digits.
pub fn key(digits: &str) -> SecretKey {
    SecretKey::from_seed(hex::decode(digits).unwrap().try_into().unwrap())
}

/// An address without a balance.
pub fn test_address(number: u8) -> Address {
    SecretKey::from_seed([number; 32]).public_key().address()
}

/// An address as it is written on `dev`.
pub fn text(address: Address) -> String {
    address.encode(Params::dev().hrp())
}

/// A signed transfer.
pub fn pay(from: &SecretKey, nonce: u64, recipient: Address, amount: u64) -> Transfer {
    let memo = Memo::new(b"for the test".to_vec()).unwrap();
    let payment = Payment { nonce, recipient, amount, fee: 1_000, memo };
    Transfer::sign(payment, from, Params::dev().genesis_hash())
}

/// A chain that grows where and when it is told to.
pub struct Forge {
    writer: Writer,
    miner: Address,
    _folder: TempDir,
}

impl Forge {
    /// At genesis; its blocks pay this miner.
    pub fn new(miner: Address) -> Forge {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { cache_bytes: 1 << 20, threads: 1, mempool: Limits::default() };
        let (writer, _) = ledger::open(folder.path(), Params::dev(), options, &mut |_| {}).unwrap();
        Forge { writer, miner, _folder: folder }
    }

    /// Takes test_address else's blocks in.
    pub fn follow(&mut self, blocks: &[Block]) {
        for block in blocks {
            let accepted = self.writer.submit_block(block.clone(), block.header.time).unwrap();
            assert_eq!(accepted, Accepted::Connected);
        }
        self.writer.commit().unwrap();
    }

    /// Makes the next block, with these transfers in it.
    pub fn block(&mut self, transfers: impl IntoIterator<Item = Transfer>) -> Block {
        let transfers: Vec<Transfer> = transfers.into_iter().collect();
        let carried = transfers.len();
        for transfer in transfers {
            self.writer.submit_transfer(transfer).unwrap();
        }
        let mut block = self.template();
        assert_eq!(block.transactions.len(), carried + 1);
        seal(&mut block);
        self.follow(std::slice::from_ref(&block));
        block
    }

    /// Makes so many blocks without transfers.
    pub fn blocks(&mut self, count: usize) -> Vec<Block> {
        (0..count).map(|_| self.block([])).collect()
    }

    /// What others may see of this chain.
    pub fn reader(&self) -> ledger::Reader {
        self.writer.reader()
    }

    fn template(&self) -> Block {
        let params = self.writer.params();
        let tip = *self.writer.reader().view().tip();
        let time = tip.time.max(params.spec().genesis_time).saturating_add(1);
        let tag = Tag::new(b"forge".to_vec()).unwrap();
        let wish = TemplateRequest { miner: self.miner, now: time, extra_nonce: [0; 8], tag };
        self.writer.template(wish).unwrap().block
    }
}

/// Searches the nonce.
fn seal(block: &mut Block) {
    let target = block.header.bits.target().unwrap();
    block.header.nonce = 0;
    while !target.is_met_by(block.header.hash().as_bytes()) {
        block.header.nonce += 1;
    }
}

/// The same branch with one coinbase changed: all proofs and links from there on are made anew,
/// so that nothing else is wrong with it.
pub fn spoil(branch: &[Block], at: usize, change: impl FnOnce(&mut Coinbase)) -> Vec<Block> {
    let mut branch = branch.to_vec();
    let Transaction::Coinbase(coinbase) = &mut branch[at].transactions[0] else {
        panic!("a block begins with its coinbase")
    };
    change(coinbase);
    for number in at..branch.len() {
        if number > at {
            branch[number].header.previous = branch[number - 1].hash();
        }
        let block = &mut branch[number];
        block.header.merkle_root = merkle::root(&block.ids());
        seal(block);
    }
    branch
}
