//! The log: one line an event on stderr, as text or JSON.
//! Peers and clients choose parts of what is logged, so control characters come out escaped: no
//! event can forge a second line or drive a terminal.

use indicatif::ProgressBar;
use serde::Deserialize;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines: one object a line.
    Json,
}

/// Starts logging for this process; a second call changes nothing.
pub fn start(format: Format, filter: EnvFilter) {
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Lines(format));
    // Whoever started logging first keeps it: the embedded node of `chain mine`, say.
    let started = match format {
        Format::Text => lines.with_ansi(false).try_init(),
        Format::Json => lines.json().flatten_event(true).try_init(),
    };
    if started.is_ok() {
        complain_as(format);
    }
}

/// From now on what ends the program is said in this format.
pub fn complain_as(format: Format) {
    IS_JSON.store(format == Format::Json, Ordering::Relaxed);
}

/// Whether machines read this process' log.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Says why the program fails: an event where machines read the log, otherwise a line for people.
/// No filter hides it, but nobody may be there to read it.
pub fn complain(message: &str) {
    let line: Vec<&str> = message.lines().map(str::trim).filter(|part| !part.is_empty()).collect();
    let line = line.join(" ");
    if IS_JSON.load(Ordering::Relaxed) {
        let all = tracing_subscriber::fmt().with_writer(Lines(Format::Json)).json();
        tracing::subscriber::with_default(all.flatten_event(true).finish(), || {
            tracing::error!("{line}");
        });
    } else {
        let _ = writeln!(io::stderr(), "chain: {line}");
    }
}

/// What the engines below the index and the network say is told by whoever uses them, in words of
/// our own; a filter that names an engine still hears it.
const QUIET: &str = "sled=error,libp2p=error,multistream_select=error,yamux=error";

/// Reads a filter such as `info` or `info,p2p=debug`.
pub fn filter(text: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    EnvFilter::try_new(format!("{QUIET},{text}"))
}

/// What stands below the log on a terminal.
static BELOW: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// From now on events appear above this line, which is drawn again below them.
pub fn keep_above(line: ProgressBar) {
    *BELOW.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
}

/// Stderr, one write an event.
#[derive(Clone, Copy)]
struct Lines(Format);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Lines;

    fn make_writer(&'a self) -> Lines {
        *self
    }
}

impl Write for Lines {
    /// The subscriber formats an event into one buffer and writes it at once. A stderr that nobody
    /// reads any more is no reason to stop.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = escaped(&String::from_utf8_lossy(event), self.0);
        let write = || drop(io::stderr().write_all(line.as_bytes()));
        let below = BELOW.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match below {
            Some(below) => below.suspend(write),
            None => write(),
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event with its control characters escaped, but for the line's own end. In JSON, where they
/// stand in strings alone, as JSON does it.
fn escaped(event: &str, format: Format) -> String {
    let text = event.strip_suffix('\n').unwrap_or(event);
    let mut line = String::with_capacity(event.len());
    for letter in text.chars() {
        match format {
            _ if !letter.is_control() => line.push(letter),
            Format::Text => line.extend(letter.escape_default()),
            Format::Json => line.push_str(&format!("\\u{:04x}", u32::from(letter))),
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    // R23
    #[test]
    fn an_event_stays_one_line_and_cannot_drive_a_terminal() {
        let forged = "agent a\r\nINFO peer b\u{1b}[2J\u{9b}1m\u{7f}\tü\n";
        let line = escaped(forged, Format::Text);
        assert_eq!(line, "agent a\\r\\nINFO peer b\\u{1b}[2J\\u{9b}1m\\u{7f}\\tü\n");
    }

    /// Counts what the subscriber writes for an event.
    #[derive(Clone, Default)]
    struct Writes(Arc<Mutex<Vec<String>>>, Format);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(escaped(&String::from_utf8_lossy(bytes), self.1));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    // R23: holds only while an event is one write, which is the subscriber's business.
    #[test]
    fn the_subscriber_writes_an_event_at_once() {
        let writes = Writes::default();
        let writer = writes.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(agent = "evil\nline", memo = %"x\u{1b}[31m\r\n", "first\nsecond");
        });
        let writes = writes.0.lock().unwrap();
        assert_eq!(writes.len(), 1, "{writes:?}");
        assert_eq!(writes[0].matches('\n').count(), 1, "{writes:?}");
        assert!(!writes[0].contains(['\r', '\u{1b}']), "{writes:?}");
    }

    // R23: JSON lets the upper control characters stand as they are, terminals do not.
    #[test]
    fn whatever_is_logged_as_json_is_an_object_a_line() {
        let writes = Writes(Arc::default(), Format::Json);
        let writer = writes.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone());
        let controls: String = (0..=0x9f).filter_map(char::from_u32).collect();
        let agent = format!("evil\"{controls}\u{2028}ü");
        tracing::subscriber::with_default(subscriber.json().flatten_event(true).finish(), || {
            tracing::info!(agent, memo = %agent, "first\nsecond {agent}");
        });
        let writes = writes.0.lock().unwrap();
        assert_eq!(writes.len(), 1, "{writes:?}");
        let line = writes[0].strip_suffix('\n').unwrap();
        assert!(!line.contains(char::is_control), "{line:?}");
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&event["agent"], &event["level"]), (&agent.clone().into(), &"INFO".into()));
        assert_eq!(event["message"], format!("first\nsecond {agent}"));
    }

    #[test]
    fn filters_are_checked() {
        assert!(filter("info,p2p=debug").is_ok());
        assert!(filter("info,p2p=loud").is_err());
    }
}
