//! What is believed of what others tell, and what is passed on.

use super::*;
use crate::message::{MAX_ADDRESSES, MAX_ADDRESSES_EACH};

fn known(world: &World) -> Vec<String> {
    world.peers.book.iter().map(|(socket, _)| socket.to_string()).collect()
}

/// Nodes at addresses all over the world, four each.
fn crowd(from: u64, count: u64) -> Vec<NodeAddresses> {
    let address = |number: u64| {
        at(&format!("{}.{}.1.1:{}", 20 + number % 60, number / 60 % 250, 1 + number % 60_000))
    };
    let node = |number: u64| NodeAddresses {
        peer: node(number),
        addresses: (0..4).map(|each| address(4 * number + each)).collect(),
        last_seen: 0,
    };
    (from..from + count).map(node).collect()
}

// N20
#[test]
fn one_teller_fills_no_more_than_its_share() {
    let mut world = World::new(112);
    world.comes(1, "5.6.7.8:1").unwrap();
    world.hears(1, &crowd(100, 25_000));
    assert_eq!(world.peers.known(), MAX_PER_SOURCE);
    // Another id of the same group is the same source.
    world.comes(2, "5.6.99.8:1").unwrap();
    world.hears(2, &crowd(50_000, 25_000));
    assert_eq!(world.peers.known(), MAX_PER_SOURCE);
    world.comes(3, "7.7.7.7:1").unwrap();
    world.hears(3, &crowd(80_000, 25_000));
    assert_eq!(world.peers.known(), 2 * MAX_PER_SOURCE);
}

// N20
#[test]
fn after_a_burst_a_teller_is_heard_once_in_ten_seconds() {
    let mut world = World::new(112);
    world.comes(1, "5.6.7.8:1").unwrap();
    // The burst goes to addresses that are known already.
    let same = told(9, &["20.0.0.1:1"]);
    world.hears(1, &vec![same; 1_000]);
    assert_eq!(known(&world), ["20.0.0.1:1"]);
    world.hears(1, &crowd(100, 1_000));
    assert_eq!(world.peers.known(), 1);
    world.wait(30.0);
    world.hears(1, &crowd(100, 1_000));
    assert_eq!(world.peers.known(), 4);
}

// N20
#[test]
fn a_hundred_thousand_addresses_from_everywhere_stay_within_the_limits() {
    let mut world = World::new(112);
    for number in 0..1_600_u64 {
        let from = format!("{}.{}.9.9:1", 100 + number % 16, number / 16);
        let Ok(id) = world.comes(number, &from) else { panic!("{from}") };
        world.hears(number, &crowd(10_000 + 16 * number, 16));
        world.peers.closed(id, world.now);
    }
    let new: Vec<_> = world.peers.book.new_ones().iter().collect();
    assert_eq!(new.len(), MAX_NEW);
    let mut groups = std::collections::BTreeMap::new();
    for (socket, _) in new {
        *groups.entry(netgroup::group(socket.ip())).or_insert(0) += 1;
    }
    assert!(groups.values().all(|count| *count <= MAX_PER_GROUP));
}

// N20, N31
#[test]
fn addresses_where_no_node_can_be_are_not_believed() {
    let nowhere = [
        "0.0.0.0:1",
        "0.1.2.3:1",
        "169.254.169.254:80",
        "224.0.0.1:1",
        "255.255.255.255:1",
        "240.0.0.1:1",
        "192.0.2.1:1",
        "198.18.0.1:1",
        "5.6.7.8:0",
        "[::]:1",
        "[ff02::1]:1",
        "[fe80::1]:1",
        "[2001:db8::1]:1",
        "[::ffff:0.0.0.0]:1",
        "[64:ff9b::1]:1",
    ];
    let mut world = World::relaxed();
    world.comes(1, "127.0.0.1:1").unwrap();
    for socket in nowhere {
        world.hears(1, &[told(9, &[socket])]);
        world.peers.heard(Source::Mdns, &[told(9, &[socket])], world.now);
        assert_eq!(world.peers.known(), 0, "{socket}");
    }
    for odd in [
        "/dns4/localhost/tcp/1",
        "/ip4/20.0.0.1/udp/1/quic-v1",
        "/ip4/20.0.0.1/tcp/1/ws",
        "/memory/1",
    ] {
        let addresses = vec![odd.parse().unwrap()];
        world.hears(1, &[NodeAddresses { peer: node(9), addresses, last_seen: 0 }]);
        assert_eq!(world.peers.known(), 0, "{odd}");
    }
}

// N20
#[test]
fn only_who_is_as_near_is_believed_about_local_networks() {
    let all = [told(9, &["127.0.0.1:1", "192.168.0.9:1", "[fd00::9]:1", "20.0.0.9:1"])];
    let cases = [("8.8.8.8:1", 1), ("192.168.0.1:1", 3), ("[fd00::1]:1", 3), ("127.0.0.1:1", 4)];
    for (from, believed) in cases {
        let mut world = World::new(112);
        world.comes(1, from).unwrap();
        world.hears(1, &all);
        assert_eq!(world.peers.known(), believed, "told by {from}");
    }
    let mut world = World::new(112);
    world.peers.heard(Source::Mdns, &all, world.now);
    assert_eq!(world.peers.known(), 4);
}

// N20
#[test]
fn this_node_and_its_addresses_are_not_heard_of() {
    let mut world = World::new(112);
    world.comes(1, "8.8.8.8:1").unwrap();
    world.hears(1, &[told(9, &["20.0.0.1:7000"])]);
    world.peers.own(&at("20.0.0.1:7000"));
    assert_eq!(world.peers.known(), 0);
    let itself = NodeAddresses { peer: this_node(), ..told(9, &["20.0.0.2:7000"]) };
    world.hears(1, &[told(9, &["20.0.0.1:7000"]), itself]);
    assert_eq!(world.peers.known(), 0);
    world.hears(1, &[told(9, &["20.0.0.1:7001"])]);
    assert_eq!(known(&world), ["20.0.0.1:7001"]);
}

#[test]
fn too_many_addresses_at_once_are_cut_off_and_old_ones_left_out() {
    let mut world = World::new(112);
    world.peers.heard(Source::User, &crowd(1, 1_000)[..15], world.now);
    assert_eq!(world.peers.known(), 15 * MAX_ADDRESSES_EACH);
    let mut old = told(5_000, &["99.0.0.1:1"]);
    old.last_seen = u64::from(START) - 31 * 24 * 3_600;
    world.peers.heard(Source::Mdns, &[old], world.now);
    assert_eq!(world.peers.known(), 15 * MAX_ADDRESSES_EACH);
    let sockets: Vec<String> = (0..9).map(|port| format!("98.0.0.1:{}", 1 + port)).collect();
    let sockets: Vec<&str> = sockets.iter().map(String::as_str).collect();
    world.peers.heard(Source::Mdns, &[told(5_001, &sockets)], world.now);
    assert_eq!(world.peers.known(), 16 * MAX_ADDRESSES_EACH);
}

#[test]
fn nobody_is_heard_who_is_not_connected() {
    let mut world = World::new(112);
    world.hears(1, &crowd(100, 10));
    assert_eq!(world.peers.known(), 0);
}

// N31
#[test]
fn a_peer_that_claims_to_listen_elsewhere_is_looked_for_where_it_came_from() {
    let mut world = World::new(112);
    world.comes(1, "5.6.7.8:50123").unwrap();
    let victims = ["9.9.9.9:7000", "127.0.0.1:7000", "10.0.0.1:7001"].map(at);
    world.peers.identified(node(1), &victims, world.now);
    assert_eq!(known(&world), ["5.6.7.8:7000", "5.6.7.8:7001"]);
    // Ports without end are not believed either.
    let many: Vec<Multiaddr> = (1..1_000).map(|port| at(&format!("5.6.7.8:{port}"))).collect();
    world.peers.identified(node(1), &many, world.now);
    assert!(world.peers.known() <= 2 + MAX_ADDRESSES_EACH);
}

#[test]
fn what_others_say_is_not_passed_on() {
    let mut world = World::new(112);
    world.comes(1, "5.6.7.8:1").unwrap();
    world.comes(2, "6.6.7.8:1").unwrap();
    world.hears(1, &crowd(100, 30));
    assert_eq!(world.peers.sample(&node(2), 64, world.now), []);
    // What a node says of itself is, and what was seen.
    world.peers.identified(node(1), &[at("5.6.7.8:7000")], world.now);
    let dial = world.calls().remove(0);
    let hinted = world.peers.book.get(netgroup::socket(&dial.address).unwrap()).unwrap().peer;
    let id = world.connection();
    world.connects(id, hinted.unwrap(), &dial.address, Direction::Outbound).unwrap();
    world.peers.greeted(hinted.unwrap(), world.now);
    let mut sample = world.peers.sample(&node(2), 64, world.now);
    sample.sort_by_key(|one| one.last_seen);
    assert_eq!(sample[0].peer, node(1));
    assert_eq!(sample[0].addresses, [at("5.6.7.8:7000")]);
    assert_eq!((sample[1].peer, sample[1].last_seen), (hinted.unwrap(), u64::from(START)));
    assert_eq!(sample.len(), 2);
    // Nobody is told of itself.
    assert_eq!(world.peers.sample(&node(1), 64, world.now).len(), 1);
}

#[test]
fn the_local_network_is_not_told_to_the_world() {
    let mut world = World::new(112);
    for (one, from) in ["127.0.0.1", "192.168.0.2", "5.6.7.8"].into_iter().enumerate() {
        world.comes(one as u64, &format!("{from}:50000")).unwrap();
        world.peers.identified(node(one as u64), &[at("0.0.0.0:7000")], world.now);
        world.peers.identified(node(one as u64), &[at("1.1.1.1:7000")], world.now);
    }
    world.comes(10, "127.0.0.1:1").unwrap();
    world.comes(11, "10.0.0.1:1").unwrap();
    world.comes(12, "8.8.8.8:1").unwrap();
    let counts = [10, 11, 12].map(|to| world.peers.sample(&node(to), 64, world.now).len());
    assert_eq!(counts, [3, 2, 1]);
}

#[test]
fn a_sample_is_random_within_its_size_and_goes_stale() {
    let mut world = World::new(112);
    for one in 0..48 {
        world.comes(one, &format!("{}.0.0.1:50000", 20 + one)).unwrap();
        world.peers.identified(node(one), &[at("1.1.1.1:7000")], world.now);
    }
    let first = world.peers.sample(&node(99), 10, world.now);
    let second = world.peers.sample(&node(99), 10, world.now);
    assert_eq!((first.len(), second.len()), (10, 10));
    assert_ne!(first, second);
    assert!(world.peers.sample(&node(99), 1_000, world.now).len() <= MAX_ADDRESSES);
    world.wait(4.0 * 24.0 * 3_600.0);
    assert_eq!(world.peers.sample(&node(99), 10, world.now), []);
}
