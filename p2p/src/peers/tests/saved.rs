//! What is left after a stop, whatever happened to the file.

use super::*;
use crate::Subject;
use std::fs;

/// A node that met one node, heard of two more and banned two.
fn experienced() -> World {
    let mut world = World::new(112);
    world.peers.heard(Source::User, &[told(1, &["20.0.0.1:1"])], world.now);
    let dial = world.calls().remove(0);
    world.reaches(1, &dial.address);
    world.peers.heard(Source::Mdns, &[told(2, &["192.168.0.1:1"])], world.now);
    world.comes(4, "5.6.7.8:1").unwrap();
    world.hears(4, &[told(3, &["[2a00::1]:1"])]);
    world.peers.ban(Subject::Peer(node(5)), 7_200, "one".into(), world.now);
    world.peers.ban(Subject::Ip("9.9.9.9".parse().unwrap()), 60, "two \"\n".into(), world.now);
    world
}

#[test]
fn addresses_and_bans_outlive_a_restart_and_scores_do_not() {
    let mut world = experienced();
    world.reports(1, Misbehavior::BadRequest);
    let before: Vec<String> = world.peers.book.iter().map(|entry| format!("{entry:?}")).collect();
    assert_eq!(before.len(), 3);
    let mut bans = world.peers.bans(world.now);
    world.restart();
    let after: Vec<String> = world.peers.book.iter().map(|entry| format!("{entry:?}")).collect();
    assert_eq!(after, before);
    // The other ended meanwhile.
    bans.retain(|ban| ban.subject == Subject::Peer(node(5)));
    assert_eq!(world.peers.bans(world.now), bans);
    assert!(world.peers.score(&node(1), world.now).abs() < f64::EPSILON);
}

// N20
#[test]
fn a_source_has_its_share_only_once_however_often_the_node_starts() {
    let mut world = World::new(112);
    for run in 0..4_u64 {
        world.comes(1, "5.6.7.8:1").unwrap();
        let nodes: Vec<_> =
            (0..64).map(|one| told(9, &[&format!("{}.{run}.0.1:1", 20 + one)])).collect();
        world.hears(1, &nodes);
        assert_eq!(world.peers.known(), MAX_PER_SOURCE);
        world.restart();
    }
}

// T22
#[test]
fn a_file_that_cannot_be_read_is_set_aside_and_the_node_starts() {
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
        text.replace("\"version\":1", "\"version\":2").into_bytes(),
        text.replace("20.0.0.1:1", "20.0.0.1").into_bytes(),
        text.replace("20.0.0.1:1", "20.0.0.1:-1").into_bytes(),
        text.replace(&node(1).to_string(), "nobody").into_bytes(),
        vec![b'['; 1 << 20],
        vec![b' '; (32 << 20) + 1],
    ];
    for (case, bytes) in damaged.into_iter().enumerate() {
        let mut world = World::new(112);
        let path = world.peers.path.clone();
        fs::write(&path, &bytes).unwrap();
        let policy = Policy::new(112, false);
        world.peers = Peers::open(world.folder.path(), this_node(), policy, world.now, 1);
        assert_eq!(world.peers.known(), 0, "case {case}");
        assert!(!path.exists(), "case {case}");
        assert_eq!(fs::read(path.with_extension("json.corrupt")).unwrap(), bytes);
        world.peers.save(world.now).unwrap();
        assert!(path.exists());
    }
}

// T22
#[test]
fn what_is_no_file_is_set_aside_too() {
    let mut world = World::new(112);
    let path = world.peers.path.clone();
    fs::create_dir(&path).unwrap();
    world.peers =
        Peers::open(world.folder.path(), this_node(), Policy::new(112, false), world.now, 1);
    assert!(!path.exists());
    world.peers.save(world.now).unwrap();
    assert!(path.is_file());
}

#[test]
fn saving_cut_short_leaves_the_old_file() {
    let mut world = experienced();
    world.peers.save(world.now).unwrap();
    let path = world.peers.path.clone();
    let old = fs::read(&path).unwrap();
    for cut in [0, 1, old.len() / 2, old.len()] {
        fs::write(path.with_extension("json.new"), &old[..cut]).unwrap();
        world.peers =
            Peers::open(world.folder.path(), this_node(), Policy::new(112, false), world.now, 1);
        assert_eq!(world.peers.known(), 3);
        // What was left is no hindrance.
        world.peers.save(world.now).unwrap();
        assert!(!path.with_extension("json.new").exists());
    }
}

#[cfg(unix)]
#[test]
fn saving_does_not_follow_a_link() {
    let mut world = experienced();
    let victim = world.folder.path().join("victim");
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
fn what_is_read_is_subject_to_the_same_limits_as_what_is_heard() {
    let mut world = World::new(112);
    world.peers.heard(Source::User, &[told(1, &["20.0.0.1:1"])], world.now);
    world.peers.save(world.now).unwrap();
    let text = fs::read_to_string(&world.peers.path).unwrap();
    let one = &text[text.find("{\"address\"").unwrap()..=text.find('}').unwrap()];
    let many: Vec<String> = (0..250)
        .map(|last| one.replace("20.0.0.1:1", &format!("20.0.{last}.1:1")))
        .chain(["0.0.0.0:1", "224.0.0.1:1"].map(|nowhere| one.replace("20.0.0.1:1", nowhere)))
        .collect();
    fs::write(&world.peers.path, text.replace(one, &many.join(","))).unwrap();
    world.peers =
        Peers::open(world.folder.path(), this_node(), Policy::new(112, false), world.now, 1);
    assert_eq!(world.peers.known(), MAX_PER_GROUP);
}
