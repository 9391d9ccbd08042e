//! The vocabulary of the state machines: their inputs, their outputs, and the results in both.
//! A machine is pure: time, the chain and randomness are arguments, so a run can be repeated exactly.

use crate::message::{Announcement, Request, Response, Status};
use chain::block::{self, Block, Height, Timestamp};
use chain::ledger::{Accepted, SubmitError, TransferError};
use chain::mempool::{Admission, RejectReason};
use chain::rules::Rule;
use chain::tx::{Id, Transfer};
use libp2p::PeerId;
use std::sync::Arc;
use std::time::Duration;

/// The time, twice: one that only grows, and one to compare block times with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since the machine was made.
    pub elapsed: Duration,
    /// The wall clock.
    pub clock: Timestamp,
}

/// Which part of the machine made a request, and which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestId {
    /// Headers and bodies.
    Sync(u64),
    /// What an announcement lacked.
    Relay(u64),
    /// What the mempool lacks.
    Mempool(u64),
}

/// Names an announcement until it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AnnouncementId(pub u64);

/// Something happened.
#[derive(Debug)]
pub enum Input {
    /// A peer of our network is connected and has said hello.
    PeerConnected {
        /// Who.
        peer: PeerId,
        /// Whether we called it.
        outbound: bool,
        /// What it says of itself.
        status: Status,
    },
    /// A peer has news of itself.
    PeerStatus {
        /// Who.
        peer: PeerId,
        /// What it says.
        status: Status,
    },
    /// A peer is gone. What was asked of it will not be answered.
    PeerDisconnected {
        /// Who.
        peer: PeerId,
    },
    /// A request came to its end.
    Response {
        /// The request's id.
        id: RequestId,
        /// The response, or why there is none.
        result: Result<Response, Failure>,
    },
    /// A peer announces something.
    Announcement {
        /// Who.
        peer: PeerId,
        /// Awaits `Output::ReportValidation`.
        id: AnnouncementId,
        /// What.
        announcement: Announcement,
    },
    /// A block from `Output::ImportBlock` was judged.
    BlockValidated {
        /// Which.
        hash: block::Hash,
        /// How.
        validation: BlockValidation,
    },
    /// A transfer from `Output::ImportTransfer` was judged.
    TransferValidated {
        /// Which.
        id: Id,
        /// How.
        validation: TransferValidation,
    },
    /// The node's best chain is another one now, whoever brought the block.
    TipChanged,
    /// Transfers that this node's mempool took, from whomever, or took back in a reorganisation.
    TransfersAccepted(Vec<Id>),
    /// Time passes: at least four times a second.
    Tick,
}

/// Why a request has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It took too long.
    Timeout,
    /// The peer is gone.
    Disconnected,
    /// The reply could not be decoded, or is above its limit.
    Malformed,
    /// The stream broke.
    Io,
    /// The peer does not speak the protocol.
    Unsupported,
}

impl Failure {
    /// What it counts against whoever was asked. A peer that is gone does no harm.
    pub fn misbehavior(self) -> Option<Misbehavior> {
        match self {
            Failure::Timeout => Some(Misbehavior::Timeout),
            Failure::Malformed => Some(Misbehavior::Malformed),
            Failure::Io | Failure::Unsupported => Some(Misbehavior::BrokenStream),
            Failure::Disconnected => None,
        }
    }
}

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockValidation {
    /// It was taken in, or was there.
    Accepted(Accepted),
    /// It breaks a rule.
    Invalid {
        /// The rule that it breaks.
        rule: Rule,
        /// Whether the header is to blame, not only this body: no other body can make it valid.
        for_ever: bool,
    },
    /// Its parent is not here.
    UnknownParent,
    /// This node could not judge it.
    Failed,
}

impl From<&Result<Accepted, SubmitError>> for BlockValidation {
    fn from(result: &Result<Accepted, SubmitError>) -> BlockValidation {
        match result {
            Ok(accepted) => BlockValidation::Accepted(*accepted),
            Err(SubmitError::Invalid(error)) => BlockValidation::Invalid {
                rule: error.rule(),
                for_ever: error.invalidates_header(),
            },
            Err(SubmitError::KnownInvalid { rule, .. }) => {
                BlockValidation::Invalid { rule: *rule, for_ever: true }
            }
            Err(SubmitError::UnknownParent { .. }) => BlockValidation::UnknownParent,
            Err(SubmitError::Store(_)) => BlockValidation::Failed,
        }
    }
}

/// What became of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferValidation {
    /// The mempool took it.
    Added,
    /// The mempool had it.
    Known,
    /// It can never be valid.
    Invalid,
    /// Too many transfers of its sender that come before it are missing.
    TooFar,
    /// It does not fit the accounts or the mempool as they are now for another reason.
    Refused,
    /// This node could not judge it.
    Failed,
}

impl From<&Result<Admission, TransferError>> for TransferValidation {
    fn from(result: &Result<Admission, TransferError>) -> TransferValidation {
        match result {
            Ok(Admission::Added(_)) => TransferValidation::Added,
            Ok(Admission::AlreadyKnown) => TransferValidation::Known,
            Err(TransferError::Invalid(_)) => TransferValidation::Invalid,
            Err(TransferError::Rejected(RejectReason::NonceTooFar { .. })) => {
                TransferValidation::TooFar
            }
            Err(TransferError::Rejected(_)) => TransferValidation::Refused,
            Err(TransferError::Store(_)) => TransferValidation::Failed,
        }
    }
}

/// Something is to be done.
#[derive(Debug)]
pub enum Output {
    /// Ask a peer. `Input::Response` follows, also when the peer is gone.
    Request {
        /// The id that `Input::Response` repeats.
        id: RequestId,
        /// The peer that is asked.
        peer: PeerId,
        /// The request.
        request: Request,
    },
    /// Hand a block to the chain. `Input::BlockValidated` follows, in the order of handing over.
    ImportBlock(Arc<Block>),
    /// Hand a transfer to the mempool. `Input::TransferValidated` follows.
    ImportTransfer(Arc<Transfer>),
    /// Tell everybody.
    Announce(Announcement),
    /// Settle what a peer announced.
    ReportValidation {
        /// Which.
        id: AnnouncementId,
        /// How.
        acceptance: MessageAcceptance,
    },
    /// A peer behaved well or badly.
    ReportPeer {
        /// Who.
        peer: PeerId,
        /// What it did.
        misbehavior: Misbehavior,
    },
    /// A peer is of no use.
    Disconnect {
        /// Who.
        peer: PeerId,
        /// Why: for the log.
        reason: &'static str,
    },
    /// What this node says of its chain has changed, or how far sync is.
    Progress(Progress),
}

/// What is done with an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageAcceptance {
    /// Forward it.
    Accept,
    /// Do not.
    Ignore,
    /// Do not, and hold it against whoever sent it: it is wrong for everyone and for ever.
    Reject,
}

/// What a peer did. `Misbehavior::points` is the table of what it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehavior {
    /// It sent blocks that were asked for; this many MiB, rounded down.
    Delivered,
    /// A header without its proof of work, or one that breaks another rule for ever.
    BadHeader,
    /// A body that is not the one of its header.
    WrongBody,
    /// A body that breaks a rule: whoever serves blocks has checked them.
    InvalidBlock,
    /// An announcement that is wrong for everyone and for ever.
    BadAnnouncement,
    /// Another genesis or version than its protocol names say.
    WrongNetwork,
    /// A message that cannot be decoded, or is above its limit.
    Malformed,
    /// A request that makes no sense.
    BadRequest,
    /// More requests than twice the limit.
    TooManyRequests,
    /// A reply that does not fit its request.
    WrongReply,
    /// A stream that broke.
    BrokenStream,
    /// No reply in time.
    Timeout,
}

/// How far this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being fetched.
    pub state: SyncState,
    /// The best header's height, at least the tip's.
    pub best_header: Height,
    /// The tip's height.
    pub height: Height,
}

/// What is being fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncState {
    /// Headers, or nothing yet because nobody was asked.
    Headers,
    /// Bodies.
    Blocks,
    /// ChainUpdate only.
    Synced,
}
