//! Adjustable clock for validation and mining, which is this machine's with an offset or stands still,
//! and intervals.

use anyhow::{Context, Result, anyhow};
use chain::Timestamp;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Interval, MissedTickBehavior};

/// The name of the file in the data directory that holds a setting other than the default.
const FILE: &str = "clock-offset";
/// The name of the file with the time of the next generated block, if that was set.
const NEXT_BLOCK_FILE: &str = "next-block-time";

/// How a clock relates to this machine's. As text: the offset in decimal digits, or `frozen` and the
/// Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockSetting {
    /// The clock is ahead of this machine's by a number of seconds; behind it if negative.
    Offset(i64),
    /// The clock stands still.
    Frozen(Timestamp),
}

impl ClockSetting {
    /// The setting of a clock that shows a time now and runs on from there.
    pub fn running_from(time: Timestamp) -> ClockSetting {
        ClockSetting::Offset(i64::from(time.get()).saturating_sub(system_seconds()))
    }

    /// The present time, limited to the range of [`Timestamp`]: 1970 to 2106.
    pub fn now(self) -> Timestamp {
        match self {
            ClockSetting::Frozen(time) => time,
            ClockSetting::Offset(offset) => {
                let seconds = system_seconds().saturating_add(offset).max(0);
                Timestamp::new(u32::try_from(seconds).unwrap_or(u32::MAX))
            }
        }
    }

    /// The number of seconds by which the clock is ahead of this machine's now.
    pub fn offset(self) -> i64 {
        match self {
            ClockSetting::Offset(offset) => offset,
            ClockSetting::Frozen(time) => i64::from(time.get()).saturating_sub(system_seconds()),
        }
    }
}

impl Default for ClockSetting {
    fn default() -> ClockSetting {
        ClockSetting::Offset(0)
    }
}

impl fmt::Display for ClockSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClockSetting::Offset(offset) => write!(f, "{offset}"),
            ClockSetting::Frozen(time) => write!(f, "frozen {time}"),
        }
    }
}

impl FromStr for ClockSetting {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<ClockSetting> {
        match text.strip_prefix("frozen ").map(str::parse) {
            Some(Ok(time)) => Ok(ClockSetting::Frozen(Timestamp::new(time))),
            Some(Err(error)) => Err(error.into()),
            None => Ok(ClockSetting::Offset(text.parse()?)),
        }
    }
}

/// A clock for validation and mining. Clones share the setting.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    setting: Arc<RwLock<ClockSetting>>,
    /// The time of the next generated block, if the operator set it.
    next_block_time: Arc<RwLock<Option<Timestamp>>>,
    /// The data directory that keeps the setting.
    data: Option<PathBuf>,
}

impl Clock {
    /// The clock of a data directory, as it was last set there: blocks of an offset clock are in the
    /// future of any other.
    pub fn open(data: &Path) -> Result<Clock> {
        let setting = read_setting(&data.join(FILE))?.unwrap_or_default();
        let next: Option<u32> = read_setting(&data.join(NEXT_BLOCK_FILE))?;
        Ok(Clock {
            setting: Arc::new(RwLock::new(setting)),
            next_block_time: Arc::new(RwLock::new(next.map(Timestamp::new))),
            data: Some(data.to_owned()),
        })
    }

    /// The present setting.
    pub fn setting(&self) -> ClockSetting {
        *self.setting.read().expect("no holder of the lock panics")
    }

    /// Changes the setting, also for later starts on its data directory.
    pub fn set(&self, setting: ClockSetting) -> io::Result<()> {
        if let Some(data) = &self.data {
            let text = (setting != ClockSetting::default()).then(|| setting.to_string());
            write_setting(data, FILE, text)?;
        }
        *self.setting.write().expect("no holder of the lock panics") = setting;
        Ok(())
    }

    /// The present time, limited to the range of [`Timestamp`]: 1970 to 2106.
    pub fn now(&self) -> Timestamp {
        self.setting().now()
    }

    /// The time of the next generated block, if it was set.
    pub fn next_block_time(&self) -> Option<Timestamp> {
        *self.next_block_time.read().expect("no holder of the lock panics")
    }

    /// Sets the time of the next generated block, also for later starts on the data directory.
    pub fn set_next_block_time(&self, time: Option<Timestamp>) -> io::Result<()> {
        let text = time.map(|time| time.to_string());
        let stored = match &self.data {
            Some(data) => write_setting(data, NEXT_BLOCK_FILE, text),
            None => Ok(()),
        };
        // A time that is not removed from the disk is forgotten until the next start.
        if stored.is_ok() || time.is_none() {
            *self.next_block_time.write().expect("no holder of the lock panics") = time;
        }
        stored
    }
}

/// The content of a file of the data directory; `None` if it does not exist.
fn read_setting<T: FromStr>(path: &Path) -> Result<Option<T>> {
    match fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map(Some).map_err(|_| {
            let path = path.display();
            anyhow!("{path} does not hold a number of seconds: correct it, or remove it")
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(format!("cannot read {}", path.display())),
    }
}

/// Writes a file atomically, or removes it if it has no text.
fn write_setting(data: &Path, name: &str, text: Option<String>) -> io::Result<()> {
    let path = data.join(name);
    let Some(text) = text else {
        return match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    };
    let mut file = tempfile::NamedTempFile::new_in(data)?;
    writeln!(file, "{text}")?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    if cfg!(unix) { File::open(data)?.sync_all() } else { Ok(()) }
}

/// The present time of this machine, limited to the range of [`Timestamp`].
pub fn now() -> Timestamp {
    ClockSetting::default().now()
}

/// The present time of this machine in Unix seconds.
fn system_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
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
            clock.clone().set(ClockSetting::Offset(seconds)).unwrap();
            clock.now().get()
        };
        let now = now().get();
        let ahead = with_offset(1_000);
        assert!((now + 1_000..now + 1_060).contains(&ahead), "{now} {ahead}");
        assert!(with_offset(-1_000) < now);
        assert_eq!((with_offset(i64::MIN), with_offset(i64::MAX)), (0, u32::MAX));
    }

    #[test]
    fn frozen_clock_stands_still_and_runs_on_from_its_time() {
        let time = Timestamp::new(1_000_000_000);
        let clock = Clock::default();
        clock.set(ClockSetting::Frozen(time)).unwrap();
        assert_eq!(clock.now(), time);
        assert!(clock.setting().offset() < 0);
        clock.set(ClockSetting::running_from(clock.now())).unwrap();
        assert!((time.get()..time.get() + 60).contains(&clock.now().get()));
    }

    #[test]
    fn data_directory_keeps_the_setting() {
        let data = tempfile::tempdir().unwrap();
        let setting = || Clock::open(data.path()).map(|clock| clock.setting());
        assert_eq!(setting().unwrap(), ClockSetting::Offset(0));
        for kept in [
            ClockSetting::Offset(864_000),
            ClockSetting::Offset(-315_360_000),
            ClockSetting::Frozen(Timestamp::new(0)),
            ClockSetting::Frozen(Timestamp::new(u32::MAX)),
        ] {
            Clock::open(data.path()).unwrap().set(kept).unwrap();
            assert_eq!(setting().unwrap(), kept);
        }
        for _ in 0..2 {
            Clock::open(data.path()).unwrap().set(ClockSetting::default()).unwrap();
            assert_eq!(setting().unwrap(), ClockSetting::default());
            assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
        }
        for time in [Some(Timestamp::new(7)), None] {
            Clock::open(data.path()).unwrap().set_next_block_time(time).unwrap();
            assert_eq!(Clock::open(data.path()).unwrap().next_block_time(), time);
        }
        for invalid in ["ten days", "frozen", "frozen -1", "frozen 4294967296", "7 frozen"] {
            fs::write(data.path().join(FILE), invalid).unwrap();
            assert!(format!("{:#}", setting().unwrap_err()).contains("clock-offset"));
        }
    }
}
