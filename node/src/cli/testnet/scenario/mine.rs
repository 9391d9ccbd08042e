//! Mining on nodes of a scenario: a number of blocks, continuously, or selfishly.

use super::step::Switch;
use super::world::World;
use crate::api::routes::chain::Chain;
use crate::api::routes::dev;
use crate::api::routes::jobs::Job;
use crate::client::Client;
use crate::jobs::State;
use crate::testnet::partition;
use crate::testnet::topology::NodeNumber;
use anyhow::{Result, bail, ensure};
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Time limit of a request.
const LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// Mines a number of blocks for the address of a node, and waits for them.
pub async fn mine(world: &World, number: NodeNumber, blocks: u32) -> Result<()> {
    let (client, miner) = (world.client(number)?, world.address(number)?);
    if dev::is_available(world.testnet().params()) {
        let body = json!({ "blocks": blocks, "miner": miner });
        client.create(&["dev", "generate"], &body, LIMIT).await?;
        return Ok(());
    }
    let body = json!({ "blocks": blocks, "miner": miner, "threads": 1 });
    let mut job: Job = client.create(&["mining", "jobs"], &body, LIMIT).await?.json()?;
    while !matches!(job.state, State::Succeeded | State::Failed | State::Cancelled) {
        ensure!(!world.is_late(), "{number} has mined {} blocks", job.progress.blocks_done);
        sleep(POLL).await;
        job = client.get(&["mining", "jobs", &job.id]).await?.json()?;
    }
    match job.state {
        State::Succeeded => Ok(()),
        _ => bail!("the mining job of {number} ended without its blocks"),
    }
}

/// Starts or stops the mining of a node.
pub async fn set_power(world: &World, number: NodeNumber, power: Switch) -> Result<()> {
    let client = world.client(number)?;
    let jobs: crate::api::http::page::Page<Job> = client.get(&["mining", "jobs"]).await?.json()?;
    let is_running = |job: &&Job| matches!(job.state, State::Queued | State::Running);
    let running: Vec<&Job> = jobs.items.iter().filter(is_running).collect();
    match power {
        Switch::On if running.is_empty() => {
            let body = json!({ "miner": world.address(number)?, "threads": 1 });
            client.create(&["mining", "jobs"], &body, LIMIT).await?;
        }
        Switch::On => {}
        Switch::Off => {
            for job in running {
                let path = ["mining", "jobs", &job.id];
                client.send_once(Method::DELETE, &path, None, LIMIT).await?;
            }
        }
    }
    Ok(())
}

/// Mines selfishly on a node for some time: it withholds its blocks while the others are at least two
/// behind, publishes them when the others come closer, and adopts their branch when they are ahead.
pub async fn selfish(world: &World, number: NodeNumber, duration: Duration) -> Result<()> {
    let others = world.running("all")?.into_iter().filter(|other| *other != number);
    let clients: Vec<Client> = others.map(|other| world.client(other)).collect::<Result<_>>()?;
    let own = world.client(number)?;
    let start = Instant::now();
    while start.elapsed() < duration && !world.is_late() {
        partition::cut(world.testnet(), &[number]).await?;
        let fork = height(&own).await?;
        loop {
            let withheld = height(&own).await?;
            let mut public = 0;
            for client in &clients {
                public = public.max(height(client).await?);
            }
            let is_over = start.elapsed() >= duration || world.is_late();
            let is_caught_up = public > fork && withheld <= public + 1;
            if is_over || is_caught_up {
                break;
            }
            sleep(POLL).await;
        }
        partition::heal(world.testnet()).await?;
    }
    Ok(())
}

async fn height(client: &Client) -> Result<u32> {
    let chain: Chain = client.get(&["chain"]).await?.json()?;
    Ok(chain.height)
}
