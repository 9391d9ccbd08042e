//! What is a share, and what is not.

use super::*;

#[test]
fn a_share_is_accepted_at_the_difficulty_that_was_told() {
    let mut miner = Miner::at_work(&config(), "A1.rig", NETWORK);
    let share = miner.find(miner.difficulty, NETWORK / 2.0);
    accepted(&miner.submit("A1.rig", &share));
    let difficulty = Difficulty::new(miner.difficulty).unwrap();
    assert_eq!(miner.outcomes, [("rig".to_owned(), ShareOutcome::Accepted(difficulty))]);
    assert!(miner.blocks.is_empty());
}

#[test]
fn a_share_that_is_a_block_comes_out_before_its_reply() {
    let mut miner = Miner::at_work(&config(), "A7.rig", 1e-7);
    let share = miner.find(1e-7, f64::MAX);
    let header = miner.header(&share.extra_nonce_2, share.time, share.nonce, 0);
    let Share { job, extra_nonce_2, time, nonce } = &share;
    let params = json!(["A7.rig", job, extra_nonce_2, format!("{time:x}"), format!("{nonce:x}")]);
    let line = json!({ "id": 9, "method": "mining.submit", "params": params }).to_string();
    let actions = miner.session.handle_line(line.as_bytes(), miner.now);
    assert!(matches!(actions[0], Action::SubmitBlock(_)));
    assert!(matches!(actions[1], Action::RecordShare(_, ShareOutcome::Block(_))));
    miner.take(actions);
    let solved = &miner.blocks[0];
    assert_eq!(solved.header.encode(), header);
    assert_eq!(hex::encode(solved.extra_nonce), format!("{}00000001", miner.extra_nonce_1));
    assert_eq!(solved.worker.payout_address, address(7));
}

// Q02
#[test]
fn a_share_counts_once_on_whatever_connection() {
    let config = config();
    let mut miner = Miner::at_work(&config, "A1", 1e-7);
    let shares = [miner.find(EASY, 1e-8), miner.find(1e-7, f64::MAX)];
    for share in &shares {
        accepted(&miner.submit("A1", share));
        assert_eq!(refused(&miner.submit("A1", share), 22), "Duplicate share");
    }
    // Written in another way it is the same.
    let Share { job, extra_nonce_2, time, nonce } = &shares[0];
    let params = json!(["A1", job, extra_nonce_2, format!("{time:X}"), format!("{nonce:X}")]);
    refused(&miner.ask(5, "mining.submit", &params), 22);
    assert_eq!(miner.blocks.len(), 1);

    // A connection that goes on where the lost one was, with the same work.
    let (work, session) =
        (Arc::clone(miner.session.template().unwrap()), miner.extra_nonce_1.clone());
    drop(miner);
    let mut again = Miner::connect(&config);
    again.offer(work);
    again.ask(0, "mining.suggest_difficulty", &json!([EASY]));
    again.ask(1, "mining.subscribe", &json!(["cpuminer", session]));
    again.ask(2, "mining.authorize", &json!(["A1"]));
    assert_eq!(again.extra_nonce_1, session);
    for share in &shares {
        refused(&again.submit("A1", share), 22);
    }
    accepted(&again.submit(
        "A1",
        &again.find_of(
            Share { extra_nonce_2: "00000002".to_owned(), nonce: 0, ..shares[0].clone() },
            0,
            EASY,
            1e-8,
        ),
    ));
}

// Q03
#[test]
fn an_old_job_is_good_until_the_tip_changes() {
    let mut miner = Miner::at_work(&config(), "A1", NETWORK);
    let (first, second) = (miner.find(EASY, 1e-8), miner.find(2e-8, 1e-7));
    miner.later(20);
    let lines = miner.offer(work(2, 1, NETWORK));
    assert_eq!(lines.last().unwrap()["params"][8], json!(false), "miners may finish what they do");
    accepted(&miner.submit("A1", &first));
    let lines = miner.offer(work(3, 2, NETWORK));
    assert_eq!(lines.last().unwrap()["params"][8], json!(true));
    assert!(refused(&miner.submit("A1", &second), 21).contains("new block"));
    assert_eq!(miner.outcomes.last().unwrap().1, ShareOutcome::Stale);
    miner.offer(work(4, 3, NETWORK));
    assert_eq!(refused(&miner.submit("A1", &second), 21), "Job not found");
}

// Q10, G02
#[test]
fn a_block_of_the_tip_before_is_still_a_block() {
    let mut miner = Miner::at_work(&config(), "A1", 1e-7);
    let (share, block) = (miner.find(EASY, 1e-8), miner.find(1e-7, f64::MAX));
    miner.offer(work(2, 2, 1e-7));
    refused(&miner.submit("A1", &share), 21);
    accepted(&miner.submit("A1", &block));
    assert_eq!(miner.blocks.len(), 1);
    assert_eq!(miner.blocks[0].header.previous, work(1, 1, 1.0).header().previous);
    refused(&miner.submit("A1", &block), 22);
}

// Q04
#[test]
fn a_share_of_an_old_job_needs_the_difficulty_of_then() {
    let mut miner = Miner::at_work(&config(), "A1", NETWORK);
    let (old, other) = (miner.find(EASY, 1e-9), miner.find(1e-9, 2e-9));
    miner.later(10);
    miner.ask(3, "mining.suggest_difficulty", &json!(5e-8));
    assert!((miner.difficulty - 5e-8).abs() < 1e-20);
    assert_ne!(miner.job[0], json!(old.job), "a job of its own for the new difficulty");
    accepted(&miner.submit("A1", &old));
    let low = miner.find(EASY, 2e-8);
    assert_eq!(refused(&miner.submit("A1", &low), 23), "Low difficulty share");
    accepted(&miner.submit("A1", &miner.find(5e-8, NETWORK)));
    // One that turned to an easier difficulty at once, before it had a job for it.
    let hard = miner.job[0].as_str().unwrap().to_owned();
    let early = Share { job: hard, ..other };
    refused(&miner.submit("A1", &early), 23);
    miner.later(10);
    miner.ask(3, "mining.suggest_difficulty", &json!(EASY));
    accepted(&miner.submit("A1", &early));
    let outcomes: Vec<_> = miner.outcomes.iter().map(|(_, outcome)| *outcome).collect();
    assert_eq!(outcomes.iter().filter(|it| **it == ShareOutcome::LowDifficulty).count(), 2);
}

// Q05
#[test]
fn a_share_that_is_malformed_is_refused_and_no_other_is() {
    let mut miner = Miner::at_work(&config(), "A1", NETWORK);
    let share = miner.find(EASY, NETWORK);
    let Share { job, extra_nonce_2, time, nonce } = share.clone();
    let [time, nonce] = [time, nonce].map(|it| format!("{it:x}"));
    let good = json!(["A1", job, extra_nonce_2, time, nonce]);
    for (at, wrong) in [
        (0, json!(7)),
        (1, json!(null)),
        (2, json!("000001")),
        (2, json!("0000000001")),
        (2, json!("0000000g")),
        (2, json!(1)),
        (3, json!("")),
        (3, json!("-1")),
        (3, json!("123456789")),
        (3, json!(TIME)),
        (4, json!("0x12")),
        (4, json!([])),
        (4, json!("\u{0}")),
    ] {
        let mut params = good.clone();
        params[at] = wrong.clone();
        refused(&miner.ask(4, "mining.submit", &params), 20);
        assert_eq!(miner.outcomes.last().unwrap().1, ShareOutcome::Invalid, "{at} {wrong}");
    }
    for params in [json!([]), json!({}), json!("x"), json!(["A1"]), json!(null)] {
        refused(&miner.ask(4, "mining.submit", &params), 20);
    }
    let mut longer = good.clone();
    longer.as_array_mut().unwrap().extend([json!("00000000"), json!("00000000")]);
    refused(&miner.ask(4, "mining.submit", &longer), 20);
    accepted(&miner.ask(4, "mining.submit", &good));
}

// Q05
#[test]
fn the_time_is_between_the_parents_and_a_little_ahead_of_the_clock() {
    let mut miner = Miner::at_work(&config(), "A1", NETWORK);
    for (time, is_good) in
        [(TIME - 6, false), (TIME - 5, true), (TIME + AHEAD, true), (TIME + AHEAD + 1, false)]
    {
        let share = Share { time, nonce: 0, ..miner.find(0.0, 1.0) };
        let share = miner.find_of(share, 0, miner.difficulty, f64::MAX);
        let reply = miner.submit("A1", &share);
        if is_good { accepted(&reply) } else { assert!(refused(&reply, 20).contains("time")) }
    }
}

// Q05
#[test]
fn version_bits_roll_within_the_mask_that_was_agreed_on() {
    let mut miner = Miner::at_work(&config(), "A1", NETWORK);
    let ask = |miner: &mut Miner, bits: u32, written: Value| {
        let share = miner.find_of(Share { nonce: 0, ..miner.find(0.0, 1.0) }, bits, EASY, 1.0);
        let Share { job, extra_nonce_2, time, nonce } = share;
        let [time, nonce] = [time, nonce].map(|it| format!("{it:08x}"));
        let params = json!(["A1", job, extra_nonce_2, time, nonce, written]);
        miner.ask(4, "mining.submit", &params)
    };
    refused(&ask(&mut miner, 0x2000, json!("00002000")), 20);
    accepted(&ask(&mut miner, 0, json!("00000000")));
    let wish = json!([["version-rolling"], { "version-rolling.mask": "00ffffff" }]);
    let reply = miner.ask(9, "mining.configure", &wish);
    assert_eq!(reply["result"]["version-rolling.mask"], "00ffe000");
    accepted(&ask(&mut miner, 0x2000, json!("00002000")));
    accepted(&ask(&mut miner, 0x00ff_e000, json!("FFE000")));
    refused(&ask(&mut miner, 0x0100_0000, json!("01000000")), 20);
    refused(&ask(&mut miner, 0x1000, json!("00001000")), 20);
    refused(&ask(&mut miner, 0x2000_0000, json!("20000000")), 20);
    refused(&ask(&mut miner, 0, json!(["00002000"])), 20);
}
