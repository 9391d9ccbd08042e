//! Limits of the resources that clients share, each with the share of an address.

use anyhow::{Result, bail};
use p2p::shares::Limits;
use serde::Deserialize;
use std::str::FromStr;

/// The setting of a limit: `TOTAL`, or `TOTAL/SHARE` with the share of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LimitSetting {
    total: u32,
    share: Option<u32>,
}

impl FromStr for LimitSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<LimitSetting, String> {
        let number = |text: &str| {
            text.parse().ok().filter(|number| *number > 0).ok_or_else(|| {
                format!("`{text}` is not a number from 1 on: expected TOTAL or TOTAL/SHARE")
            })
        };
        let (total, share) = match text.split_once('/') {
            Some((total, share)) => (number(total)?, Some(number(share)?)),
            None => (number(text)?, None),
        };
        if share.is_some_and(|share| share > total) {
            return Err(format!("the share in `{text}` is larger than the total"));
        }
        Ok(LimitSetting { total, share })
    }
}

impl TryFrom<String> for LimitSetting {
    type Error = String;

    fn try_from(text: String) -> Result<LimitSetting, String> {
        text.parse()
    }
}

/// The limits of the resources that clients share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimits {
    /// Connections of the API.
    pub api_connections: Limits,
    /// Responses of the API that wait for a change.
    pub held_responses: Limits,
    /// Subscribers of events.
    pub event_readers: Limits,
    /// Bytes of requests in progress, and of responses that clients have not read yet.
    pub body_bytes: Limits,
    /// Connections of Stratum miners.
    pub stratum_connections: Limits,
}

impl Default for ResourceLimits {
    fn default() -> ResourceLimits {
        ResourceLimits {
            // Half of the usual limit of 1,024 open files.
            api_connections: Limits::new(512, 64),
            held_responses: Limits::new(256, 32),
            event_readers: Limits::new(256, 16),
            body_bytes: Limits::new(64 << 20, 8 << 20),
            stratum_connections: Limits::new(2_048, 256),
        }
    }
}

/// The fewest connections of the API: some of them are reserved.
const MIN_API_CONNECTIONS: u64 = 64;

impl ResourceLimits {
    /// The defaults, changed by settings in the order of the fields; bytes are in MiB there.
    pub(super) fn new(settings: [Option<LimitSetting>; 5]) -> Result<ResourceLimits> {
        let default = ResourceLimits::default();
        let [api_connections, held_responses, event_readers, body_mb, stratum_connections] =
            settings;
        let limits = ResourceLimits {
            api_connections: limits(api_connections, default.api_connections, 1),
            held_responses: limits(held_responses, default.held_responses, 1),
            event_readers: limits(event_readers, default.event_readers, 1),
            body_bytes: limits(body_mb, default.body_bytes, 1 << 20),
            stratum_connections: limits(stratum_connections, default.stratum_connections, 1),
        };
        let connections = limits.api_connections.capacity;
        if connections < MIN_API_CONNECTIONS {
            bail!("api_connections must be at least {MIN_API_CONNECTIONS}, not {connections}");
        }
        Ok(limits)
    }
}

/// The limits that a setting in units of `unit` stands for. Without a share it has that of the
/// default in proportion.
fn limits(setting: Option<LimitSetting>, default: Limits, unit: u64) -> Limits {
    let Some(LimitSetting { total, share }) = setting else { return default };
    let capacity = u64::from(total).saturating_mul(unit);
    let in_proportion =
        || capacity.saturating_mul(default.per_host).div_ceil(default.capacity).max(1);
    let share = share.map_or_else(in_proportion, |share| u64::from(share).saturating_mul(unit));
    Limits::new(capacity, share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_total_and_share_of_an_address() {
        let parse = |text: &str| text.parse::<LimitSetting>();
        assert_eq!(parse("512/64"), Ok(LimitSetting { total: 512, share: Some(64) }));
        assert_eq!(parse("512"), Ok(LimitSetting { total: 512, share: None }));
        for text in ["", "0", "-1", "5/", "/5", "5/0", "5/6", "5/5/5", "99999999999"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn settings_replace_defaults_one_by_one() {
        let some = |text: &str| Some(text.parse().unwrap());
        let limits = ResourceLimits::new([some("1024"), None, some("10/3"), some("32"), None]);
        let limits = limits.unwrap();
        assert_eq!(limits.api_connections, Limits::new(1_024, 128));
        assert_eq!(limits.event_readers, Limits::new(10, 3));
        assert_eq!(limits.body_bytes, Limits::new(32 << 20, 4 << 20));
        assert_eq!(limits.stratum_connections, Limits::new(2_048, 256));
        assert!(ResourceLimits::new([some("20"), None, None, None, None]).is_err());
    }
}
