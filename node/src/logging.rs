//! The log on stderr or in a file: one line for each event, as text or JSON.
//!
//! Peers and clients choose parts of what is logged, so control characters are escaped: no event can
//! forge a second line or control a terminal.

use crate::escape::{printable, printable_in_json};
use indicatif::ProgressBar;
use p2p::log_limit::LogLimiter;
use serde::Deserialize;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Text for people.
    #[default]
    Text,
    /// JSON for programs, one object on each line.
    Json,
}

/// Starts logging in this process. Later calls have no effect.
pub fn start(format: Format, filter: EnvFilter) {
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(LogWriter(format));
    let started = match format {
        Format::Text => log.with_ansi(false).try_init(),
        Format::Json => log.json().flatten_event(true).try_init(),
    };
    if started.is_ok() {
        set_fatal_format(format);
    }
}

/// Sets the file to log to instead of stderr, and creates it if it does not exist.
///
/// # Errors
/// The file cannot be opened.
pub fn set_file(path: &Path) -> io::Result<()> {
    let file = append_to(path)?;
    *log_file() = Some(LogFile { path: path.to_owned(), file });
    Ok(())
}

/// Opens the file of the log again, if there is one: after another program has moved it elsewhere, a
/// new one is created. On an error the log continues in the file that is open.
pub fn reopen() -> io::Result<()> {
    let mut open = log_file();
    if let Some(log) = &mut *open {
        log.file = append_to(&log.path)?;
    }
    Ok(())
}

/// The file of the log.
struct LogFile {
    path: PathBuf,
    file: File,
}

/// The file to log to; `None` for stderr.
static LOG_FILE: Mutex<Option<LogFile>> = Mutex::new(None);

fn log_file() -> MutexGuard<'static, Option<LogFile>> {
    LOG_FILE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Logs an event that clients can cause, within the rate limit of its kind: a burst of 20, then 20 a
/// minute. `write` receives the number of events of this kind that were dropped since the last one, if
/// any.
pub fn limited(kind: &'static str, write: impl FnOnce(Option<u64>)) {
    static LIMITER: LazyLock<(Instant, Mutex<LogLimiter>)> =
        LazyLock::new(|| (Instant::now(), Mutex::default()));
    let (started, limiter) = &*LIMITER;
    let mut limiter = limiter.lock().unwrap_or_else(PoisonError::into_inner);
    let acquired = limiter.acquire(kind, started.elapsed());
    drop(limiter);
    if let Some(dropped) = acquired {
        write((dropped > 0).then_some(dropped));
    }
}

/// Sets the format of [`report_fatal`].
pub fn set_fatal_format(format: Format) {
    IS_JSON.store(format == Format::Json, Ordering::Relaxed);
}

/// Whether fatal errors are reported as JSON.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Reports the error that ends the program: as a log event in JSON, or a line of text; on stderr, and
/// in the file of the log if there is one. No log filter hides it.
pub fn report_fatal(message: &str) {
    let line: Vec<&str> = message.lines().map(str::trim).filter(|part| !part.is_empty()).collect();
    let line = line.join(" ");
    if IS_JSON.load(Ordering::Relaxed) {
        let is_in_file = log_file().is_some();
        report_as_json(&line);
        if is_in_file {
            *log_file() = None;
            report_as_json(&line);
        }
    } else {
        let line = printable(&line);
        if let Some(log) = &mut *log_file() {
            let _ = writeln!(log.file, "chain: {line}");
        }
        let _ = writeln!(io::stderr(), "chain: {line}");
    }
}

fn report_as_json(line: &str) {
    let log = tracing_subscriber::fmt().with_writer(LogWriter(Format::Json)).json();
    tracing::subscriber::with_default(log.flatten_event(true).finish(), || {
        tracing::error!("{line}");
    });
}

/// Default levels of noisy libraries, whose errors this program logs itself; a user's filter that
/// names a library overrides its level.
const LIBRARY_LEVELS: &str = "sled=error,libp2p=error,multistream_select=error,yamux=error";

/// Parses a filter such as `info` or `info,p2p=debug`.
pub fn filter(text: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    EnvFilter::try_new(format!("{LIBRARY_LEVELS},{text}"))
}

/// The progress bar below the log on a terminal.
static PROGRESS_BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Sets a progress bar, which is drawn again below each log line.
pub fn set_progress_bar(bar: ProgressBar) {
    *PROGRESS_BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
}

/// Writes log lines to the file of the log or to stderr, one write for each event.
#[derive(Clone, Copy)]
struct LogWriter(Format);

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = LogWriter;

    fn make_writer(&'a self) -> LogWriter {
        *self
    }
}

impl Write for LogWriter {
    /// The subscriber formats an event into one buffer and writes it at once. Errors of writing are
    /// ignored: a closed stderr or a full disk does not stop the program.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let line = escaped(&String::from_utf8_lossy(event), self.0);
        if let Some(log) = &mut *log_file() {
            let _ = log.file.write_all(line.as_bytes());
            return Ok(event.len());
        }
        let write = || drop(io::stderr().write_all(line.as_bytes()));
        let bar = PROGRESS_BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Escapes what a terminal does not show of an event, except the line end: in JSON, where that
/// occurs only in strings, as JSON escapes it.
fn escaped(event: &str, format: Format) -> String {
    let text = event.strip_suffix('\n').unwrap_or(event);
    let line = match format {
        Format::Text => printable(text),
        Format::Json => printable_in_json(text),
    };
    line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    // R23
    #[test]
    fn escapes_control_characters() {
        let forged = "agent a\r\nINFO peer b\u{1b}[2J\u{9b}1m\u{7f}\t\u{202e}ü\n";
        let line = escaped(forged, Format::Text);
        assert_eq!(line, "agent a\\r\\nINFO peer b\\u{1b}[2J\\u{9b}1m\\u{7f}\\t\\u{202e}ü\n");
    }

    /// Records the writes of the subscriber.
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

    // R23: escaping relies on the subscriber writing each event at once.
    #[test]
    fn subscriber_writes_each_event_at_once() {
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

    // R23: JSON does not escape the control characters from 0x80 on, but terminals interpret them.
    #[test]
    fn json_events_are_one_object_on_each_line() {
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
        assert!(!line.contains(char::is_control) && !line.contains('\u{2028}'), "{line:?}");
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((&event["agent"], &event["level"]), (&agent.clone().into(), &"INFO".into()));
        assert_eq!(event["message"], format!("first\nsecond {agent}"));
    }

    #[test]
    fn rejects_invalid_filter() {
        assert!(filter("info,p2p=debug").is_ok());
        assert!(filter("info,p2p=loud").is_err());
    }
}
