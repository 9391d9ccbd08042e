//! The inputs and outputs of the engine's state machines, and the results that both carry.

use crate::message::{Announcement, Request, Response, Status};
use chain::block::{self, Height, Timestamp};
use chain::ledger::{Accepted, Submission, SubmitError, TransferError};
use chain::mempool::{Admission, RejectReason};
use chain::rules::{Rule, Stage};
use chain::tx::{Id, Transfer};
use libp2p::PeerId;
use std::sync::Arc;
use std::time::Duration;

/// The time of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time since the engine was created.
    pub elapsed: Duration,
    /// Wall-clock time, to compare with the times of blocks.
    pub clock: Timestamp,
}

impl Now {
    /// Returns the wall clock in Unix seconds.
    pub fn unix(self) -> u64 {
        u64::from(self.clock.get())
    }
}

/// Identifies a request of the engine: the machine that sent it, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestId {
    /// A request of header sync.
    Headers(u64),
    /// A request of block download.
    Blocks(u64),
    /// A request of relay, for the parts that an announced block lacks.
    Relay(u64),
    /// A request of mempool sync.
    Mempool(u64),
}

/// Identifies an announcement until its validation is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AnnouncementId(pub u64);

/// An input of the engine.
#[derive(Debug)]
pub enum Input {
    /// A peer has completed the handshake.
    PeerConnected {
        /// The id of the connected peer.
        peer: PeerId,
        /// Whether this node dialed the peer.
        outbound: bool,
        /// The status that the peer sent in the handshake.
        status: Status,
    },
    /// A peer has sent another status.
    PeerStatus {
        /// The id of the peer that sent the status.
        peer: PeerId,
        /// The status that replaces the peer's earlier one.
        status: Status,
    },
    /// A peer has disconnected. Its requests in flight will get no response.
    PeerDisconnected {
        /// The id of the disconnected peer.
        peer: PeerId,
    },
    /// A request has ended.
    Response {
        /// The id of `Output::Request`.
        id: RequestId,
        /// The response, or why there is none.
        result: Result<Response, Failure>,
    },
    /// A peer has announced a block or a transfer. `Output::ReportValidation` has to follow.
    Announcement {
        /// The peer that forwarded the announcement.
        peer: PeerId,
        /// The id to report its validation with.
        id: AnnouncementId,
        /// The announced block or transfer.
        announcement: Announcement,
    },
    /// A block of `Output::ImportBlock`, or of another source, has been validated.
    BlockValidated {
        /// The hash of the block.
        hash: block::Hash,
        /// The result of validating the block.
        validation: BlockValidation,
    },
    /// A transfer of `Output::ImportTransfer` has been validated.
    TransferValidated {
        /// The id of the transfer.
        id: Id,
        /// The result of validating the transfer.
        validation: TransferValidation,
    },
    /// The best chain has changed.
    TipChanged,
    /// The mempool has accepted transfers, from any source or because of a reorganisation.
    TransfersAccepted(Vec<Id>),
    /// Transfers of the mempool are to be announced again.
    TransfersDue(Vec<Id>),
    /// Time has passed. Expected at least four times a second.
    Tick,
}

/// Why a request has no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The timeout of the protocol is over.
    Timeout,
    /// The peer has disconnected.
    Disconnected,
    /// The response cannot be decoded, or exceeds its limit.
    Malformed,
    /// The stream of the request broke.
    Io,
    /// The peer does not support the protocol.
    Unsupported,
}

impl Failure {
    /// The misbehavior to report. `None` for a disconnected peer.
    pub fn misbehavior(self) -> Option<Misbehavior> {
        match self {
            Failure::Timeout => Some(Misbehavior::Timeout),
            Failure::Malformed => Some(Misbehavior::Malformed),
            Failure::Io | Failure::Unsupported => Some(Misbehavior::BrokenStream),
            Failure::Disconnected => None,
        }
    }
}

/// The result of validating a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockValidation {
    /// The block was accepted, now or before.
    Accepted(Accepted),
    /// The block breaks a rule. Its header commits to the body, so no other body makes it valid.
    Invalid,
    /// The body is not the one its header commits to. Another body may be valid.
    WrongBody,
    /// An ancestor of the block is invalid.
    InvalidAncestor,
    /// The header breaks a rule, perhaps only for now: its time may be too new.
    InvalidHeader,
    /// The parent of the block is unknown.
    UnknownParent,
    /// The block is on a branch with less work than the best chain that forks too far below the tip.
    TooDeep,
    /// This node failed to validate the block.
    Failed,
}

impl From<&Result<Accepted, SubmitError>> for BlockValidation {
    fn from(result: &Result<Accepted, SubmitError>) -> BlockValidation {
        match result {
            Ok(accepted) => BlockValidation::Accepted(*accepted),
            Err(SubmitError::Invalid(error)) => match error.rule() {
                Rule::InvalidAncestor => BlockValidation::InvalidAncestor,
                rule => match rule.stage() {
                    Stage::Header | Stage::HeaderAfterParent => BlockValidation::InvalidHeader,
                    Stage::Commitment => BlockValidation::WrongBody,
                    Stage::Body | Stage::BodyOnParent => BlockValidation::Invalid,
                },
            },
            Err(SubmitError::KnownInvalid { .. }) => BlockValidation::Invalid,
            Err(SubmitError::UnknownParent { .. }) => BlockValidation::UnknownParent,
            Err(SubmitError::TooDeep { .. }) => BlockValidation::TooDeep,
            Err(SubmitError::Store(_)) => BlockValidation::Failed,
        }
    }
}

/// The result of validating a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferValidation {
    /// The mempool accepted the transfer.
    Added,
    /// The transfer was in the mempool already.
    Known,
    /// The transfer can never be valid.
    Invalid,
    /// Too many earlier transfers of its sender are missing.
    NonceTooFar,
    /// The transfer does not fit the accounts or the mempool in their present state.
    Rejected,
    /// This node failed to validate the transfer.
    Failed,
}

impl From<&Result<Admission, TransferError>> for TransferValidation {
    fn from(result: &Result<Admission, TransferError>) -> TransferValidation {
        match result {
            Ok(Admission::Added(_)) => TransferValidation::Added,
            Ok(Admission::AlreadyKnown) => TransferValidation::Known,
            Err(TransferError::Invalid(_)) => TransferValidation::Invalid,
            Err(TransferError::Rejected(RejectReason::NonceTooFar { .. })) => {
                TransferValidation::NonceTooFar
            }
            Err(TransferError::Rejected(_)) => TransferValidation::Rejected,
            Err(TransferError::Store(_)) => TransferValidation::Failed,
        }
    }
}

/// An output of the engine.
#[derive(Debug)]
pub enum Output {
    /// Send a request to a peer. `Input::Response` has to follow, also if the peer disconnects.
    Request {
        /// The id that `Input::Response` repeats.
        id: RequestId,
        /// The id of the peer to send the request to.
        peer: PeerId,
        /// The request to send.
        request: Request,
    },
    /// Submit a block to the writer. `Input::BlockValidated` has to follow, in the order of
    /// submission.
    ImportBlock(Submission),
    /// Submit a transfer to the mempool. `Input::TransferValidated` has to follow.
    ImportTransfer(Arc<Transfer>),
    /// Publish an announcement to all peers.
    Announce(Announcement),
    /// Report whether an announcement of a peer is to be forwarded.
    ReportValidation {
        /// The id of `Input::Announcement`.
        id: AnnouncementId,
        /// Whether gossip forwards the announcement and penalizes the peer.
        acceptance: MessageAcceptance,
    },
    /// Add the behavior of a peer to its score.
    ReportPeer {
        /// The id of the peer whose score changes.
        peer: PeerId,
        /// The misbehavior to add to the score.
        misbehavior: Misbehavior,
    },
    /// Disconnect a peer that is of no use.
    Disconnect {
        /// The id of the peer to disconnect.
        peer: PeerId,
        /// The reason, for the log.
        reason: &'static str,
    },
    /// Sync has progressed, and so perhaps this node's status has changed.
    Progress(Progress),
}

/// The treatment of an announcement by gossip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageAcceptance {
    /// Forward the announcement.
    Accept,
    /// Do not forward the announcement.
    Ignore,
    /// Do not forward it, and penalize the peer: it is invalid for every node and at any time.
    Reject,
}

/// A behavior of a peer that changes its score. `Misbehavior::points` lists by how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehavior {
    /// The peer delivered 1 MiB of requested blocks that were accepted: good behavior.
    Delivered,
    /// A header without its proof of work, or one that breaks another rule at any time.
    BadHeader,
    /// A body that is not the one of its header.
    WrongBody,
    /// A served block whose body breaks a rule: a peer validates the blocks that it serves.
    InvalidBlock,
    /// An announcement that is invalid for every node and at any time.
    BadAnnouncement,
    /// Another genesis or version than that of the protocol names.
    WrongNetwork,
    /// A message that cannot be decoded, or exceeds its limit.
    Malformed,
    /// A request that violates the protocol.
    BadRequest,
    /// More requests than twice the limit.
    TooManyRequests,
    /// A response that does not fit its request.
    WrongResponse,
    /// A stream of the peer that broke.
    BrokenStream,
    /// No response to a request before the timeout of its protocol.
    Timeout,
    /// A response that the peer requested and does not read.
    UnreadResponse,
}

/// The progress of sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The state of sync.
    pub state: SyncState,
    /// The height of the best header, at least that of the tip.
    pub best_header: Height,
    /// The height of the tip.
    pub height: Height,
}

/// The state of sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncState {
    /// Downloading headers, or waiting for the first peers.
    Headers,
    /// Downloading blocks.
    Blocks,
    /// Following the chain by announcements.
    Synced,
}
