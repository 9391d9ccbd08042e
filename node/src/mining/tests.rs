use super::*;
use chain::Header;
use std::sync::{Arc, Mutex};

/// A target that no hash meets.
const UNREACHABLE: [u8; 32] = {
    let mut target = [0; 32];
    target[31] = 1;
    target
};

/// A source that always returns the same candidate and records submitted blocks.
struct MockSource {
    target: Target,
    accepts: bool,
    outcomes: Vec<SubmitOutcome>,
    submitted: Arc<Mutex<Vec<block::Hash>>>,
}

impl MockSource {
    fn new(target: Target, outcomes: &[SubmitOutcome]) -> MockSource {
        let outcomes = outcomes.iter().rev().copied().collect();
        MockSource { target, accepts: true, outcomes, submitted: Arc::default() }
    }
}

impl Source for MockSource {
    async fn candidate(&mut self, _: Address) -> Result<Option<Candidate>> {
        let block = Params::dev().genesis().clone();
        Ok(Some(Candidate { block, height: Height::new(1), target: self.target }))
    }

    async fn changed(&mut self) -> Change {
        std::future::pending().await
    }

    fn accepts(&self, _: &Header) -> bool {
        self.accepts
    }

    async fn submit(&mut self, block: Block) -> Result<SubmitOutcome> {
        self.submitted.lock().unwrap().push(block.hash());
        Ok(self.outcomes.pop().unwrap())
    }

    fn is_closed(&self) -> bool {
        false
    }
}

fn config(blocks: Option<u32>) -> MiningConfig {
    MiningConfig {
        miner: Address::ZERO,
        blocks,
        kernel: Some(Kernel::Scalar),
        pause: Duration::ZERO,
    }
}

// G05, G06
#[tokio::test]
async fn thread_count_changes_while_mining() {
    let (threads, thread_count) = watch::channel(2);
    let (found_sender, _found) = mpsc::channel(1);
    let (progress_sender, mut progress) = watch::channel(None);
    let source = MockSource::new(Target::from_be_bytes(UNREACHABLE).unwrap(), &[]);
    let mining =
        tokio::spawn(mine(source, config(None), thread_count, found_sender, progress_sender));
    let mut until = async |condition: &dyn Fn(&Progress) -> bool| {
        let condition = |progress: &Option<Progress>| progress.as_ref().is_some_and(condition);
        let reached = tokio::time::timeout(Duration::from_secs(60), progress.wait_for(condition));
        reached.await.unwrap().unwrap().clone().unwrap()
    };
    until(&|progress| progress.threads == 2 && progress.hashes > 0).await;
    threads.send(0).unwrap();
    let paused = until(&|progress| progress.threads == 0).await;
    assert!(paused.candidate.is_none() && paused.hash_rate == 0.0);
    threads.send(3).unwrap();
    until(&|progress| progress.threads == 3 && progress.hashes > paused.hashes).await;
    drop(threads);
    assert_eq!(mining.await.unwrap().unwrap(), EndReason::Cancelled);
}

// G02: a stale block is neither an error nor counted.
#[tokio::test]
async fn stale_block_is_not_counted() {
    let (_threads, thread_count) = watch::channel(1);
    let (found_sender, mut found_blocks) = mpsc::channel(4);
    let (progress_sender, progress) = watch::channel(None);
    let source =
        MockSource::new(Params::dev().limit(), &[SubmitOutcome::Stale, SubmitOutcome::Connected]);
    let submitted = Arc::clone(&source.submitted);
    let reason =
        mine(source, config(Some(1)), thread_count, found_sender, progress_sender).await.unwrap();
    assert_eq!(reason, EndReason::GoalReached);
    let submitted = submitted.lock().unwrap().clone();
    assert_eq!(submitted.len(), 2);
    let found = found_blocks.recv().await.unwrap();
    assert_eq!((found.block, found.height), (submitted[1], Height::new(1)));
    assert_eq!(found_blocks.recv().await, None);
    assert_eq!(progress.borrow().as_ref().unwrap().found, 1);
}

// G03, G11: the machine or the process was suspended after a block was found, or the clock was set
// back.
#[tokio::test]
async fn block_found_before_suspend_or_step_of_the_clock_is_not_submitted_after_it() {
    let (_threads, threads) = watch::channel(1);
    let (found, _found) = mpsc::channel(1);
    let (progress, _) = watch::channel(None);
    let (events, _) = mpsc::channel(1);
    let mut source = MockSource::new(Params::dev().limit(), &[SubmitOutcome::Connected]);
    let candidate = source.candidate(Address::ZERO).await.unwrap().unwrap();
    let (header, submitted) = (candidate.block.header, Arc::clone(&source.submitted));
    let mut mining = MiningLoop {
        source,
        config: config(None),
        threads,
        found,
        progress,
        kernel: Kernel::Scalar,
        events,
        miner: None,
        stopped: Counts::default(),
        blocks: 0,
        work: 1,
        expectation: Expectation::default(),
        candidate: None,
        waiting_reason: None,
    };
    let old = MAX_CANDIDATE_AGE + Duration::from_secs(1);
    for (age, accepts, count) in
        [(old, true, 0), (Duration::ZERO, false, 0), (Duration::ZERO, true, 1)]
    {
        mining.source.accepts = accepts;
        mining.candidate = Some((candidate.clone(), Instant::now().checked_sub(age).unwrap()));
        let next = mining.handle_event(Event::Found { work: 1, header }).await;
        // The next candidate is fetched at once.
        assert!(next.unwrap() <= Instant::now());
        assert_eq!(submitted.lock().unwrap().len(), count);
    }
}

#[test]
fn hashes_are_weighed_by_the_target_that_they_were_for() {
    let target = |leading: u8| {
        let mut bytes = [0xff; 32];
        bytes[0] = leading;
        Some(Target::from_be_bytes(bytes).unwrap())
    };
    let mut expectation = Expectation { target: target(0x7f), ..Expectation::default() };
    expectation.count(10);
    // The same total again, as when the progress is published.
    expectation.count(10);
    assert_eq!((expectation.blocks, expectation.hashes), (5.0, 10));
    expectation.target = target(0x3f);
    expectation.count(30);
    assert_eq!((expectation.blocks, expectation.hashes), (10.0, 30));
}

#[test]
fn a_processor_is_left_to_the_machine_by_default() {
    let default = |threads| all_but_one(NonZeroUsize::new(threads).unwrap()).get();
    assert_eq!([1, 2, 3, 64].map(default), [1, 1, 2, 63]);
}
