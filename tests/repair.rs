//! Recovery of damaged data directories: a node recovers to the last acknowledged block, or fails with
//! one line that names the damaged file, which it does not change.

use crate::harness::{Node, Tip, run, verified};
use crate::test_chain::{test_address, text};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The end of the node before the damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Clean,
    Killed,
}

/// A data directory with 24 blocks, most of them indexed.
struct Chain {
    folder: TempDir,
    stop: Stop,
    tip: Tip,
    /// The last block and the one of height 10, encoded.
    last: Vec<u8>,
    tenth: Vec<u8>,
}

impl Chain {
    fn new(stop: Stop) -> Chain {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("original");
        let miner = text(test_address(1));
        let node = Node::start(&data, &[]);
        node.generate(20, &miner).unwrap();
        assert!(node.stop().success());
        let node = Node::start(&data, &[]);
        for _ in 0..4 {
            node.generate(1, &miner).unwrap();
        }
        let raw = |block: &str| {
            let response = node.get(&format!("/v1/blocks/{block}/raw"));
            hex::decode(response.text().trim()).unwrap()
        };
        let (tip, last, tenth) = (node.tip(), raw("tip"), raw("10"));
        match stop {
            Stop::Clean => assert!(node.stop().success()),
            Stop::Killed => node.kill(),
        }
        Chain { folder, stop, tip, last, tenth }
    }

    /// Copies the directory, to be damaged.
    fn copy(&self, name: &str) -> Copy {
        let data = self.folder.path().join(name);
        copy(&self.folder.path().join("original"), &data);
        Copy { data, damage: format!("{name}, {:?}", self.stop) }
    }
}

/// Copies a directory to a new one.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A data directory and its damage.
struct Copy {
    data: PathBuf,
    damage: String,
}

impl Copy {
    fn log_file(&self) -> PathBuf {
        self.data.join("blocks/00000.log")
    }

    fn index(&self) -> PathBuf {
        self.data.join("index")
    }

    /// Starts a node, which must recover this tip and extend it; returns its warnings.
    fn recovers_to(&self, tip: &Tip) -> Vec<String> {
        self.recovers_with(&[], tip)
    }

    fn recovers_with(&self, flags: &[&str], tip: &Tip) -> Vec<String> {
        let node = Node::start(&self.data, flags);
        assert_eq!(node.tip(), *tip, "{}: {}", self.damage, node.log());
        let log = node.log();
        let warnings = log.lines().filter(|line| line.contains("WARN")).map(str::to_owned);
        let warnings = warnings.collect();
        node.generate(1, &text(test_address(2))).unwrap();
        let next = node.tip();
        assert_eq!(next.height, tip.height + 1, "{}", self.damage);
        node.kill();
        assert_eq!(verified(&self.data), next, "{}", self.damage);
        warnings
    }
}

impl Copy {
    /// Asserts that neither `verify` nor a start accepts the loss of blocks, and that both name the
    /// file and the remedy.
    fn reports_loss(&self) {
        let (code, _, stderr) = run(&["verify", "--data", self.data.to_str().unwrap()]);
        assert_eq!(code, Some(1), "{}: {stderr}", self.damage);
        let line = Node::start_failing(&self.data, &[]);
        for text in [" lost: ", "00000.log", "--accept-loss"] {
            assert!(stderr.contains(text), "{}: {stderr}", self.damage);
            assert!(line.contains(text), "{}: {line}", self.damage);
        }
    }
}

// T12
#[test]
fn reports_a_lost_block_log() {
    let chain = Chain::new(Stop::Clean);
    let copy = chain.copy("no log");
    for damage in [|path: &Path| fs::write(path, b""), |path: &Path| fs::remove_file(path)] {
        damage(&copy.log_file()).unwrap();
        copy.reports_loss();
    }
    let genesis = chain::Params::dev().genesis_hash().to_string();
    copy.recovers_with(&["--accept-loss"], &Tip { height: 0, hash: genesis });
}

fn find(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).position(|window| window == part).unwrap()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

// T12
#[test]
fn rebuilds_a_missing_index() {
    for stop in [Stop::Clean, Stop::Killed] {
        let chain = Chain::new(stop);
        let copy = chain.copy("no index");
        fs::remove_dir_all(copy.index()).unwrap();
        let warnings = copy.recovers_to(&chain.tip);
        assert!(
            warnings.len() == 1 && warnings[0].contains("rebuilding the index"),
            "{stop:?}: {warnings:?}"
        );
    }
}

// T11, T12
#[test]
fn rebuilds_an_index_with_a_damaged_file() {
    for stop in [Stop::Clean, Stop::Killed] {
        let chain = Chain::new(stop);
        let index = chain.folder.path().join("original/index");
        let files = fs::read_dir(index).unwrap().map(Result::unwrap);
        let files = files.filter(|entry| entry.file_type().unwrap().is_file());
        let names: Vec<_> = files.map(|entry| entry.file_name().into_string().unwrap()).collect();
        assert!(names.len() >= 3, "{names:?}");
        for name in names {
            for quarter in [0, 1, 3] {
                let copy = chain.copy(&format!("{name} at {quarter} quarters"));
                let file = copy.index().join(&name);
                let bytes = fs::metadata(&file).unwrap().len();
                flip(&file, usize::try_from(bytes).unwrap() * quarter / 4);
                let warnings = copy.recovers_to(&chain.tip);
                // After a kill, only the engine knows which part of a file matters.
                let min_warnings = usize::from(stop == Stop::Clean);
                assert!(
                    (min_warnings..=1).contains(&warnings.len()),
                    "{}: {warnings:?}",
                    copy.damage
                );
                assert!(
                    warnings.iter().all(|line| line.contains("rebuilding the index")),
                    "{warnings:?}"
                );
            }
            let copy = chain.copy(&format!("{name} emptied"));
            fs::write(copy.index().join(&name), b"").unwrap();
            let warnings = copy.recovers_to(&chain.tip);
            assert!(warnings.len() <= 1, "{}: {warnings:?}", copy.damage);
        }
    }
}

// T07, T12
#[test]
fn truncates_an_incomplete_record() {
    /// Bytes before a payload.
    const HEAD: usize = 13;
    for stop in [Stop::Clean, Stop::Killed] {
        let chain = Chain::new(stop);
        let log = fs::read(chain.copy("whole").log_file()).unwrap();
        let block = find(&log, &chain.last);
        let end = block + chain.last.len();
        let before = Tip { height: 23, hash: previous(&chain.last) };
        // Length of the log, the resulting tip, and whether a record is truncated. The undo data of a
        // block precede it, and its commit marker follows it.
        let cases = [
            (block - HEAD - 1, &before, true),
            (block - HEAD, &before, false),
            (block - HEAD + 1, &before, true),
            (block - 1, &before, true),
            (block, &before, true),
            (block + 100, &before, true),
            (end - 1, &before, true),
            (end, &chain.tip, false),
            (end + 5, &chain.tip, true),
            (log.len() - 1, &chain.tip, true),
        ];
        for (length, tip, is_cut) in cases {
            let copy = chain.copy(&format!("log of {length} bytes"));
            let file = fs::File::options().write(true).open(copy.log_file()).unwrap();
            file.set_len(length as u64).unwrap();
            // After a clean stop the index proves that the log was longer.
            let is_loss = stop == Stop::Clean;
            let flags: &[&str] = if is_loss { &["--accept-loss"] } else { &[] };
            if is_loss {
                copy.reports_loss();
            }
            let warnings = copy.recovers_with(flags, tip);
            let count = |text: &str| warnings.iter().filter(|line| line.contains(text)).count();
            assert_eq!(count("removed an incomplete record"), usize::from(is_cut), "{warnings:?}");
            let rebuilt = usize::from(is_loss);
            assert_eq!(count("rebuilding the index"), rebuilt, "{}: {warnings:?}", copy.damage);
            assert_eq!(warnings.len(), usize::from(is_cut) + rebuilt, "{warnings:?}");
        }
    }
}

/// The hash of a block's parent.
fn previous(block: &[u8]) -> String {
    chain::Block::decode(block).unwrap().header.previous.to_string()
}

// T11, T24
#[test]
fn reports_a_damaged_record_without_changing_the_log() {
    for stop in [Stop::Clean, Stop::Killed] {
        let chain = Chain::new(stop);
        let copy = chain.copy("bad record");
        let data = copy.data.to_str().unwrap();
        let file = copy.log_file();
        let good = fs::read(&file).unwrap();
        flip(&file, find(&good, &chain.tenth) + chain.tenth.len() / 2);
        let bad = fs::read(&file).unwrap();

        let (code, _, stderr) = run(&["verify", "--data", data]);
        assert_eq!(code, Some(1), "{stderr}");
        let last = stderr.lines().last().unwrap();
        assert!(last.contains("00000.log") && last.contains("damaged"), "{stderr}");

        fs::remove_dir_all(copy.index()).unwrap();
        for _ in 0..2 {
            let line = Node::start_failing(&copy.data, &[]);
            assert!(line.contains(file.to_str().unwrap()), "{line}");
            assert!(line.contains("damaged at byte") && line.contains("restore it"), "{line}");
            assert!(fs::read(&file).unwrap() == bad, "the file is unchanged");
        }
        fs::write(&file, &good).unwrap();
        copy.recovers_to(&chain.tip);
    }
}

// T18
#[test]
fn rejects_data_directory_of_another_genesis() {
    let chain = Chain::new(Stop::Clean);
    let copy = chain.copy("of dev");
    let data = copy.data.to_str().unwrap();
    let testnet = test_address(1).encode(chain::Params::testnet().hrp());
    let other_genesis = [data, "belongs to genesis"];
    let other_address = [&testnet, "an address of another network"];
    for (command, expected) in [
        (&["node", "--network", "testnet"][..], other_genesis),
        (&["mine", "--miner", &testnet], other_address),
    ] {
        let flags = ["--data", data, "--api", "127.0.0.1:0"];
        let (code, stdout, stderr) = run(&[command, &flags].concat());
        assert_eq!((code, &*stdout), (Some(1), ""), "{stderr}");
        let line = stderr.lines().last().unwrap();
        assert!(expected.iter().all(|text| line.contains(text)), "{stderr}");
    }
    assert!(copy.recovers_to(&chain.tip).is_empty(), "nothing has changed");
}
