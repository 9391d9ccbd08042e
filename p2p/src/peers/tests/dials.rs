//! The dial schedule.

use super::*;
use std::collections::BTreeMap;

fn only_dial(world: &mut World) -> Dial {
    let mut dials = world.dials();
    assert_eq!(dials.len(), 1);
    dials.remove(0)
}

#[test]
fn backs_off_from_failing_addresses() {
    let mut world = World::new(112);
    world.peers.add_addresses(Source::User, &[node_at(1, &["20.0.0.1:1"])], world.now);
    let mut waits = Vec::new();
    let mut last = None;
    for _ in 0..40_000 {
        for dial in world.dials() {
            world.peers.dial_failed(&dial.address, DialFailure::Unreachable, world.now);
            let elapsed = world.now.elapsed.as_secs();
            waits.extend(last.replace(elapsed).map(|last| elapsed - last));
        }
        world.advance(1.0);
    }
    assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1_920]);
    // An address that was never connected is removed.
    assert_eq!(world.peers.address_count(), 0);
}

#[test]
fn retains_failing_tried_addresses_for_a_week() {
    let mut world = World::new(112);
    world.peers.add_addresses(Source::User, &[node_at(1, &["20.0.0.1:1"])], world.now);
    let dial = only_dial(&mut world);
    let id = world.connect_to(1, &dial.address);
    world.peers.connection_closed(id, world.now);
    let mut longest = 0;
    let mut last = world.now.elapsed.as_secs();
    while world.peers.address_count() == 1 {
        for dial in world.dials() {
            assert_eq!(dial.peer, Some(node(1)));
            world.peers.dial_failed(&dial.address, DialFailure::Unreachable, world.now);
            longest = longest.max(world.now.elapsed.as_secs() - last);
            last = world.now.elapsed.as_secs();
        }
        world.advance(60.0);
    }
    assert_eq!(longest, 3_600);
    assert!((7.0..7.2).contains(&(world.now.elapsed.as_secs_f64() / 86_400.0)));
}

#[test]
fn backs_off_from_other_networks_that_mdns_discovers_repeatedly() {
    let mut world = World::relaxed();
    let mut dials = 0;
    for _ in 0..3_600 {
        world.peers.add_addresses(Source::Mdns, &[node_at(1, &["192.168.0.2:1"])], world.now);
        for dial in world.dials() {
            world.peers.dial_failed(&dial.address, DialFailure::WrongNetwork, world.now);
            dials += 1;
        }
        world.advance(1.0);
    }
    assert_eq!(dials, 6);
}

#[test]
fn expects_the_peer_found_at_an_address_on_the_next_dial() {
    let mut world = World::new(112);
    world.accept(1, "5.6.7.8:1").unwrap();
    world.peers.add_listen_addresses(node(1), &[at("5.6.7.8:7000")], world.now);
    world.peers.connection_closed(ConnectionId::new_unchecked(1), world.now);
    let dial = only_dial(&mut world);
    assert_eq!(dial.peer, Some(node(1)));
    world.peers.dial_failed(&dial.address, DialFailure::WrongPeer(node(2)), world.now);
    world.advance(30.0);
    assert_eq!(only_dial(&mut world).peer, Some(node(2)));
}

#[test]
fn repeats_dials_that_were_not_attempted() {
    let mut world = World::new(112);
    world.peers.add_addresses(Source::User, &[node_at(1, &["20.0.0.1:1"])], world.now);
    for _ in 0..20 {
        let dial = only_dial(&mut world);
        assert!(world.dials().is_empty(), "the dial is pending");
        world.peers.dial_failed(&dial.address, DialFailure::NotAttempted, world.now);
        // A second report has no effect.
        world.peers.dial_failed(&dial.address, DialFailure::Unreachable, world.now);
        world.advance(1.0);
    }
}

#[test]
fn dials_persistent_peers_at_least_every_thirty_seconds() {
    let mut world = World::new(112);
    let address: Multiaddr = "/dns4/seed.example/tcp/7000".parse().unwrap();
    world.peers.add_persistent_peer(&address);
    let (mut last, mut waits) = (0, Vec::new());
    for _ in 0..4_000 {
        for dial in world.dials() {
            assert_eq!((dial.purpose, &dial.address), (Purpose::Persistent, &address));
            world.peers.dial_failed(&address, DialFailure::Unreachable, world.now);
            waits.push(world.now.elapsed.as_secs() - last);
            last = world.now.elapsed.as_secs();
        }
        world.advance(1.0);
    }
    assert_eq!(waits[..8], [0, 1, 2, 4, 8, 16, 30, 30]);
    assert!(waits[8..].iter().all(|wait| *wait == 30));
    // It connects, disconnects, and is dialed again at once.
    let dial = loop {
        world.advance(1.0);
        if let Some(dial) = world.dials().pop() {
            break dial;
        }
    };
    let id = world.connect_to(1, &dial.address);
    world.advance(1_000.0);
    assert!(world.dials().is_empty());
    world.peers.connection_closed(id, world.now);
    world.advance(1.0);
    assert_eq!(world.dials().len(), 1);
}

#[test]
fn does_not_dial_persistent_peers_that_connected_inbound() {
    let mut world = World::new(112);
    let configured = at("5.6.7.8:7000").with(libp2p::multiaddr::Protocol::P2p(node(1)));
    world.peers.add_persistent_peer(&configured);
    let id = world.accept(1, "5.6.7.8:50000").unwrap();
    assert!(world.dials().is_empty());
    world.peers.connection_closed(id, world.now);
    let dial = only_dial(&mut world);
    assert_eq!((dial.peer, dial.address), (Some(node(1)), at("5.6.7.8:7000")));
}

#[test]
fn does_not_dial_removed_persistent_peers() {
    let mut world = World::new(112);
    world.peers.add_persistent_peer(&at("5.6.7.8:7000"));
    let dial = only_dial(&mut world);
    let id = world.connect_to(1, &dial.address);
    world.peers.remove_persistent_peer(node(1), world.now);
    world.peers.connection_closed(id, world.now);
    assert!(world.failing_dials(300).is_empty());
    assert_eq!(world.accept(1, "5.6.7.8:1").err(), Some(Denied::CoolingDown));
    // A user may add it again, and then either side may dial.
    world.peers.add_persistent_peer(&at("5.6.7.8:7000"));
    let id = world.connection();
    let result = world.establish(id, node(1), &at("5.6.7.8:7000"), Direction::Outbound);
    assert_eq!(result, Ok(Connected { purpose: Some(Purpose::Persistent), evict: None }));
    assert!(world.accept(1, "5.6.7.8:1").is_ok());
}

#[test]
fn spaces_dials_and_chooses_different_netgroups() {
    let mut world = World::new(112);
    let nodes: Vec<_> =
        (0..30).map(|one| node_at(one, &[&format!("{}.0.0.{}:1", 20 + one / 2, one)])).collect();
    world.peers.add_addresses(Source::User, &nodes, world.now);
    let mut groups = BTreeSet::new();
    for _ in 0..100 {
        let dials = world.dials();
        assert!(dials.len() <= 1);
        for dial in dials {
            assert!(groups.insert(netgroup::ip(&dial.address).and_then(netgroup::group)));
        }
        assert!(world.dials().is_empty());
        world.advance(0.1);
    }
    // Pending dials count towards the limit.
    assert_eq!(groups.len(), world.peers.policy.max_outbound);
}

#[test]
fn dials_only_persistent_peers_without_discovery() {
    let mut world = World::with(Policy { discover: false, ..Policy::new(112, false) });
    world.peers.add_boot_node(&at("9.9.9.9:9"));
    world.peers.add_addresses(Source::Mdns, &[node_at(1, &["192.168.0.1:1"])], world.now);
    world.peers.add_persistent_peer(&at("5.6.7.8:7000"));
    let dials = world.failing_dials(300);
    assert!(dials.len() > 10 && dials.iter().all(|dial| dial.purpose == Purpose::Persistent));
}

#[test]
fn dials_boot_nodes_when_no_address_is_known_or_responds() {
    let mut world = World::new(112);
    world.peers.add_boot_node(&at("9.9.9.9:9"));
    assert_eq!(only_dial(&mut world).purpose, Purpose::Boot);

    let mut world = World::new(112);
    world.peers.add_boot_node(&at("9.9.9.9:9"));
    let nodes: Vec<_> =
        (0..60).map(|one| node_at(one, &[&format!("{}.0.0.1:1", 20 + one)])).collect();
    world.peers.add_addresses(Source::User, &nodes, world.now);
    let dials = world.failing_dials(9);
    assert!(dials.len() > 30 && dials.iter().all(|dial| dial.purpose == Purpose::Outbound));
    assert!(world.failing_dials(2).iter().any(|dial| dial.purpose == Purpose::Boot));

    // With enough peers, boot nodes are not dialed.
    let mut world = World::new(112);
    world.peers.add_boot_node(&at("9.9.9.9:9"));
    for one in 0..4 {
        world.accept(one, &format!("{}.0.0.1:1", 20 + one)).unwrap();
        world.peers.handshake_completed(node(one), world.now);
    }
    assert!(world.failing_dials(60).is_empty());
}

#[test]
fn does_not_dial_known_addresses_without_discovery() {
    let mut world = World::with(Policy { discover: false, ..Policy::new(112, false) });
    world.peers.add_boot_node(&at("9.9.9.9:9"));
    world.peers.add_addresses(Source::User, &[node_at(1, &["20.0.0.1:1"])], world.now);
    assert!(world.failing_dials(60).is_empty());
    world.peers.add_persistent_peer(&at("5.6.7.8:7000"));
    let dials = world.failing_dials(60);
    assert!(!dials.is_empty() && dials.iter().all(|dial| dial.purpose == Purpose::Persistent));
}

// N31
#[test]
fn limits_dials_to_one_ip() {
    let mut world = World::new(112);
    for source in 1..6_u64 {
        world.accept(source, &format!("{source}.6.7.8:1")).unwrap();
        let nodes: Vec<_> = (0..60)
            .map(|one| node_at(100 * source + one, &[&format!("9.9.9.9:{}", 100 * source + one)]))
            .collect();
        world.gossip(source, &nodes);
    }
    for _ in 0..30 {
        assert!(world.failing_dials(60).len() <= 3);
    }
}

#[test]
fn opens_a_feeler_connection_every_two_minutes() {
    let mut world = World::new(4);
    let nodes: Vec<_> =
        (0..60).map(|one| node_at(one, &[&format!("{}.0.0.1:1", 20 + one)])).collect();
    world.peers.add_addresses(Source::User, &nodes, world.now);
    let mut reached = BTreeMap::new();
    let mut feelers = Vec::new();
    for _ in 0..6_000 {
        for dial in world.dials() {
            let number = u64::from(
                netgroup::ip(&dial.address).unwrap().to_string()[..2].parse::<u8>().unwrap(),
            );
            let id = world.connection();
            let peer = node(number);
            world.establish(id, peer, &dial.address, Direction::Outbound).unwrap();
            let outcome = world.peers.handshake_completed(peer, world.now);
            let is_feeler = dial.purpose == Purpose::Feeler;
            assert_eq!(outcome == HandshakeOutcome::Disconnect, is_feeler);
            if is_feeler {
                feelers.push(world.now.elapsed.as_secs());
                world.peers.connection_closed(id, world.now);
            }
            assert!(reached.insert(number, ()).is_none(), "{number} was known");
        }
        world.advance(0.1);
    }
    assert_eq!(world.peers.slots.outbound(), 2);
    assert_eq!(feelers.len(), 4);
    assert_eq!(world.peers.book.tried_addresses().iter().count(), 6);
}

// N19
#[test]
fn gossiped_peer_ids_do_not_hide_an_address() {
    let mut world = World::new(112);
    world.accept(1, "5.6.7.8:1").unwrap();
    world.accept(2, "6.6.7.8:1").unwrap();
    // The false claim arrives before the honest one.
    world.gossip(1, &[node_at(1, &["20.0.0.1:7000"])]);
    world.gossip(2, &[node_at(9, &["20.0.0.1:7000"])]);
    let dials = world.failing_dials(130);
    assert_eq!(dials.len(), 1);
    let expected = Dial { peer: None, address: at("20.0.0.1:7000"), purpose: Purpose::Feeler };
    assert_eq!(dials[0], expected);
}

#[test]
fn dials_anchors_first_after_a_restart() {
    let mut world = World::new(112);
    let nodes: Vec<_> =
        (0..9).map(|one| node_at(one, &[&format!("{}.0.0.1:1", 20 + one)])).collect();
    world.peers.add_addresses(Source::User, &nodes, world.now);
    let mut first = Vec::new();
    for _ in 0..9 {
        for dial in world.dials() {
            let ip = netgroup::ip(&dial.address).unwrap().to_string();
            world.connect_to(ip[..2].parse::<u64>().unwrap() - 20, &dial.address);
            first.push(dial.address);
        }
        world.advance(0.5);
    }
    assert_eq!(first.len(), 9);
    first.truncate(2);
    for _ in 0..3 {
        world.restart();
        let dials = world.dials();
        let anchors: Vec<_> = dials.iter().filter(|dial| dial.purpose == Purpose::Anchor).collect();
        assert_eq!(
            anchors.iter().map(|dial| &dial.address).collect::<Vec<_>>(),
            [&first[0], &first[1]]
        );
        assert!(anchors.iter().all(|dial| dial.peer.is_some()));
        assert_eq!(dials.len(), 2);
        // Anchors remain if the node stops before they respond.
    }
}

/// The number of starts, out of 40, in which a node connects to the honest one although attackers
/// from six netgroups have advertised their addresses first and accept every dial.
fn starts_that_connect_to_the_honest_node(with_anchor: bool) -> usize {
    let honest = at("77.0.0.1:7000");
    let mut found = 0;
    for start in 0..40_u64 {
        let mut world = World::new(112);
        world.peers.rng = StdRng::seed_from_u64(start);
        if with_anchor {
            let socket = netgroup::socket(&honest).unwrap();
            world.peers.anchors.to_dial.push(store::Anchor { address: socket, peer: node(1) });
        }
        for attacker in 0..127_u64 {
            // 127 nodes of six netgroups use all inbound slots and addresses that the limits allow.
            let from = format!("{}.5.0.{attacker}:1", 30 + attacker % 6);
            if world.accept(1_000 + attacker, &from).is_ok() {
                let nodes: Vec<_> = (0..64_u64)
                    .map(|one| node_at(1_000 + one, &[&format!("{}.5.{one}.9:1", 30 + one % 6)]))
                    .collect();
                world.gossip(1_000 + attacker, &nodes);
            }
        }
        world.accept(1, "77.0.0.1:50000").expect("another netgroup has a slot");
        world.peers.add_listen_addresses(node(1), std::slice::from_ref(&honest), world.now);
        let id = world.peers.slots.of(&node(1)).next().unwrap().0;
        world.peers.connection_closed(id, world.now);

        for _ in 0..120 {
            for dial in world.dials() {
                let id = world.connection();
                let number =
                    if dial.address == honest { 1 } else { 5_000 + world.connections as u64 };
                world.establish(id, node(number), &dial.address, Direction::Outbound).unwrap();
                world.peers.handshake_completed(node(number), world.now);
            }
            world.advance(0.25);
        }
        found += usize::from(world.peers.slots.is_connected(&node(1)));
    }
    found
}

// N19
#[test]
fn attackers_of_few_netgroups_do_not_isolate_a_node() {
    assert_eq!(starts_that_connect_to_the_honest_node(false), 40);
    assert_eq!(starts_that_connect_to_the_honest_node(true), 40);
}

// A node of an incompatible version was dialed again at once, and again.
#[test]
fn address_of_an_incompatible_node_rests_for_an_hour() {
    let mut world = World::new(112);
    let persistent = at("22.0.0.1:1");
    world.peers.add_persistent_peer(&persistent);
    world.peers.add_addresses(Source::User, &[node_at(2, &["20.0.0.1:1"])], world.now);
    for (number, address) in [(1, persistent), (2, at("20.0.0.1:1"))] {
        let id = world.connection();
        world.establish(id, node(number), &address, Direction::Outbound).unwrap();
        world.peers.incompatible(node(number), world.now);
        world.peers.connection_closed(id, world.now);
    }
    assert_eq!(world.failing_dials(3_599), []);
    world.advance(1.0);
    assert_eq!(world.failing_dials(2).len(), 2);
    assert!(world.accept(1, "22.0.0.1:7").is_ok(), "it may connect");
    assert_eq!(world.peers.bans(world.now), []);
}

#[test]
fn each_cause_of_failed_dials_of_a_persistent_peer_is_new_once() {
    let mut world = World::new(112);
    let address = at("22.0.0.1:1");
    world.peers.add_persistent_peer(&address);
    let mut problem = |cause| world.peers.dial_problem(&address, cause);
    assert!(problem("refused") && !problem("refused"));
    assert!(problem("timed out") && !problem("refused"));
    assert!(!world.peers.dial_problem(&at("22.0.0.2:1"), "refused"), "not persistent");
    let listed = world.peers.persistent_peers(world.now);
    assert_eq!((&listed[0].address, listed[0].problem.as_deref()), (&address, Some("refused")));
    let id = world.connect_to(1, &address);
    let listed = world.peers.persistent_peers(world.now).remove(0);
    assert_eq!((listed.is_connected, listed.problem, listed.id), (true, None, Some(node(1))));
    world.peers.connection_closed(id, world.now);
    assert!(world.peers.dial_problem(&address, "refused"), "again after a connection");
}

#[test]
fn peer_dialed_by_name_is_known_by_its_socket() {
    let mut world = World::new(112);
    let name: Multiaddr = "/dns/node.example.org/tcp/1".parse().unwrap();
    let socket = "22.0.0.1:1".parse().unwrap();
    world.peers.add_persistent_peer(&name);
    world.peers.name_resolved(&name, socket);
    let id = world.connect_to(1, &name);
    assert_eq!(world.peers.book.get(socket).unwrap().peer, Some(node(1)));
    let ip = Subject::Ip(socket.ip());
    assert_eq!(world.peers.ban(ip, 60, String::new(), world.now), [node(1)]);
    world.peers.connection_closed(id, world.now);
    assert_eq!(world.failing_dials(50), [], "its IP is banned");
}
