//! Job notifications: miners get a new job at once when the tip changes, after a pause when it pays
//! more fees, and periodically so that its time stays near the clock's.

use super::context::Work;
use super::job_template::JobTemplate;
use crate::mining::templates::{SharedTemplate, TemplateUnavailable, Templates};
use crate::shutdown::shutdown_requested;
use crate::writer;
use chain::tx::Tag;
use chain::{Amount, Header, Timestamp, block};
use miner::stratum::BlockTemplate;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Age at which a job is replaced. Miners disconnect from servers that are silent for 90 seconds.
const REFRESH_INTERVAL: Duration = Duration::from_secs(20);
/// Least time between replacements of a job for better fees: each costs miners some hashes.
const FEE_REFRESH_PAUSE: Duration = Duration::from_secs(10);
/// Pause before a failed request for a template is retried.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Least time between two checks for better fees.
const FEE_CHECK_PAUSE: Duration = Duration::from_secs(1);

/// Publishes jobs, or why there are none, until `stop` becomes true.
pub(super) async fn run(
    templates: Arc<Templates>,
    writer: writer::Handle,
    run_id: [u8; 8],
    work: watch::Sender<Work>,
    mut stop: watch::Receiver<bool>,
) {
    let (mut chain, mut readiness) = (writer.watch_chain(), templates.subscribe());
    let mut published: Option<Published> = None;
    let (mut number, mut last_error) = (0, None);
    loop {
        // Before the template is made, so that no later change is missed.
        chain.borrow_and_update();
        readiness.borrow_and_update();
        let mut check_at = match templates.latest().await {
            Ok(template) => {
                let candidate = Published::now(&template);
                if last_error.take().is_some() {
                    // Miners wait.
                    published = None;
                }
                if published.as_ref().is_none_or(|last| last.is_replaced_by(&candidate)) {
                    number += 1;
                    let job = job(number, template, tag(run_id, number), writer.now());
                    work.send_replace(Work::Job(Arc::new(job)));
                    published = Some(candidate);
                }
                published.as_ref().map_or_else(Instant::now, Published::expires_at)
            }
            Err(TemplateUnavailable::Stopped(_)) => return,
            Err(error) => {
                let kind = std::mem::discriminant(&error);
                if last_error != Some(kind) {
                    let reason: Arc<str> = error.to_string().into();
                    tracing::debug!("no job for miners: {reason}");
                    work.send_replace(Work::Suspended(reason));
                }
                last_error = Some(kind);
                Instant::now() + RETRY_PAUSE
            }
        };
        let tip = published.as_ref().map(|published| published.tip);
        let checked_at = Instant::now();
        loop {
            tokio::select! {
                () = shutdown_requested(&mut stop) => return,
                () = tokio::time::sleep_until(check_at) => break,
                _ = readiness.changed() => {
                    // Another reason applies, or the published job is too new for the clock.
                    (published, last_error) = (None, None);
                    break;
                }
                changed = chain.changed(), if last_error.is_none() => {
                    if changed.is_err() {
                        return;
                    }
                    if Some(chain.borrow_and_update().tip) != tip {
                        break;
                    }
                    if let Some(published) = &published {
                        let due = (published.at + FEE_REFRESH_PAUSE).max(checked_at + FEE_CHECK_PAUSE);
                        check_at = check_at.min(due);
                    }
                }
            }
        }
    }
}

/// The last published job.
struct Published {
    tip: block::Hash,
    fees: Amount,
    at: Instant,
}

impl Published {
    fn now(template: &SharedTemplate) -> Published {
        let tip = template.header.previous;
        Published { tip, fees: template.fees, at: Instant::now() }
    }

    /// The time at which the published job is too old and is replaced.
    fn expires_at(&self) -> Instant {
        self.at + REFRESH_INTERVAL
    }

    fn is_replaced_by(&self, newer: &Published) -> bool {
        let age = newer.at.saturating_duration_since(self.at);
        self.tip != newer.tip
            || age >= REFRESH_INTERVAL
            || (age >= FEE_REFRESH_PAUSE && newer.fees > self.fees)
    }
}

/// The tag of the coinbases of a job.
fn tag(run_id: [u8; 8], number: u32) -> Tag {
    let id = format!(" {}.{number:x}", hex::encode(run_id));
    Tag::new([writer::COINBASE_TAG, id.as_bytes()].concat()).expect("the tag has at most 31 bytes")
}

fn job(
    number: u32,
    template: Arc<SharedTemplate>,
    tag: Tag,
    now: Timestamp,
) -> BlockTemplate<JobTemplate> {
    // The template may be older than the job.
    let time = now.max(template.min_time);
    let header = Header { time, ..template.header };
    let (branch, target, earliest) = (template.branch.clone(), template.target, template.min_time);
    BlockTemplate::new(number, header, branch, target, earliest, JobTemplate { template, tag })
}

#[cfg(test)]
mod tests {
    use super::*;

    // G01
    #[test]
    fn replaces_job_for_new_tip_at_once_for_fees_later_and_when_old() {
        let at = Instant::now();
        let published = |tip: u8, fees: u64, after: Duration| Published {
            tip: block::Hash::from_bytes([tip; 32]),
            fees: Amount::new(fees).unwrap(),
            at: at + after,
        };
        let first = published(1, 10, Duration::ZERO);
        let short = Duration::from_millis(1);
        for (newer, is_replaced) in [
            (published(2, 0, Duration::ZERO), true),
            (published(1, 11, FEE_REFRESH_PAUSE - short), false),
            (published(1, 11, FEE_REFRESH_PAUSE), true),
            (published(1, 10, FEE_REFRESH_PAUSE), false),
            (published(1, 10, REFRESH_INTERVAL - short), false),
            (published(1, 0, REFRESH_INTERVAL), true),
        ] {
            assert_eq!(first.is_replaced_by(&newer), is_replaced, "{:?}", newer.at - at);
        }
        assert!(
            REFRESH_INTERVAL + FEE_CHECK_PAUSE < Duration::from_secs(30),
            "miners expect a job that often"
        );
    }
}
