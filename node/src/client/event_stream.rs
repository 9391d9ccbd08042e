//! The server-sent events of a node.
//! Decoded here because the decoders of `eventsource-stream` and `sse-stream` do not bound the size of an
//! event, and the former does not report the number of a block without data, from which a client
//! resumes.

use anyhow::{Result, bail};
use std::time::Duration;

/// Nodes send a line every 15 s: without one for this long the connection is dead.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);
/// Largest event in bytes; nodes send events of a little more than 1 MiB at most.
const MAX_EVENT: usize = 4 << 20;

/// An open event stream.
#[derive(Debug)]
pub struct EventStream {
    response: reqwest::Response,
    decoder: SseDecoder,
    /// An event that `position` has decoded.
    next: Option<Event>,
}

/// An event of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The number of the event.
    pub id: u64,
    /// The topic, or `reset`.
    pub event: String,
    /// The data of the event: JSON.
    pub data: String,
}

impl EventStream {
    pub(super) fn new(response: reqwest::Response, last: Option<u64>) -> EventStream {
        let decoder = SseDecoder { last, ..SseDecoder::default() };
        EventStream { response, decoder, next: None }
    }

    /// The number after which to resume, even if there was no event yet.
    pub fn last(&self) -> Option<u64> {
        self.decoder.last
    }

    /// The number after which events follow, which the node sends first; `None` if the connection
    /// ends before.
    pub async fn position(&mut self) -> Result<Option<u64>> {
        while self.decoder.last.is_none() && self.receive().await? {
            self.next = self.decoder.next();
        }
        Ok(self.decoder.last)
    }

    /// The next event; `None` when the connection has ended.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.next.take().or_else(|| self.decoder.next()) {
                return Ok(Some(event));
            }
            if !self.receive().await? {
                return Ok(None);
            }
        }
    }

    /// Receives bytes; returns `false` when the connection has ended.
    async fn receive(&mut self) -> Result<bool> {
        if self.decoder.bytes.len() > MAX_EVENT {
            bail!("the node sends an event that is too long: is it a node?");
        }
        match tokio::time::timeout(IDLE_TIMEOUT, self.response.chunk()).await {
            Ok(Ok(Some(chunk))) => self.decoder.bytes.extend_from_slice(&chunk),
            Ok(Ok(None) | Err(_)) | Err(_) => return Ok(false),
        }
        Ok(true)
    }
}

/// Decodes events from bytes as they arrive.
#[derive(Debug, Default)]
struct SseDecoder {
    bytes: Vec<u8>,
    event: Event,
    /// The last number, also of a block without data.
    last: Option<u64>,
}

impl SseDecoder {
    /// The next complete event.
    fn next(&mut self) -> Option<Event> {
        let mut read = 0;
        let mut complete = None;
        while let Some(length) = self.bytes[read..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&self.bytes[read..read + length]).into_owned();
            read += length + 1;
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if !event.data.is_empty() {
                    complete = Some(Event { id: self.last.unwrap_or_default(), ..event });
                    break;
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => self.last = value.parse().ok().or(self.last),
                "event" => self.event.event = value.to_owned(),
                "data" => self.event.data.push_str(value),
                _ => {}
            }
        }
        self.bytes.drain(..read);
        complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_events_wherever_the_stream_is_split() {
        let text = b": alive\nid: 4\n\nid: 5\nevent: reorg\ndata: {\"a\":1}\n\n: alive\nid: 9\n\n";
        for split in 0..text.len() {
            let mut decoder = SseDecoder::default();
            let mut events = Vec::new();
            for part in [&text[..split], &text[split..]] {
                decoder.bytes.extend_from_slice(part);
                events.extend(std::iter::from_fn(|| decoder.next()));
            }
            let (event, data) = ("reorg".to_owned(), "{\"a\":1}".to_owned());
            assert_eq!(events, [Event { id: 5, event, data }]);
            assert_eq!((decoder.last, decoder.bytes.len()), (Some(9), 0));
        }
    }
}
