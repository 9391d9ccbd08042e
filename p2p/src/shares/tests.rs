use super::*;

const NOW: Duration = Duration::from_secs(1_000);

fn ip(text: &str) -> AddressGroup {
    AddressGroup::of(text.parse().unwrap())
}

/// Shares in which each group holds a number of entries, with keys from 0 on in this order.
fn held(limits: Limits, holders: &[(&str, usize)]) -> Shares<u32> {
    let mut shares = Shares::new(limits);
    let groups = holders.iter().flat_map(|(group, count)| std::iter::repeat_n(group, *count));
    for (key, group) in (0..).zip(groups) {
        assert_eq!(shares.admit(key, ip(group), 1, NOW), Ok(Vec::new()));
    }
    shares
}

#[test]
fn one_address_may_hold_everything_while_there_is_room() {
    let shares = held(Limits::new(10, 2), &[("192.0.2.1", 10)]);
    assert_eq!((shares.in_use(), shares.in_use_by(ip("192.0.2.1"))), (10, 10));
}

#[test]
fn largest_holder_gives_way_down_to_its_share_and_no_further() {
    let mut shares = held(Limits::new(10, 2), &[("192.0.2.1", 7), ("192.0.2.2", 3)]);
    assert_eq!(shares.admit(90, ip("192.0.2.1"), 1, NOW), Err(Full), "it has more than its share");
    assert_eq!(shares.admit(91, ip("192.0.2.2"), 1, NOW), Err(Full), "so has this one");
    let mut evicted = 0;
    for key in 100..150_u32 {
        let group = AddressGroup::of(Ipv4Addr::from_bits(key).into());
        evicted += shares.admit(key, group, 1, NOW).map_or(0, |evicted| evicted.len());
    }
    assert_eq!(evicted, 8);
    assert_eq!((shares.in_use_by(ip("192.0.2.1")), shares.in_use_by(ip("192.0.2.2"))), (1, 1));
    assert_eq!(shares.in_use(), 10);
}

#[test]
fn addresses_of_one_ipv6_network_share_their_holding() {
    let mut shares = Shares::new(Limits { capacity: 8, per_host: 2, per_site: 4 });
    for key in 0..8_u32 {
        let group = ip(&format!("2001:db8:1:{key:x}::1"));
        assert_eq!(shares.admit(key, group, 1, NOW), Ok(Vec::new()));
    }
    assert_eq!(shares.admit(8, ip("2001:db8:1:ffff::1"), 1, NOW), Err(Full), "of the same /48");
    assert_eq!(shares.admit(9, ip("192.0.2.1"), 1, NOW), Ok(vec![7]));
    assert_eq!(shares.admit(10, ip("2001:db8:2::1"), 1, NOW), Ok(vec![6]));
    assert_eq!(ip("2001:db8::1"), ip("2001:db8::2:0:0:1"), "of one /64");
    assert_eq!(ip("::ffff:192.0.2.1"), ip("192.0.2.1"));
    let peers =
        ["192.0.2.1", "192.0.99.1"].map(|ip| AddressGroup::in_netgroup(ip.parse().unwrap()));
    assert!(peers[0].site == peers[1].site && peers[0].host != peers[1].host);
}

// A few hosts of a site must not shut out all others of it.
#[test]
fn host_within_its_share_replaces_larger_hosts_of_its_full_site() {
    let peer = |text: &str| AddressGroup::in_netgroup(text.parse().unwrap());
    let mut shares = Shares::new(Limits { capacity: 8, per_host: 2, per_site: 4 });
    for key in 0..6 {
        let host = if key < 4 { "20.1.0.1" } else { "20.1.0.2" };
        assert_eq!(shares.admit(key, peer(host), 1, NOW), Ok(Vec::new()));
    }
    for key in [6, 7] {
        assert_eq!(shares.admit(key, peer("30.1.0.1"), 1, NOW), Ok(Vec::new()));
    }
    assert_eq!(shares.admit(10, peer("20.1.0.1"), 1, NOW), Err(Full));
    assert_eq!(shares.admit(10, peer("20.1.0.3"), 1, NOW), Ok(vec![3]));
    assert_eq!(shares.admit(11, peer("20.1.0.4"), 1, NOW), Ok(vec![2]));
    // None of another site gave way.
    assert_eq!(shares.in_use_by(peer("30.1.0.1")), 2);
}

#[test]
fn idle_entries_give_way_first_and_the_longest_idle_of_them() {
    let mut shares =
        held(Limits::new(3, 2), &[("192.0.2.1", 1), ("192.0.2.2", 1), ("192.0.2.3", 1)]);
    assert_eq!(shares.admit(10, ip("192.0.2.4"), 1, NOW), Err(Full), "all are active and equal");
    for key in [2, 0, 1] {
        shares.set_idle(&key, true);
    }
    shares.set_idle(&2, false);
    shares.set_idle(&2, true);
    assert_eq!(shares.admit(10, ip("192.0.2.4"), 1, NOW), Ok(vec![0]));
    assert_eq!(shares.admit(11, ip("192.0.2.5"), 1, NOW), Ok(vec![1]));
}

#[test]
fn small_holder_with_idle_entries_does_not_give_way_to_many_smaller_ones() {
    let mut shares = Shares::new(Limits::new(100, 64));
    let nth = |number: u32| AddressGroup::of(Ipv4Addr::from_bits(number).into());
    for key in 0..97 {
        assert_eq!(shares.admit(key, nth(key), 1, NOW), Ok(Vec::new()));
        shares.set_idle(&key, true);
    }
    let is_honest = |key: &u32| (10_000..10_003).contains(key);
    for key in 10_000..10_003 {
        assert_eq!(shares.admit(key, ip("192.0.2.1"), 1, NOW), Ok(Vec::new()));
        shares.set_idle(&key, true);
    }
    for key in 100..190 {
        let evicted = shares.admit(key, nth(key), 1, NOW).unwrap();
        assert!(!evicted.iter().any(is_honest), "those idle the longest come first");
        shares.set_idle(&key, true);
    }
    let evicted = shares.admit(10_003, ip("192.0.2.1"), 1, NOW).unwrap();
    assert!(!evicted.iter().any(is_honest), "a fourth connection replaces the others' idle ones");
}

#[test]
fn holder_above_its_share_replaces_its_own_idle_entries_only() {
    let mut shares = held(Limits::new(4, 1), &[("192.0.2.1", 3), ("192.0.2.2", 1)]);
    shares.set_idle(&3, true);
    assert_eq!(shares.admit(10, ip("192.0.2.1"), 1, NOW), Err(Full));
    shares.set_idle(&1, true);
    assert_eq!(shares.admit(10, ip("192.0.2.1"), 1, NOW), Ok(vec![1]));
}

// Q14
#[test]
fn useful_entries_give_way_last_and_only_above_the_share() {
    let mut shares = held(Limits::new(5, 1), &[("192.0.2.1", 3), ("192.0.2.2", 2)]);
    for key in 0..3 {
        shares.mark_useful(&key, NOW);
    }
    assert_eq!(shares.admit(10, ip("192.0.2.3"), 1, NOW), Ok(vec![4]), "the smaller, useless one");
    assert_eq!(shares.admit(11, ip("192.0.2.4"), 1, NOW), Ok(vec![2]));
    assert_eq!(shares.admit(12, ip("192.0.2.5"), 1, NOW), Ok(vec![1]));
    shares.set_idle(&0, true);
    assert_eq!(shares.admit(13, ip("192.0.2.6"), 1, NOW), Err(Full));
    assert_eq!(shares.admit(13, ip("192.0.2.6"), 1, NOW + USEFUL_FOR), Ok(vec![0]));
}

#[test]
fn amounts_are_freed_by_as_many_entries_as_needed_or_by_none() {
    let mut shares = Shares::new(Limits::new(100, 20));
    for (key, amount) in [(0, 30), (1, 30), (2, 30)] {
        assert_eq!(shares.admit(key, ip("192.0.2.1"), amount, NOW), Ok(Vec::new()));
    }
    assert_eq!(shares.admit(3, ip("192.0.2.2"), 10, NOW), Ok(Vec::new()));
    assert_eq!(shares.admit(4, ip("192.0.2.3"), 101, NOW), Err(Full));
    assert_eq!(shares.admit(4, ip("192.0.2.3"), 20, NOW), Ok(vec![2]));
    assert_eq!(shares.admit(5, ip("192.0.2.4"), 31, NOW), Err(Full), "more than its share");
    assert_eq!(shares.in_use(), 90);
    assert_eq!(shares.admit(5, ip("192.0.2.4"), 20, NOW), Ok(vec![1]));
}

#[test]
fn moved_entry_counts_for_its_new_group() {
    let mut shares = held(Limits::new(2, 1), &[("192.0.2.1", 2)]);
    shares.move_to(&0, ip("192.0.2.2"));
    assert_eq!((shares.in_use_by(ip("192.0.2.1")), shares.in_use_by(ip("192.0.2.2"))), (1, 1));
    assert_eq!(shares.admit(10, ip("192.0.2.3"), 1, NOW), Err(Full));
    shares.move_to(&1, ip("192.0.2.2"));
    assert_eq!(shares.admit(10, ip("192.0.2.3"), 1, NOW), Ok(vec![1]));
    shares.release(&0);
    shares.release(&1);
    assert_eq!(shares.in_use(), 1);
    assert!(shares.hosts.len() == 1 && shares.sites.len() == 1);
}
