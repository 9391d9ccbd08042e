//! The ledger: one writer that accepts blocks and transfers, and any number of readers that see a
//! consistent tip.
//!
//! [`Writer::submit_block`] validates a block in this order: already known, header alone, parent,
//! header in context, body alone; then, if the block has more work than the tip, its whole branch
//! is connected on staged rows and the records are appended to the log.
//! [`Writer::commit`] then syncs the log and publishes all changes since the last commit to the
//! readers at once; [`Writer::next_mempool_changes`] updates the mempool. So nothing is written
//! before it is validated, and nothing is published before it is durable. A thread of its own writes
//! committed rows to the index, which may be behind the tip: after a kill, blocks are replayed. A
//! reorganisation needs the same memory whatever its depth: staged rows beyond a limit are in files.
//! While the writer connects blocks, a [`Prechecker`] may validate the bodies of the next ones.
//!
//! The ledger knows neither peers nor miners nor the clock: times are arguments.
//!
//! ```
//! use chain::ledger::{self, Accepted, Options};
//! use chain::template::TemplateRequest;
//! use chain::tx::Tag;
//! use chain::{Address, Height, Params};
//!
//! let folder = tempfile::tempdir()?;
//! let options =
//!     Options { cache_bytes: 8 << 20, threads: 1, ..Options::default() };
//! let progress = &mut |progress| println!("{progress}");
//! let (mut writer, reader) = ledger::open(folder.path(), Params::dev(), &options, progress)?;
//!
//! let now = Params::dev().spec().genesis_time;
//! let miner = Address::ZERO;
//! let request = TemplateRequest { miner, now, extra_nonce: [0; 8], tag: Tag::default() };
//! let template = writer.template(request)?;
//! let mut block = template.block;
//! while !template.target.is_met_by(block.hash().as_bytes()) {
//!     block.header.nonce += 1;
//! }
//!
//! let hash = block.hash();
//! assert_eq!(writer.submit_block(block, now)?, Accepted::Connected);
//! writer.commit()?;
//! let view = reader.view();
//! assert_eq!((view.tip().hash, view.tip().height), (hash, Height::new(1)));
//! # drop(view);
//! # writer.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod interrupt;
pub mod schema;
mod records;
mod rows;
mod layers;
mod index_jobs;
mod overlay;
mod side_branches;
mod state;
mod view;
mod reader;
mod precheck;
mod reorg;
mod mempool_update;
mod writer;
mod proposal;
mod flush;
mod commit;
mod full_disk;
mod transfers;
mod headers;
mod prune;
mod invalidate;
mod load;
mod open;
mod memory_chain;
mod verify;

pub use commit::Commit;
pub use error::{InvalidateError, OpenError, SubmitError, TransferError, VerifyError};
pub use headers::{HeaderBranch, HeadersError};
pub use interrupt::Interrupt;
pub use memory_chain::VerifyReport;
pub use open::{OpenProgress, Options, open};
pub use precheck::{PrecheckedBlock, Prechecker, Submission};
pub use proposal::{CheckedProposal, ProposalError};
pub use prune::{MAX_PRUNABLE_BYTES, Pruned};
pub use reader::Reader;
pub use verify::{VerifyProgress, verify};
pub use view::{ChainTip, ChainTipStatus, TipPosition, View};
pub use writer::{Accepted, Writer};
