//! `chain events`: what happens, as it happens.

use super::node::{block_on, stop_signal};
use super::show::coins;
use crate::client::{Following, Happened, Place, Refused, printable};
use anyhow::{Context, Result};
use serde_json::Value;
use std::io::{self, Write};
use std::time::Duration;

/// How long to wait before the node is called again.
const PAUSE: Duration = Duration::from_secs(1);

/// Follow what happens: blocks, transactions, reorganisations, peers, jobs, mining
///
/// Goes on after the node was away, without missing anything. Ends with Ctrl-C.
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
    place: Place,
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
    let mut last = args.since;
    let mut following = connect(args, last).await?;
    loop {
        while let Some(event) = following.next().await? {
            let line = if json { as_json(&event) } else { as_text(&event) };
            writeln!(io::stdout().lock(), "{line}")?;
        }
        last = following.last().or(last);
        let _ =
            writeln!(io::stderr(), "the connection broke off: trying again until it comes back");
        following = loop {
            tokio::time::sleep(PAUSE).await;
            match connect(args, last).await {
                Ok(following) => break following,
                Err(error) => {
                    let refused = error.downcast_ref::<Refused>();
                    if refused.is_some_and(|refused| refused.code == "bad-request") {
                        return Err(error);
                    }
                }
            }
        };
    }
}

/// The node is looked for each time: after a restart it may be at another port.
async fn connect(args: &Args, last: Option<u64>) -> Result<Following> {
    let topics = args.topics.join(",");
    let mut query = Vec::new();
    if !topics.is_empty() {
        query.push(("topics", topics.as_str()));
    }
    if let Some(address) = &args.address {
        query.push(("address", address));
    }
    args.place.connect().await?.follow(&query, last).await
}

/// One line, as over a WebSocket.
fn as_json(event: &Happened) -> String {
    let Happened { id, event, data } = event;
    let name = Value::from(event.as_str());
    format!("{{\"event\":{name},\"id\":{id},\"data\":{data}}}")
}

/// One line for people.
fn as_text(event: &Happened) -> String {
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
    use serde_json::json;

    fn line(topic: &str, data: &Value) -> String {
        as_text(&Happened { id: 7, event: topic.to_owned(), data: data.to_string() })
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
        // Of a node that says more or less than this program knows.
        assert_eq!(line("reorg", &json!({})), "       7  reorg                  {}");
        let known = Happened { id: 7, event: "a\"b".to_owned(), data: "{}".to_owned() };
        assert_eq!(as_json(&known), "{\"event\":\"a\\\"b\",\"id\":7,\"data\":{}}");
    }
}
