//! Validation of shares.

use super::*;

#[test]
fn accepts_share_at_the_sent_difficulty() {
    let mut miner = Miner::authorized(&config(), "A1.rig", NETWORK);
    let share = miner.find(miner.difficulty, NETWORK / 2.0);
    assert_accepted(&miner.submit("A1.rig", &share));
    let difficulty = Difficulty::new(miner.difficulty).unwrap();
    let [(name, ShareOutcome::Accepted(accepted))] = &miner.outcomes[..] else {
        panic!("{:?}", miner.outcomes)
    };
    assert_eq!((name.as_str(), accepted.difficulty), ("rig", difficulty));
    // Its hash meets more than its job asks for, and less than the block.
    assert!((difficulty.get()..NETWORK / 2.0).contains(&accepted.achieved), "{accepted:?}");
    assert!((accepted.network / NETWORK - 1.0).abs() < 0.01, "{accepted:?}");
    assert!(miner.blocks.is_empty());
}

#[test]
fn submits_block_before_responding_to_its_share() {
    let mut miner = Miner::authorized(&config(), "A7.rig", 1e-7);
    let share = miner.find(1e-7, f64::MAX);
    let header = miner.header(&share.extra_nonce2, share.time, share.nonce, 0);
    let Share { job, extra_nonce2, time, nonce } = &share;
    let params = json!(["A7.rig", job, extra_nonce2, format!("{time:x}"), format!("{nonce:x}")]);
    let line = json!({ "id": 9, "method": "mining.submit", "params": params }).to_string();
    let actions = miner.session.handle_line(line.as_bytes(), miner.now);
    assert!(matches!(actions[0], Action::SubmitBlock(_)));
    assert!(matches!(actions[1], Action::RecordShare(_, ShareOutcome::Block(_))));
    miner.perform(actions);
    let solved = &miner.blocks[0];
    assert_eq!(solved.header.encode(), header);
    assert_eq!(hex::encode(solved.extra_nonce), format!("{}00000001", miner.extra_nonce1));
    assert_eq!(solved.worker.payout_address, address(7));
}

// Q02
#[test]
fn rejects_duplicate_shares_across_sessions() {
    let config = config();
    let mut miner = Miner::authorized(&config, "A1", 1e-7);
    let shares = [miner.find(EASY, 1e-8), miner.find(1e-7, f64::MAX)];
    for share in &shares {
        assert_accepted(&miner.submit("A1", share));
        assert_eq!(assert_rejected(&miner.submit("A1", share), 22), "Duplicate share");
    }
    // The same share in upper-case digits.
    let Share { job, extra_nonce2, time, nonce } = &shares[0];
    let params = json!(["A1", job, extra_nonce2, format!("{time:X}"), format!("{nonce:X}")]);
    assert_rejected(&miner.request(5, "mining.submit", &params), 22);
    assert_eq!(miner.blocks.len(), 1);

    // A session that resumes a lost one with the same template.
    let (template, session) =
        (Arc::clone(miner.session.template().unwrap()), miner.extra_nonce1.clone());
    drop(miner);
    let mut resumed = Miner::resumed(&config, &session, template);
    assert_eq!(resumed.extra_nonce1, session);
    for share in &shares {
        assert_rejected(&resumed.submit("A1", share), 22);
    }
    assert_accepted(&resumed.submit(
        "A1",
        &resumed.find_from(
            Share { extra_nonce2: "00000002".to_owned(), nonce: 0, ..shares[0].clone() },
            0,
            EASY,
            1e-8,
        ),
    ));
}

/// Submits a share for the last job, which has another id than that of the share.
fn submit_for_last_job(miner: &mut Miner, share: &Share) -> Value {
    let job = miner.job[0].as_str().unwrap().to_owned();
    assert_ne!(job, share.job);
    miner.submit("A1", &Share { job, ..share.clone() })
}

// Q02: each job of a tip with the same transactions has the same headers.
#[test]
fn one_hash_is_credited_once_over_ten_renewals_and_five_reconnects() {
    let config = config();
    let mut miner = Miner::authorized(&config, "A1", NETWORK);
    let share = miner.find(EASY, NETWORK / 2.0);
    assert_accepted(&miner.submit("A1", &share));
    let mut number = 1;
    for _ in 0..5 {
        for _ in 0..10 {
            number += 1;
            miner.advance(20);
            miner.set_template(template(number, 1, NETWORK));
            assert_rejected(&submit_for_last_job(&mut miner, &share), 22);
        }
        // The difficulty was lowered meanwhile, and the miner that reconnected raised it again.
        let response = miner.submit("A1", &share);
        assert!([json!(21), json!(22)].contains(&response["error"][0]), "{response}");
        let session = miner.extra_nonce1.clone();
        drop(miner);
        miner = Miner::resumed(&config, &session, template(number, 1, NETWORK));
        assert_eq!(miner.extra_nonce1, session);
        assert_rejected(&submit_for_last_job(&mut miner, &share), 22);
    }
}

// Q02: a session whose shares are no longer known is not resumed.
#[test]
fn resumes_no_session_without_its_shares() {
    let config = config();
    let miner = Miner::authorized(&config, "A1", NETWORK);
    let without_shares = miner.extra_nonce1.clone();
    drop(miner);
    for lost in [without_shares.as_str(), "00000077"] {
        let resumed = Miner::resumed(&config, lost, template(1, 1, NETWORK));
        assert_ne!(resumed.extra_nonce1, lost);
    }
    let mut miner = Miner::authorized(&config, "A1", NETWORK);
    assert_accepted(&miner.submit("A1", &miner.find(EASY, NETWORK)));
    let (session, impostor) = (miner.extra_nonce1.clone(), miner.extra_nonce1.clone());
    let stolen = Miner::resumed(&config, &impostor, template(1, 1, NETWORK));
    assert_ne!(stolen.extra_nonce1, session, "the session is not lost");
}

// Q01: finding of shares at a difficulty of one hash fills the memory of one's own session only.
#[test]
fn flood_of_shares_costs_only_the_session_that_sends_them() {
    let config = config();
    let mut flooder = Miner::authorized(&config, "A1", 1e9);
    let mut other = Miner::authorized(&config, "A1", 1e9);
    let mut share = flooder.find(EASY, 1e9);
    let mut accepted = 0;
    let rejected = loop {
        let response = flooder.submit("A1", &share);
        if response["error"] != Value::Null {
            break response;
        }
        accepted += 1;
        share.nonce += 1;
        share = flooder.find_from(share, 0, EASY, 1e9);
    };
    assert!(assert_rejected(&rejected, 20).contains("wait for the next"));
    assert_eq!(accepted, 2_048);
    assert_accepted(&other.submit("A1", &other.find(EASY, 1e9)));
    // The next job makes room, and the old one is forgotten.
    let first = flooder.find(EASY, 1e9);
    flooder.set_template(template(2, 1, 1e9));
    let next = Share { extra_nonce2: "00000009".to_owned(), nonce: 0, ..flooder.find(EASY, 1e9) };
    assert_accepted(&flooder.submit("A1", &flooder.find_from(next, 0, EASY, 1e9)));
    assert_rejected(&flooder.submit("A1", &first), 21);
}

// Q03: what a miner was sent is valid while its tip is best, however many jobs followed.
#[test]
fn job_is_valid_for_every_later_template_of_its_tip() {
    let mut miner = Miner::authorized(&config(), "A1", NETWORK);
    let (share, block) = (miner.find(EASY, NETWORK), miner.find(NETWORK, f64::MAX));
    for number in 2..=200 {
        miner.advance(10);
        miner.set_template(template(number, 1, NETWORK));
    }
    assert_accepted(&miner.submit("A1", &share));
    assert_accepted(&miner.submit("A1", &block));
    assert_eq!(miner.blocks.len(), 1);
}

// Q03
#[test]
fn old_job_is_valid_until_the_tip_changes() {
    let mut miner = Miner::authorized(&config(), "A1", NETWORK);
    let (first, second) = (miner.find(EASY, 1e-8), miner.find(2e-8, 1e-7));
    miner.advance(20);
    let lines = miner.set_template(template(2, 1, NETWORK));
    assert_eq!(
        lines.last().unwrap()["params"][8],
        json!(false),
        "miners may finish their current work"
    );
    assert_accepted(&miner.submit("A1", &first));
    let lines = miner.set_template(template(3, 2, NETWORK));
    assert_eq!(lines.last().unwrap()["params"][8], json!(true));
    assert!(assert_rejected(&miner.submit("A1", &second), 21).contains("new block"));
    assert_eq!(miner.outcomes.last().unwrap().1, ShareOutcome::Stale);
    miner.set_template(template(4, 3, NETWORK));
    assert_eq!(assert_rejected(&miner.submit("A1", &second), 21), "Job not found");
}

// Q10, G02
#[test]
fn accepts_block_on_the_previous_tip() {
    let mut miner = Miner::authorized(&config(), "A1", 1e-7);
    let (share, block) = (miner.find(EASY, 1e-8), miner.find(1e-7, f64::MAX));
    miner.set_template(template(2, 2, 1e-7));
    assert_rejected(&miner.submit("A1", &share), 21);
    assert_accepted(&miner.submit("A1", &block));
    assert_eq!(miner.blocks.len(), 1);
    assert_eq!(miner.blocks[0].header.previous, template(1, 1, 1.0).header.previous);
    assert_rejected(&miner.submit("A1", &block), 22);
}

// Q04
#[test]
fn share_of_old_job_needs_the_difficulty_of_that_job() {
    let mut miner = Miner::authorized(&config(), "A1", NETWORK);
    let (old, other) = (miner.find(EASY, 1e-9), miner.find(1e-9, 2e-9));
    miner.advance(10);
    miner.request(3, "mining.suggest_difficulty", &json!(5e-8));
    assert!((miner.difficulty - 5e-8).abs() < 1e-20);
    assert_ne!(miner.job[0], json!(old.job), "a new job for the new difficulty");
    assert_accepted(&miner.submit("A1", &old));
    let low = miner.find(EASY, 2e-8);
    assert_eq!(assert_rejected(&miner.submit("A1", &low), 23), "Low difficulty share");
    assert_accepted(&miner.submit("A1", &miner.find(5e-8, NETWORK)));
    // A share at a lower difficulty than that of its job, also after the difficulty is lowered: it
    // would count for more work than it proves.
    let hard = miner.job[0].as_str().unwrap().to_owned();
    let early = Share { job: hard, ..other };
    assert_rejected(&miner.submit("A1", &early), 23);
    miner.advance(10);
    miner.request(3, "mining.suggest_difficulty", &json!(EASY));
    assert_rejected(&miner.submit("A1", &early), 23);
    let outcomes: Vec<_> = miner.outcomes.iter().map(|(_, outcome)| *outcome).collect();
    assert_eq!(outcomes.iter().filter(|it| **it == ShareOutcome::LowDifficulty).count(), 3);
}

// Q11
#[test]
fn old_job_is_valid_for_a_minute_after_the_difficulty_was_raised() {
    let mut miner = Miner::authorized(&config(), "A1", NETWORK);
    let easy = Difficulty::new(miner.difficulty).unwrap();
    let (first, second) = (miner.find(EASY, 1e-9), miner.find(1e-9, 1e-8));
    let block = miner.find(NETWORK, f64::MAX);
    miner.advance(10);
    miner.request(3, "mining.suggest_difficulty", &json!(1e-7));
    miner.advance(59);
    // Another raise does not extend the time.
    miner.request(3, "mining.suggest_difficulty", &json!(2e-7));
    assert_accepted(&miner.submit("A1", &first));
    let outcome = miner.outcomes.last().unwrap().1;
    assert!(matches!(outcome, ShareOutcome::Accepted(share) if share.difficulty == easy));
    miner.advance(1);
    let text = assert_rejected(&miner.submit("A1", &second), 21);
    assert!(text.contains("higher difficulty"), "{text}");
    assert_eq!(miner.outcomes.last().unwrap().1, ShareOutcome::Stale);
    assert_accepted(&miner.submit("A1", &block));
    assert_eq!(miner.blocks.len(), 1, "a block is a block");
}

// Q05
#[test]
fn rejects_malformed_shares() {
    let mut miner = Miner::authorized(&config(), "A1", NETWORK);
    let share = miner.find(EASY, NETWORK);
    let Share { job, extra_nonce2, time, nonce } = share.clone();
    let [time, nonce] = [time, nonce].map(|it| format!("{it:x}"));
    let valid = json!(["A1", job, extra_nonce2, time, nonce]);
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
        let mut params = valid.clone();
        params[at] = wrong.clone();
        assert_rejected(&miner.request(4, "mining.submit", &params), 20);
        assert_eq!(miner.outcomes.last().unwrap().1, ShareOutcome::Invalid, "{at} {wrong}");
    }
    for params in [json!([]), json!({}), json!("x"), json!(["A1"]), json!(null)] {
        assert_rejected(&miner.request(4, "mining.submit", &params), 20);
    }
    let mut longer = valid.clone();
    longer.as_array_mut().unwrap().extend([json!("00000000"), json!("00000000")]);
    assert_rejected(&miner.request(4, "mining.submit", &longer), 20);
    assert_accepted(&miner.request(4, "mining.submit", &valid));
}

// Q05
#[test]
fn time_is_limited_by_the_template_and_the_clock() {
    let mut miner = Miner::authorized(&config(), "A1", NETWORK);
    for (time, is_valid) in [
        (TIME - 6, false),
        (TIME - 5, true),
        (TIME + MAX_FUTURE_SECONDS, true),
        (TIME + MAX_FUTURE_SECONDS + 1, false),
    ] {
        let share = Share { time, nonce: 0, ..miner.find(0.0, 1.0) };
        let share = miner.find_from(share, 0, miner.difficulty, f64::MAX);
        let response = miner.submit("A1", &share);
        if is_valid {
            assert_accepted(&response);
        } else {
            assert!(assert_rejected(&response, 20).contains("time"));
        }
    }
}

// Q05
#[test]
fn version_bits_are_limited_to_the_negotiated_mask() {
    let mut miner = Miner::authorized(&config(), "A1", NETWORK);
    let submit = |miner: &mut Miner, bits: u32, bits_param: Value| {
        let share = miner.find_from(Share { nonce: 0, ..miner.find(0.0, 1.0) }, bits, EASY, 1.0);
        let Share { job, extra_nonce2, time, nonce } = share;
        let [time, nonce] = [time, nonce].map(|it| format!("{it:08x}"));
        let params = json!(["A1", job, extra_nonce2, time, nonce, bits_param]);
        miner.request(4, "mining.submit", &params)
    };
    assert_rejected(&submit(&mut miner, 0x2000, json!("00002000")), 20);
    assert_accepted(&submit(&mut miner, 0, json!("00000000")));
    let params = json!([["version-rolling"], { "version-rolling.mask": "00ffffff" }]);
    let response = miner.request(9, "mining.configure", &params);
    assert_eq!(response["result"]["version-rolling.mask"], "00ffe000");
    assert_accepted(&submit(&mut miner, 0x2000, json!("00002000")));
    assert_accepted(&submit(&mut miner, 0x00ff_e000, json!("FFE000")));
    assert_rejected(&submit(&mut miner, 0x0100_0000, json!("01000000")), 20);
    assert_rejected(&submit(&mut miner, 0x1000, json!("00001000")), 20);
    assert_rejected(&submit(&mut miner, 0x2000_0000, json!("20000000")), 20);
    assert_rejected(&submit(&mut miner, 0, json!(["00002000"])), 20);
}
