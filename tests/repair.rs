//! What a node makes of a damaged data folder: it comes back by itself at the last block that was
//! acknowledged, or says in one line which file is to blame and leaves it alone.

use crate::forge::{somebody, text};
use crate::harness::{Node, Tip, run, verified};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// How the node that is repaired after went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Clean,
    Killed,
}

/// A data folder with a chain of 24 blocks, nearly all of them in the index too.
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
        let data = folder.path().join("made");
        let miner = text(somebody(1));
        let node = Node::start(&data, &[]);
        node.generate(20, &miner).unwrap();
        assert!(node.stop().success());
        let node = Node::start(&data, &[]);
        for _ in 0..4 {
            node.generate(1, &miner).unwrap();
        }
        let raw = |block: &str| {
            let answer = node.get(&format!("/v1/blocks/{block}/raw"));
            hex::decode(answer.text().trim()).unwrap()
        };
        let (tip, last, tenth) = (node.tip(), raw("tip"), raw("10"));
        match stop {
            Stop::Clean => assert!(node.stop().success()),
            Stop::Killed => node.kill(),
        }
        Chain { folder, stop, tip, last, tenth }
    }

    /// A copy of it, to be damaged.
    fn copy(&self, name: &str) -> Copy {
        let data = self.folder.path().join(name);
        copy(&self.folder.path().join("made"), &data);
        Copy { data, what: format!("{name}, {:?}", self.stop) }
    }
}

fn copy(from: &Path, to: &Path) {
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

/// A data folder and what is the matter with it.
struct Copy {
    data: PathBuf,
    what: String,
}

impl Copy {
    fn log_file(&self) -> PathBuf {
        self.data.join("blocks/00000.log")
    }

    fn index(&self) -> PathBuf {
        self.data.join("index")
    }

    /// The lines a node says about what it found, once it stands at this block again; it then goes
    /// on as if nothing had been.
    fn comes_back_at(&self, tip: &Tip) -> Vec<String> {
        let node = Node::start(&self.data, &[]);
        assert_eq!(node.tip(), *tip, "{}: {}", self.what, node.log());
        let log = node.log();
        let warnings = log.lines().filter(|line| line.contains("WARN")).map(str::to_owned);
        let warnings = warnings.collect();
        node.generate(1, &text(somebody(2))).unwrap();
        let next = node.tip();
        assert_eq!(next.height, tip.height + 1, "{}", self.what);
        node.kill();
        assert_eq!(verified(&self.data), next, "{}", self.what);
        warnings
    }
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
fn an_index_that_is_gone_is_made_again() {
    for stop in [Stop::Clean, Stop::Killed] {
        let chain = Chain::new(stop);
        let copy = chain.copy("no index");
        fs::remove_dir_all(copy.index()).unwrap();
        let told = copy.comes_back_at(&chain.tip);
        assert!(told.len() == 1 && told[0].contains("index is rebuilt"), "{stop:?}: {told:?}");
    }
}

// T11, T12
#[test]
fn an_index_with_a_bad_file_is_made_again() {
    for stop in [Stop::Clean, Stop::Killed] {
        let chain = Chain::new(stop);
        let made = chain.folder.path().join("made/index");
        let files = fs::read_dir(made).unwrap().map(Result::unwrap);
        let files = files.filter(|entry| entry.file_type().unwrap().is_file());
        let names: Vec<_> = files.map(|entry| entry.file_name().into_string().unwrap()).collect();
        assert!(names.len() >= 3, "{names:?}");
        for name in names {
            for quarter in [0, 1, 3] {
                let copy = chain.copy(&format!("{name} at {quarter} quarters"));
                let file = copy.index().join(&name);
                let bytes = fs::metadata(&file).unwrap().len();
                flip(&file, usize::try_from(bytes).unwrap() * quarter / 4);
                let told = copy.comes_back_at(&chain.tip);
                // After a kill what matters of a file is known to the engine alone.
                let must_tell = usize::from(stop == Stop::Clean);
                assert!((must_tell..=1).contains(&told.len()), "{}: {told:?}", copy.what);
                assert!(told.iter().all(|line| line.contains("index is rebuilt")), "{told:?}");
            }
            let copy = chain.copy(&format!("{name} emptied"));
            fs::write(copy.index().join(&name), b"").unwrap();
            let told = copy.comes_back_at(&chain.tip);
            assert!(told.len() <= 1, "{}: {told:?}", copy.what);
        }
    }
}

// T07, T12
#[test]
fn a_log_that_ends_in_half_a_record_is_cut_to_the_last_whole_block() {
    /// Bytes before a payload.
    const HEAD: usize = 13;
    for stop in [Stop::Clean, Stop::Killed] {
        let chain = Chain::new(stop);
        let log = fs::read(chain.copy("whole").log_file()).unwrap();
        let block = find(&log, &chain.last);
        let end = block + chain.last.len();
        let before = Tip { height: 23, hash: previous(&chain.last) };
        // The length, the last block then, and whether that ends within a record. Before a block
        // stands how to take it back, after it the mark that it is safe.
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
            // After a clean stop the index is ahead of what is left.
            let ahead = usize::from(stop == Stop::Clean);
            let told = copy.comes_back_at(tip);
            let tells = |what: &str| told.iter().filter(|line| line.contains(what)).count();
            assert_eq!(tells("cut an unfinished write"), usize::from(is_cut), "{told:?}");
            assert_eq!(tells("the index is rebuilt"), ahead, "{}: {told:?}", copy.what);
            assert_eq!(told.len(), usize::from(is_cut) + ahead, "{told:?}");
        }
    }
}

/// The hash of a block's parent.
fn previous(block: &[u8]) -> String {
    chain::Block::decode(block).unwrap().header.previous.to_string()
}

// T11, T24
#[test]
fn a_bad_record_in_the_middle_of_the_log_is_named_and_left_alone() {
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
            let line = Node::refused(&copy.data, &[]);
            assert!(line.contains(file.to_str().unwrap()), "{line}");
            assert!(line.contains("damaged at byte") && line.contains("restore it"), "{line}");
            assert!(fs::read(&file).unwrap() == bad, "the evidence is untouched");
        }
        fs::write(&file, &good).unwrap();
        copy.comes_back_at(&chain.tip);
    }
}

// T18
#[test]
fn a_data_folder_of_another_genesis_is_refused() {
    let chain = Chain::new(Stop::Clean);
    let copy = chain.copy("of dev");
    let data = copy.data.to_str().unwrap();
    let testnet = somebody(1).encode(chain::Params::testnet().hrp());
    for command in [&["node", "--network", "testnet"][..], &["mine", "--miner", &testnet]] {
        let flags = ["--data", data, "--api", "127.0.0.1:0"];
        let (code, stdout, stderr) = run(&[command, &flags].concat());
        assert_eq!((code, &*stdout), (Some(1), ""), "{stderr}");
        let line = stderr.lines().last().unwrap();
        assert!(line.contains(data) && line.contains("belongs to genesis"), "{stderr}");
    }
    assert!(copy.comes_back_at(&chain.tip).is_empty(), "as if nobody had asked");
}
