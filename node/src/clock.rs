//! Adjustable clock for validation and mining, which is this machine's with an offset or stands still,
//! and intervals.

use anyhow::{Context, Result};
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
    /// The data directory that keeps the setting.
    data: Option<PathBuf>,
}

impl Clock {
    /// The clock of a data directory, as it was last set there: blocks of an offset clock are in the
    /// future of any other.
    pub fn open(data: &Path) -> Result<Clock> {
        let path = data.join(FILE);
        let setting = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().with_context(|| {
                let path = path.display();
                format!("{path} does not hold a number of seconds: correct it, or remove it")
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => ClockSetting::default(),
            Err(error) => return Err(error).context(format!("cannot read {}", path.display())),
        };
        Ok(Clock { setting: Arc::new(RwLock::new(setting)), data: Some(data.to_owned()) })
    }

    /// The present setting.
    pub fn setting(&self) -> ClockSetting {
        *self.setting.read().expect("no holder of the lock panics")
    }

    /// Changes the setting, also for later starts on its data directory.
    pub fn set(&self, setting: ClockSetting) -> io::Result<()> {
        if let Some(data) = &self.data {
            write_setting(data, setting)?;
        }
        *self.setting.write().expect("no holder of the lock panics") = setting;
        Ok(())
    }

    /// The present time, limited to the range of [`Timestamp`]: 1970 to 2106.
    pub fn now(&self) -> Timestamp {
        self.setting().now()
    }
}

/// Writes the file atomically, or removes it for the default.
fn write_setting(data: &Path, setting: ClockSetting) -> io::Result<()> {
    let path = data.join(FILE);
    if setting == ClockSetting::default() {
        return match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    let mut file = tempfile::NamedTempFile::new_in(data)?;
    writeln!(file, "{setting}")?;
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
        for invalid in ["ten days", "frozen", "frozen -1", "frozen 4294967296", "7 frozen"] {
            fs::write(data.path().join(FILE), invalid).unwrap();
            assert!(format!("{:#}", setting().unwrap_err()).contains("clock-offset"));
        }
    }
}
