//! Adjustable clock for validation and mining, which is this machine's with an offset, and intervals.

use anyhow::{Context, Result};
use chain::Timestamp;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Interval, MissedTickBehavior};

/// The name of the file in the data directory that holds an offset other than 0, in decimal digits.
const FILE: &str = "clock-offset";

/// A clock with an offset in seconds from this machine's. Clones share the offset.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset: Arc<AtomicI64>,
    /// The data directory that keeps the offset.
    data: Option<PathBuf>,
}

impl Clock {
    /// The clock of a data directory, with the offset that was last set there: blocks of an offset
    /// clock are in the future of any other.
    pub fn open(data: &Path) -> Result<Clock> {
        let path = data.join(FILE);
        let seconds = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse::<i64>().with_context(|| {
                let path = path.display();
                format!("{path} does not hold a number of seconds: correct it, or remove it")
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error).context(format!("cannot read {}", path.display())),
        };
        let offset = Arc::new(AtomicI64::new(seconds));
        Ok(Clock { offset, data: Some(data.to_owned()) })
    }

    /// The number of seconds by which the clock is ahead of this machine's; negative if behind.
    pub fn offset(&self) -> i64 {
        self.offset.load(Ordering::Relaxed)
    }

    /// Sets the clock ahead of this machine's, or behind it with a negative number, also for later
    /// starts on its data directory.
    pub fn set_offset(&self, seconds: i64) -> io::Result<()> {
        if let Some(data) = &self.data {
            write_offset(data, seconds)?;
        }
        self.offset.store(seconds, Ordering::Relaxed);
        Ok(())
    }

    /// The present time, limited to the range of [`Timestamp`]: 1970 to 2106.
    pub fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let seconds = seconds.saturating_add(self.offset()).max(0);
        Timestamp::new(u32::try_from(seconds).unwrap_or(u32::MAX))
    }
}

/// Writes the file atomically, or removes it if the offset is 0.
fn write_offset(data: &Path, seconds: i64) -> io::Result<()> {
    let path = data.join(FILE);
    if seconds == 0 {
        return match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    let mut file = tempfile::NamedTempFile::new_in(data)?;
    writeln!(file, "{seconds}")?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    if cfg!(unix) { File::open(data)?.sync_all() } else { Ok(()) }
}

/// The present time of this machine, limited to the range of [`Timestamp`].
pub fn now() -> Timestamp {
    Clock::default().now()
}

/// Ticks at once and then periodically; delayed ticks do not accumulate.
pub fn interval(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_shifts_time_within_the_range_of_timestamps() {
        let with_offset = |seconds| {
            let clock = Clock::default();
            clock.clone().set_offset(seconds).unwrap();
            clock.now().get()
        };
        let now = now().get();
        let ahead = with_offset(1_000);
        assert!((now + 1_000..now + 1_060).contains(&ahead), "{now} {ahead}");
        assert!(with_offset(-1_000) < now);
        assert_eq!((with_offset(i64::MIN), with_offset(i64::MAX)), (0, u32::MAX));
    }

    #[test]
    fn data_directory_keeps_the_offset() {
        let data = tempfile::tempdir().unwrap();
        let offset = || Clock::open(data.path()).map(|clock| clock.offset());
        assert_eq!(offset().unwrap(), 0);
        for seconds in [864_000, -315_360_000, 7] {
            Clock::open(data.path()).unwrap().set_offset(seconds).unwrap();
            assert_eq!(offset().unwrap(), seconds);
        }
        for _ in 0..2 {
            Clock::open(data.path()).unwrap().set_offset(0).unwrap();
            assert_eq!(offset().unwrap(), 0);
            assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
        }
        fs::write(data.path().join(FILE), "ten days").unwrap();
        assert!(format!("{:#}", offset().unwrap_err()).contains("clock-offset"));
    }
}
