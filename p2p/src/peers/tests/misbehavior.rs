//! Scores, bans and rate limits.

use super::*;
use chain::block;
use proptest::prelude::*;

const ALL: [Misbehavior; 12] = [
    Misbehavior::Delivered,
    Misbehavior::BadHeader,
    Misbehavior::WrongBody,
    Misbehavior::InvalidBlock,
    Misbehavior::BadAnnouncement,
    Misbehavior::WrongNetwork,
    Misbehavior::Malformed,
    Misbehavior::BadRequest,
    Misbehavior::TooManyRequests,
    Misbehavior::WrongResponse,
    Misbehavior::BrokenStream,
    Misbehavior::Timeout,
];

#[test]
fn misbehavior_scores_match_the_table() {
    let points = ALL.map(Misbehavior::points);
    let table = [0.5, -100.0, -100.0, -50.0, -10.0, -20.0, -100.0, -10.0, -10.0, -50.0, -5.0, -2.0];
    assert!(points.iter().zip(table).all(|(points, row)| points.total_cmp(&row).is_eq()));
    // Only what no working node sends causes a ban at once.
    for misbehavior in ALL {
        let mut world = World::new(10);
        world.accept(1, "5.6.7.8:1").unwrap();
        let banned = world.report(1, misbehavior) == Some(Penalty::Ban);
        assert_eq!(banned, misbehavior.points() < BAN_SCORE, "{misbehavior:?}");
    }
}

#[test]
fn scores_halve_in_ten_minutes_and_are_bounded() {
    let mut world = World::new(10);
    world.report(1, Misbehavior::InvalidBlock);
    world.advance(600.0);
    assert!((world.peers.score(&node(1), world.now) + 25.0).abs() < 0.01);
    for _ in 0..10 {
        world.report(1, Misbehavior::InvalidBlock);
    }
    assert!(world.peers.score(&node(1), world.now) >= WORST_SCORE);
    for _ in 0..100 {
        world.report(2, Misbehavior::Delivered);
    }
    assert!(world.peers.score(&node(2), world.now) <= BEST_SCORE);
    assert!(world.peers.score(&node(3), world.now).abs() < f64::EPSILON);
}

#[test]
fn peer_disconnected_for_its_score_cools_down_for_ten_minutes() {
    let mut world = World::new(10);
    world.peers.add_addresses(Source::User, &[node_at(1, &["5.6.7.8:1"])], world.now);
    let dial = world.dials().remove(0);
    let id = world.connect_to(1, &dial.address);
    assert_eq!(world.report(1, Misbehavior::BadRequest), None);
    assert_eq!(world.report(1, Misbehavior::BadRequest), Some(Penalty::Disconnect));
    world.peers.connection_closed(id, world.now);
    assert_eq!(world.accept(1, "5.6.7.8:1"), Err(Denied::CoolingDown));
    assert!(world.failing_dials(599).is_empty());
    world.advance(1.0);
    assert!(world.accept(1, "5.6.7.8:1").is_ok());
}

#[test]
fn bans_a_peer_for_a_day_and_its_ip_for_an_hour() {
    let mut world = World::new(10);
    let id = world.accept(1, "5.6.7.8:1").unwrap();
    assert_eq!(world.report(1, Misbehavior::BadHeader), Some(Penalty::Ban));
    world.peers.connection_closed(id, world.now);
    assert_eq!(world.accept(1, "9.9.9.9:1"), Err(Denied::Banned));
    assert_eq!(world.accept(2, "[::ffff:5.6.7.8]:4"), Err(Denied::Banned));
    world.advance(3_600.0);
    assert!(world.accept(2, "5.6.7.8:1").is_ok());
    assert_eq!(world.accept(1, "9.9.9.9:1"), Err(Denied::Banned));
    world.advance(23.0 * 3_600.0);
    assert!(world.accept(1, "9.9.9.9:1").is_ok());
    assert!(world.peers.bans(world.now).is_empty());
}

#[test]
fn does_not_ban_ips_of_local_peers_and_boot_nodes() {
    let mut world = World::new(10);
    world.peers.add_boot_node(&at("9.9.9.9:9"));
    world.accept(1, "192.168.0.7:1").unwrap();
    world.accept(2, "127.0.0.1:1").unwrap();
    world.accept(3, "9.9.9.9:1").unwrap();
    for one in 1..=3 {
        assert_eq!(world.report(one, Misbehavior::Malformed), Some(Penalty::Ban));
    }
    let subjects: Vec<_> = world.peers.bans(world.now).iter().map(|ban| ban.subject).collect();
    assert_eq!(subjects, [1, 2, 3].map(|one| Subject::Peer(node(one))));
}

#[test]
fn persistent_peer_is_disconnected_but_not_banned_and_redialed() {
    let mut world = World::new(10);
    world.peers.add_persistent_peer(&at("5.6.7.8:1"));
    let dial = world.dials().remove(0);
    let id = world.connect_to(1, &dial.address);
    for _ in 0..3 {
        assert_eq!(world.report(1, Misbehavior::BadHeader), Some(Penalty::Disconnect));
    }
    assert!(world.peers.bans(world.now).is_empty());
    world.peers.connection_closed(id, world.now);
    world.advance(29.0);
    assert!(world.dials().is_empty());
    world.advance(1.0);
    assert_eq!(world.dials().len(), 1);
    world.connect_to(1, &dial.address);
}

// N18: eight minutes of an unreliable connection, with an upgrade in between.
proptest! {
    #[test]
    fn excusable_misbehavior_never_causes_a_ban(
        mishaps in prop::collection::vec((0_u8..4, 0_u16..2_000), 1..400)
    ) {
        let mut world = World::new(10);
        world.accept(1, "5.6.7.8:1").unwrap();
        let excusable: Vec<_> = ALL.into_iter().filter(|one| one.is_excusable()).collect();
        prop_assert_eq!(excusable.len(), 4);
        for (what, pause) in mishaps {
            let penalty = world.report(1, excusable[usize::from(what)]);
            prop_assert_ne!(penalty, Some(Penalty::Ban));
            let score = world.peers.score(&node(1), world.now);
            prop_assert!(score >= DISCONNECT_SCORE);
            world.advance(f64::from(pause) / 1_000.0);
        }
        prop_assert!(world.peers.bans(world.now).is_empty());
    }
}

#[test]
fn excusable_misbehavior_does_not_excuse_other_misbehavior() {
    let mut world = World::new(10);
    for _ in 0..50 {
        world.report(1, Misbehavior::Timeout);
    }
    assert_eq!(world.report(1, Misbehavior::InvalidBlock), Some(Penalty::Ban));
    world.report(2, Misbehavior::InvalidBlock);
    world.report(2, Misbehavior::Timeout);
    assert!(world.peers.score(&node(2), world.now) <= -50.0);
}

// N22
#[test]
fn ip_ban_applies_to_all_notations_and_addresses_of_a_host() {
    let mut world = World::new(112);
    let ban = |world: &mut World, ip: &str| {
        let subject = Subject::Ip(ip.parse().unwrap());
        world.peers.ban(subject, 600, "test".into(), world.now)
    };
    world.accept(1, "5.6.7.8:1").unwrap();
    world.accept(2, "127.0.0.1:1").unwrap();
    assert_eq!(ban(&mut world, "::ffff:5.6.7.8"), [node(1)]);
    assert_eq!(ban(&mut world, "2a00:1:2:3::7"), []);
    // Users may ban even loopback addresses.
    assert_eq!(ban(&mut world, "127.0.0.1"), [node(2)]);
    let notations = ["5.6.7.8:1", "5.6.7.8:65535", "[::ffff:5.6.7.8]:1", "127.0.0.1:2"];
    for notation in notations.into_iter().chain(["[2a00:1:2:3::7]:1", "[2a00:1:2:3:4:5:6:7]:1"]) {
        assert_eq!(world.accept(9, notation), Err(Denied::Banned), "{notation}");
        world.peers.add_addresses(Source::User, &[node_at(9, &[notation])], world.now);
        assert_eq!(world.peers.address_count(), 0);
    }
    assert!(world.accept(10, "[2a00:1:2:4::7]:1").is_ok());
    assert!(world.peers.unban(Subject::Ip("2a00:1:2:3:9::".parse().unwrap())));
    assert!(!world.peers.unban(Subject::Ip("2a00:1:2:3:9::".parse().unwrap())));
    assert!(world.accept(11, "[2a00:1:2:3::7]:1").is_ok());
}

#[test]
fn unban_removes_the_score() {
    let mut world = World::new(10);
    let id = world.accept(1, "127.0.0.1:1").unwrap();
    world.report(1, Misbehavior::BadHeader);
    world.peers.connection_closed(id, world.now);
    assert!(world.peers.unban(Subject::Peer(node(1))));
    assert!(world.accept(1, "127.0.0.1:1").is_ok());
    assert_eq!(world.report(1, Misbehavior::Timeout), None);
}

// N23
#[test]
fn flood_of_bans_evicts_those_that_end_first() {
    let mut bans = Bans::default();
    let until = |number: u64| u64::from(START) + 1_000 + number;
    for number in 0..100_000 {
        let ban = Ban {
            subject: Subject::Peer(node(number)),
            until: until(number),
            reason: String::new(),
        };
        bans.add(ban);
    }
    let left = bans.list(now_at(Duration::ZERO));
    assert_eq!(left.len(), MAX_BANS);
    assert!(left.iter().all(|ban| ban.until >= until(100_000 - MAX_BANS as u64)));
    bans.prune(now_at(Duration::from_secs(200_000)));
    assert!(bans.list(now_at(Duration::ZERO)).is_empty());
}

// N23
#[test]
fn maximum_duration_of_a_ban_does_not_overflow() {
    let mut world = World::new(10);
    let reason = "ö".repeat(1_000);
    world.peers.ban(Subject::Peer(node(1)), u64::MAX, reason, world.now);
    let ban = world.peers.bans(world.now).remove(0);
    assert_eq!(ban.until, MAX_BAN_UNTIL);
    assert!(ban.reason.len() <= 200);
    assert_eq!(world.accept(1, "5.6.7.8:1"), Err(Denied::Banned));
}

// N22
#[test]
fn ban_of_a_range_covers_its_ips() {
    let mut world = World::new(112);
    let subject = |text: &str| Subject::Range(text.parse().unwrap());
    world.accept(1, "5.6.7.8:1").unwrap();
    world.accept(2, "5.7.0.1:1").unwrap();
    let ban = |world: &mut World, text: &str| {
        world.peers.ban(subject(text), 60, "range".into(), world.now)
    };
    assert_eq!(ban(&mut world, "5.6.0.0/16"), [node(1)]);
    assert_eq!(ban(&mut world, "2a00::/16"), []);
    for (ip, is_banned) in [
        ("5.6.255.1:1", true),
        ("[::ffff:5.6.1.1]:1", true),
        ("5.7.0.2:1", false),
        ("[2a00:ffff::1]:1", true),
        ("[2a01::1]:1", false),
    ] {
        assert_eq!(world.accept(9, ip) == Err(Denied::Banned), is_banned, "{ip}");
    }
    // The range of one IP is that IP.
    assert_eq!(subject("9.9.9.9/32").normalized(), Subject::Ip("9.9.9.9".parse().unwrap()));
    world.restart();
    assert_eq!(world.peers.bans(world.now), [], "an hour later");
    ban(&mut world, "5.6.0.0/16");
    assert!(world.peers.unban(subject("5.6.99.0/16")));
    assert!(world.accept(1, "5.6.7.8:1").is_ok());
    for third in 0..=255 {
        ban(&mut world, &format!("7.7.{third}.0/24"));
    }
    world.now.clock = world.now.clock.saturating_add(61);
    world.peers.bans.prune(world.now);
    assert!(world.accept(3, "7.7.7.7:1").is_ok());
    assert_eq!(world.peers.bans.range_prefixes(), 0);
}

fn requests() -> [Request; 6] {
    let status = crate::message::Status {
        capabilities: crate::message::Capabilities::LOCAL,
        genesis: block::Hash::from_bytes([0; 32]),
        tip: block::Hash::from_bytes([0; 32]),
        height: block::Height::default(),
        chain_work: chain::pow::Work::default(),
        relay: true,
        clock: 0,
        nonce: 0,
    };
    let hash = block::Hash::from_bytes([1; 32]);
    [
        Request::Hello(status),
        Request::Headers { locator: vec![hash], stop: hash, max: 10 },
        Request::Blocks { hashes: vec![hash] },
        Request::BlockTransactions { block: hash, positions: vec![1] },
        Request::MempoolIds { from: 0 },
        Request::Addresses { max: 64 },
    ]
}

#[test]
fn rejects_requests_above_the_limit_and_reports_abuse_above_twice_the_limit() {
    for request in requests() {
        let mut world = World::new(10);
        world.accept(1, "5.6.7.8:1").unwrap();
        let limits = request.protocol().limits();
        let request_from =
            |world: &mut World| world.peers.allow_request(&node(1), &request, world.now);
        for _ in 0..limits.requests {
            assert_eq!(request_from(&mut world), Allowance::Allow, "{}", limits.name);
        }
        for _ in 0..limits.requests {
            assert_eq!(request_from(&mut world), Allowance::Reject, "{}", limits.name);
        }
        assert_eq!(request_from(&mut world), Allowance::Abuse, "{}", limits.name);
        world.advance(limits.per.as_secs_f64() * 2.0);
        assert_eq!(request_from(&mut world), Allowance::Allow, "{}", limits.name);
        world.accept(2, "5.6.7.9:1").unwrap();
        assert_eq!(world.peers.allow_request(&node(2), &request, world.now), Allowance::Allow);
        assert_eq!(world.peers.allow_request(&node(3), &request, world.now), Allowance::Reject);
    }
}

// Links of a testnet are cut and healed on command.
#[test]
fn peers_on_this_machine_reconnect_at_any_rate() {
    let mut world = World::new(10);
    let [hello, headers, ..] = requests();
    let mut reconnect = |address: &str, request: &Request| {
        let id = world.accept(1, address).unwrap();
        let allowance = world.peers.allow_request(&node(1), request, world.now);
        world.peers.connection_closed(id, world.now);
        allowance
    };
    for _ in 0..100 {
        assert_eq!(reconnect("127.0.0.1:1", &hello), Allowance::Allow);
    }
    let limit = headers.protocol().limits().requests;
    for _ in 0..limit {
        assert_eq!(reconnect("127.0.0.1:1", &headers), Allowance::Allow);
    }
    assert_eq!(reconnect("127.0.0.1:1", &headers), Allowance::Reject);
    for _ in 0..hello.protocol().limits().requests {
        assert_eq!(reconnect("5.6.7.8:1", &hello), Allowance::Allow);
    }
    assert_eq!(reconnect("5.6.7.8:1", &hello), Allowance::Reject);
}

#[test]
fn allows_requests_within_the_limit() {
    for request in requests() {
        let mut world = World::new(10);
        world.accept(1, "5.6.7.8:1").unwrap();
        let limits = request.protocol().limits();
        let pause = limits.per.as_secs_f64() / f64::from(limits.requests);
        for _ in 0..limits.requests * 5 {
            assert_eq!(world.peers.allow_request(&node(1), &request, world.now), Allowance::Allow);
            world.advance(pause * 1.001);
        }
    }
}

#[test]
fn headers_and_blocks_are_limited_by_bytes() {
    let mut world = World::new(10);
    world.accept(1, "5.6.7.8:1").unwrap();
    let hash = block::Hash::from_bytes([1; 32]);
    let most = Request::Blocks { hashes: vec![hash; crate::message::MAX_BLOCKS] };
    // 50,000 small blocks at once.
    for _ in 0..50_000 / crate::message::MAX_BLOCKS {
        assert_eq!(world.peers.allow_request(&node(1), &most, world.now), Allowance::Allow);
        world.peers.record_served_bytes(&node(1), 64 * 250, world.now);
    }
    world.advance(20.0);
    for _ in 0..32 {
        assert_eq!(world.peers.allow_request(&node(1), &most, world.now), Allowance::Allow);
        world.peers.record_served_bytes(&node(1), 1 << 20, world.now);
    }
    for (request, allowance) in requests().iter().zip([
        Allowance::Allow,
        Allowance::Reject,
        Allowance::Reject,
        Allowance::Allow,
        Allowance::Allow,
        Allowance::Allow,
    ]) {
        assert_eq!(world.peers.allow_request(&node(1), request, world.now), allowance);
    }
    world.advance(0.5);
    assert_eq!(world.peers.allow_request(&node(1), &most, world.now), Allowance::Allow);
}

// N11
#[test]
fn reconnecting_renews_no_rate_limit() {
    let mut world = World::new(10);
    let request = &requests()[2];
    let connection = world.accept(1, "5.6.7.8:1").unwrap();
    world.peers.record_served_bytes(&node(1), 64 << 20, world.now);
    world.peers.connection_closed(connection, world.now);
    world.advance(1.0);
    let connection = world.accept(2, "5.6.7.8:2").unwrap();
    assert_eq!(world.peers.allow_request(&node(2), request, world.now), Allowance::Reject);
    world.accept(3, "5.6.7.9:1").unwrap();
    assert_eq!(world.peers.allow_request(&node(3), request, world.now), Allowance::Allow);
    world.peers.connection_closed(connection, world.now);
    world.advance(60.0);
    world.dials();
    assert_eq!(world.peers.rates.len(), 0, "limits that are new again are forgotten");
}

// N11
#[test]
fn rate_limits_of_many_addresses_stay_bounded() {
    let mut world = World::new(10);
    let busy = world.accept(1, "5.6.7.8:1").unwrap();
    world.peers.record_served_bytes(&node(1), 64 << 20, world.now);
    world.peers.connection_closed(busy, world.now);
    for number in 0..5_000_u64 {
        let address = format!("9.{}.{}.1:1", number / 250, number % 250);
        let connection = world.accept(10, &address).unwrap();
        world.peers.allow_request(&node(10), &requests()[1], world.now);
        world.peers.connection_closed(connection, world.now);
    }
    assert_eq!(world.peers.rates.len(), 4_096);
    world.accept(1, "5.6.7.8:1").unwrap();
    let request = &requests()[2];
    assert_eq!(world.peers.allow_request(&node(1), request, world.now), Allowance::Reject);
}

#[test]
fn ignores_announcements_above_the_limit() {
    for (relaxed, spacing, topic, burst, per_second) in [
        (false, 60, Topic::Transfers, 20_000, 4_000),
        (false, 60, Topic::Blocks, 64, 1),
        // An honest node forwards all blocks of a network with a block every second.
        (false, 1, Topic::Blocks, 64, 10),
        // Where blocks cost no work, announcements are limited nevertheless.
        (true, 1, Topic::Blocks, 10_000, 1_000),
    ] {
        let spacing = Duration::from_secs(spacing);
        let mut world = World::with(Policy { spacing, ..Policy::new(10, relaxed) });
        world.accept(1, "5.6.7.8:1").unwrap();
        let count = |world: &mut World| {
            let announce = |_: &usize| world.peers.allow_announcement(&node(1), topic, world.now);
            (0..30_000).filter(announce).count()
        };
        assert_eq!(count(&mut world), burst);
        world.advance(1.0);
        assert_eq!(count(&mut world), per_second);
        assert!(!world.peers.allow_announcement(&node(2), topic, world.now));
    }
}
