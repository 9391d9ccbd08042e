use super::*;
use std::sync::{Arc, Mutex};

/// What no hash meets.
const HARD: [u8; 32] = {
    let mut target = [0; 32];
    target[31] = 1;
    target
};

/// A source that gives the same candidate again and again, and keeps what is handed in.
struct Fake {
    target: Target,
    verdicts: Vec<Handed>,
    handed: Arc<Mutex<Vec<block::Hash>>>,
}

impl Fake {
    fn new(target: Target, verdicts: &[Handed]) -> Fake {
        let verdicts = verdicts.iter().rev().copied().collect();
        Fake { target, verdicts, handed: Arc::default() }
    }
}

impl Source for Fake {
    async fn candidate(&mut self, _: Address) -> Result<Option<Candidate>> {
        let block = Params::dev().genesis().clone();
        Ok(Some(Candidate { block, height: Height::new(1), target: self.target }))
    }

    async fn changed(&mut self) -> Change {
        std::future::pending().await
    }

    async fn hand_in(&mut self, block: Block) -> Result<Handed> {
        self.handed.lock().unwrap().push(block.hash());
        Ok(self.verdicts.pop().unwrap())
    }

    fn is_gone(&self) -> bool {
        false
    }
}

fn goal(blocks: Option<u32>) -> Goal {
    Goal { miner: Address::ZERO, blocks, kernel: Some(Kernel::Scalar), pause: Duration::ZERO }
}

// G05, G06
#[tokio::test]
async fn threads_come_and_go_while_it_mines() {
    let (crew, staffed) = watch::channel(2);
    let (finding, _finds) = mpsc::channel(1);
    let (telling, mut progress) = watch::channel(None);
    let source = Fake::new(Target::from_be_bytes(HARD).unwrap(), &[]);
    let mining = tokio::spawn(mine(source, goal(None), staffed, finding, telling));
    let mut until = async |is_so: &dyn Fn(&Progress) -> bool| {
        let is_so = |told: &Option<Progress>| told.as_ref().is_some_and(is_so);
        let told = tokio::time::timeout(Duration::from_secs(60), progress.wait_for(is_so));
        told.await.unwrap().unwrap().clone().unwrap()
    };
    until(&|told| told.threads == 2 && told.hashes > 0).await;
    crew.send(0).unwrap();
    let rest = until(&|told| told.threads == 0).await;
    assert!(rest.candidate.is_none() && rest.hash_rate == 0.0);
    crew.send(3).unwrap();
    until(&|told| told.threads == 3 && told.hashes > rest.hashes).await;
    drop(crew);
    assert_eq!(mining.await.unwrap().unwrap(), End::Dismissed);
}

// G02: another block was first, so this one is a side branch: neither an error nor a find.
#[tokio::test]
async fn a_block_that_comes_too_late_is_not_counted() {
    let (_crew, staffed) = watch::channel(1);
    let (finding, mut finds) = mpsc::channel(4);
    let (telling, progress) = watch::channel(None);
    let source = Fake::new(Params::dev().limit(), &[Handed::TooLate, Handed::Best]);
    let handed = Arc::clone(&source.handed);
    let end = mine(source, goal(Some(1)), staffed, finding, telling).await.unwrap();
    assert_eq!(end, End::Reached);
    let handed = handed.lock().unwrap().clone();
    assert_eq!(handed.len(), 2);
    let found = finds.recv().await.unwrap();
    assert_eq!((found.block, found.height), (handed[1], Height::new(1)));
    assert_eq!(finds.recv().await, None);
    assert_eq!(progress.borrow().as_ref().unwrap().found, 1);
}

// G11: the machine slept, or the process was stopped, with a block just found.
#[tokio::test]
async fn what_was_found_before_a_standstill_is_not_handed_in_after_it() {
    let (_crew, crew) = watch::channel(1);
    let (found, _finds) = mpsc::channel(1);
    let (progress, _) = watch::channel(None);
    let (events, _) = mpsc::channel(1);
    let mut source = Fake::new(Params::dev().limit(), &[Handed::Best]);
    let candidate = source.candidate(Address::ZERO).await.unwrap().unwrap();
    let (header, handed) = (candidate.block.header, Arc::clone(&source.handed));
    let mut search = Search {
        source,
        goal: goal(None),
        crew,
        found,
        progress,
        kernel: Kernel::Scalar,
        events,
        miner: None,
        dismissed: Counts::default(),
        blocks: 0,
        work: 1,
        candidate: None,
        told: None,
    };
    for (age, count) in [(OLD + Duration::from_secs(1), 0), (Duration::ZERO, 1)] {
        search.candidate = Some((candidate.clone(), Instant::now().checked_sub(age).unwrap()));
        let next = search.hit(Event::Found { work: 1, header }).await;
        // A new candidate is taken at once.
        assert!(next.unwrap() <= Instant::now());
        assert_eq!(handed.lock().unwrap().len(), count);
    }
}
