//! The ledger under test in a directory of its own.

use chain::ledger::{
    self, Accepted, Commit, HeaderBranch, Interrupt, OpenError, OpenProgress, Options,
    PrecheckedBlock, Reader, SubmitError, VerifyError, VerifyReport, Writer,
};
use chain::rules::{RuleError, Stage};
use chain::{Block, Header, Params, Timestamp, block};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

/// The options with which tests open a ledger.
pub(crate) fn options() -> Options {
    Options { cache_bytes: 1 << 20, threads: 2, ..Options::default() }
}

/// An interrupt that is requested after a number of checks.
pub(crate) fn interrupt_after(checks: usize) -> Interrupt {
    let done = AtomicUsize::new(0);
    Interrupt::when(move || done.fetch_add(1, Ordering::Relaxed) >= checks)
}

/// A directory with a ledger, which may be open.
pub(crate) struct TestNode {
    pub(crate) folder: TempDir,
    params: Params,
    pub(crate) options: Options,
    open: Option<(Writer, Reader)>,
    /// The hashes of all accepted blocks, genesis first.
    pub(crate) accepted: Vec<block::Hash>,
    /// The time at which blocks are submitted.
    pub(crate) now: Timestamp,
}

impl TestNode {
    /// Opens a ledger in a new directory, with a clock far ahead of genesis.
    pub(crate) fn new(params: &Params) -> TestNode {
        TestNode::with_options(params, options())
    }

    pub(crate) fn with_options(params: &Params, options: Options) -> TestNode {
        let folder = tempfile::tempdir().expect("the disk has space");
        let now = params.spec().genesis_time.saturating_add(10_000_000);
        let accepted = vec![params.genesis_hash()];
        let params = params.clone();
        let mut node = TestNode { folder, params, options, open: None, accepted, now };
        assert_eq!(node.start(), []);
        node
    }

    /// Opens a ledger and connects blocks.
    pub(crate) fn with_blocks(params: &Params, blocks: &[Block]) -> TestNode {
        let mut node = TestNode::new(params);
        node.connect_all(blocks);
        node
    }

    /// Returns a closed node with a copy of the directory.
    pub(crate) fn copy(&self) -> TestNode {
        let folder = tempfile::tempdir().expect("the disk has space");
        copy_folder(self.path(), folder.path());
        let (params, options) = (self.params.clone(), self.options.clone());
        TestNode {
            folder,
            params,
            options,
            open: None,
            accepted: self.accepted.clone(),
            now: self.now,
        }
    }

    /// Opens the ledger, and returns its progress reports.
    pub(crate) fn start(&mut self) -> Vec<OpenProgress> {
        self.try_start().expect("the ledger opens")
    }

    pub(crate) fn try_start(&mut self) -> Result<Vec<OpenProgress>, OpenError> {
        let mut notices = Vec::new();
        // The completion of a short replay is not of interest.
        let is_short = |notice: &OpenProgress| {
            matches!(notice, OpenProgress::Replaying { total: ..=1_000, .. })
        };
        let mut note = |notice| {
            if !is_short(&notice) {
                notices.push(notice);
            }
        };
        let opened = ledger::open(self.path(), self.params.clone(), &self.options, &mut note)?;
        self.open = Some(opened);
        Ok(notices)
    }

    /// Drops the ledger without closing it, as if the process was killed.
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

    /// Verifies the closed ledger.
    pub(crate) fn verify(&self) -> Result<VerifyReport, VerifyError> {
        let scratch = tempfile::tempdir().expect("the disk has space");
        ledger::verify(self.path(), &self.params, &options(), scratch.path(), &mut |_| {})
    }

    pub(crate) fn writer(&mut self) -> &mut Writer {
        &mut self.open.as_mut().expect("the ledger is open").0
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.open.as_ref().expect("the ledger is open").1
    }

    /// Submits a block, and asserts that prechecking it has the same result.
    pub(crate) fn submit(&mut self, block: &Block) -> Result<Accepted, SubmitError> {
        let now = self.now;
        let prechecked = self.precheck(std::slice::from_ref(block));
        let result = self.writer().submit_block(block.clone(), now);
        let is_consistent = match (prechecked[0].precheck_result(), &result) {
            (Some(Err(rule)), Err(SubmitError::Invalid(error))) => *rule == *error,
            (Some(Err(_)), _) => false,
            // A precheck does not cover the rules that need the parent's accounts.
            (Some(Ok(())), Err(SubmitError::Invalid(error))) => {
                let is_ancestors = matches!(error, RuleError::InvalidAncestor { .. });
                is_ancestors || error.rule().stage() == Stage::BodyOnParent
            }
            (Some(Ok(())), Err(SubmitError::UnknownParent { .. })) => false,
            (Some(Ok(())), _) | (None, _) => true,
        };
        assert!(is_consistent, "{:?}: {result:?}", prechecked[0].precheck_result());
        if matches!(result, Ok(Accepted::Connected | Accepted::SideBranch)) {
            self.accepted.push(block.hash());
        }
        result
    }

    /// Prechecks the bodies of blocks.
    pub(crate) fn precheck(&mut self, blocks: &[Block]) -> Vec<PrecheckedBlock> {
        let now = self.now;
        self.writer().prechecker().precheck(blocks.iter().cloned().map(Arc::new).collect(), now)
    }

    /// Submits the headers of a branch.
    pub(crate) fn submit_headers(&mut self, blocks: &[Block]) -> HeaderBranch {
        let headers: Vec<Header> = blocks.iter().map(|block| block.header).collect();
        let now = self.now;
        self.writer().submit_headers(&headers, now).expect("the headers are valid")
    }

    pub(crate) fn commit(&mut self) -> Commit {
        let commit = self.writer().commit().expect("the disk works");
        while self.writer().next_mempool_changes().expect("the disk works").is_some() {}
        commit
    }

    /// Submits a block that becomes the tip, and commits.
    pub(crate) fn connect(&mut self, block: &Block) {
        self.connect_all(std::slice::from_ref(block));
    }

    pub(crate) fn connect_all(&mut self, blocks: &[Block]) {
        for block in blocks {
            assert_eq!(self.submit(block).expect("the block is valid"), Accepted::Connected);
        }
        self.commit();
    }

    /// Submits blocks that do not become the tip, and commits.
    pub(crate) fn submit_side_branch(&mut self, blocks: &[Block]) {
        for block in blocks {
            assert_eq!(self.submit(block).expect("the block is valid alone"), Accepted::SideBranch);
        }
        self.commit();
    }

    /// Submits a block that is rejected, asserts that it leaves tip and log unchanged, and returns
    /// the error.
    #[track_caller]
    pub(crate) fn expect_rejection(&mut self, block: &Block) -> SubmitError {
        let (tip, log) = (self.tip(), log_bytes(self.path()));
        let error = self.submit(block).expect_err("the block breaks a rule");
        let commit = self.commit();
        assert!(commit.connected.is_empty() && commit.disconnected.is_empty());
        assert!(self.tip() == tip && log_bytes(self.path()) == log);
        error
    }

    pub(crate) fn tip(&self) -> block::Hash {
        self.reader().view().tip().hash
    }
}

/// Copies all files of a directory into another one, and overwrites existing ones.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the disk has space");
    for entry in fs::read_dir(from).expect("the directory exists") {
        let (from, name) = entry.map(|entry| (entry.path(), entry.file_name())).expect("readable");
        if from.is_dir() {
            copy_folder(&from, &to.join(name));
        } else {
            fs::copy(&from, to.join(name)).expect("the disk has space");
        }
    }
}

/// The content of all files of the block log, in order.
pub(crate) fn log_bytes(folder: &Path) -> Vec<u8> {
    let entries = fs::read_dir(folder.join("blocks")).expect("the log is there");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("it is readable").path()).collect();
    files.sort();
    files.iter().flat_map(|file| fs::read(file).expect("it is readable")).collect()
}
