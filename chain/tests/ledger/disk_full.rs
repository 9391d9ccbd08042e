//! A full disk: a block that cannot be written is rejected, and absent after a restart. A limit of
//! the file size simulates the full disk, in another process of this binary.

#![cfg(target_os = "linux")]

use crate::harness::{BlockBuilder, Reference, TestNode, fixed_params, log_bytes, wallet};
use chain::ledger::SubmitError;
use chain::store::StoreError;
use chain::tx::{MAX_MEMO_BYTES, Transfer};
use chain::{Block, block};
use std::path::Path;
use std::process::Command;

/// The environment variable with the directory of the limited process.
const FOLDER: &str = "CHAIN_TEST_FULL_DISK";

/// A block with a large record, so that all files of the index are far below the limit.
fn large_block(reference: &mut Reference, parent: block::Hash) -> Block {
    let (rich, genesis) = (wallet(0), reference.genesis());
    let first = reference.account(parent, rich.address).nonce;
    let memo = chain::tx::Memo::new(vec![0; MAX_MEMO_BYTES]).unwrap();
    let transfers = (first..first + 4_900).map(|nonce| {
        let recipient = wallet(1).address;
        let payment =
            chain::tx::Payment { nonce, recipient, amount: 1, fee: 0, memo: memo.clone() };
        Transfer::sign(payment, &rich.key, genesis)
    });
    transfers.fold(reference.build_on(parent), BlockBuilder::transfer).mine()
}

#[test]
fn block_rejected_by_full_disk_is_absent_after_restart() {
    let mut reference = Reference::new(fixed_params());
    let genesis = reference.genesis();
    let first = large_block(&mut reference, genesis);
    let mut full = TestNode::with_blocks(&reference.params, std::slice::from_ref(&first));
    full.close();
    let builder = reference.build_on(first.hash()).miner(wallet(9).address);
    let memo = [1; MAX_MEMO_BYTES];
    let larger = builder.pay_with_memo(&wallet(2), wallet(30).address, 5, 1, &memo).mine();
    let smaller = reference.build_on(first.hash()).mine();
    let log = log_bytes(full.path()).len();
    // From no space to one byte less than the first block and its undo data need.
    let record = 13 + larger.encode().len();
    let mut roomy = full.copy();
    roomy.start();
    roomy.connect(&larger);
    // A marker of 13 bytes that the records are synced follows them, if it fits.
    let needed = log_bytes(roomy.path()).len() - log - 13;
    for space in [0, 13, needed - record, record - 1, record, needed - 1] {
        let mut node = full.copy();
        for (name, block) in [("larger", &larger), ("smaller", &smaller)] {
            std::fs::write(node.path().join(name), block.encode()).unwrap();
        }
        assert_eq!(run_limited(node.path(), log + space), first.hash().to_string(), "{space}");
        for is_rebuilt in [false, true] {
            if is_rebuilt {
                std::fs::remove_dir_all(node.path().join("index")).unwrap();
            }
            node.start();
            node.assert_tip_matches(&reference, &first);
            node.close();
        }
        node.start();
        assert!(node.submit(&larger).is_ok());
    }
}

/// Runs `in_limited_process` with a maximum file size in bytes, and returns its last tip.
fn run_limited(folder: &Path, bytes: usize) -> String {
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec prlimit \"$@\"", "sh", &format!("--fsize={bytes}")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "disk_full::in_limited_process", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    let tip = printed.lines().find_map(|line| line.split_once("tip "));
    tip.unwrap_or_else(|| panic!("{printed}")).1.to_owned()
}

#[test]
#[ignore = "run by another test in a process with limited file size"]
fn in_limited_process() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = Path::new(&folder);
    let read = |name| Block::decode(&std::fs::read(folder.join(name)).unwrap()).unwrap();
    let (larger, smaller) = (read("larger"), read("smaller"));
    let reference = Reference::new(fixed_params());
    let now = reference.params.spec().genesis_time.saturating_add(1_000_000);
    let options = crate::harness::options();
    let (mut writer, reader) =
        chain::ledger::open(folder, reference.params.clone(), &options, &mut |_| {}).unwrap();
    let before = (reader.view().tip().hash, reader.view().block_count());
    for _ in 0..2 {
        let error = writer.submit_block(larger.clone(), now).unwrap_err();
        let is_full = |error: &StoreError| error.is_disk_full();
        assert!(matches!(&error, SubmitError::Store(error) if is_full(error)), "{error}");
        writer.commit().unwrap();
        assert_eq!((reader.view().tip().hash, reader.view().block_count()), before);
    }
    // Reads still work. Until there is room to spare, a block that would fit is refused too.
    let view = reader.view();
    assert_eq!(view.block(view.tip()).unwrap().hash(), before.0);
    drop(view);
    writer.flush().unwrap();
    assert!(writer.is_disk_full());
    assert!(writer.submit_block(smaller.clone(), now).is_err());
    writer.commit().unwrap();
    let tip = reader.view().tip().hash;
    assert_eq!(tip, before.0);
    println!("tip {tip}");
}
