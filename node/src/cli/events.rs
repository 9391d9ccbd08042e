//! `chain events`: the events of a node as they happen.

use super::node::{block_on, stop_signal};
use super::output::coins;
use crate::client::{
    ApiError, Client, Event, EventStream, NodeArgs, RequestError, UntrustedCertificate,
    WrongNetwork, combine_errors,
};
use crate::escape::{printable, printable_in_json, printable_json};
use anyhow::{Context, Result};
use reqwest::Url;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Delay before a node is tried again.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Time after which another node is tried, longer than a restart.
const FAILOVER_AFTER: Duration = Duration::from_secs(10);

/// Follow events: blocks, transactions, reorganisations, peers, jobs, mining
///
/// Reconnects when the connection is lost, and resumes without a gap. With several --node, switches
/// to the next one after 10 seconds: that node numbers events differently, so a `reset` event names
/// it, and earlier events are not repeated. Stop with Ctrl-C.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only these topics, such as block.connected,reorg (repeatable)
    #[arg(long, value_name = "TOPIC", value_delimiter = ',')]
    topics: Vec<String>,
    /// Only events that name this address
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Resume after this event number; 0 replays everything retained [default: new events only]
    #[arg(long, value_name = "NUMBER")]
    since: Option<u64>,
    #[command(flatten)]
    node: NodeArgs,
}

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
    let node = args.node.bound(args.address.as_deref())?;
    let client = node.connect(args.address.as_deref()).await?;
    let last = args.since.map(|number| (FIRST_NODE, number));
    let mut tail = Tail { args, node, client, last };
    let mut stream = tail.open().await?;
    loop {
        let current = tail.client.current();
        let position = stream.position().await?;
        if tail.last.is_some_and(|(node, _)| node != current)
            && let Some(number) = position
        {
            print(&switched(number, tail.client.base()), json)?;
            tail.last = Some((current, number));
        }
        while let Some(event) = stream.next().await? {
            print(&event, json)?;
        }
        tail.client.recheck_network();
        tail.last = stream.last().map(|number| (current, number)).or(tail.last);
        let _ = writeln!(io::stderr(), "the connection was lost: reconnecting");
        stream = tail.reopen().await?;
    }
}

/// The index of the node that numbers the event of `--since`.
const FIRST_NODE: usize = 0;

/// A subscription that survives lost connections.
struct Tail<'a> {
    args: &'a Args,
    node: NodeArgs,
    client: Client,
    /// The last event: the index of its node, and its number there.
    last: Option<(usize, u64)>,
}

impl Tail<'_> {
    /// Opens the stream of the first node that responds; tries each once.
    async fn open(&mut self) -> Result<EventStream> {
        let mut errors = Vec::new();
        for _ in 0..self.client.node_count() {
            match self.subscribe().await {
                Ok(stream) => return Ok(stream),
                Err(RequestError::Fatal(error)) => return Err(error),
                Err(RequestError::Unavailable(error)) => errors.push(error),
            }
            self.client.switch_to_next();
        }
        Err(combine_errors(errors))
    }

    /// Reopens the stream: of the same node, or of the next when that stays unreachable.
    async fn reopen(&mut self) -> Result<EventStream> {
        let mut since = Instant::now();
        loop {
            tokio::time::sleep(RETRY_DELAY).await;
            // A node without a URL may listen at another port after a restart.
            if !self.node.has_url()
                && let Ok(client) = self.node.connect(self.args.address.as_deref()).await
            {
                self.client = client;
            }
            match self.subscribe().await {
                Ok(stream) => return Ok(stream),
                Err(RequestError::Fatal(error)) if self.is_permanent(&error) => return Err(error),
                Err(_) if since.elapsed() >= FAILOVER_AFTER && self.client.switch_to_next() => {
                    since = Instant::now();
                }
                Err(_) => {}
            }
        }
    }

    /// Whether an error outlasts any retry. A node that starts may respond with anything, another
    /// program may use the port of one that stopped, and its data directory may change.
    fn is_permanent(&self, error: &anyhow::Error) -> bool {
        let rejected = error.downcast_ref::<ApiError>();
        rejected.is_some_and(|error| error.code == "bad-request")
            || error.is::<WrongNetwork>()
            || error.is::<UntrustedCertificate>() && self.node.has_url()
    }

    async fn subscribe(&self) -> Result<EventStream, RequestError> {
        let topics = self.args.topics.join(",");
        let mut query = Vec::new();
        if !topics.is_empty() {
            query.push(("topics", topics.as_str()));
        }
        if let Some(address) = &self.args.address {
            query.push(("address", address));
        }
        let last = self.last.filter(|(node, _)| *node == self.client.current());
        self.client.events(&query, last.map(|(_, number)| number)).await
    }
}

/// The event that reports a switch to another node, whose events follow after a number.
fn switched(number: u64, node: &Url) -> Event {
    let data = json!({ "number": number, "node": node.as_str() }).to_string();
    Event { id: number, event: "reset".to_owned(), data }
}

fn print(event: &Event, json: bool) -> Result<()> {
    let line = if json { as_json(event) } else { as_text(event) };
    writeln!(io::stdout().lock(), "{line}")?;
    Ok(())
}

/// The JSON object that a WebSocket carries. Data that is no JSON becomes a string.
fn as_json(event: &Event) -> String {
    let quoted = |text: &str| printable_in_json(&Value::from(text).to_string());
    let (name, id) = (quoted(&event.event), event.id);
    let data = printable_json(&event.data).unwrap_or_else(|_| quoted(&event.data));
    format!("{{\"event\":{name},\"id\":{id},\"data\":{data}}}")
}

/// A line of text.
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
            "{} blocks disconnected, {} connected after height {}, new tip {}",
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
            format!("switched to {node}: earlier events are not repeated")
        }
        "reset" => {
            let (oldest, newest) = (number("oldest")?, number("newest")?);
            format!("events were missed; retained are {oldest} to {newest}")
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
    fn formats_an_event_as_one_line() {
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
        assert!(reset.ends_with("retained are 3 to 9"), "{reset}");
        let switched = as_text(&switched(9, &"http://b:1".parse().unwrap()));
        assert!(switched.starts_with("       9  reset ") && switched.contains("to http://b:1/: "));
        // Data of another version.
        assert_eq!(line("reorg", &json!({})), "       7  reorg                  {}");
        let known = Event { id: 7, event: "a\"b".to_owned(), data: "{}".to_owned() };
        assert_eq!(as_json(&known), "{\"event\":\"a\\\"b\",\"id\":7,\"data\":{}}");
        // R22: data of a hostile node.
        let forged = Event { data: "{}}\u{1b}[2J".to_owned(), ..known };
        let line = as_json(&forged);
        let parsed: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&parsed["data"], line.contains('\u{1b}')), (&json!(forged.data), false));
    }
}
