//! One story each: what a home, its backup and its successor owe.

use super::*;

#[test]
fn the_backup_goes_on_in_the_same_epoch_and_nobody_enters_twice() {
    let mut sim = Sim::new(&[1, 2, 3]);
    let home = sim.home();
    let place = sim.lists[&home].place(&sim.key).unwrap();
    let backup = place.backup.unwrap().0;
    let other = 6 - home - backup;
    let watcher = sim.join(other, false);
    let ana = sim.join(other, true);
    sim.settle();
    let doomed = sim.join(home, true);
    let text = sim.publish(other);
    sim.settle();
    let epoch = sim.acked[0].1.position.epoch;
    sim.kill(home);
    let members = list(&[backup, other], &[], 2);
    sim.rehome(other, &members);
    let second = sim.publish(other);
    sim.rehome(backup, &members);
    sim.settle();
    sim.check();
    let last = sim.acked.last().unwrap().1.position;
    assert_eq!((last.epoch, last.seq), (epoch, 2));
    let enter = |id: u64| format!("Enter {id}");
    let left = format!("Timeout {doomed}");
    // When the death is noticed and when the retry arrives is the network's business; once each is ours.
    let mut got = sim.conns[&watcher].got.clone();
    got.sort();
    let mut wanted = vec![enter(ana), enter(doomed), text, second, left];
    wanted.sort();
    assert_eq!(got, wanted);
}

#[test]
fn nothing_is_answered_or_delivered_before_the_backup_has_it_or_its_time_is_up() {
    let mut sim = Sim::new(&[1, 2]);
    let home = sim.home();
    let watcher = sim.join(home, false);
    sim.settle();
    sim.break_link(1, 2);
    sim.publish(home);
    sim.pass(4_499);
    assert!(sim.acked.is_empty() && sim.conns[&watcher].got.is_empty());
    sim.pass(1);
    assert_eq!((sim.acked.len(), sim.conns[&watcher].got.len()), (1, 1));
    // Alone now: no more waiting, until the backup has caught up.
    sim.publish(home);
    assert_eq!(sim.acked.len(), 2);
    sim.mend_all();
    sim.settle();
    sim.publish(home);
    assert_eq!(sim.acked.len(), 2);
    sim.settle();
    assert_eq!(sim.acked.len(), 3);
}

#[test]
fn under_a_lower_bound_the_oldest_go_and_who_resumes_there_is_told() {
    let mut sim = Sim::new(&[1, 2]);
    let home = sim.home();
    (0..20).for_each(|_| drop(sim.publish(home)));
    sim.settle();
    let weight = sim.states[&home].history_bytes();
    for node in sim.ids() {
        let bounds = Bounds {
            bytes: weight / 4,
            ..limits().bounds
        };
        let state = sim.states.get_mut(&node).unwrap();
        assert_eq!(state.history_bytes(), weight, "a copy weighs the same");
        state.set_limits(Limits { bounds, ..limits() });
        sim.feed(node, Input::Trim);
        let left = sim.states[&node].history_bytes();
        assert!(left > 0 && left <= weight / 4, "{left} of {weight}");
    }
    let Role::Home(own) = &sim.states[&home].role else {
        panic!("not home");
    };
    let from = |at: usize| {
        let (start, head) = (
            Start::After(sim.acked[at].1.position),
            own.stream.position(),
        );
        let backlog = own.stream.history.backlog(start, head, sim.now);
        (backlog.publications.len(), backlog.continuous)
    };
    assert_eq!(from(0), (0, false));
    assert_eq!(from(17), (2, true));
}

#[test]
fn a_batch_that_is_sent_again_gets_its_receipts_and_shows_nothing() {
    let mut sim = Sim::new(&[1, 2]);
    let watcher = sim.join(1, false);
    sim.settle();
    let numbered = |n: usize, text: &str| Draft {
        id: Some(format!("base:{n}").into()),
        ..draft(text)
    };
    let mut answers = Vec::new();
    for (node, size) in [(1, 3), (2, 3), (1, 4)] {
        let texts = ["ma", "mb", "mc", "md"];
        let drafts = texts.iter().enumerate().take(size);
        let drafts = drafts.map(|(n, text)| numbered(n, text)).collect();
        let asked = Asked::Batch(
            texts[..size].iter().map(|one| (*one).into()).collect(),
            vec![],
        );
        sim.ask(node, asked, Request::PublishBatch(drafts));
        sim.settle();
        answers.push(sim.acked.split_off(0));
    }
    let seqs = |at: usize| -> Vec<(u64, bool)> {
        let receipts = answers[at].iter().map(|(_, receipt)| receipt);
        receipts
            .map(|one| (one.position.seq, one.duplicate))
            .collect()
    };
    assert_eq!(seqs(0), [(1, false), (2, false), (3, false)]);
    assert_eq!(seqs(1), [(1, true), (2, true), (3, true)]);
    // What is new among them is not lost with what is known.
    assert_eq!(seqs(2), [(1, true), (2, true), (3, true), (4, false)]);
    assert_eq!(sim.conns[&watcher].got, ["ma", "mb", "mc", "md"]);
}

#[test]
fn a_home_that_dies_halfway_has_given_nobody_half_a_batch() {
    for (delivered, from_home) in (0..40).flat_map(|n| [(n, false), (n, true)]) {
        let mut sim = Sim::new(&[1, 2, 3]);
        let home = sim.home();
        let follower = sim.ids().into_iter().find(|id| *id != home).unwrap();
        for node in sim.ids() {
            sim.join(node, false);
        }
        sim.settle();
        // From the second entry on, the backup is sent entries and not the whole.
        sim.publish(follower);
        sim.settle();
        sim.publish_batch(if from_home { home } else { follower }, 4);
        for pick in 0..delivered {
            sim.step(pick);
        }
        sim.kill(home);
        let rest = sim.ids();
        let members = list(&rest, &[], 2);
        rest.iter().for_each(|node| sim.rehome(*node, &members));
        sim.settle();
        sim.check();
        let got: Vec<usize> = sim.conns.values().map(|conn| conn.got.len()).collect();
        match from_home {
            // Nobody can ask again: it reached the backup or it did not.
            true => assert!(got == [1, 1] || got == [5, 5], "{got:?} after {delivered}"),
            false => assert_eq!((got, sim.acked.len()), (vec![5, 5], 5), "after {delivered}"),
        }
    }
}

#[test]
fn an_unreachable_home_leaves_a_publication_unknown_or_undone_never_silent() {
    let mut sim = Sim::new(&[1, 2]);
    let follower = 3 - sim.home();
    sim.break_link(1, 2);
    sim.publish(follower);
    sim.join(follower, true);
    sim.pass(5_000);
    let down = Refusal::Unavailable("the channel's home does not answer");
    assert_eq!(sim.refused, [down.clone(), down]);
    sim.mend_all();
    sim.publish(follower);
    sim.break_link(1, 2);
    sim.pass(5_000);
    assert_eq!(sim.refused.last(), Some(&Refusal::OutcomeUnknown));
    sim.mend_all();
    sim.settle();
    sim.check();
}

#[test]
fn a_copy_that_lacks_what_somebody_has_seen_begins_a_new_epoch() {
    let mut sim = Sim::new(&[1, 2, 3]);
    let home = sim.home();
    let backup = sim.lists[&home].place(&sim.key).unwrap().backup.unwrap().0;
    let other = 6 - home - backup;
    sim.join(other, false);
    sim.publish(other);
    sim.settle();
    sim.break_link(home, backup);
    sim.publish(other);
    for n in 0..460 {
        sim.step(n);
        sim.pass(10);
    }
    assert_eq!(sim.acked.len(), 2, "the home went on alone");
    let epoch = sim.acked[0].1.position.epoch;
    sim.kill(home);
    let members = list(&[backup, other], &[], 2);
    sim.rehome(backup, &members);
    sim.rehome(other, &members);
    sim.settle();
    let told: Vec<u64> = sim.interrupted.iter().map(|(_, one)| one.node).collect();
    assert_eq!(
        told,
        [other],
        "what the home had shown alone is not in this stream"
    );
    sim.publish(other);
    sim.settle();
    let epochs: BTreeSet<u64> = sim
        .acked
        .iter()
        .map(|(_, one)| one.position.epoch)
        .collect();
    assert_eq!(
        epochs.len(),
        3,
        "alone, and without what was shown then: {epoch}"
    );
    sim.check_delivery();
}

#[test]
fn a_channel_nobody_needs_stops() {
    let mut sim = Sim::new(&[1, 2, 3]);
    let follower = sim.ids().into_iter().find(|id| *id != sim.home()).unwrap();
    let id = sim.join(follower, true);
    sim.publish(follower);
    sim.settle();
    sim.leave(id);
    sim.settle();
    assert!(!sim.states.is_empty());
    for _ in 0..20 {
        sim.pass(HOUSEKEEPING_INTERVAL_MS);
        sim.settle();
    }
    assert!(sim.states.is_empty());
}

#[test]
fn a_full_presence_set_refuses_the_join_and_counts_nobody() {
    let mut sim = Sim::new(&[1, 2]);
    let follower = 3 - sim.home();
    let home = sim.home();
    sim.join(home, false);
    let full = Limits {
        presence_clients: 0,
        ..limits()
    };
    sim.states.get_mut(&home).unwrap().set_limits(full);
    sim.join(follower, true);
    sim.settle();
    let limit = "presence_clients";
    assert_eq!(sim.refused, [Refusal::Limit { limit, max: 0 }]);
    sim.check();
}

#[test]
fn a_home_that_restarts_gets_its_stream_back_from_the_backup() {
    let mut sim = Sim::new(&[1, 2, 3]);
    let home = sim.home();
    let follower = sim.ids().into_iter().find(|id| *id != home).unwrap();
    let watcher = sim.join(follower, true);
    sim.settle();
    let doomed = sim.join(home, true);
    let first = sim.publish(follower);
    sim.settle();
    sim.restart(home);
    let second = sim.publish(follower);
    sim.settle();
    sim.check();
    let positions: Vec<_> = sim
        .acked
        .iter()
        .map(|(_, receipt)| receipt.position)
        .collect();
    assert_eq!(positions[0].epoch, positions[1].epoch);
    assert_eq!(positions[1].seq, 2);
    let mut got = sim.conns[&watcher].got.clone();
    got.sort();
    let mut wanted = vec![
        format!("Enter {doomed}"),
        format!("Timeout {doomed}"),
        first,
        second,
    ];
    wanted.sort();
    assert_eq!(got, wanted);
}

#[test]
fn subscribers_everywhere_are_told_their_number_only_where_the_app_wants_it() {
    let counts = |wanted: bool| {
        let mut out = Vec::new();
        let now = Now {
            mono_ms: 0,
            cluster_ms: 1_000,
        };
        let birth = NewReplica {
            key: ChannelKey::channel(AppId(7), "room-1"),
            node: NodeId(1),
            members: list(&[1], &[2], 1),
            before: None,
            limits: Limits {
                counts: wanted,
                watched: false,
                ..limits()
            },
            lease_ms: 3_000,
            seed: 1,
        };
        let mut state = Replica::new(birth, now, &mut out);
        let to = NodeId(2);
        let message = PeerMessage::AnnounceIfPresent;
        assert_eq!(out.split_off(0), [Effect::Send { to, message }]);
        let message = PeerMessage::Interest { subscribers: 7 };
        let from = NodeId(2);
        state.handle(Input::From { from, message }, now, &mut out);
        out
    };
    let message = PeerMessage::Count(7);
    let to = vec![NodeId(2)];
    let told = [
        Effect::Deliver(Broadcast::Count(7)),
        Effect::SendAll { to, message },
    ];
    assert_eq!(counts(true), told);
    assert_eq!(counts(false), []);
}
