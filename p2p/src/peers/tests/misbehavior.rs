//! Scores, bans and rates.

use super::*;
use crate::message::{Protocol, Request};
use crate::{Ban, Subject};
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
fn conduct_counts_by_the_table() {
    let points = ALL.map(Misbehavior::points);
    let table = [0.5, -100.0, -100.0, -50.0, -10.0, -20.0, -100.0, -10.0, -10.0, -50.0, -5.0, -2.0];
    assert!(points.iter().zip(table).all(|(points, row)| points.total_cmp(&row).is_eq()));
    // What no working node does is the only thing that bans at once.
    for misbehavior in ALL {
        let mut world = World::new(10);
        world.comes(1, "5.6.7.8:1").unwrap();
        let banned = world.reports(1, misbehavior) == Some(Penalty::Ban);
        assert_eq!(banned, misbehavior.points() < BAN_SCORE, "{misbehavior:?}");
    }
}

#[test]
fn a_score_halves_in_ten_minutes_and_has_its_bounds() {
    let mut world = World::new(10);
    world.reports(1, Misbehavior::InvalidBlock);
    world.wait(600.0);
    assert!((world.peers.score(&node(1), world.now) + 25.0).abs() < 0.01);
    for _ in 0..10 {
        world.reports(1, Misbehavior::InvalidBlock);
    }
    assert!(world.peers.score(&node(1), world.now) >= WORST_SCORE);
    for _ in 0..100 {
        world.reports(2, Misbehavior::Delivered);
    }
    assert!(world.peers.score(&node(2), world.now) <= BEST_SCORE);
    assert!(world.peers.score(&node(3), world.now).abs() < f64::EPSILON);
}

#[test]
fn a_peer_disconnected_for_its_score_is_left_alone_for_ten_minutes() {
    let mut world = World::new(10);
    world.peers.heard(Source::User, &[told(1, &["5.6.7.8:1"])], world.now);
    let dial = world.calls().remove(0);
    let id = world.reaches(1, &dial.address);
    assert_eq!(world.reports(1, Misbehavior::BadRequest), None);
    assert_eq!(world.reports(1, Misbehavior::BadRequest), Some(Penalty::Disconnect));
    world.peers.closed(id, world.now);
    assert_eq!(world.comes(1, "5.6.7.8:1"), Err(Denied::CoolingDown));
    assert!(world.calls_in_vain(599).is_empty());
    world.wait(1.0);
    assert!(world.comes(1, "5.6.7.8:1").is_ok());
}

#[test]
fn a_ban_is_about_the_node_for_a_day_and_its_ip_for_an_hour() {
    let mut world = World::new(10);
    let id = world.comes(1, "5.6.7.8:1").unwrap();
    assert_eq!(world.reports(1, Misbehavior::BadHeader), Some(Penalty::Ban));
    world.peers.closed(id, world.now);
    assert_eq!(world.comes(1, "9.9.9.9:1"), Err(Denied::Banned));
    assert_eq!(world.comes(2, "[::ffff:5.6.7.8]:4"), Err(Denied::Banned));
    world.wait(3_600.0);
    assert!(world.comes(2, "5.6.7.8:1").is_ok());
    assert_eq!(world.comes(1, "9.9.9.9:1"), Err(Denied::Banned));
    world.wait(23.0 * 3_600.0);
    assert!(world.comes(1, "9.9.9.9:1").is_ok());
    assert!(world.peers.bans(world.now).is_empty());
}

#[test]
fn the_ips_of_local_networks_boot_nodes_and_anchors_are_not_banned_with_their_nodes() {
    let mut world = World::new(10);
    world.peers.boot(&at("9.9.9.9:9"));
    world.comes(1, "192.168.0.7:1").unwrap();
    world.comes(2, "127.0.0.1:1").unwrap();
    world.comes(3, "9.9.9.9:1").unwrap();
    for one in 1..=3 {
        assert_eq!(world.reports(one, Misbehavior::Malformed), Some(Penalty::Ban));
    }
    let subjects: Vec<_> = world.peers.bans(world.now).iter().map(|ban| ban.subject).collect();
    assert_eq!(subjects, [1, 2, 3].map(|one| Subject::Peer(node(one))));
}

#[test]
fn a_peer_to_keep_is_disconnected_but_not_banned_and_called_again_soon() {
    let mut world = World::new(10);
    world.peers.keep(&at("5.6.7.8:1"));
    let dial = world.calls().remove(0);
    let id = world.reaches(1, &dial.address);
    for _ in 0..3 {
        assert_eq!(world.reports(1, Misbehavior::BadHeader), Some(Penalty::Disconnect));
    }
    assert!(world.peers.bans(world.now).is_empty());
    world.peers.closed(id, world.now);
    world.wait(29.0);
    assert!(world.calls().is_empty());
    world.wait(1.0);
    assert_eq!(world.calls().len(), 1);
    world.reaches(1, &dial.address);
}

// N18: eight minutes of the worst line there is, and an upgrade in between.
proptest! {
    #[test]
    fn nobody_is_banned_for_what_befalls_honest_nodes(
        mishaps in prop::collection::vec((0_u8..4, 0_u16..2_000), 1..400)
    ) {
        let mut world = World::new(10);
        world.comes(1, "5.6.7.8:1").unwrap();
        let excusable: Vec<_> = ALL.into_iter().filter(|one| one.is_excusable()).collect();
        prop_assert_eq!(excusable.len(), 4);
        for (what, pause) in mishaps {
            let sanction = world.reports(1, excusable[usize::from(what)]);
            prop_assert_ne!(sanction, Some(Penalty::Ban));
            let score = world.peers.score(&node(1), world.now);
            prop_assert!(score >= DISCONNECT_SCORE);
            world.wait(f64::from(pause) / 1_000.0);
        }
        prop_assert!(world.peers.bans(world.now).is_empty());
    }
}

#[test]
fn bad_luck_does_not_excuse_bad_conduct() {
    let mut world = World::new(10);
    for _ in 0..50 {
        world.reports(1, Misbehavior::Timeout);
    }
    assert_eq!(world.reports(1, Misbehavior::InvalidBlock), Some(Penalty::Ban));
    world.reports(2, Misbehavior::InvalidBlock);
    world.reports(2, Misbehavior::Timeout);
    assert!(world.peers.score(&node(2), world.now) <= -50.0);
}

// N22
#[test]
fn a_ban_of_an_ip_cannot_be_evaded() {
    let mut world = World::new(112);
    let ban = |world: &mut World, ip: &str| {
        let subject = Subject::Ip(ip.parse().unwrap());
        world.peers.ban(subject, 600, "test".into(), world.now)
    };
    world.comes(1, "5.6.7.8:1").unwrap();
    world.comes(2, "127.0.0.1:1").unwrap();
    assert_eq!(ban(&mut world, "::ffff:5.6.7.8"), [node(1)]);
    assert_eq!(ban(&mut world, "2a00:1:2:3::7"), []);
    // The user may ban even this machine.
    assert_eq!(ban(&mut world, "127.0.0.1"), [node(2)]);
    let evasions = ["5.6.7.8:1", "5.6.7.8:65535", "[::ffff:5.6.7.8]:1", "127.0.0.1:2"];
    for evasion in evasions.into_iter().chain(["[2a00:1:2:3::7]:1", "[2a00:1:2:3:4:5:6:7]:1"]) {
        assert_eq!(world.comes(9, evasion), Err(Denied::Banned), "{evasion}");
        world.peers.heard(Source::User, &[told(9, &[evasion])], world.now);
        assert_eq!(world.peers.known(), 0);
    }
    assert!(world.comes(10, "[2a00:1:2:4::7]:1").is_ok());
    assert!(world.peers.unban(Subject::Ip("2a00:1:2:3:9::".parse().unwrap())));
    assert!(!world.peers.unban(Subject::Ip("2a00:1:2:3:9::".parse().unwrap())));
    assert!(world.comes(11, "[2a00:1:2:3::7]:1").is_ok());
}

#[test]
fn somebody_unbanned_starts_afresh() {
    let mut world = World::new(10);
    let id = world.comes(1, "127.0.0.1:1").unwrap();
    world.reports(1, Misbehavior::BadHeader);
    world.peers.closed(id, world.now);
    assert!(world.peers.unban(Subject::Peer(node(1))));
    assert!(world.comes(1, "127.0.0.1:1").is_ok());
    assert_eq!(world.reports(1, Misbehavior::Timeout), None);
}

// N23
#[test]
fn a_flood_of_bans_pushes_out_those_that_end_first() {
    let mut bans = Bans::default();
    let until = |number: u64| 1_000 + number;
    for number in 0..100_000 {
        let ban = Ban {
            subject: Subject::Peer(node(number)),
            until: until(number),
            reason: String::new(),
        };
        bans.add(ban);
    }
    let left = bans.list(0);
    assert_eq!(left.len(), MAX_BANS);
    assert!(left.iter().all(|ban| ban.until >= until(100_000 - MAX_BANS as u64)));
    bans.prune(until(100_000));
    assert!(bans.list(0).is_empty());
}

// N23
#[test]
fn a_ban_for_ever_does_not_wrap_around() {
    let mut world = World::new(10);
    let reason = "ö".repeat(1_000);
    world.peers.ban(Subject::Peer(node(1)), u64::MAX, reason, world.now);
    let ban = world.peers.bans(world.now).remove(0);
    assert_eq!(ban.until, FOR_EVER);
    assert!(ban.reason.len() <= 200);
    assert_eq!(world.comes(1, "5.6.7.8:1"), Err(Denied::Banned));
}

fn requests() -> [Request; 6] {
    let status = crate::message::Status {
        version: crate::message::VERSION,
        services: 1,
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
fn requests_are_refused_above_the_limit_and_abuse_above_twice_the_limit() {
    for request in requests() {
        let mut world = World::new(10);
        world.comes(1, "5.6.7.8:1").unwrap();
        let limits = request.protocol().limits();
        let ask = |world: &mut World| world.peers.allow(&node(1), &request, world.now);
        for _ in 0..limits.requests {
            assert_eq!(ask(&mut world), Allowance::Yes, "{}", limits.name);
        }
        for _ in 0..limits.requests {
            assert_eq!(ask(&mut world), Allowance::Refuse, "{}", limits.name);
        }
        assert_eq!(ask(&mut world), Allowance::Abuse, "{}", limits.name);
        world.wait(limits.per.as_secs_f64() * 2.0);
        assert_eq!(ask(&mut world), Allowance::Yes, "{}", limits.name);
        // Somebody else's requests are counted apart.
        world.comes(2, "5.6.7.8:1").unwrap();
        assert_eq!(world.peers.allow(&node(2), &request, world.now), Allowance::Yes);
        assert_eq!(world.peers.allow(&node(3), &request, world.now), Allowance::Refuse);
    }
}

#[test]
fn whoever_stays_within_the_limit_is_never_refused() {
    for request in requests() {
        let mut world = World::new(10);
        world.comes(1, "5.6.7.8:1").unwrap();
        let limits = request.protocol().limits();
        let pause = limits.per.as_secs_f64() / f64::from(limits.requests);
        for _ in 0..limits.requests * 5 {
            assert_eq!(world.peers.allow(&node(1), &request, world.now), Allowance::Yes);
            world.wait(pause * 1.001);
        }
    }
}

#[test]
fn blocks_are_counted_by_their_number_and_their_bytes() {
    let mut world = World::new(10);
    world.comes(1, "5.6.7.8:1").unwrap();
    let hash = block::Hash::from_bytes([1; 32]);
    let most = Request::Blocks { hashes: vec![hash; crate::message::MAX_BLOCKS] };
    let one = Request::Blocks { hashes: vec![hash] };
    for _ in 0..Protocol::Blocks.limits().requests / 64 {
        assert_eq!(world.peers.allow(&node(1), &most, world.now), Allowance::Yes);
    }
    assert_eq!(world.peers.allow(&node(1), &one, world.now), Allowance::Refuse);
    world.wait(20.0);
    for _ in 0..32 {
        assert_eq!(world.peers.allow(&node(1), &one, world.now), Allowance::Yes);
        world.peers.served(&node(1), 1 << 20, world.now);
    }
    assert_eq!(world.peers.allow(&node(1), &one, world.now), Allowance::Refuse);
    assert_eq!(world.peers.allow(&node(1), &requests()[1], world.now), Allowance::Yes);
    world.wait(0.5);
    assert_eq!(world.peers.allow(&node(1), &one, world.now), Allowance::Yes);
}

#[test]
fn announcements_above_the_limit_are_ignored() {
    for (relaxed, topic, burst, per_second) in [
        (false, Topic::Transfer, 20_000, 4_000),
        (false, Topic::Block, 10, 1),
        // Where blocks cost nothing, others have to be kept out all the same.
        (true, Topic::Block, 10_000, 1_000),
    ] {
        let mut world = World::with(Policy::new(10, relaxed));
        world.comes(1, "5.6.7.8:1").unwrap();
        let count = |world: &mut World| {
            let tell = |_: &usize| world.peers.allow_announcement(&node(1), topic, world.now);
            (0..30_000).filter(tell).count()
        };
        assert_eq!(count(&mut world), burst);
        world.wait(1.0);
        assert_eq!(count(&mut world), per_second);
        assert!(!world.peers.allow_announcement(&node(2), topic, world.now));
    }
}
