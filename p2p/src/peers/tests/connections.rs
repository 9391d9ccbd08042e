//! Who may connect, who has to go.

use super::*;

// N21
#[test]
fn three_may_come_from_one_ip_whatever_their_ids() {
    let mut world = World::new(100);
    let ids = [1, 2, 3].map(|one| world.comes(one, &format!("5.6.7.8:{one}")).unwrap());
    assert_eq!(world.comes(4, "5.6.7.8:4"), Err(Denied::PerIp));
    world.peers.closed(ids[1], world.now);
    assert!(world.comes(4, "5.6.7.8:4").is_ok());
    assert_eq!(world.comes(5, "5.6.7.8:5"), Err(Denied::PerIp));
}

// N21
#[test]
fn handshakes_that_are_not_done_count_for_the_ip_too() {
    let mut world = World::new(100);
    for _ in 0..3 {
        let id = world.connection();
        assert_eq!(world.peers.admit(id, &at("5.6.7.8:1"), world.now), Ok(()));
    }
    assert_eq!(world.comes(1, "5.6.7.8:1"), Err(Denied::PerIp));
    // Nobody said what became of them, but they cannot be under way for ever.
    world.wait(60.0);
    world.calls();
    assert!(world.comes(1, "5.6.7.8:1").is_ok());
}

// N21
#[test]
fn who_did_not_ask_before_the_handshake_is_denied_after_it() {
    let mut world = World::new(100);
    for one in 0..4 {
        let id = world.connection();
        let result = world.connects(id, node(one), &at("5.6.7.8:1"), Direction::Inbound);
        assert_eq!(result.err(), (one == 3).then_some(Denied::PerIp));
    }
    assert_eq!(world.peers.slots.sizes()[..3], [3, 0, 3]);
}

// N21
#[test]
fn twelve_may_come_from_one_group() {
    let mut world = World::new(100);
    for one in 0..12 {
        world.comes(one, &format!("5.6.{one}.1:1")).unwrap();
        world.comes(100 + one, &format!("[2a00:1:{one:x}::1]:1")).unwrap();
    }
    assert_eq!(world.comes(12, "5.6.77.1:1"), Err(Denied::PerGroup));
    assert_eq!(world.comes(112, "[2a00:1:77::1]:1"), Err(Denied::PerGroup));
    assert!(world.comes(13, "5.7.0.1:1").is_ok());
    assert!(world.comes(113, "[2a00:2::1]:1").is_ok());
}

// N22
#[test]
fn another_form_of_an_ip_is_the_same_ip() {
    let mut world = World::new(100);
    world.comes(1, "5.6.7.8:1").unwrap();
    world.comes(2, "[::ffff:5.6.7.8]:2").unwrap();
    world.comes(3, "[::ffff:506:708]:3").unwrap();
    assert_eq!(world.comes(4, "5.6.7.8:4"), Err(Denied::PerIp));
    for one in 0..3 {
        world.comes(10 + one, &format!("[2a00:1:2:3:{one}::]:1")).unwrap();
    }
    assert_eq!(world.comes(13, "[2a00:1:2:3:ffff::]:1"), Err(Denied::PerIp));
    assert!(world.comes(14, "[2a00:1:2:4::]:1").is_ok());
}

#[test]
fn local_networks_and_relaxed_ones_are_not_limited_by_ip() {
    let mut world = World::new(112);
    for one in 0..48 {
        world.comes(one, "127.0.0.1:1").unwrap();
        world.comes(100 + one, "192.168.1.7:1").unwrap();
    }
    let mut world = World::relaxed();
    for one in 0..90 {
        world.comes(one, "5.6.7.8:1").unwrap();
    }
}

#[test]
fn who_comes_again_and_again_has_to_wait() {
    let mut world = World::new(100);
    let come = |world: &mut World| {
        let id = world.comes(1, "5.6.7.8:1")?;
        world.peers.closed(id, world.now);
        Ok(())
    };
    for _ in 0..20 {
        assert_eq!(come(&mut world), Ok(()));
    }
    assert_eq!(come(&mut world), Err(Denied::TooFast));
    world.wait(2.1);
    assert_eq!(come(&mut world), Ok(()));
    assert_eq!(come(&mut world), Err(Denied::TooFast));
}

// N25
#[test]
fn this_node_is_no_peer_of_itself() {
    let mut world = World::relaxed();
    world.peers.heard(Source::Mdns, &[told(1, &["127.0.0.1:9000"])], world.now);
    let dial = world.calls().remove(0);
    let id = world.connection();
    let result = world.connects(id, this_node(), &dial.address, Direction::Outbound);
    assert_eq!(result, Err(Denied::Ourselves));
    let id = world.connection();
    let result = world.connects(id, this_node(), &at("127.0.0.1:5"), Direction::Inbound);
    assert_eq!(result, Err(Denied::Ourselves));
    // The address is never called again.
    assert!(world.calls_in_vain(600).is_empty());
    world.peers.heard(Source::Mdns, &[told(1, &["127.0.0.1:9000"])], world.now);
    assert_eq!(world.peers.known(), 0);
}

#[test]
fn the_third_connection_with_a_peer_is_denied() {
    let mut world = World::relaxed();
    world.comes(1, "127.0.0.1:1").unwrap();
    world.comes(1, "127.0.0.1:2").unwrap();
    assert_eq!(world.comes(1, "127.0.0.1:3"), Err(Denied::Duplicate));
}

/// Fills a node's inbound places: one from each of many groups, eight more from the last group.
fn crowd(world: &mut World) -> u64 {
    let places = world.peers.policy.max_inbound as u64;
    for one in 0..places {
        let socket =
            if one < places - 8 { format!("20.{one}.0.1:1") } else { format!("99.99.{one}.1:1") };
        world.comes(one, &socket).unwrap();
        world.wait(1.0);
    }
    places
}

// N19
#[test]
fn a_newcomer_takes_the_place_of_one_of_the_largest_group() {
    let mut world = World::new(112);
    let places = crowd(&mut world);
    let id = world.connection();
    let result = world.connects(id, node(1_000), &at("40.0.0.1:1"), Direction::Inbound).unwrap();
    let evicted = result.evict.unwrap();
    assert!((places - 8..places).any(|one| node(one) == evicted));
    // Nobody else has to go while that one is on its way out.
    assert_eq!(world.peers.slots.inbound(), world.peers.policy.max_inbound);
}

#[test]
fn those_who_are_near_or_bring_news_or_stay_long_keep_their_places() {
    let mut world = World::new(112);
    let places = crowd(&mut world);
    // The newest of the largest group have merits now.
    for (rank, one) in (places - 6..places - 4).enumerate() {
        world.peers.note_ping(&node(one), Duration::from_millis(rank as u64));
    }
    for one in places - 4..places - 2 {
        world.peers.note_block(&node(one), world.now);
    }
    for one in places - 2..places {
        world.peers.note_transfer(&node(one), world.now);
    }
    let mut evicted = BTreeSet::new();
    for one in 0..40 {
        let id = world.connection();
        let from = at(&format!("40.{one}.0.1:1"));
        match world.connects(id, node(1_000 + one), &from, Direction::Inbound) {
            Ok(connected) => evicted.extend(connected.evict),
            Err(denied) => assert_eq!(denied, Denied::Full),
        }
    }
    assert!(evicted.len() > 20);
    assert!((places - 6..places).all(|one| !evicted.contains(&node(one))));
    assert!((0..places / 4).all(|one| !evicted.contains(&node(one))));
}

#[test]
fn a_newcomer_is_denied_when_everybody_has_merit() {
    let mut world = World::new(8);
    for one in 0..4 {
        world.comes(one, &format!("20.{one}.0.1:1")).unwrap();
        world.peers.note_ping(&node(one), Duration::from_millis(one));
    }
    let id = world.connection();
    assert_eq!(world.peers.admit(id, &at("30.0.0.1:1"), world.now), Err(Denied::Full));
    let result = world.connects(id, node(9), &at("30.0.0.1:1"), Direction::Inbound);
    assert_eq!(result, Err(Denied::Full));
    assert_eq!(world.peers.slots.sizes()[..3], [4, 0, 4]);
}

#[test]
fn a_peer_to_keep_always_finds_a_place_and_never_loses_it() {
    let mut world = World::new(2);
    world.comes(1, "20.0.0.1:1").unwrap();
    world.peers.heard(Source::User, &[told(2, &["21.0.0.1:1"])], world.now);
    let dial = world.calls().remove(0);
    world.reaches(2, &dial.address);

    world.peers.keep(&at("22.0.0.1:1"));
    let dial = world.calls().remove(0);
    let id = world.connection();
    let kept = world.connects(id, node(3), &dial.address, Direction::Outbound).unwrap();
    assert_eq!(kept, Connected { purpose: Some(Purpose::Keep), evict: Some(node(1)) });
    let gone: Vec<_> = world.peers.slots.with(&node(1)).map(|(id, _)| id).collect();
    world.peers.closed(gone[0], world.now);

    for one in 10..20 {
        assert_eq!(world.comes(one, &format!("{one}.0.0.1:1")).err(), Some(Denied::Full));
    }
    assert!(world.peers.slots.is_connected(&node(3)));
}

/// Two nodes and the connections between them, as each sees them.
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
            world.connects(id, nodes[1 - side], &at("127.0.0.1:7"), direction).unwrap();
            world.wait(0.1);
        }
    }
    worlds
}

#[test]
fn two_nodes_that_called_each_other_keep_the_same_one_connection() {
    for (first, second) in [(true, false), (false, true), (true, true), (false, false)] {
        let mut worlds = between(first, second);
        assert!(worlds.iter().all(|world| world.peers.surplus(world.now).is_empty()));
        let mut open = BTreeSet::from([1, 2]);
        for world in &mut worlds {
            world.wait(3.0);
            for id in world.peers.surplus(world.now) {
                open.retain(|left| ConnectionId::new_unchecked(*left) != id);
            }
        }
        assert_eq!(open.len(), 1, "called by the smaller: {first}, {second}");
        if first != second {
            let smallers = if first { 1 } else { 2 };
            assert!(open.contains(&smallers));
        }
    }
}

#[test]
fn the_dead_connection_of_a_node_that_came_again_is_closed() {
    let mut world = World::relaxed();
    let dead = world.comes(1, "127.0.0.1:1").unwrap();
    world.wait(100.0);
    let alive = world.comes(1, "127.0.0.1:2").unwrap();
    world.wait(3.0);
    assert!(world.peers.surplus(world.now).is_empty());
    world.wait(8.0);
    assert_eq!(world.peers.surplus(world.now), [dead]);
    world.peers.closed(dead, world.now);
    assert!(world.peers.surplus(world.now).is_empty());
    assert!(world.peers.slots.with(&node(1)).any(|(id, _)| id == alive));
}

// N26
#[test]
fn churn_leaves_nothing_behind() {
    let mut world = World::new(112);
    let mut open = std::collections::VecDeque::new();
    for one in 0..30_000_u64 {
        let from = format!("{}.{}.0.1:1", 1 + one % 9, one % 250);
        if let Ok(id) = world.comes(one, &from) {
            world.peers.greeted(node(one), world.now);
            world.peers.note_ping(&node(one), Duration::from_millis(one % 100));
            world.reports(one, Misbehavior::Timeout);
            open.push_back(id);
        }
        if open.len() > 20 {
            world.peers.closed(open.pop_front().unwrap(), world.now);
        }
        world.wait(0.02);
        world.calls();
    }
    for id in open {
        world.peers.closed(id, world.now);
    }
    // What a score is worth is forgotten after a while.
    world.wait(3_600.0);
    world.calls();
    assert_eq!(world.peers.slots.sizes(), [0; 4]);
    assert_eq!(world.peers.dials.sizes(), [0; 2]);
    assert_eq!(world.peers.scores.len(), 0);
    assert_eq!(world.peers.known(), 0);
}
