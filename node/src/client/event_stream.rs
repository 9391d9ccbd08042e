//! A stream of server-sent events, as it comes from a node.

use anyhow::{Result, bail};
use std::time::Duration;

/// The node sends a line every 15 s: after this long without one the connection is dead.
const SILENCE: Duration = Duration::from_secs(45);
/// Most bytes of an event; nodes keep to 1 MiB and a little.
const MAX_EVENT: usize = 4 << 20;

/// Events of a node as they come.
#[derive(Debug)]
pub struct EventStream {
    response: reqwest::Response,
    reading: SseDecoder,
    /// What was read and not given out.
    ready: Option<Event>,
}

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its number.
    pub id: u64,
    /// Its topic, or `reset`.
    pub event: String,
    /// JSON.
    pub data: String,
}

impl EventStream {
    pub(super) fn new(response: reqwest::Response, last: Option<u64>) -> EventStream {
        let reading = SseDecoder { last, ..SseDecoder::default() };
        EventStream { response, reading, ready: None }
    }

    /// The number to go on after, also if there was no event yet.
    pub fn last(&self) -> Option<u64> {
        self.reading.last
    }

    /// The number from which on events will come, which the node tells at once; `None` when the
    /// connection ends before.
    pub async fn position(&mut self) -> Result<Option<u64>> {
        while self.reading.last.is_none() && self.receive().await? {
            self.ready = self.reading.next();
        }
        Ok(self.reading.last)
    }

    /// The next event; `None` when the connection has ended or broken off.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.ready.take().or_else(|| self.reading.next()) {
                return Ok(Some(event));
            }
            if !self.receive().await? {
                return Ok(None);
            }
        }
    }

    /// Takes in what comes; `false` when nothing will.
    async fn receive(&mut self) -> Result<bool> {
        if self.reading.bytes.len() > MAX_EVENT {
            bail!("the node sends an event that is too long: is it a node?");
        }
        match tokio::time::timeout(SILENCE, self.response.chunk()).await {
            Ok(Ok(Some(chunk))) => self.reading.bytes.extend_from_slice(&chunk),
            Ok(Ok(None) | Err(_)) | Err(_) => return Ok(false),
        }
        Ok(true)
    }
}

/// What was received and is not read yet.
#[derive(Debug, Default)]
struct SseDecoder {
    bytes: Vec<u8>,
    event: Event,
    last: Option<u64>,
}

impl SseDecoder {
    /// The next whole event.
    fn next(&mut self) -> Option<Event> {
        let mut read = 0;
        let mut found = None;
        while let Some(length) = self.bytes[read..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&self.bytes[read..read + length]).into_owned();
            read += length + 1;
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if !event.data.is_empty() {
                    found = Some(Event { id: self.last.unwrap_or_default(), ..event });
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
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_wherever_the_stream_is_cut() {
        let text = b": alive\nid: 4\n\nid: 5\nevent: reorg\ndata: {\"a\":1}\n\n: alive\nid: 9\n\n";
        for cut in 0..text.len() {
            let mut reading = SseDecoder::default();
            let mut found = Vec::new();
            for part in [&text[..cut], &text[cut..]] {
                reading.bytes.extend_from_slice(part);
                found.extend(std::iter::from_fn(|| reading.next()));
            }
            let (event, data) = ("reorg".to_owned(), "{\"a\":1}".to_owned());
            assert_eq!(found, [Event { id: 5, event, data }]);
            assert_eq!((reading.last, reading.bytes.len()), (Some(9), 0));
        }
    }
}
