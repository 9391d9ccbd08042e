//! When miners get new work: at once when the tip changes; now and then when there are better fees;
//! and often enough that its time is near the clock's.

use super::Issue;
use crate::mining::templates::{Templates, Unavailable};
use crate::shutdown::shutdown_requested;
use crate::writer;
use chain::template::Template;
use chain::tx::Tag;
use chain::{Amount, Header, Timestamp, block};
use miner::stratum::BlockTemplate;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Work is made anew after this long: miners leave servers that are silent for 90 seconds.
const REFRESH: Duration = Duration::from_secs(20);
/// Better fees replace work at most this often: each change costs a miner a little.
const FEES_PAUSE: Duration = Duration::from_secs(10);
/// How long to wait when there is no template to be had.
const RETRY: Duration = Duration::from_secs(1);
/// Least time between two looks for better fees.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

type Current = watch::Sender<Option<Arc<BlockTemplate<Issue>>>>;

/// Renews work until `stop` becomes true.
pub(super) async fn run(
    templates: Arc<Templates>,
    writer: writer::Handle,
    tag: Tag,
    current: Current,
    mut stop: watch::Receiver<bool>,
) {
    let mut news = writer.news();
    let mut given: Option<Given> = None;
    let (mut number, mut told) = (0, None);
    loop {
        // Whatever changes from here on is a change since this template.
        news.borrow_and_update();
        let mut look_at = match templates.latest().await {
            Ok((_, template)) => {
                told = None;
                if given.as_ref().is_none_or(|given| given.is_worse_than(&Given::now(&template))) {
                    number += 1;
                    given = Some(Given::now(&template));
                    current.send_replace(Some(Arc::new(work(
                        number,
                        template,
                        tag.clone(),
                        writer.now(),
                    ))));
                }
                given.as_ref().map_or_else(Instant::now, Given::ends)
            }
            Err(Unavailable::Stopped(_)) => return,
            Err(why) => {
                let why = why.to_string();
                if told.as_ref() != Some(&why) {
                    tracing::debug!("no work for miners: {why}");
                }
                told = Some(why);
                Instant::now() + RETRY
            }
        };
        let tip = given.as_ref().map(|given| given.tip);
        let looked_at = Instant::now();
        loop {
            tokio::select! {
                () = shutdown_requested(&mut stop) => return,
                () = tokio::time::sleep_until(look_at) => break,
                changed = news.changed(), if told.is_none() => {
                    if changed.is_err() {
                        return;
                    }
                    if Some(news.borrow_and_update().tip) != tip {
                        break;
                    }
                    if let Some(given) = &given {
                        let due = (given.at + FEES_PAUSE).max(looked_at + LOOK_PAUSE);
                        look_at = look_at.min(due);
                    }
                }
            }
        }
    }
}

/// What miners were last given.
struct Given {
    tip: block::Hash,
    fees: Amount,
    at: Instant,
}

impl Given {
    fn now(template: &Template) -> Given {
        let tip = template.block.header.previous;
        Given { tip, fees: template.fees, at: Instant::now() }
    }

    /// When it is too old.
    fn ends(&self) -> Instant {
        self.at + REFRESH
    }

    fn is_worse_than(&self, newer: &Given) -> bool {
        let age = newer.at.saturating_duration_since(self.at);
        self.tip != newer.tip || age >= REFRESH || (age >= FEES_PAUSE && newer.fees > self.fees)
    }
}

fn work(number: u32, template: Arc<Template>, tag: Tag, now: Timestamp) -> BlockTemplate<Issue> {
    // The template may be older than this work.
    let time = now.max(template.min_time);
    let header = Header { time, ..template.block.header };
    let (branch, target, earliest) = (template.branch.clone(), template.target, template.min_time);
    BlockTemplate::new(number, header, branch, target, earliest, Issue { template, tag })
}

#[cfg(test)]
mod tests {
    use super::*;

    // G01
    #[test]
    fn work_is_replaced_by_a_new_tip_at_once_by_fees_later_and_by_time_last() {
        let at = Instant::now();
        let given = |tip: u8, fees: u64, after: Duration| Given {
            tip: block::Hash::from_bytes([tip; 32]),
            fees: Amount::new(fees).unwrap(),
            at: at + after,
        };
        let first = given(1, 10, Duration::ZERO);
        let short = Duration::from_millis(1);
        for (newer, is_better) in [
            (given(2, 0, Duration::ZERO), true),
            (given(1, 11, FEES_PAUSE - short), false),
            (given(1, 11, FEES_PAUSE), true),
            (given(1, 10, FEES_PAUSE), false),
            (given(1, 10, REFRESH - short), false),
            (given(1, 0, REFRESH), true),
        ] {
            assert_eq!(first.is_worse_than(&newer), is_better, "{:?}", newer.at - at);
        }
        assert!(REFRESH + LOOK_PAUSE < Duration::from_secs(30), "miners expect it that often");
    }
}
