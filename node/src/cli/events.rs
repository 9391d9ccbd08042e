//! `chain events`: what happens, as it happens.

use super::node::{block_on, stop_signal};
use super::output::coins;
use crate::client::{
    self, ApiError, Client, Event, EventStream, NodeArgs, RequestError, UntrustedCertificate,
    WrongNetwork, printable,
};
use anyhow::{Context, Result};
use reqwest::Url;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How long to wait before the node is called again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a node may be away before another one's events are followed: a restart takes less.
const PATIENCE: Duration = Duration::from_secs(10);

/// Follow what happens: blocks, transactions, reorganisations, peers, jobs, mining
///
/// Goes on after the node was away, without missing anything. With several --node, one that stays
/// away for 10 seconds is left for the next: events have other numbers there, so a `reset` event
/// names that node, and what happened meanwhile is to be asked of it. Ends with Ctrl-C.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these, such as block.connected,reorg (repeatable)
    #[arg(long, value_name = "TOPIC", value_delimiter = ',')]
    topics: Vec<String>,
    /// Only what names this address
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Begin after the event of this number, 0 for all that are kept [default: with what comes]
    #[arg(long, value_name = "NUMBER")]
    since: Option<u64>,
    #[command(flatten)]
    node: NodeArgs,
}

/// Runs the command.
pub fn run(args: &Args, json: bool) -> Result<()> {
    block_on(async {
        let mut stop = std::pin::pin!(stop_signal()?);
        tokio::select! {
            ended = follow(args, json) => ended,
            () = &mut stop => Ok(()),
        }
    })
}

async fn follow(args: &Args, json: bool) -> Result<()> {
    let client = args.node.connect().await?;
    let mut tail = Tail { args, client, last: args.since.map(|number| (FIRST, number)) };
    let mut following = tail.begin().await?;
    loop {
        let at = tail.client.at();
        let position = following.position().await?;
        if tail.last.is_some_and(|(node, _)| node != at)
            && let Some(number) = position
        {
            print(&moved(number, tail.client.base()), json)?;
            tail.last = Some((at, number));
        }
        while let Some(event) = following.next().await? {
            print(&event, json)?;
        }
        tail.client.doubt();
        tail.last = following.last().map(|number| (at, number)).or(tail.last);
        let _ =
            writeln!(io::stderr(), "the connection broke off: trying again until it comes back");
        following = tail.resume().await?;
    }
}

/// The node whose numbers `--since` means.
const FIRST: usize = 0;

/// What is followed, and how far it was read.
struct Tail<'a> {
    args: &'a Args,
    client: Client,
    /// The last event: of which node, and its number there.
    last: Option<(usize, u64)>,
}

impl Tail<'_> {
    /// Asks each node once.
    async fn begin(&mut self) -> Result<EventStream> {
        let mut errors = Vec::new();
        for _ in 0..self.client.nodes() {
            match self.ask().await {
                Ok(following) => return Ok(following),
                Err(RequestError::Fatal(error)) => return Err(error),
                Err(RequestError::Unavailable(error)) => errors.push(error),
            }
            self.client.turn();
        }
        Err(client::combine_errors(errors))
    }

    /// Asks the same node until it is back, and the next when it stays away.
    async fn resume(&mut self) -> Result<EventStream> {
        let mut since = Instant::now();
        loop {
            tokio::time::sleep(PAUSE).await;
            // Without a URL the node is looked for each time: it may be at another port now.
            if !self.args.node.has_url()
                && let Ok(client) = self.args.node.connect().await
            {
                self.client = client;
            }
            match self.ask().await {
                Ok(following) => return Ok(following),
                Err(RequestError::Fatal(error)) if self.is_hopeless(&error) => return Err(error),
                Err(_) if since.elapsed() >= PATIENCE && self.client.turn() => {
                    since = Instant::now();
                }
                Err(_) => {}
            }
        }
    }

    /// Whether waiting cannot help. A node that is starting may answer anything, and one that is
    /// not there leaves its node to others; what its data folder says of it may be about to change.
    fn is_hopeless(&self, error: &anyhow::Error) -> bool {
        let refused = error.downcast_ref::<ApiError>();
        refused.is_some_and(|refused| refused.code == "bad-request")
            || error.is::<WrongNetwork>()
            || error.is::<UntrustedCertificate>() && self.args.node.has_url()
    }

    async fn ask(&self) -> Result<EventStream, RequestError> {
        let topics = self.args.topics.join(",");
        let mut query = Vec::new();
        if !topics.is_empty() {
            query.push(("topics", topics.as_str()));
        }
        if let Some(address) = &self.args.address {
            query.push(("address", address));
        }
        let last = self.last.filter(|(node, _)| *node == self.client.at());
        self.client.follow(&query, last.map(|(_, number)| number)).await
    }
}

/// Says that from here on events are another node's, from this number on.
fn moved(number: u64, node: &Url) -> Event {
    let data = json!({ "number": number, "node": node.as_str() }).to_string();
    Event { id: number, event: "reset".to_owned(), data }
}

fn print(event: &Event, json: bool) -> Result<()> {
    let line = if json { as_json(event) } else { as_text(event) };
    writeln!(io::stdout().lock(), "{line}")?;
    Ok(())
}

/// One line, as over a WebSocket.
fn as_json(event: &Event) -> String {
    let Event { id, event, data } = event;
    let name = Value::from(event.as_str());
    format!("{{\"event\":{name},\"id\":{id},\"data\":{data}}}")
}

/// One line for people.
fn as_text(event: &Event) -> String {
    let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
    let text = describe(&event.event, &data).unwrap_or_else(|_| event.data.clone());
    printable(&format!("{:>8}  {:<21}  {text}", event.id, event.event))
}

fn describe(topic: &str, data: &Value) -> Result<String> {
    let text = |field: &str| data[field].as_str().context("text");
    let number = |field: &str| data[field].as_u64().context("a number");
    let amount = |field: &str| number(field).map(coins);
    Ok(match topic {
        "block.connected" => format!(
            "height {}  {}  {} transactions, {} to {}",
            number("height")?,
            text("hash")?,
            number("transaction_count")?,
            amount("reward")?,
            text("miner")?,
        ),
        "block.disconnected" => format!("height {}  {}", number("height")?, text("hash")?),
        "reorg" => format!(
            "{} blocks left, {} entered after height {}, the tip is {}",
            number("depth")?,
            number("connected")?,
            number("fork_height")?,
            text("new_tip")?,
        ),
        "transaction.accepted" | "transaction.confirmed" | "transaction.dropped" => {
            let (id, amount) = (text("id")?, amount("amount")?);
            let paid = format!("{id}  {amount} from {} to {}", text("sender")?, text("recipient")?);
            match (text("reason"), number("height")) {
                (Ok(reason), _) => format!("{paid}: {reason}"),
                (_, Ok(height)) => format!("{paid}, height {height}"),
                _ => paid,
            }
        }
        "reset" if data["node"].is_string() => {
            let node = text("node")?;
            format!("from here on at {node}: what happened before it was asked is not told")
        }
        "reset" => {
            let (oldest, newest) = (number("oldest")?, number("newest")?);
            format!("events were missed and are gone: {oldest} to {newest} are kept")
        }
        _ => {
            let members = data.as_object().context("an object")?.iter();
            let members = members.filter(|(name, _)| !["number", "time"].contains(&name.as_str()));
            let members = members.map(|(name, value)| match value {
                Value::String(text) => format!("{name} {text}"),
                value => format!("{name} {value}"),
            });
            members.collect::<Vec<_>>().join("  ")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(topic: &str, data: &Value) -> String {
        as_text(&Event { id: 7, event: topic.to_owned(), data: data.to_string() })
    }

    #[test]
    fn an_event_is_one_line() {
        let peer = json!({ "number": 7, "time": 1, "agent": "a\nb", "id": "12D3" });
        assert_eq!(
            line("peer.connected", &peer),
            "       7  peer.connected         agent a\\nb  id 12D3"
        );
        let dropped = json!({
            "id": "ab", "sender": "x", "recipient": "y", "amount": 150_000_000, "reason": "expired",
        });
        let expected = "       7  transaction.dropped    ab  1.5 coins from x to y: expired";
        assert_eq!(line("transaction.dropped", &dropped), expected);
        let reset = line("reset", &json!({ "oldest": 3, "newest": 9 }));
        assert!(reset.ends_with("3 to 9 are kept"), "{reset}");
        let moved = as_text(&moved(9, &"http://b:1".parse().unwrap()));
        assert!(moved.starts_with("       9  reset ") && moved.contains("at http://b:1/: what"));
        // Of a node that says more or less than this program knows.
        assert_eq!(line("reorg", &json!({})), "       7  reorg                  {}");
        let known = Event { id: 7, event: "a\"b".to_owned(), data: "{}".to_owned() };
        assert_eq!(as_json(&known), "{\"event\":\"a\\\"b\",\"id\":7,\"data\":{}}");
    }
}
