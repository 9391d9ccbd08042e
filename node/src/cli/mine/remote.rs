//! Mining with the threads of this process for a running node.

use super::args::Args;
use super::balance::MinerBalance;
use crate::cli::output::print_lines;
use crate::cli::progress::{ProgressLine, refresh_interval};
use crate::client::Client;
use crate::logging;
use crate::mining;
use crate::mining::default_threads;
use anyhow::Result;
use chain::{Address, Params};
use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Time limit of the request for the final balance.
const FINAL_TIMEOUT: Duration = Duration::from_secs(2);
/// Capacity of the channel of found blocks.
const FOUND: usize = 16;

/// Mines for the node until the goal is reached or the stop signal comes.
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
    line.println(&format!("mining for {miner_text} on {}, for {}", params.name(), client.base()));
    let goal = mining::MiningConfig {
        miner,
        blocks: args.blocks.map(NonZeroU32::get),
        kernel: args.kernel,
        pause: mining::MiningConfig::pause(params, args.blocks.is_some()),
    };
    let (found_sender, mut found_blocks) = mpsc::channel(FOUND);
    let (progress_sender, progress) = watch::channel(None);
    let (_threads_sender, threads) =
        watch::channel(args.threads.unwrap_or_else(default_threads).get());
    let source = mining::source::remote::RemoteSource::new(client.clone(), params.hrp());
    let mining = mining::mine(source, goal, threads, found_sender, progress_sender);
    let mut mining = std::pin::pin!(mining);
    let mut refresh = refresh_interval();
    let mut current = client.current();
    let (balance, mut found) = (Cell::new(None), Vec::new());
    // Polled beside the rest, which does not wait for a node that does not respond.
    let mut polling = std::pin::pin!(poll_balance(client, &miner_text, &balance));
    let status = |balance: MinerBalance| {
        let progress = progress.borrow();
        let (rate, blocks) = progress.as_ref().map_or((0.0, 0), |it| (it.hash_rate, it.found));
        balance.with_progress(rate, blocks)
    };
    loop {
        tokio::select! {
            biased;
            Some(one) = found_blocks.recv() => found.push(one.block),
            end = &mut mining => {
                end?;
                break;
            }
            () = &mut *stop => break,
            () = &mut polling => {}
            _ = refresh.tick() => {
                if client.current() != current {
                    current = client.current();
                    line.println(&format!("switched to the node at {}", client.base()));
                }
                if let Some(balance) = balance.get() {
                    line.update(&status(balance));
                }
            }
        }
    }
    while let Ok(one) = found_blocks.try_recv() {
        found.push(one.block);
    }
    let last =
        tokio::time::timeout(FINAL_TIMEOUT, MinerBalance::request(client, &miner_text)).await;
    let last = last.ok().and_then(Result::ok);
    line.finish(&status(last.or(balance.get()).unwrap_or_default()));
    Ok(print_lines(&found)?)
}

/// Polls the balance of the miner; on an error the last one remains.
async fn poll_balance(client: &Client, miner: &str, balance: &Cell<Option<MinerBalance>>) {
    let mut refresh = refresh_interval();
    loop {
        refresh.tick().await;
        let latest = MinerBalance::request(client, miner).await.ok();
        balance.set(latest.or(balance.get()));
    }
}
