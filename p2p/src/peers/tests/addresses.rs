//! Address gossip: limits on received addresses, and the choice of sent ones.

use super::*;
use crate::message::MAX_ADDRESSES_EACH;

fn known(world: &World) -> Vec<String> {
    world.peers.book.iter().map(|(socket, _)| socket.to_string()).collect()
}

/// Nodes with four addresses each, in many netgroups.
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
fn limits_addresses_from_one_source() {
    let mut world = World::new(112);
    world.accept(1, "5.6.7.8:1").unwrap();
    world.gossip(1, &crowd(100, 25_000));
    assert_eq!(world.peers.address_count(), MAX_PER_SOURCE);
    // Another peer of the same netgroup is the same source.
    world.accept(2, "5.6.99.8:1").unwrap();
    world.gossip(2, &crowd(50_000, 25_000));
    assert_eq!(world.peers.address_count(), MAX_PER_SOURCE);
    world.accept(3, "7.7.7.7:1").unwrap();
    world.gossip(3, &crowd(80_000, 25_000));
    assert_eq!(world.peers.address_count(), 2 * MAX_PER_SOURCE);
}

// N20
#[test]
fn accepts_one_address_in_ten_seconds_after_a_burst() {
    let mut world = World::new(112);
    world.accept(1, "5.6.7.8:1").unwrap();
    // The burst is spent on a known address.
    let same = node_at(9, &["20.0.0.1:1"]);
    world.gossip(1, &vec![same; 1_000]);
    assert_eq!(known(&world), ["20.0.0.1:1"]);
    world.gossip(1, &crowd(100, 1_000));
    assert_eq!(world.peers.address_count(), 1);
    world.advance(30.0);
    world.gossip(1, &crowd(100, 1_000));
    assert_eq!(world.peers.address_count(), 4);
}

// N20
#[test]
fn flood_of_addresses_stays_within_the_limits() {
    let mut world = World::new(112);
    for number in 0..1_600_u64 {
        let from = format!("{}.{}.9.9:1", 100 + number % 16, number / 16);
        let Ok(id) = world.accept(number, &from) else { panic!("{from}") };
        world.gossip(number, &crowd(10_000 + 16 * number, 16));
        world.peers.connection_closed(id, world.now);
    }
    let new: Vec<_> = world.peers.book.new_addresses().iter().collect();
    assert_eq!(new.len(), MAX_NEW);
    let mut groups = std::collections::BTreeMap::new();
    for (socket, _) in new {
        *groups.entry(netgroup::group(socket.ip())).or_insert(0) += 1;
    }
    assert!(groups.values().all(|count| *count <= MAX_PER_GROUP));
}

// N20, N31
#[test]
fn rejects_unroutable_addresses() {
    let unroutable = [
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
    world.accept(1, "127.0.0.1:1").unwrap();
    for socket in unroutable {
        world.gossip(1, &[node_at(9, &[socket])]);
        world.peers.add_addresses(Source::Mdns, &[node_at(9, &[socket])], world.now);
        assert_eq!(world.peers.address_count(), 0, "{socket}");
    }
    for odd in [
        "/dns4/localhost/tcp/1",
        "/ip4/20.0.0.1/udp/1/quic-v1",
        "/ip4/20.0.0.1/tcp/1/ws",
        "/memory/1",
    ] {
        let addresses = vec![odd.parse().unwrap()];
        world.gossip(1, &[NodeAddresses { peer: node(9), addresses, last_seen: 0 }]);
        assert_eq!(world.peers.address_count(), 0, "{odd}");
    }
}

// N20
#[test]
fn accepts_local_addresses_only_from_the_local_network() {
    let all = [node_at(9, &["127.0.0.1:1", "192.168.0.9:1", "[fd00::9]:1", "20.0.0.9:1"])];
    let cases = [("8.8.8.8:1", 1), ("192.168.0.1:1", 3), ("[fd00::1]:1", 3), ("127.0.0.1:1", 4)];
    for (from, accepted) in cases {
        let mut world = World::new(112);
        world.accept(1, from).unwrap();
        world.gossip(1, &all);
        assert_eq!(world.peers.address_count(), accepted, "advertised by {from}");
    }
    let mut world = World::new(112);
    world.peers.add_addresses(Source::Mdns, &all, world.now);
    assert_eq!(world.peers.address_count(), 4);
}

// N20
#[test]
fn ignores_its_own_id_and_addresses() {
    let mut world = World::new(112);
    world.accept(1, "8.8.8.8:1").unwrap();
    world.gossip(1, &[node_at(9, &["20.0.0.1:7000"])]);
    world.peers.add_own_address(&at("20.0.0.1:7000"));
    assert_eq!(world.peers.address_count(), 0);
    let itself = NodeAddresses { peer: this_node(), ..node_at(9, &["20.0.0.2:7000"]) };
    world.gossip(1, &[node_at(9, &["20.0.0.1:7000"]), itself]);
    assert_eq!(world.peers.address_count(), 0);
    world.gossip(1, &[node_at(9, &["20.0.0.1:7001"])]);
    assert_eq!(known(&world), ["20.0.0.1:7001"]);
}

#[test]
fn truncates_long_messages_and_ignores_old_addresses() {
    let mut world = World::new(112);
    world.peers.add_addresses(Source::User, &crowd(1, 1_000)[..15], world.now);
    assert_eq!(world.peers.address_count(), 15 * MAX_ADDRESSES_EACH);
    let mut old = node_at(5_000, &["99.0.0.1:1"]);
    old.last_seen = u64::from(START) - 31 * 24 * 3_600;
    world.peers.add_addresses(Source::Mdns, &[old], world.now);
    assert_eq!(world.peers.address_count(), 15 * MAX_ADDRESSES_EACH);
    let sockets: Vec<String> = (0..9).map(|port| format!("98.0.0.1:{}", 1 + port)).collect();
    let sockets: Vec<&str> = sockets.iter().map(String::as_str).collect();
    world.peers.add_addresses(Source::Mdns, &[node_at(5_001, &sockets)], world.now);
    assert_eq!(world.peers.address_count(), 16 * MAX_ADDRESSES_EACH);
}

#[test]
fn ignores_addresses_from_peers_that_are_not_connected() {
    let mut world = World::new(112);
    world.gossip(1, &crowd(100, 10));
    assert_eq!(world.peers.address_count(), 0);
}

// N31
#[test]
fn combines_advertised_ports_with_the_ip_of_the_connection() {
    let mut world = World::new(112);
    world.accept(1, "5.6.7.8:50123").unwrap();
    let others = ["9.9.9.9:7000", "127.0.0.1:7000", "10.0.0.1:7001"].map(at);
    world.peers.add_listen_addresses(node(1), &others, world.now);
    assert_eq!(known(&world), ["5.6.7.8:7000", "5.6.7.8:7001"]);
    // The number of ports is limited.
    let many: Vec<Multiaddr> = (1..1_000).map(|port| at(&format!("5.6.7.8:{port}"))).collect();
    world.peers.add_listen_addresses(node(1), &many, world.now);
    assert!(world.peers.address_count() <= 2 + MAX_ADDRESSES_EACH);
}

#[test]
fn gossips_only_verified_addresses() {
    let mut world = World::new(112);
    world.accept(1, "5.6.7.8:1").unwrap();
    world.accept(2, "6.6.7.8:1").unwrap();
    world.gossip(1, &crowd(100, 30));
    assert_eq!(world.peers.sample_addresses(&node(2), 64, world.now), []);
    // Addresses that a node advertises of itself, and connected ones, are gossiped.
    world.peers.add_listen_addresses(node(1), &[at("5.6.7.8:7000")], world.now);
    let dial = world.dials().remove(0);
    let hinted = world.peers.book.get(netgroup::socket(&dial.address).unwrap()).unwrap().peer;
    let id = world.connection();
    world.establish(id, hinted.unwrap(), &dial.address, Direction::Outbound).unwrap();
    world.peers.handshake_completed(hinted.unwrap(), world.now);
    let mut sample = world.peers.sample_addresses(&node(2), 64, world.now);
    sample.sort_by_key(|one| one.last_seen);
    assert_eq!(sample[0].peer, node(1));
    assert_eq!(sample[0].addresses, [at("5.6.7.8:7000")]);
    assert_eq!((sample[1].peer, sample[1].last_seen), (hinted.unwrap(), u64::from(START)));
    assert_eq!(sample.len(), 2);
    // A peer does not receive its own address.
    assert_eq!(world.peers.sample_addresses(&node(1), 64, world.now).len(), 1);
}

#[test]
fn does_not_gossip_local_addresses_to_public_peers() {
    let mut world = World::new(112);
    for (one, from) in ["127.0.0.1", "192.168.0.2", "5.6.7.8"].into_iter().enumerate() {
        world.accept(one as u64, &format!("{from}:50000")).unwrap();
        world.peers.add_listen_addresses(node(one as u64), &[at("0.0.0.0:7000")], world.now);
        world.peers.add_listen_addresses(node(one as u64), &[at("1.1.1.1:7000")], world.now);
    }
    world.accept(10, "127.0.0.1:1").unwrap();
    world.accept(11, "10.0.0.1:1").unwrap();
    world.accept(12, "8.8.8.8:1").unwrap();
    let counts =
        [10, 11, 12].map(|to| world.peers.sample_addresses(&node(to), 64, world.now).len());
    assert_eq!(counts, [3, 2, 1]);
}

#[test]
fn samples_are_random_limited_and_exclude_stale_addresses() {
    let mut world = World::new(112);
    for one in 0..48 {
        world.accept(one, &format!("{}.0.0.1:50000", 20 + one)).unwrap();
        world.peers.add_listen_addresses(node(one), &[at("1.1.1.1:7000")], world.now);
    }
    let first = world.peers.sample_addresses(&node(99), 10, world.now);
    let second = world.peers.sample_addresses(&node(99), 10, world.now);
    assert_eq!((first.len(), second.len()), (10, 10));
    assert_ne!(first, second);
    assert!(world.peers.sample_addresses(&node(99), 1_000, world.now).len() <= MAX_ADDRESSES);
    world.advance(4.0 * 24.0 * 3_600.0);
    assert_eq!(world.peers.sample_addresses(&node(99), 10, world.now), []);
}
