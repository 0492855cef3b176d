//! In one epoch there is one stream: a copy that others may have gone on without goes on in a new one, and a home that is
//! none any more is acknowledged nothing.
//!
//! **Why numbers are made equal in these tests:** two streams of one epoch are told apart as long as one is longer. They
//! are taken for one as soon as both have an entry of the same number.

use super::*;

/// Home, backup and a third node with a subscriber each, and a message that everybody got.
pub(super) fn three() -> (Sim, u64, u64, u64) {
    let mut sim = Sim::new(&[1, 2, 3]);
    let (home, backup) = (sim.home(), sim.backup());
    let follower = 6 - home - backup;
    for node in [home, backup, follower] {
        sim.join(node, false);
    }
    sim.settle();
    sim.publish(follower);
    sim.settle();
    (sim, home, backup, follower)
}

fn steps(sim: &mut Sim) {
    while sim.step(0) {}
}

fn take_over(sim: &mut Sim, dead: u64, revision: u64) {
    sim.kill(dead);
    let rest = sim.ids();
    let members = list(&rest, &[], revision);
    for node in rest {
        sim.rehome(node, &members);
    }
}

pub(super) fn stream(sim: &Sim, node: u64) -> &stream::Stream {
    match &sim.states[&node].role {
        Role::Home(home) => &home.stream,
        Role::Follower(_) | Role::Claiming(_) => panic!("not home"),
    }
}

fn texts(sim: &Sim, node: u64) -> Vec<String> {
    let page = crate::core::session::HistoryPage {
        after: 0,
        until: u64::MAX,
        limit: 1_000,
        backwards: false,
    };
    let page = stream(sim, node).history.page(page);
    let text = |one: &Arc<crate::core::message::Publication>| {
        String::from_utf8(one.draft.data.to_vec()).unwrap()
    };
    page.iter().map(text).collect()
}

fn epoch_of(sim: &Sim, at: usize) -> u64 {
    sim.acked[at].1.position.epoch
}

#[test]
fn a_gap_leaves_what_came_before_it() {
    let (mut sim, home, backup, follower) = three();
    sim.publish(home);
    sim.links.remove(&(home, backup));
    sim.publish(home);
    while sim
        .links
        .get(&(home, backup))
        .is_some_and(|one| !one.is_empty())
    {
        let message = sim
            .links
            .get_mut(&(home, backup))
            .unwrap()
            .pop_front()
            .unwrap();
        let from = NodeId(home);
        sim.feed(backup, Input::From { from, message });
    }
    let asked = &sim.links[&(backup, home)];
    assert_eq!(asked.back(), Some(&PeerMessage::SnapshotRequest));
    let epoch = epoch_of(&sim, 0);
    take_over(&mut sim, home, 2);
    sim.settle();
    assert_eq!(texts(&sim, backup), [sim.acked[0].0.clone()]);
    assert_eq!(stream(&sim, backup).position().epoch, epoch);
    sim.publish(follower);
    sim.settle();
    sim.check();
}

#[test]
fn a_handover_that_was_lost_with_its_link_is_sent_again_with_the_next() {
    let (mut sim, home, backup, follower) = three();
    sim.break_link(home, backup);
    sim.publish(home);
    sim.pass(4_500);
    assert_eq!(sim.acked.len(), 2, "the home goes on alone");
    let drained = list(&[backup, follower], &[home], 2);
    sim.rehome(home, &drained);
    sim.mend_all();
    steps(&mut sim);
    // The new home hears of it so late that the former one has let go of its copy.
    sim.pass(11_000);
    for node in [follower, backup] {
        sim.rehome(node, &drained);
    }
    sim.settle();
    let acked: Vec<String> = sim.acked.iter().map(|(text, _)| text.clone()).collect();
    assert_eq!(texts(&sim, backup), acked);
    sim.check();
}

#[test]
fn an_older_handover_that_comes_late_replaces_nothing() {
    let (mut sim, home, backup, follower) = three();
    let drained = list(&[backup, follower], &[home], 2);
    sim.rehome(home, &drained);
    let handover = sim.links[&(home, backup)].iter().rev();
    let handover = handover
        .clone()
        .find(|one| matches!(one, PeerMessage::Copy { handover: true, .. }));
    let handover = handover.cloned().unwrap();
    for node in [backup, follower] {
        sim.rehome(node, &drained);
    }
    sim.settle();
    sim.publish(follower);
    sim.settle();
    let back = list(&[1, 2, 3], &[], 3);
    for node in [backup, follower, home] {
        sim.rehome(node, &back);
    }
    sim.settle();
    sim.publish(follower);
    sim.settle();
    sim.feed(
        backup,
        Input::From {
            from: NodeId(home),
            message: handover,
        },
    );
    take_over(&mut sim, home, 4);
    sim.settle();
    let acked: Vec<String> = sim.acked.iter().map(|(text, _)| text.clone()).collect();
    assert_eq!(texts(&sim, backup), acked);
    sim.check();
}

#[test]
fn what_a_home_shows_alone_is_of_an_epoch_that_its_backup_cannot_go_on_with() {
    for before in [0, 1, 2] {
        let (mut sim, home, backup, follower) = three();
        let epoch = epoch_of(&sim, 0);
        sim.break_link(home, backup);
        for _ in 0..=before {
            sim.publish(follower);
        }
        steps(&mut sim);
        assert_eq!(sim.acked.len(), 1);
        sim.pass(4_500);
        steps(&mut sim);
        assert_eq!(sim.acked.len(), 2 + before, "the home goes on alone");
        for at in 1..sim.acked.len() {
            assert_ne!(
                epoch_of(&sim, at),
                epoch,
                "nobody takes it for the backup's"
            );
        }
        let watcher = *sim
            .conns
            .iter()
            .find(|(_, one)| one.node == follower)
            .unwrap()
            .0;
        assert_eq!(
            sim.conns[&watcher].got.len(),
            2 + before,
            "whole at the third node"
        );
        // The backup has as many of its own before anybody tells it what was seen.
        sim.kill(home);
        let members = list(&[backup, follower], &[], 2);
        sim.rehome(backup, &members);
        sim.links.clear();
        for _ in 0..=before {
            sim.publish(backup);
        }
        sim.rehome(follower, &members);
        sim.settle();
        assert_ne!(
            stream(&sim, backup).position().epoch,
            epoch,
            "who resumes is told"
        );
        let told: BTreeSet<u64> = sim.interrupted.iter().map(|(_, one)| one.node).collect();
        assert_eq!(
            told,
            BTreeSet::from([backup, follower]),
            "nobody has all of it"
        );
        assert!(!sim.conns.contains_key(&watcher));
        sim.check_delivery();
    }
}

#[test]
fn a_backup_that_was_counted_out_goes_on_in_a_new_epoch() {
    for skips in [false, true] {
        let (mut sim, home, backup, follower) = three();
        let epoch = epoch_of(&sim, 0);
        // It stands still while the third node is the backup.
        sim.paused.insert(backup);
        let without = list(&[home, follower], &[], 2);
        for node in [home, follower] {
            sim.rehome(node, &without);
        }
        sim.quiet();
        sim.publish(home);
        sim.quiet();
        assert_eq!(sim.acked.len(), 2);
        let watcher = *sim
            .conns
            .iter()
            .find(|(_, one)| one.node == follower)
            .unwrap()
            .0;
        sim.kill(home);
        sim.paused.clear();
        sim.links.clear();
        if !skips {
            sim.rehome(backup, &without);
        }
        let mut again = Members::clone(&list(&[backup, follower], &[], 4));
        for (id, start) in &mut again.live {
            *start += u64::from(id.0 == backup);
        }
        let again = Arc::new(again);
        // The third node has a copy, and is not asked: it stands still now.
        sim.paused.insert(follower);
        sim.rehome(backup, &again);
        sim.pass(1_000);
        sim.pass(4_500);
        sim.publish(backup);
        sim.paused.clear();
        sim.rehome(follower, &again);
        sim.settle();
        assert_ne!(stream(&sim, sim.home()).position().epoch, epoch);
        let told: Vec<u64> = sim.interrupted.iter().map(|(id, _)| *id).collect();
        assert!(
            told.contains(&watcher) && told.len() == 2,
            "{told:?}, skips {skips}"
        );
        sim.check_delivery();
    }
}

#[test]
fn a_home_that_the_others_have_counted_out_and_in_is_acknowledged_nothing_before_it_knows() {
    for more in 0..4 {
        let (mut sim, home, backup, follower) = three();
        sim.paused.insert(home);
        sim.uncounted.insert(home);
        let without = list(&[backup, follower], &[], 2);
        for node in [backup, follower] {
            sim.rehome(node, &without);
        }
        sim.quiet();
        for _ in 0..2 {
            sim.publish(backup);
        }
        sim.quiet();
        let mut again = Members::clone(&list(&[1, 2, 3], &[], 3));
        for (id, start) in &mut again.live {
            *start += u64::from(id.0 == home);
        }
        let again = Arc::new(again);
        for node in [backup, follower] {
            sim.rehome(node, &again);
        }
        sim.paused.clear();
        let before = sim.acked.len();
        for _ in 0..=more {
            sim.publish(home);
            steps(&mut sim);
        }
        let acked: Vec<_> = sim.acked.iter().skip(before).collect();
        assert!(acked.is_empty(), "its backup has been home: {acked:?}");
        sim.rehome(home, &again);
        sim.uncounted.clear();
        sim.settle();
        assert_eq!(sim.acked.len(), before + more + 1);
        let acked: BTreeSet<String> = sim.acked.iter().map(|(text, _)| text.clone()).collect();
        let there: BTreeSet<String> = texts(&sim, home).into_iter().collect();
        assert_eq!(there, acked);
        sim.check();
    }
}

#[test]
fn a_home_that_another_node_has_followed_is_acknowledged_nothing() {
    let (mut sim, home, backup, follower) = three();
    // The third node is home by the list of the others, and cannot ask the former one yet.
    sim.break_link(home, follower);
    let moved = list(&[follower], &[home, backup], 2);
    for node in [follower, backup] {
        sim.rehome(node, &moved);
    }
    let before = sim.acked.len();
    sim.publish(home);
    steps(&mut sim);
    assert_eq!(
        sim.acked.len(),
        before,
        "its backup knows that it is not home"
    );
    sim.mend_all();
    sim.rehome(home, &moved);
    sim.settle();
    assert_eq!(sim.acked.len(), before + 1);
    sim.check();
}

#[test]
fn a_backup_that_was_behind_asks_for_what_it_has_not_taken() {
    let (mut sim, home, backup, follower) = three();
    // Back and forth, and the backup has heard of the first half only.
    let moved = list(&[follower], &[home, backup], 2);
    let back = list(&[1, 2, 3], &[], 3);
    for node in [home, follower, backup] {
        sim.rehome(node, &moved);
    }
    sim.settle();
    for node in [follower, home] {
        sim.rehome(node, &back);
    }
    steps(&mut sim);
    let before = sim.acked.len();
    sim.publish(home);
    steps(&mut sim);
    assert_eq!(
        sim.acked.len(),
        before,
        "by its list the third node is home"
    );
    sim.rehome(backup, &back);
    steps(&mut sim);
    assert_eq!(sim.acked.len(), before + 1, "without waiting for anything");
    sim.settle();
    sim.check();
}

#[test]
fn a_new_epoch_is_answered_for_when_the_backup_has_it() {
    for held in [false, true] {
        let (mut sim, home, _, follower) = three();
        let before = sim.acked.len();
        if held {
            sim.publish(home);
        }
        let position = stream(&sim, home).log_position();
        let seen = stream::LogPosition {
            entry: position.entry + 5,
            ..position
        };
        let message = PeerMessage::Announce(protocol::Announcement {
            subscribers: 1,
            members: Vec::new(),
            position: Some(seen),
        });
        let from = NodeId(follower);
        sim.feed(home, Input::From { from, message });
        assert_ne!(stream(&sim, home).log_position().epoch, position.epoch);
        assert_eq!(sim.acked.len(), before, "the backup has not got it");
        let answers = |sim: &Sim| {
            let queue = sim.links.get(&(home, follower)).into_iter().flatten();
            queue
                .filter(|one| matches!(one, PeerMessage::CatchUp(_)))
                .count()
        };
        assert_eq!(answers(&sim), 0, "nor the new epoch");
        sim.paused.insert(follower);
        steps(&mut sim);
        assert_eq!(answers(&sim), 1);
        assert_eq!(sim.acked.len(), before + usize::from(held));
    }
}

#[test]
fn no_more_than_ten_thousand_wait_for_a_backup() {
    let (mut sim, home, backup, _) = three();
    sim.break_link(home, backup);
    (0..10_000).for_each(|_| drop(sim.publish(home)));
    assert!(sim.refused.is_empty());
    sim.publish(home);
    let full = Refusal::Unavailable("too much waits for the channel's home");
    assert_eq!(sim.refused, [full]);
}

#[test]
fn a_new_backup_is_waited_for_from_when_it_is_one() {
    let (mut sim, home, backup, follower) = three();
    for node in [backup, follower] {
        sim.break_link(home, node);
    }
    sim.publish(home);
    sim.pass(4_000);
    sim.rehome(home, &list(&[home, follower], &[], 2));
    let got = |sim: &Sim| {
        let here = sim.conns.values().find(|one| one.node == home).unwrap();
        here.got.len()
    };
    sim.pass(4_499);
    assert_eq!(got(&sim), 1, "the new one has not been silent for so long");
    sim.pass(1);
    assert_eq!(got(&sim), 2);
}
