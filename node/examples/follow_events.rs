//! Follows the events of a node over server-sent events, and reconnects without missing one.
//!
//! ```text
//! cargo run --example follow_events -- [URL] [TOPICS]       URL: http://127.0.0.1:28400 by default
//! ```
//!
//! Topics are separated by commas, such as `block.connected,reorg`; without them all are followed.

#![allow(clippy::print_stdout)] // the output is the purpose of an example

use anyhow::{Result, bail};
use std::time::Duration;

/// Pause before reconnecting.
const RETRY_AFTER: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> Result<()> {
    // The default features of reqwest include a TLS library; this workspace enables none.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut arguments = std::env::args().skip(1);
    let base = arguments.next().unwrap_or_else(|| "http://127.0.0.1:28400".to_owned());
    let topics = arguments.next().map(|topics| format!("?topics={topics}")).unwrap_or_default();
    let url = format!("{base}/v1/events{topics}");
    let http = reqwest::Client::new();
    let mut last_id: Option<String> = None;
    loop {
        if let Err(error) = follow(&http, &url, &mut last_id).await {
            eprintln!("{error:#}");
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

/// Prints the events of one connection until it ends. `last_id` is the id of the latest event; the
/// server resumes after it.
async fn follow(http: &reqwest::Client, url: &str, last_id: &mut Option<String>) -> Result<()> {
    let mut request = http.get(url);
    if let Some(id) = last_id {
        request = request.header("Last-Event-ID", id.as_str());
    }
    let mut response = request.send().await?;
    if !response.status().is_success() {
        bail!("{}: {}", response.status(), response.text().await?);
    }
    let (mut buffer, mut topic) = (Vec::new(), String::new());
    while let Some(chunk) = response.chunk().await? {
        buffer.extend_from_slice(&chunk);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            match line.trim_end().split_once(": ") {
                Some(("id", value)) => *last_id = Some(value.to_owned()),
                Some(("event", value)) => value.clone_into(&mut topic),
                Some(("data", value)) => println!("{topic} {value}"),
                _ => {} // the empty line after an event, and keep-alive comments
            }
        }
    }
    Ok(())
}
