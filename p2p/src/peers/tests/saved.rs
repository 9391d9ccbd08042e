//! Persistence, with intact and damaged files.

use super::*;
use std::fs;

/// A node with one connected peer, two gossiped ones and two bans.
fn experienced() -> World {
    let mut world = World::new(112);
    world.peers.add_addresses(Source::User, &[node_at(1, &["20.0.0.1:1"])], world.now);
    let dial = world.dials().remove(0);
    world.connect_to(1, &dial.address);
    world.peers.add_addresses(Source::Mdns, &[node_at(2, &["192.168.0.1:1"])], world.now);
    world.accept(4, "5.6.7.8:1").unwrap();
    world.gossip(4, &[node_at(3, &["[2a00::1]:1"])]);
    world.peers.ban(Subject::Peer(node(5)), 7_200, "one".into(), world.now);
    world.peers.ban(Subject::Ip("9.9.9.9".parse().unwrap()), 60, "two \"\n".into(), world.now);
    world
}

#[test]
fn addresses_and_bans_survive_a_restart_but_scores_do_not() {
    let mut world = experienced();
    world.report(1, Misbehavior::BadRequest);
    let before: Vec<String> = world.peers.book.iter().map(|entry| format!("{entry:?}")).collect();
    assert_eq!(before.len(), 3);
    let mut bans = world.peers.bans(world.now);
    world.restart();
    let after: Vec<String> = world.peers.book.iter().map(|entry| format!("{entry:?}")).collect();
    assert_eq!(after, before);
    // The other ban has ended.
    bans.retain(|ban| ban.subject == Subject::Peer(node(5)));
    assert_eq!(world.peers.bans(world.now), bans);
    assert!(world.peers.score(&node(1), world.now).abs() < f64::EPSILON);
}

#[test]
fn persistent_peers_that_were_added_survive_a_restart() {
    let mut world = World::new(112);
    let [configured, added, removed] = [1, 2, 3].map(|one| at(&format!("22.0.0.{one}:1")));
    world.peers.add_persistent_peer(&configured);
    assert!(world.peers.save_persistent_peer(&added) && world.peers.save_persistent_peer(&removed));
    assert!(!world.peers.save_persistent_peer(&added));
    assert_eq!(world.peers.remove_persistent_address(&removed), Some(None));
    assert_eq!(world.peers.remove_persistent_address(&removed), None);
    world.restart();
    let saved = world.peers.persistent_peers(world.now);
    assert_eq!(saved.iter().map(|peer| &peer.address).collect::<Vec<_>>(), [&added]);
    assert_eq!(world.dials()[0].purpose, Purpose::Persistent);
}

// N20
#[test]
fn limits_per_source_survive_restarts() {
    let mut world = World::new(112);
    for run in 0..4_u64 {
        world.accept(1, "5.6.7.8:1").unwrap();
        let nodes: Vec<_> =
            (0..64).map(|one| node_at(9, &[&format!("{}.{run}.0.1:1", 20 + one)])).collect();
        world.gossip(1, &nodes);
        assert_eq!(world.peers.address_count(), MAX_PER_SOURCE);
        world.restart();
    }
}

// T22
#[test]
fn renames_an_unreadable_file_and_starts_empty() {
    let whole = {
        let mut world = experienced();
        world.restart();
        fs::read(&world.peers.path).unwrap()
    };
    let text = String::from_utf8(whole.clone()).unwrap();
    let damaged = [
        Vec::new(),
        b"\0\0\0\0".to_vec(),
        b"[]".to_vec(),
        b"{}".to_vec(),
        whole[..whole.len() / 2].to_vec(),
        [&whole[..], b"x"].concat(),
        text.replace("\"version\":2", "\"version\":3").into_bytes(),
        text.replace("20.0.0.1:1", "20.0.0.1").into_bytes(),
        text.replace("20.0.0.1:1", "20.0.0.1:-1").into_bytes(),
        text.replace(&node(1).to_string(), "peer").into_bytes(),
        vec![b'['; 1 << 20],
        vec![b' '; (32 << 20) + 1],
    ];
    for (case, bytes) in damaged.into_iter().enumerate() {
        let mut world = World::new(112);
        let path = world.peers.path.clone();
        fs::write(&path, &bytes).unwrap();
        let policy = Policy::new(112, false);
        world.peers = Peers::open(world.directory.path(), this_node(), policy, world.now, 1);
        assert_eq!(world.peers.address_count(), 0, "case {case}");
        assert!(!path.exists(), "case {case}");
        assert_eq!(fs::read(path.with_extension("json.corrupt")).unwrap(), bytes);
        world.peers.save(world.now).unwrap();
        assert!(path.exists());
    }
}

// T22
#[test]
fn renames_a_directory_in_place_of_the_file() {
    let mut world = World::new(112);
    let path = world.peers.path.clone();
    fs::create_dir(&path).unwrap();
    world.peers =
        Peers::open(world.directory.path(), this_node(), Policy::new(112, false), world.now, 1);
    assert!(!path.exists());
    world.peers.save(world.now).unwrap();
    assert!(path.is_file());
}

#[test]
fn interrupted_save_leaves_the_old_file() {
    let mut world = experienced();
    world.peers.save(world.now).unwrap();
    let path = world.peers.path.clone();
    let old = fs::read(&path).unwrap();
    for cut in [0, 1, old.len() / 2, old.len()] {
        fs::write(path.with_extension("json.new"), &old[..cut]).unwrap();
        world.peers =
            Peers::open(world.directory.path(), this_node(), Policy::new(112, false), world.now, 1);
        assert_eq!(world.peers.address_count(), 3);
        // The temporary file does not prevent the next save.
        world.peers.save(world.now).unwrap();
        assert!(!path.with_extension("json.new").exists());
    }
}

#[cfg(unix)]
#[test]
fn saving_does_not_follow_a_link() {
    let mut world = experienced();
    let victim = world.directory.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    let path = world.peers.path.clone();
    for link in [path.with_extension("json.new"), path.clone()] {
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        world.peers.save(world.now).unwrap();
        assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
        fs::remove_file(&path).unwrap();
    }
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
}

#[test]
fn limits_apply_to_saved_addresses() {
    let mut world = World::new(112);
    world.peers.add_addresses(Source::User, &[node_at(1, &["20.0.0.1:1"])], world.now);
    world.peers.save(world.now).unwrap();
    let text = fs::read_to_string(&world.peers.path).unwrap();
    let one = &text[text.find("[\"20").unwrap()..=text.find(']').unwrap()];
    let many: Vec<String> = (0..250)
        .map(|last| one.replace("20.0.0.1:1", &format!("20.0.{last}.1:1")))
        .chain(["0.0.0.0:1", "224.0.0.1:1"].map(|unroutable| one.replace("20.0.0.1:1", unroutable)))
        .collect();
    fs::write(&world.peers.path, text.replace(one, &many.join(","))).unwrap();
    world.peers =
        Peers::open(world.directory.path(), this_node(), Policy::new(112, false), world.now, 1);
    assert_eq!(world.peers.address_count(), MAX_PER_GROUP);
}
