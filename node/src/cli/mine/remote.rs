//! Mining with the threads of this process for a node that is running.

use super::args::Args;
use super::balance::Holdings;
use crate::cli::output::print_lines;
use crate::cli::progress::{ProgressLine, refresh_interval};
use crate::client::Client;
use crate::logging;
use crate::mining;
use crate::mining::available_threads;
use anyhow::Result;
use chain::{Address, Params};
use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How long the last look may take.
const LAST_LOOK: Duration = Duration::from_secs(2);
/// Blocks found and not looked at yet.
const FOUND: usize = 16;

/// Mines with the threads of this process for a node that is running.
pub(super) async fn mine(
    client: &Client,
    args: &Args,
    params: &Params,
    miner: Address,
    stop: &mut (impl Future<Output = ()> + Unpin),
) -> Result<()> {
    logging::start(logging::Format::Text, logging::filter("warn")?);
    let line = ProgressLine::new();
    let miner_text = miner.encode(params.hrp());
    line.say(&format!("mining for {miner_text} on {}, for {}", params.name(), client.base()));
    let goal = mining::Goal {
        miner,
        blocks: args.blocks.map(NonZeroU32::get),
        kernel: args.kernel,
        pause: mining::Goal::pause(params, args.blocks.is_some()),
    };
    let (finding, mut finds) = mpsc::channel(FOUND);
    let (telling, progress) = watch::channel(None);
    let (_crew, staffed) = watch::channel(args.threads.unwrap_or_else(available_threads).get());
    let source = mining::source::remote::Remote::new(client.clone(), params.hrp());
    let mut mined = std::pin::pin!(mining::mine(source, goal, staffed, finding, telling));
    let mut look = refresh_interval();
    let mut at = client.at();
    let (holdings, mut found) = (Cell::new(None), Vec::new());
    // Beside the rest, which does not wait for a node that does not answer; that keeps the last
    // numbers on the line.
    let mut asking = std::pin::pin!(async {
        let mut look = refresh_interval();
        loop {
            look.tick().await;
            let asked = Holdings::ask(client, &miner_text).await.ok();
            holdings.set(asked.or(holdings.get()));
        }
    });
    let status = |holdings: Holdings| {
        let progress = progress.borrow();
        let (rate, blocks) = progress.as_ref().map_or((0.0, 0), |it| (it.hash_rate, it.found));
        holdings.with(rate, blocks)
    };
    loop {
        tokio::select! {
            biased;
            Some(one) = finds.recv() => found.push(one.block),
            end = &mut mined => {
                end?;
                break;
            }
            () = &mut *stop => break,
            () = &mut asking => {}
            _ = look.tick() => {
                if client.at() != at {
                    at = client.at();
                    line.say(&format!("going on with the node at {}", client.base()));
                }
                if let Some(holdings) = holdings.get() {
                    line.show(&status(holdings));
                }
            }
        }
    }
    while let Ok(one) = finds.try_recv() {
        found.push(one.block);
    }
    let last = tokio::time::timeout(LAST_LOOK, Holdings::ask(client, &miner_text)).await;
    let last = last.ok().and_then(Result::ok);
    let holdings = last.or(holdings.get()).unwrap_or_default();
    line.show_last(&status(holdings));
    Ok(print_lines(&found)?)
}
