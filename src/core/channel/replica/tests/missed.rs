//! What a node missed while it could not be reached: it gets all of it, or its subscribers are told.

use super::*;

/// A home with a watcher, and a node elsewhere with another.
fn two() -> (Sim, u64, u64) {
    let mut sim = Sim::new(&[1, 2, 3]);
    let (home, backup) = (sim.home(), sim.backup());
    let follower = 6 - home - backup;
    sim.join(home, false);
    let far = sim.join(follower, false);
    sim.settle();
    sim.publish(home);
    sim.settle();
    (sim, follower, far)
}

fn cut_off(sim: &mut Sim, follower: u64) {
    for other in sim.ids().into_iter().filter(|id| *id != follower) {
        sim.break_link(follower, other);
    }
}

#[test]
fn whatever_the_history_still_has_is_caught_up_with() {
    let (mut sim, follower, far) = two();
    cut_off(&mut sim, follower);
    let home = sim.home();
    for _ in 0..1_000 {
        sim.publish(home);
        sim.step(0);
        sim.step(1);
    }
    sim.mend_all();
    sim.settle();
    sim.check();
    let got = &sim.conns[&far].got;
    assert_eq!(got.len(), 1_001);
}

#[test]
fn what_is_too_old_to_be_had_is_told_and_nothing_behind_it_is_shown() {
    for (age, bytes) in [(true, false), (false, true)] {
        let (mut sim, follower, far) = two();
        cut_off(&mut sim, follower);
        let home = sim.home();
        sim.publish(home);
        if age {
            sim.pass(limits().bounds.age_ms + 1);
        }
        if bytes {
            let small = Bounds {
                bytes: 1_000,
                ..limits().bounds
            };
            for node in sim.ids() {
                let bounds = small;
                let state = sim.states.get_mut(&node).unwrap();
                state.set_limits(Limits { bounds, ..limits() });
            }
        }
        for _ in 0..10 {
            sim.publish(home);
            while sim.step(0) {}
        }
        sim.mend_all();
        sim.settle();
        let told: Vec<u64> = sim.interrupted.iter().map(|(id, _)| *id).collect();
        assert_eq!(told, [far], "the home's own watcher missed nothing");
        assert_eq!(sim.interrupted[0].1.got.len(), 1, "only what came before");
        sim.check_delivery();
        // Whoever comes back gets what follows.
        let again = sim.join(follower, false);
        sim.settle();
        sim.publish(home);
        sim.settle();
        assert_eq!(sim.conns[&again].got.len(), 1);
    }
}

#[test]
fn what_arrives_before_the_answer_is_not_missed() {
    let (mut sim, follower, far) = two();
    cut_off(&mut sim, follower);
    let home = sim.home();
    let bounds = Bounds {
        bytes: 1_000,
        ..limits().bounds
    };
    let state = sim.states.get_mut(&home).unwrap();
    state.set_limits(Limits { bounds, ..limits() });
    // Nothing leaves the home before its backup confirms, and it does when the link is there again.
    for _ in 0..10 {
        sim.publish(home);
    }
    sim.mend_all();
    sim.settle();
    sim.check();
    assert_eq!(sim.conns[&far].got.len(), 11);
}

#[test]
fn who_had_a_stream_that_died_with_home_and_backup_is_told() {
    let (mut sim, follower, far) = two();
    for node in [sim.home(), sim.backup()] {
        sim.kill(node);
    }
    sim.rehome(follower, &list(&[follower], &[], 2));
    sim.settle();
    let told: Vec<u64> = sim.interrupted.iter().map(|(id, _)| *id).collect();
    assert_eq!(told, [far]);
}

#[test]
fn a_quiet_channel_that_changes_home_disturbs_nobody() {
    let mut sim = Sim::new(&[1, 2, 3]);
    let (home, backup) = (sim.home(), sim.backup());
    let follower = 6 - home - backup;
    sim.join(follower, false);
    sim.settle();
    sim.kill(home);
    let members = list(&[backup, follower], &[], 2);
    for node in sim.ids() {
        sim.rehome(node, &members);
    }
    sim.settle();
    sim.publish(follower);
    sim.settle();
    sim.check();
}

#[test]
fn at_the_beginning_of_another_stream_nothing_is_known() {
    let now = Now {
        mono_ms: 1,
        cluster_ms: 1_000,
    };
    let mut stream = stream::Stream::new(1);
    let beginning = stream::LogPosition { epoch: 2, entry: 0 };
    stream.decide(lifecycle_log::Decision::Occupied, now);
    assert_eq!(stream.missed(beginning), Some(Vec::new()), "nothing shown");
    stream.publish(Box::new(draft("said before")), limits().bounds, now);
    assert_eq!(stream.missed(beginning), None);
    let own = stream::LogPosition { epoch: 1, entry: 0 };
    assert_eq!(stream.missed(own).map(|all| all.len()), Some(2));
}
