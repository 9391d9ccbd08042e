//! A node whose disk is full: blocks are refused, reads go on, and room heals it without a restart.

use crate::faults::submit;
use crate::harness::{Node, Process, eventually, skip, verified};
use crate::mempool::waiting;
use crate::repair::copy;
use crate::test_chain::{dev_chain, dev_key, pay, test_address, text};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// The size of the disk.
const DISK: &str = "size=24m";

/// A command in a mount namespace, where a small disk is mounted on a folder.
fn on_small_disk(folder: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c"]);
    command.arg(r#"mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@""#).args(["sh", DISK]);
    command.arg(folder).env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    command
}

/// A node with its data on a small disk.
struct SmallDisk {
    node: Node,
    /// The disk as this process sees it.
    disk: PathBuf,
}

impl SmallDisk {
    /// Starts a node; `None` if this machine has no mount namespaces.
    fn start(folder: &Path) -> Option<SmallDisk> {
        let probe = on_small_disk(folder).arg("true").output();
        if !probe.is_ok_and(|output| output.status.success()) {
            return None;
        }
        let mut command = on_small_disk(folder);
        let node = Node::command(&folder.join("data"), &[]);
        for (name, value) in node.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command.arg(node.get_program()).args(node.get_args());
        let process = Process::start(&mut command, &folder.with_added_extension("node"));
        let inside = folder.strip_prefix("/").unwrap();
        let disk = Path::new("/proc").join(process.id().to_string()).join("root").join(inside);
        let node = Node::attach(process, &disk.join("data")).unwrap();
        Some(SmallDisk { node, disk })
    }

    /// Fills the disk with a file of another program.
    fn fill(&self) {
        let mut ballast = File::create(self.disk.join("ballast")).unwrap();
        for length in [1 << 20, 1 << 12, 1] {
            while ballast.write_all(&vec![0; length]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.disk.join("ballast")).unwrap();
    }

    fn assert_reads_go_on(&self, account: &str, transaction: &str) {
        let paths = ["chain", "blocks/tip", "mempool", account, transaction];
        for path in paths.map(|path| format!("/v1/{path}")) {
            let response = self.node.get(&path);
            assert_eq!(response.status, 200, "{path}: {response:?}");
        }
    }
}

// T09
#[test]
fn full_disk_refuses_transfers_and_keeps_those_that_were_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let mount = folder.path().canonicalize().unwrap().join("disk");
    fs::create_dir(&mount).unwrap();
    let Some(small) = SmallDisk::start(&mount) else {
        skip("small disks need `unshare --mount`");
        return;
    };
    let mut next = 0;
    let mut submit_next = || {
        let transfer = pay(&dev_key(0), next, test_address(3), 5);
        let hex = serde_json::json!({ "hex": hex::encode(transfer.encode()) });
        let response = small.node.send("POST", "/v1/transactions", &hex);
        next += u64::from(response.status == 201);
        let is_full = response.status == 503 && response.json()["code"] == "disk-full";
        assert!(response.status == 201 || is_full, "{response:?}");
        response.status
    };
    (0..10).for_each(|_| assert_eq!(submit_next(), 201));
    small.fill();
    // The last page of the journal may have room for a few transfers.
    eventually("a transfer that does not fit", || (submit_next() == 503).then_some(()));
    assert_eq!(small.node.get("/v1/mempool").status, 200);
    small.make_room();
    eventually("a transfer that is accepted again", || (submit_next() == 201).then_some(()));
    let before = waiting(&small.node);
    // The disk ends with the process, which must not change it meanwhile.
    let stop = ["-STOP", &small.node.id().to_string()];
    assert!(Command::new("kill").args(stop).status().unwrap().success());
    let data = folder.path().join("copy");
    copy(&small.disk.join("data"), &data);
    small.node.kill();
    assert_eq!(waiting(&Node::start(&data, &[])), before);
}

// T09
#[test]
fn full_disk_refuses_blocks_while_reads_go_on_and_room_heals() {
    let folder = tempfile::tempdir().unwrap();
    let mount = folder.path().canonicalize().unwrap().join("disk");
    fs::create_dir(&mount).unwrap();
    let Some(small) = SmallDisk::start(&mount) else {
        skip("small disks need `unshare --mount`");
        return;
    };
    let mut chain = dev_chain(test_address(1));
    let transfer = pay(&dev_key(0), 0, test_address(3), 5);
    let (account, transaction) =
        (format!("accounts/{}", text(test_address(3))), format!("transactions/{}", transfer.id()));
    for block in [chain.mine_block([transfer]), chain.mine_block([])] {
        assert_eq!(submit(&small.node, &block).unwrap().0, 201);
    }
    small.fill();
    // The last page of the log may have room for a few blocks.
    let refused = eventually("a block that does not fit on the disk", || {
        let block = chain.mine_block([]);
        let (status, code) = submit(&small.node, &block).unwrap();
        assert!(status == 201 || (status == 503 && code == "disk-full"), "{status} {code}");
        (status == 503).then_some(block)
    });
    // Longer than the interval at which rows are flushed.
    let filled = Instant::now();
    while filled.elapsed() < Duration::from_secs(6) {
        assert_eq!(submit(&small.node, &refused).unwrap().0, 503);
        let path = format!("/v1/blocks/{}", refused.hash());
        assert_eq!(small.node.get(&path).status, 404);
        small.assert_reads_go_on(&account, &transaction);
        thread::sleep(Duration::from_millis(200));
    }
    assert!(small.node.log().contains("the disk is full"), "{}", small.node.log());
    small.make_room();
    eventually("a block that is accepted again", || {
        (submit(&small.node, &refused).unwrap().0 == 201).then_some(())
    });
    small.assert_reads_go_on(&account, &transaction);
    let tip = small.node.tip();
    assert_eq!(tip.hash, refused.hash().to_string());
    // The disk ends with the process, which must not change it meanwhile.
    let stop = ["-STOP", &small.node.id().to_string()];
    assert!(Command::new("kill").args(stop).status().unwrap().success());
    let data = folder.path().join("copy");
    copy(&small.disk.join("data"), &data);
    small.node.kill();
    assert_eq!(verified(&data), tip);
}
