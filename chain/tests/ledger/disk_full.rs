//! A log that cannot grow: what does not fit did not happen, neither now nor after a restart.
//! A file size limit stands for the full disk; the limited process is this binary again.

#![cfg(target_os = "linux")]

use crate::world::{Draft, Node, World, easy, log_bytes, person};
use chain::ledger::SubmitError;
use chain::tx::{MAX_MEMO_BYTES, Transfer};
use chain::{Block, block};
use std::path::Path;
use std::process::Command;

/// Tells the limited process in which folder node and blocks are.
const FOLDER: &str = "CHAIN_TEST_FULL_DISK";

/// A block whose record is large, so that all files of the index are far below the limit.
fn large(world: &mut World, parent: block::Hash) -> Block {
    let (rich, genesis) = (person(0), world.genesis());
    let first = world.purse(parent, rich.address).nonce;
    let memo = chain::tx::Memo::new(vec![0; MAX_MEMO_BYTES]).unwrap();
    let transfers = (first..first + 4_900).map(|nonce| {
        let recipient = person(1).address;
        let payment =
            chain::tx::Payment { nonce, recipient, amount: 1, fee: 0, memo: memo.clone() };
        Transfer::sign(payment, &rich.key, genesis)
    });
    transfers.fold(world.draft(parent), Draft::transfer).seal()
}

#[test]
fn a_block_refused_by_a_full_disk_is_not_there_after_a_restart() {
    let mut world = World::new(easy());
    let genesis = world.genesis();
    let first = large(&mut world, genesis);
    let mut full = Node::with(&world.params, std::slice::from_ref(&first));
    full.close();
    let draft = world.draft(first.hash()).miner(person(9).address);
    let memo = [1; MAX_MEMO_BYTES];
    let refused = draft.pay_with_memo(&person(2), person(30).address, 5, 1, &memo).seal();
    let smaller = world.draft(first.hash()).seal();
    let log = log_bytes(full.path()).len();
    // From no room at all to all but a byte of what the first block and its undo data take.
    let record = 13 + refused.encode().len();
    let undo = 13 + 32 + 4 + 3 * 36;
    for room in [0, 13, undo, record - 1, record, record + undo - 1] {
        let mut node = full.copy();
        for (name, block) in [("refused", &refused), ("smaller", &smaller)] {
            std::fs::write(node.path().join(name), block.encode()).unwrap();
        }
        let tip = run_limited(node.path(), log + room);
        let tip = if tip == smaller.hash().to_string() { &smaller } else { &first };
        assert_eq!(room > undo, tip == &smaller, "{room}");
        node.taken.extend((tip == &smaller).then(|| smaller.hash()));
        for is_rebuilt in [false, true] {
            if is_rebuilt {
                std::fs::remove_dir_all(node.path().join("index")).unwrap();
            }
            node.start();
            node.agrees(&world, tip);
            node.close();
        }
        node.start();
        assert!(node.take(&refused).is_ok());
    }
}

/// Runs `in_limited_process` with files of at most so many bytes; the tip it ended at.
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
#[ignore = "run by the test above, in a process whose files cannot grow"]
fn in_limited_process() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = Path::new(&folder);
    let read = |name| Block::decode(&std::fs::read(folder.join(name)).unwrap()).unwrap();
    let (refused, smaller) = (read("refused"), read("smaller"));
    let world = World::new(easy());
    let now = world.params.spec().genesis_time.saturating_add(1_000_000);
    let options = crate::world::options();
    let (mut writer, reader) =
        chain::ledger::open(folder, world.params.clone(), options, &mut |_| {}).unwrap();
    let before = (reader.view().tip().hash, reader.view().block_count());
    for _ in 0..2 {
        let error = writer.submit_block(refused.clone(), now).unwrap_err();
        assert!(matches!(error, SubmitError::Store(_)), "{error}");
        writer.commit().unwrap();
        assert_eq!((reader.view().tip().hash, reader.view().block_count()), before);
    }
    // Reads go on, and what fits is taken.
    let view = reader.view();
    assert_eq!(view.block(view.tip()).unwrap().hash(), before.0);
    drop(view);
    let taken = writer.submit_block(smaller.clone(), now).is_ok();
    writer.commit().unwrap();
    let tip = reader.view().tip().hash;
    assert_eq!(tip, if taken { smaller.hash() } else { before.0 });
    println!("tip {tip}");
}
