//! Limits on connections, and eviction.

use super::*;

// N21
#[test]
fn limits_inbound_connections_from_one_ip_to_three() {
    let mut world = World::new(100);
    let ids = [1, 2, 3].map(|one| world.accept(one, &format!("5.6.7.8:{one}")).unwrap());
    assert_eq!(world.accept(4, "5.6.7.8:4"), Err(Denied::PerIp));
    world.peers.connection_closed(ids[1], world.now);
    assert!(world.accept(4, "5.6.7.8:4").is_ok());
    assert_eq!(world.accept(5, "5.6.7.8:5"), Err(Denied::PerIp));
}

/// Admits a connection that never finishes its handshake.
fn stall(world: &mut World, from: &str) -> Result<Vec<Multiaddr>, Denied> {
    let id = world.connection();
    world.peers.admit(id, &at(from), world.now)
}

// N02
#[test]
fn stalled_handshakes_do_not_shut_out_others() {
    let mut world = World::new(112);
    // 24 IPs in 8 netgroups, with three connections each.
    let mut evicted = Vec::new();
    for port in 1..4 {
        for ip in 0..24 {
            evicted.extend(stall(&mut world, &format!("20.{}.{ip}.1:{port}", ip % 8)).unwrap());
        }
    }
    // Above 64, they replace each other.
    assert_eq!((evicted.len(), world.peers.slots.sizes()[1]), (8, 64));
    for number in 0..100 {
        // Of another netgroup, of one of theirs, and of one of their IPs.
        for ip in [format!("30.{number}.0.1:1"), "20.1.200.1:1".into(), "20.2.10.1:9".into()] {
            let id = world.connection();
            let evicted = world.peers.admit(id, &at(&ip), world.now).unwrap();
            assert!(evicted.len() == 1 && !evicted.contains(&at(&ip)), "{evicted:?}");
            world.establish(id, node(number), &at(&ip), Direction::Inbound).unwrap();
            world.peers.connection_closed(id, world.now);
            assert!(stall(&mut world, &format!("20.{}.3.1:77", number % 8)).is_ok());
            world.advance(2.0);
        }
    }
    // They are never reported as closed, but expire.
    world.advance(60.0);
    world.dials();
    assert_eq!(world.peers.slots.sizes()[1], 0);
}

// N02
#[test]
fn oldest_stalled_handshake_of_the_largest_holder_gives_way() {
    let mut world = World::new(112);
    for port in 1..61 {
        assert_eq!(stall(&mut world, &format!("192.168.1.7:{port}")), Ok(vec![]));
    }
    for port in 1..5 {
        assert_eq!(stall(&mut world, &format!("192.168.1.8:{port}")), Ok(vec![]));
    }
    for port in 1..4 {
        let evicted = stall(&mut world, &format!("192.168.1.9:{port}"));
        assert_eq!(evicted, Ok(vec![at(&format!("192.168.1.7:{port}"))]));
    }
    assert_eq!(stall(&mut world, "192.168.1.7:99"), Ok(vec![at("192.168.1.7:4")]));
}

#[test]
fn trusted_ips_are_exempt_from_limits_but_not_from_bans_and_rules() {
    let trusted = vec!["5.6.0.0/16".parse().unwrap()];
    let mut world = World::with(Policy { trusted, ..Policy::new(20, false) });
    for one in 0..80 {
        stall(&mut world, &format!("30.{one}.0.1:1")).unwrap();
    }
    for one in 0..10 {
        world.accept(100 + one, &format!("40.{one}.0.1:1")).unwrap();
    }
    // More than three from one IP, in place of others.
    let ids: Vec<ConnectionId> =
        (0..10).map(|one| world.accept(one, "5.6.7.8:1").unwrap()).collect();
    assert_eq!(world.accept(200, "50.1.0.1:1"), Err(Denied::Full));
    let request = Request::Addresses { max: 1 };
    let mut allow = || world.peers.allow_request(&node(7), &request, world.now);
    assert!((0..1_000).all(|_| allow() == Allowance::Allow));
    assert_eq!(world.report(7, Misbehavior::Malformed), Some(Penalty::Ban));
    world.peers.connection_closed(ids[7], world.now);
    assert_eq!(world.accept(7, "5.6.7.8:1"), Err(Denied::Banned));
    assert!(world.accept(40, "5.6.7.8:1").is_ok(), "its IP is not banned");
    let range = Subject::Range("5.6.7.0/24".parse().unwrap());
    world.peers.ban(range, 60, String::new(), world.now);
    assert_eq!(world.accept(41, "5.6.7.8:1"), Err(Denied::Banned));
}

#[test]
fn peers_that_are_not_allowed_are_neither_accepted_nor_dialed() {
    let allowed = Some(BTreeSet::from([node(1)]));
    let mut world = World::with(Policy { allowed, ..Policy::new(112, false) });
    assert!(world.accept(1, "5.6.7.8:1").is_ok());
    assert_eq!(world.accept(2, "5.6.7.9:1"), Err(Denied::NotAllowed));
    let id = world.connection();
    let result = world.establish(id, node(2), &at("20.0.0.2:1"), Direction::Outbound);
    assert_eq!(result, Err(Denied::NotAllowed));
    let nodes = [node_at(2, &["20.0.0.2:1"]), node_at(1, &["20.1.0.1:1"])];
    world.peers.add_addresses(Source::User, &nodes, world.now);
    assert!(world.failing_dials(600).iter().all(|dial| dial.address == at("20.1.0.1:1")));
}

// N21
#[test]
fn limits_apply_to_connections_that_were_not_admitted() {
    let mut world = World::new(100);
    for one in 0..4 {
        let id = world.connection();
        let result = world.establish(id, node(one), &at("5.6.7.8:1"), Direction::Inbound);
        assert_eq!(result.err(), (one == 3).then_some(Denied::PerIp));
    }
    assert_eq!(world.peers.slots.sizes()[..3], [3, 0, 3]);
}

// N21
#[test]
fn limits_inbound_connections_from_one_netgroup_to_twelve() {
    let mut world = World::new(100);
    for one in 0..12 {
        world.accept(one, &format!("5.6.{one}.1:1")).unwrap();
        world.accept(100 + one, &format!("[2a00:1:{one:x}::1]:1")).unwrap();
    }
    assert_eq!(world.accept(12, "5.6.77.1:1"), Err(Denied::PerGroup));
    assert_eq!(world.accept(112, "[2a00:1:77::1]:1"), Err(Denied::PerGroup));
    assert!(world.accept(13, "5.7.0.1:1").is_ok());
    assert!(world.accept(113, "[2a00:2::1]:1").is_ok());
}

// N22
#[test]
fn different_notations_of_an_ip_count_as_one() {
    let mut world = World::new(100);
    world.accept(1, "5.6.7.8:1").unwrap();
    world.accept(2, "[::ffff:5.6.7.8]:2").unwrap();
    world.accept(3, "[::ffff:506:708]:3").unwrap();
    assert_eq!(world.accept(4, "5.6.7.8:4"), Err(Denied::PerIp));
    for one in 0..3 {
        world.accept(10 + one, &format!("[2a00:1:2:3:{one}::]:1")).unwrap();
    }
    assert_eq!(world.accept(13, "[2a00:1:2:3:ffff::]:1"), Err(Denied::PerIp));
    assert!(world.accept(14, "[2a00:1:2:4::]:1").is_ok());
}

#[test]
fn local_addresses_and_relaxed_policies_have_no_limit_per_ip() {
    let mut world = World::new(112);
    for one in 0..48 {
        world.accept(one, "127.0.0.1:1").unwrap();
        world.accept(100 + one, "192.168.1.7:1").unwrap();
    }
    let mut world = World::relaxed();
    for one in 0..90 {
        world.accept(one, "5.6.7.8:1").unwrap();
    }
}

#[test]
fn limits_the_rate_of_connections_from_one_ip() {
    let mut world = World::new(100);
    let connect = |world: &mut World| {
        let id = world.accept(1, "5.6.7.8:1")?;
        world.peers.connection_closed(id, world.now);
        Ok(())
    };
    for _ in 0..20 {
        assert_eq!(connect(&mut world), Ok(()));
    }
    assert_eq!(connect(&mut world), Err(Denied::TooFast));
    world.advance(2.1);
    assert_eq!(connect(&mut world), Ok(()));
    assert_eq!(connect(&mut world), Err(Denied::TooFast));
}

// N25
#[test]
fn denies_connections_with_itself() {
    let mut world = World::relaxed();
    world.peers.add_addresses(Source::Mdns, &[node_at(1, &["127.0.0.1:9000"])], world.now);
    let dial = world.dials().remove(0);
    let id = world.connection();
    let result = world.establish(id, this_node(), &dial.address, Direction::Outbound);
    assert_eq!(result, Err(Denied::SelfConnection));
    let id = world.connection();
    let result = world.establish(id, this_node(), &at("127.0.0.1:5"), Direction::Inbound);
    assert_eq!(result, Err(Denied::SelfConnection));
    // The address is never dialed again.
    assert!(world.failing_dials(600).is_empty());
    world.peers.add_addresses(Source::Mdns, &[node_at(1, &["127.0.0.1:9000"])], world.now);
    assert_eq!(world.peers.address_count(), 0);
}

#[test]
fn denies_a_third_connection_with_a_peer() {
    let mut world = World::relaxed();
    world.accept(1, "127.0.0.1:1").unwrap();
    world.accept(1, "127.0.0.1:2").unwrap();
    assert_eq!(world.accept(1, "127.0.0.1:3"), Err(Denied::Duplicate));
}

/// Fills a node's inbound slots: the last eight from one netgroup, the others from different ones.
fn crowd(world: &mut World) -> u64 {
    let slots = world.peers.policy.max_inbound as u64;
    for one in 0..slots {
        let socket =
            if one < slots - 8 { format!("20.{one}.0.1:1") } else { format!("99.99.{one}.1:1") };
        world.accept(one, &socket).unwrap();
        world.advance(1.0);
    }
    slots
}

// N19
#[test]
fn evicts_a_peer_of_the_largest_netgroup() {
    let mut world = World::new(112);
    let slots = crowd(&mut world);
    let id = world.connection();
    let result = world.establish(id, node(1_000), &at("40.0.0.1:1"), Direction::Inbound).unwrap();
    let evicted = result.evict.unwrap();
    assert!((slots - 8..slots).any(|one| node(one) == evicted));
    // The evicted peer no longer counts.
    assert_eq!(world.peers.slots.inbound(), world.peers.policy.max_inbound);
}

#[test]
fn protects_peers_with_low_latency_recent_announcements_or_long_connections() {
    let mut world = World::new(112);
    let slots = crowd(&mut world);
    // The newest peers of the largest netgroup become protected.
    for (rank, one) in (slots - 6..slots - 4).enumerate() {
        world.peers.record_ping(&node(one), Duration::from_millis(rank as u64));
    }
    for one in slots - 4..slots - 2 {
        world.peers.record_block(&node(one), world.now);
    }
    for one in slots - 2..slots {
        world.peers.record_transfer(&node(one), world.now);
    }
    let mut evicted = BTreeSet::new();
    for one in 0..40 {
        let id = world.connection();
        let from = at(&format!("40.{one}.0.1:1"));
        match world.establish(id, node(1_000 + one), &from, Direction::Inbound) {
            Ok(connected) => evicted.extend(connected.evict),
            Err(denied) => assert_eq!(denied, Denied::Full),
        }
    }
    assert!(evicted.len() > 20);
    assert!((slots - 6..slots).all(|one| !evicted.contains(&node(one))));
    assert!((0..slots / 4).all(|one| !evicted.contains(&node(one))));
}

#[test]
fn denies_a_new_peer_when_all_others_are_protected() {
    let mut world = World::new(8);
    for one in 0..4 {
        world.accept(one, &format!("20.{one}.0.1:1")).unwrap();
        world.peers.record_ping(&node(one), Duration::from_millis(one));
    }
    let id = world.connection();
    assert_eq!(world.peers.admit(id, &at("30.0.0.1:1"), world.now), Err(Denied::Full));
    let result = world.establish(id, node(9), &at("30.0.0.1:1"), Direction::Inbound);
    assert_eq!(result, Err(Denied::Full));
    assert_eq!(world.peers.slots.sizes()[..3], [4, 0, 4]);
}

#[test]
fn persistent_peer_evicts_others_and_is_never_evicted() {
    let mut world = World::new(2);
    world.accept(1, "20.0.0.1:1").unwrap();
    world.peers.add_addresses(Source::User, &[node_at(2, &["21.0.0.1:1"])], world.now);
    let dial = world.dials().remove(0);
    world.connect_to(2, &dial.address);

    world.peers.add_persistent_peer(&at("22.0.0.1:1"));
    let dial = world.dials().remove(0);
    let id = world.connection();
    let retained = world.establish(id, node(3), &dial.address, Direction::Outbound).unwrap();
    assert_eq!(retained, Connected { purpose: Some(Purpose::Persistent), evict: Some(node(1)) });
    let closed: Vec<_> = world.peers.slots.of(&node(1)).map(|(id, _)| id).collect();
    world.peers.connection_closed(closed[0], world.now);

    for one in 10..20 {
        assert_eq!(world.accept(one, &format!("{one}.0.0.1:1")).err(), Some(Denied::Full));
    }
    assert!(world.peers.slots.is_connected(&node(3)));
}

/// Two nodes with two connections between them.
fn between(first_by_smaller: bool, second_by_smaller: bool) -> [World; 2] {
    let nodes = [node(1), node(2)];
    let mut worlds = nodes.map(|local| {
        let mut world = World::relaxed();
        world.peers.local = local;
        world
    });
    for by_smaller in [first_by_smaller, second_by_smaller] {
        for (side, world) in worlds.iter_mut().enumerate() {
            let outbound = (side == 0) == by_smaller;
            let direction = if outbound { Direction::Outbound } else { Direction::Inbound };
            let id = world.connection();
            world.establish(id, nodes[1 - side], &at("127.0.0.1:7"), direction).unwrap();
            world.advance(0.1);
        }
    }
    worlds
}

#[test]
fn simultaneous_dials_leave_the_same_connection_on_both_sides() {
    for (first, second) in [(true, false), (false, true), (true, true), (false, false)] {
        let mut worlds = between(first, second);
        assert!(worlds.iter().all(|world| world.peers.redundant_connections(world.now).is_empty()));
        let mut open = BTreeSet::from([1, 2]);
        for world in &mut worlds {
            world.advance(3.0);
            for id in world.peers.redundant_connections(world.now) {
                open.retain(|left| ConnectionId::new_unchecked(*left) != id);
            }
        }
        assert_eq!(open.len(), 1, "dialed by the smaller: {first}, {second}");
        if first != second {
            let smallers = if first { 1 } else { 2 };
            assert!(open.contains(&smallers));
        }
    }
}

#[test]
fn closes_the_stale_connection_of_a_peer_that_reconnects() {
    let mut world = World::relaxed();
    let dead = world.accept(1, "127.0.0.1:1").unwrap();
    world.advance(100.0);
    let alive = world.accept(1, "127.0.0.1:2").unwrap();
    world.advance(3.0);
    assert!(world.peers.redundant_connections(world.now).is_empty());
    world.advance(8.0);
    assert_eq!(world.peers.redundant_connections(world.now), [dead]);
    world.peers.connection_closed(dead, world.now);
    assert!(world.peers.redundant_connections(world.now).is_empty());
    assert!(world.peers.slots.of(&node(1)).any(|(id, _)| id == alive));
}

// N26
#[test]
fn churn_leaves_no_state_behind() {
    let mut world = World::new(112);
    let mut open = std::collections::VecDeque::new();
    for one in 0..30_000_u64 {
        let from = format!("{}.{}.0.1:1", 1 + one % 9, one % 250);
        if let Ok(id) = world.accept(one, &from) {
            world.peers.handshake_completed(node(one), world.now);
            world.peers.record_ping(&node(one), Duration::from_millis(one % 100));
            world.report(one, Misbehavior::Timeout);
            open.push_back(id);
        }
        if open.len() > 20 {
            world.peers.connection_closed(open.pop_front().unwrap(), world.now);
        }
        world.advance(0.02);
        world.dials();
    }
    for id in open {
        world.peers.connection_closed(id, world.now);
    }
    // Scores decay.
    world.advance(3_600.0);
    world.dials();
    assert_eq!(world.peers.slots.sizes(), [0; 4]);
    assert_eq!(world.peers.dials.sizes(), [0; 2]);
    assert_eq!(world.peers.scores.len(), 0);
    assert_eq!(world.peers.address_count(), 0);
}
