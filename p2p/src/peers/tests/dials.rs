//! Whom the node calls, and when.

use super::*;
use std::collections::BTreeMap;

fn only_call(world: &mut World) -> Dial {
    let mut calls = world.calls();
    assert_eq!(calls.len(), 1);
    calls.remove(0)
}

#[test]
fn an_address_that_fails_is_called_less_and_less() {
    let mut world = World::new(112);
    world.peers.heard(Source::User, &[told(1, &["20.0.0.1:1"])], world.now);
    let mut waits = Vec::new();
    let mut last = None;
    for _ in 0..40_000 {
        for dial in world.calls() {
            world.peers.dial_failed(&dial.address, DialFailure::Unreachable, world.now);
            let elapsed = world.now.elapsed.as_secs();
            waits.extend(last.replace(elapsed).map(|last| elapsed - last));
        }
        world.wait(1.0);
    }
    assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1_920]);
    // It never worked: nobody remembers it.
    assert_eq!(world.peers.known(), 0);
}

#[test]
fn an_address_that_worked_is_remembered_for_a_week() {
    let mut world = World::new(112);
    world.peers.heard(Source::User, &[told(1, &["20.0.0.1:1"])], world.now);
    let dial = only_call(&mut world);
    let id = world.reaches(1, &dial.address);
    world.peers.closed(id, world.now);
    let mut longest = 0;
    let mut last = world.now.elapsed.as_secs();
    while world.peers.known() == 1 {
        for dial in world.calls() {
            assert_eq!(dial.peer, Some(node(1)));
            world.peers.dial_failed(&dial.address, DialFailure::Unreachable, world.now);
            longest = longest.max(world.now.elapsed.as_secs() - last);
            last = world.now.elapsed.as_secs();
        }
        world.wait(60.0);
    }
    assert_eq!(longest, 3_600);
    assert!((7.0..7.2).contains(&(world.now.elapsed.as_secs_f64() / 86_400.0)));
}

#[test]
fn a_node_of_another_network_is_left_alone_for_ten_minutes_though_mdns_finds_it_always() {
    let mut world = World::relaxed();
    let mut calls = 0;
    for _ in 0..3_600 {
        world.peers.heard(Source::Mdns, &[told(1, &["192.168.0.2:1"])], world.now);
        for dial in world.calls() {
            world.peers.dial_failed(&dial.address, DialFailure::WrongNetwork, world.now);
            calls += 1;
        }
        world.wait(1.0);
    }
    assert_eq!(calls, 6);
}

#[test]
fn where_another_node_answers_that_one_is_called_the_next_time() {
    let mut world = World::new(112);
    world.comes(1, "5.6.7.8:1").unwrap();
    world.peers.identified(node(1), &[at("5.6.7.8:7000")], world.now);
    world.peers.closed(ConnectionId::new_unchecked(1), world.now);
    let dial = only_call(&mut world);
    assert_eq!(dial.peer, Some(node(1)));
    world.peers.dial_failed(&dial.address, DialFailure::WrongPeer(node(2)), world.now);
    world.wait(30.0);
    assert_eq!(only_call(&mut world).peer, Some(node(2)));
}

#[test]
fn a_call_that_was_not_made_is_made_soon() {
    let mut world = World::new(112);
    world.peers.heard(Source::User, &[told(1, &["20.0.0.1:1"])], world.now);
    for _ in 0..20 {
        let dial = only_call(&mut world);
        assert!(world.calls().is_empty(), "it is under way");
        world.peers.dial_failed(&dial.address, DialFailure::NotMade, world.now);
        // Telling it twice changes nothing.
        world.peers.dial_failed(&dial.address, DialFailure::Unreachable, world.now);
        world.wait(1.0);
    }
}

#[test]
fn a_peer_to_keep_is_called_at_least_every_thirty_seconds_for_ever() {
    let mut world = World::new(112);
    let address: Multiaddr = "/dns4/seed.example/tcp/7000".parse().unwrap();
    world.peers.keep(&address);
    let (mut last, mut waits) = (0, Vec::new());
    for _ in 0..4_000 {
        for dial in world.calls() {
            assert_eq!((dial.purpose, &dial.address), (Purpose::Keep, &address));
            world.peers.dial_failed(&address, DialFailure::Unreachable, world.now);
            waits.push(world.now.elapsed.as_secs() - last);
            last = world.now.elapsed.as_secs();
        }
        world.wait(1.0);
    }
    assert_eq!(waits[..8], [0, 1, 2, 4, 8, 16, 30, 30]);
    assert!(waits[8..].iter().all(|wait| *wait == 30));
    // It comes back, goes, and is called again at once.
    let dial = loop {
        world.wait(1.0);
        if let Some(dial) = world.calls().pop() {
            break dial;
        }
    };
    let id = world.reaches(1, &dial.address);
    world.wait(1_000.0);
    assert!(world.calls().is_empty());
    world.peers.closed(id, world.now);
    world.wait(1.0);
    assert_eq!(world.calls().len(), 1);
}

#[test]
fn a_peer_to_keep_that_came_itself_is_not_called() {
    let mut world = World::new(112);
    let given = at("5.6.7.8:7000").with(libp2p::multiaddr::Protocol::P2p(node(1)));
    world.peers.keep(&given);
    let id = world.comes(1, "5.6.7.8:50000").unwrap();
    assert!(world.calls().is_empty());
    world.peers.closed(id, world.now);
    let dial = only_call(&mut world);
    assert_eq!((dial.peer, dial.address), (Some(node(1)), at("5.6.7.8:7000")));
}

#[test]
fn a_dismissed_peer_is_no_longer_called() {
    let mut world = World::new(112);
    world.peers.keep(&at("5.6.7.8:7000"));
    let dial = only_call(&mut world);
    let id = world.reaches(1, &dial.address);
    world.peers.dismiss(node(1), world.now);
    world.peers.closed(id, world.now);
    assert!(world.calls_in_vain(300).is_empty());
    assert_eq!(world.comes(1, "5.6.7.8:1").err(), Some(Denied::CoolingDown));
    // Unless the user thinks better of it, and whoever makes the call.
    world.peers.keep(&at("5.6.7.8:7000"));
    let id = world.connection();
    let result = world.connects(id, node(1), &at("5.6.7.8:7000"), Direction::Outbound);
    assert_eq!(result, Ok(Connected { purpose: Some(Purpose::Keep), evict: None }));
    assert!(world.comes(1, "5.6.7.8:1").is_ok());
}

#[test]
fn calls_are_a_tenth_of_a_second_apart_and_go_to_different_groups() {
    let mut world = World::new(112);
    let nodes: Vec<_> =
        (0..30).map(|one| told(one, &[&format!("{}.0.0.{}:1", 20 + one / 2, one)])).collect();
    world.peers.heard(Source::User, &nodes, world.now);
    let mut groups = BTreeSet::new();
    for _ in 0..100 {
        let calls = world.calls();
        assert!(calls.len() <= 1);
        for dial in calls {
            assert!(groups.insert(netgroup::ip(&dial.address).and_then(netgroup::group)));
        }
        assert!(world.calls().is_empty());
        world.wait(0.1);
    }
    // No more than there are places for, as long as nobody has answered.
    assert_eq!(groups.len(), world.peers.policy.max_outbound);
}

#[test]
fn without_discovery_only_peers_to_keep_are_called() {
    let mut world = World::with(Policy { discover: false, ..Policy::new(112, false) });
    world.peers.boot(&at("9.9.9.9:9"));
    world.peers.heard(Source::Mdns, &[told(1, &["192.168.0.1:1"])], world.now);
    world.peers.keep(&at("5.6.7.8:7000"));
    let calls = world.calls_in_vain(300);
    assert!(calls.len() > 10 && calls.iter().all(|dial| dial.purpose == Purpose::Keep));
}

#[test]
fn boot_nodes_are_called_when_nobody_is_known_or_nobody_answers() {
    let mut world = World::new(112);
    world.peers.boot(&at("9.9.9.9:9"));
    assert_eq!(only_call(&mut world).purpose, Purpose::Boot);

    let mut world = World::new(112);
    world.peers.boot(&at("9.9.9.9:9"));
    let nodes: Vec<_> = (0..60).map(|one| told(one, &[&format!("{}.0.0.1:1", 20 + one)])).collect();
    world.peers.heard(Source::User, &nodes, world.now);
    let calls = world.calls_in_vain(9);
    assert!(calls.len() > 30 && calls.iter().all(|dial| dial.purpose == Purpose::Outbound));
    assert!(world.calls_in_vain(2).iter().any(|dial| dial.purpose == Purpose::Boot));

    // With enough peers they are left in peace.
    let mut world = World::new(112);
    world.peers.boot(&at("9.9.9.9:9"));
    for one in 0..4 {
        world.comes(one, &format!("{}.0.0.1:1", 20 + one)).unwrap();
        world.peers.greeted(node(one), world.now);
    }
    assert!(world.calls_in_vain(60).is_empty());
}

#[test]
fn a_node_that_does_not_discover_calls_those_to_keep_alone() {
    let mut world = World::with(Policy { discover: false, ..Policy::new(112, false) });
    world.peers.boot(&at("9.9.9.9:9"));
    world.peers.heard(Source::User, &[told(1, &["20.0.0.1:1"])], world.now);
    assert!(world.calls_in_vain(60).is_empty());
    world.peers.keep(&at("5.6.7.8:7000"));
    let calls = world.calls_in_vain(60);
    assert!(!calls.is_empty() && calls.iter().all(|dial| dial.purpose == Purpose::Keep));
}

// N31
#[test]
fn nobody_can_turn_this_node_against_an_ip() {
    let mut world = World::new(112);
    for teller in 1..6_u64 {
        world.comes(teller, &format!("{teller}.6.7.8:1")).unwrap();
        let nodes: Vec<_> = (0..60)
            .map(|one| told(100 * teller + one, &[&format!("9.9.9.9:{}", 100 * teller + one)]))
            .collect();
        world.hears(teller, &nodes);
    }
    for _ in 0..30 {
        assert!(world.calls_in_vain(60).len() <= 3);
    }
}

#[test]
fn one_new_address_is_tried_every_two_minutes_and_left_when_there_are_enough_peers() {
    let mut world = World::new(4);
    let nodes: Vec<_> = (0..60).map(|one| told(one, &[&format!("{}.0.0.1:1", 20 + one)])).collect();
    world.peers.heard(Source::User, &nodes, world.now);
    let mut reached = BTreeMap::new();
    let mut feelers = Vec::new();
    for _ in 0..6_000 {
        for dial in world.calls() {
            let number = u64::from(
                netgroup::ip(&dial.address).unwrap().to_string()[..2].parse::<u8>().unwrap(),
            );
            let id = world.connection();
            let peer = node(number);
            world.connects(id, peer, &dial.address, Direction::Outbound).unwrap();
            let greeting = world.peers.greeted(peer, world.now);
            let is_feeler = dial.purpose == Purpose::Feeler;
            assert_eq!(greeting == Greeting::Leave, is_feeler);
            if is_feeler {
                feelers.push(world.now.elapsed.as_secs());
                world.peers.closed(id, world.now);
            }
            assert!(reached.insert(number, ()).is_none(), "{number} was known");
        }
        world.wait(0.1);
    }
    assert_eq!(world.peers.slots.outbound(), 2);
    assert_eq!(feelers.len(), 4);
    assert_eq!(world.peers.book.tried_ones().iter().count(), 6);
}

// N19
#[test]
fn an_address_is_not_hidden_by_the_claim_that_a_connected_peer_is_there() {
    let mut world = World::new(112);
    world.comes(1, "5.6.7.8:1").unwrap();
    world.comes(2, "6.6.7.8:1").unwrap();
    // The liar is first; what the honest one says of the same address comes later.
    world.hears(1, &[told(1, &["20.0.0.1:7000"])]);
    world.hears(2, &[told(9, &["20.0.0.1:7000"])]);
    let calls = world.calls_in_vain(130);
    assert_eq!(calls.len(), 1);
    let expected = Dial { peer: None, address: at("20.0.0.1:7000"), purpose: Purpose::Feeler };
    assert_eq!(calls[0], expected);
}

#[test]
fn those_connected_longest_are_the_first_to_be_called_by_the_next_run() {
    let mut world = World::new(112);
    let nodes: Vec<_> = (0..9).map(|one| told(one, &[&format!("{}.0.0.1:1", 20 + one)])).collect();
    world.peers.heard(Source::User, &nodes, world.now);
    let mut first = Vec::new();
    for _ in 0..9 {
        for dial in world.calls() {
            let ip = netgroup::ip(&dial.address).unwrap().to_string();
            world.reaches(ip[..2].parse::<u64>().unwrap() - 20, &dial.address);
            first.push(dial.address);
        }
        world.wait(0.5);
    }
    assert_eq!(first.len(), 9);
    first.truncate(2);
    for _ in 0..3 {
        world.restart();
        let calls = world.calls();
        let anchors: Vec<_> = calls.iter().filter(|dial| dial.purpose == Purpose::Anchor).collect();
        assert_eq!(
            anchors.iter().map(|dial| &dial.address).collect::<Vec<_>>(),
            [&first[0], &first[1]]
        );
        assert!(anchors.iter().all(|dial| dial.peer.is_some()));
        assert_eq!(calls.len(), 2);
        // Stopped before anybody answered, it still knows them the next time.
    }
}

/// How many of many starts find the honest node, when attackers of some groups told their
/// addresses first and answer every call.
fn starts_that_find_honesty(with_anchor: bool) -> usize {
    let honest = at("77.0.0.1:7000");
    let mut found = 0;
    for start in 0..40_u64 {
        let mut world = World::new(112);
        world.peers.rng = StdRng::seed_from_u64(start);
        if with_anchor {
            let socket = netgroup::socket(&honest).unwrap();
            world.peers.dials.anchors.push((socket, node(1)));
        }
        for attacker in 0..127_u64 {
            // 127 nodes of six groups: all inbound places that they can get, and all they can tell.
            let from = format!("{}.5.0.{attacker}:1", 30 + attacker % 6);
            if world.comes(1_000 + attacker, &from).is_ok() {
                let nodes: Vec<_> = (0..64_u64)
                    .map(|one| told(1_000 + one, &[&format!("{}.5.{one}.9:1", 30 + one % 6)]))
                    .collect();
                world.hears(1_000 + attacker, &nodes);
            }
        }
        world
            .comes(1, "77.0.0.1:50000")
            .expect("there is a place for whoever comes from elsewhere");
        world.peers.identified(node(1), std::slice::from_ref(&honest), world.now);
        let id = world.peers.slots.with(&node(1)).next().unwrap().0;
        world.peers.closed(id, world.now);

        for _ in 0..120 {
            for dial in world.calls() {
                let id = world.connection();
                let number =
                    if dial.address == honest { 1 } else { 5_000 + world.connections as u64 };
                world.connects(id, node(number), &dial.address, Direction::Outbound).unwrap();
                world.peers.greeted(node(number), world.now);
            }
            world.wait(0.25);
        }
        found += usize::from(world.peers.slots.is_connected(&node(1)));
    }
    found
}

// N19
#[test]
fn attackers_of_few_groups_who_came_first_do_not_keep_the_honest_node_out() {
    assert_eq!(starts_that_find_honesty(false), 40);
    assert_eq!(starts_that_find_honesty(true), 40);
}
