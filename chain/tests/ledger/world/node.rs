//! A ledger under test: a folder of its own, and what is asked of it again and again.

use chain::ledger::{
    self, Accepted, Commit, OpenError, OpenProgress, Options, PrecheckedBlock, Reader, SubmitError,
    VerifyError, VerifyReport, Writer,
};
use chain::rules::{RuleError, Stage};
use chain::{Block, Params, Timestamp, block, mempool};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// How tests open a ledger.
pub(crate) fn options() -> Options {
    Options { cache_bytes: 1 << 20, threads: 2, mempool: mempool::Limits::default() }
}

/// A folder, and the ledger in it while it is open.
pub(crate) struct Node {
    pub(crate) folder: TempDir,
    params: Params,
    open: Option<(Writer, Reader)>,
    /// All blocks that were ever taken in, genesis first.
    pub(crate) taken: Vec<block::Hash>,
    /// What its clock says.
    pub(crate) now: Timestamp,
}

impl Node {
    /// With a new folder and a clock far ahead.
    pub(crate) fn new(params: &Params) -> Node {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let now = params.spec().genesis_time.saturating_add(10_000_000);
        let taken = vec![params.genesis_hash()];
        let mut node = Node { folder, params: params.clone(), open: None, taken, now };
        assert_eq!(node.start(), []);
        node
    }

    /// With these blocks, each of them the new tip.
    pub(crate) fn with(params: &Params, blocks: &[Block]) -> Node {
        let mut node = Node::new(params);
        node.connect_all(blocks);
        node
    }

    /// A node that is closed, with a copy of this one's folder.
    pub(crate) fn copy(&self) -> Node {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        copy_folder(self.path(), folder.path());
        let (params, taken, now) = (self.params.clone(), self.taken.clone(), self.now);
        Node { folder, params, open: None, taken, now }
    }

    /// Opens the folder; what it had to say.
    pub(crate) fn start(&mut self) -> Vec<OpenProgress> {
        self.try_start().expect("the ledger opens")
    }

    pub(crate) fn try_start(&mut self) -> Result<Vec<OpenProgress>, OpenError> {
        let mut notices = Vec::new();
        // That a short replay is done says nothing about what was found.
        let is_short = |notice: &OpenProgress| {
            matches!(notice, OpenProgress::Replaying { total: ..=1_000, .. })
        };
        let mut note = |notice| {
            if !is_short(&notice) {
                notices.push(notice);
            }
        };
        let opened = ledger::open(self.path(), self.params.clone(), options(), &mut note)?;
        self.open = Some(opened);
        Ok(notices)
    }

    /// Drops the ledger as a kill would.
    pub(crate) fn kill(&mut self) {
        self.open = None;
    }

    /// Closes the ledger.
    pub(crate) fn close(&mut self) {
        let (writer, _) = self.open.take().expect("the ledger is open");
        writer.close().expect("the ledger closes");
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What `chain verify` says of the folder, which is closed before and after.
    pub(crate) fn verify(&self) -> Result<VerifyReport, VerifyError> {
        ledger::verify(self.path(), self.params.clone(), options(), &mut |_| {}, &mut |_, _| {})
    }

    pub(crate) fn writer(&mut self) -> &mut Writer {
        &mut self.open.as_mut().expect("the ledger is open").0
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.open.as_ref().expect("the ledger is open").1
    }

    /// Hands a block in, and sees that checked ahead it would not have been judged otherwise.
    pub(crate) fn take(&mut self, block: &Block) -> Result<Accepted, SubmitError> {
        let now = self.now;
        let ahead = self.check_ahead(std::slice::from_ref(block));
        let result = self.writer().submit_block(block.clone(), now);
        let agrees = match (ahead[0].precheck_result(), &result) {
            (Some(Err(judged)), Err(SubmitError::Invalid(error))) => *judged == *error,
            (Some(Err(_)), _) => false,
            // What is wrong all the same is so with the blocks before it.
            (Some(Ok(())), Err(SubmitError::Invalid(error))) => {
                let is_ancestors = matches!(error, RuleError::InvalidAncestor { .. });
                is_ancestors || error.rule().stage() == Stage::BodyOnParent
            }
            (Some(Ok(())), Err(SubmitError::UnknownParent { .. })) => false,
            (Some(Ok(())), _) | (None, _) => true,
        };
        assert!(agrees, "{:?}: {result:?}", ahead[0].precheck_result());
        if matches!(result, Ok(Accepted::Connected | Accepted::SideBranch)) {
            self.taken.push(block.hash());
        }
        result
    }

    /// Checks blocks alone as the writer's helpers do while it is busy.
    pub(crate) fn check_ahead(&mut self, blocks: &[Block]) -> Vec<PrecheckedBlock> {
        let now = self.now;
        self.writer().prechecker().precheck(blocks.iter().cloned().map(Arc::new).collect(), now)
    }

    pub(crate) fn commit(&mut self) -> Commit {
        self.writer().commit().expect("the disk works")
    }

    /// Hands a block in that must become the tip.
    pub(crate) fn connect(&mut self, block: &Block) {
        self.connect_all(std::slice::from_ref(block));
    }

    pub(crate) fn connect_all(&mut self, blocks: &[Block]) {
        for block in blocks {
            assert_eq!(self.take(block).expect("the block is valid"), Accepted::Connected);
        }
        self.commit();
    }

    /// Hands blocks in that must not become the tip.
    pub(crate) fn take_aside(&mut self, blocks: &[Block]) {
        for block in blocks {
            assert_eq!(self.take(block).expect("it is valid alone"), Accepted::SideBranch);
        }
        self.commit();
    }

    /// Why a block is refused, which changes nothing else.
    #[track_caller]
    pub(crate) fn refuse(&mut self, block: &Block) -> SubmitError {
        let (tip, log) = (self.tip(), log_bytes(self.path()));
        let error = self.take(block).expect_err("the block breaks a rule");
        let commit = self.commit();
        assert!(commit.connected.is_empty() && commit.disconnected.is_empty());
        assert!(self.tip() == tip && log_bytes(self.path()) == log);
        error
    }

    pub(crate) fn tip(&self) -> block::Hash {
        self.reader().view().tip().hash
    }
}

/// Copies everything in a folder into another, over what is there.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("there is room for a folder");
    for entry in fs::read_dir(from).expect("it is there") {
        let (from, name) = entry.map(|entry| (entry.path(), entry.file_name())).expect("readable");
        if from.is_dir() {
            copy_folder(&from, &to.join(name));
        } else {
            fs::copy(&from, to.join(name)).expect("there is room for a file");
        }
    }
}

/// All bytes of the block log, file after file.
pub(crate) fn log_bytes(folder: &Path) -> Vec<u8> {
    let entries = fs::read_dir(folder.join("blocks")).expect("the log is there");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("it is readable").path()).collect();
    files.sort();
    files.iter().flat_map(|file| fs::read(file).expect("it is readable")).collect()
}
