//! A node that was killed comes back with the member list of its own disk, which still names it by its former start.
//!
//! **Why every order of three lists and the first frames:** which of them a node meets first is decided by how busy its
//! machine is. A quiet one applies its log before a single frame arrives, and hides what the others show.

use super::*;

/// How one return goes: frames that arrive before the node learns of its own death, frames between that and its new
/// start, which link is served first, and whether the survivors know of its new start before it is linked.
#[derive(Clone, Copy, Debug)]
struct Return {
    before_down: usize,
    before_up: usize,
    pick: usize,
    told_first: bool,
    /// It believes the list of its own disk, which says that it never went: what [`Members::of`] keeps from happening.
    believes: bool,
}

fn every_return(believes: bool) -> impl Iterator<Item = Return> {
    let all = (0..10).flat_map(|down| (0..6).map(move |up| (down, up)));
    let all = all.flat_map(|(down, up)| (0..4).map(move |pick| (down, up, pick)));
    all.flat_map(move |(before_down, before_up, pick)| {
        [true, false].map(|told_first| Return {
            before_down,
            before_up,
            pick,
            told_first,
            believes,
        })
    })
}

/// The lists after the death of `node` and after its new start.
fn lists(sim: &Sim, node: u64) -> (Arc<Members>, Arc<Members>) {
    let rest: Vec<u64> = sim.ids().into_iter().filter(|id| *id != node).collect();
    let down = list(&rest, &[], 2);
    let mut up = Members::clone(&list(&sim.ids(), &[], 3));
    for (id, epoch) in &mut up.live {
        *epoch += u64::from(id.0 == node);
    }
    (down, Arc::new(up))
}

fn play(sim: &mut Sim, node: u64, how: Return) {
    let mut stale = Members::clone(&sim.lists[&node]);
    stale.live.retain(|(one, _)| how.believes || one.0 != node);
    let stale = Arc::new(stale);
    let (down, up) = lists(sim, node);
    sim.kill(node);
    let rest = sim.ids();
    sim.lists.insert(node, stale);
    let link = |sim: &mut Sim| {
        for other in rest.clone() {
            sim.cut.insert(pair(node, other));
            sim.mend(node, other);
        }
    };
    let tell = |sim: &mut Sim| {
        for other in rest.clone() {
            sim.rehome(other, &down);
            sim.rehome(other, &up);
        }
    };
    if how.told_first {
        tell(sim);
        link(sim);
    } else {
        link(sim);
        tell(sim);
    }
    for n in 0..how.before_down {
        sim.step(how.pick + n);
    }
    sim.rehome(node, &down);
    for n in 0..how.before_up {
        sim.step(how.pick + n);
    }
    sim.rehome(node, &up);
}

/// Two watchers and a member at the survivors, a message before the death, and one after the return from each of them.
fn story(node: impl Fn(&Sim) -> u64, how: Return) {
    let mut sim = Sim::new(&[1, 2, 3]);
    let node = node(&sim);
    let rest: Vec<u64> = sim.ids().into_iter().filter(|id| *id != node).collect();
    for other in &rest {
        sim.join(*other, false);
    }
    sim.join(rest[0], true);
    sim.settle();
    sim.publish(rest[0]);
    sim.settle();
    play(&mut sim, node, how);
    sim.publish(rest[0]);
    sim.settle();
    sim.publish(rest[1]);
    sim.settle();
    assert_eq!(sim.acked.len(), 3, "{how:?}");
    match how.believes {
        true => sim.check_delivery(),
        false => sim.check(),
    }
}

/// The home, and its backup.
const PLACES: [fn(&Sim) -> u64; 2] = [Sim::home, Sim::backup];

#[test]
fn a_node_that_returns_learns_of_every_subscriber_and_changes_nothing_for_them() {
    for how in every_return(false) {
        PLACES.iter().for_each(|node| story(node, how));
    }
}

#[test]
fn even_one_that_takes_itself_for_its_former_start_leaves_nobody_deaf() {
    for how in every_return(true) {
        PLACES.iter().for_each(|node| story(node, how));
    }
}

#[test]
fn who_waits_for_a_claim_that_is_given_up_is_told_so() {
    let mut sim = Sim::new(&[1, 2, 3]);
    let home = sim.home();
    let backup = sim.backup();
    let follower = 6 - home - backup;
    sim.join(follower, false);
    sim.settle();
    // The backup hears that the home drains, claims, and hears that it does not before the claim is answered.
    sim.break_link(home, backup);
    let drained = list(&[backup, follower], &[home], 2);
    for node in [backup, follower] {
        sim.rehome(node, &drained);
    }
    while sim.step(0) {}
    assert!(matches!(sim.states[&backup].role, Role::Claiming(_)));
    sim.rehome(backup, &list(&[1, 2, 3], &[], 3));
    let waits = sim
        .links
        .get(&(backup, follower))
        .cloned()
        .unwrap_or_default();
    assert!(waits.contains(&PeerMessage::NotHome), "{waits:?}");
}

#[test]
fn what_was_taken_out_through_another_node_is_announced_to_no_home_any_more() {
    let whose = (ConnectionId(9, 9), Text::from("ana"));
    let ensure = || Request::EnsurePresent {
        connection: whose.0,
        client: whose.1.clone(),
        data: Bytes::new(),
    };
    let absent = || Request::Leave {
        connection: whose.0,
        client: whose.1.clone(),
    };
    let there = |sim: &Sim| {
        let Role::Home(home) = &sim.states[&sim.home()].role else {
            panic!("no home");
        };
        home.stream.presence.get(&whose).is_some()
    };
    let ask = |sim: &mut Sim, node: u64, request: Request| {
        sim.feed(
            node,
            Input::Request {
                ticket: 900,
                request,
            },
        );
        sim.settle();
    };
    // Held by any node, taken out through any other; then another home begins. Or it came back in between.
    for (holder, other, back) in (1..=3)
        .flat_map(|holder| (1..=3).map(move |other| (holder, other)))
        .flat_map(|(holder, other)| [(holder, other, false), (holder, other, true)])
    {
        let mut sim = Sim::new(&[1, 2, 3]);
        ask(&mut sim, holder, ensure());
        assert!(there(&sim));
        ask(&mut sim, other, absent());
        assert!(!there(&sim), "held by {holder}, taken out through {other}");
        if back {
            ask(&mut sim, holder, ensure());
        }
        let leaving = sim.home();
        let rest: Vec<u64> = sim.ids().into_iter().filter(|id| *id != leaving).collect();
        let members = list(&rest, &[leaving], 2);
        for node in sim.ids() {
            sim.rehome(node, &members);
        }
        sim.settle();
        assert_ne!(sim.home(), leaving);
        assert_eq!(
            there(&sim),
            back,
            "held by {holder}, taken out through {other}"
        );
    }
}

#[test]
fn a_member_that_moved_to_another_node_stays_when_its_former_socket_ends() {
    let whose = (ConnectionId(9, 9), Text::from("ana"));
    let enter = |data: &'static str| Request::Enter {
        connection: whose.0,
        client: whose.1.clone(),
        data: Bytes::from_static(data.as_bytes()),
    };
    let pairs = (1..=3).flat_map(|former| (1..=3).map(move |next| (former, next)));
    for (former, next) in pairs.filter(|(former, next)| former != next) {
        let mut sim = Sim::new(&[1, 2, 3]);
        for (node, data) in [(former, "a"), (next, "b")] {
            let (ticket, request) = (900, enter(data));
            sim.feed(node, Input::Request { ticket, request });
            sim.settle();
        }
        // The former node tells everything again; then what was kept of the former socket ends.
        for (a, b) in [(1, 2), (1, 3), (2, 3)] {
            sim.break_link(a, b);
        }
        sim.mend_all();
        sim.settle();
        let (connection, gone) = (whose.0, true);
        sim.feed(former, Input::Leave { connection, gone });
        sim.settle();
        let Role::Home(home) = &sim.states[&sim.home()].role else {
            panic!("no home");
        };
        let member = home.stream.presence.get(&whose).map(|one| &*one.data);
        assert_eq!(member, Some(&b"b"[..]), "from {former} to {next}");
    }
}

/// The list of its own disk may be from before the others' last starts, and the next one it hears of is the present one:
/// by the two of them whoever has taken over seems to have restarted, or to be new.
#[test]
fn a_node_that_returns_asks_whoever_has_the_channel_now() {
    for (knew, first) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut sim = Sim::new(&[1, 2, 3]);
        let (home, backup) = (sim.home(), sim.backup());
        let follower = 6 - home - backup;
        sim.join(follower, false);
        sim.settle();
        sim.publish(follower);
        sim.settle();
        let mut of_its_disk = Members::clone(&sim.lists[&home]);
        of_its_disk
            .live
            .retain(|(one, _)| one.0 != home && (knew || one.0 != backup));
        for (_, epoch) in &mut of_its_disk.live {
            *epoch += 70;
        }
        let (_, up) = lists(&sim, home);
        sim.kill(home);
        sim.lists.insert(home, Arc::new(of_its_disk));
        for other in [backup, follower] {
            sim.rehome(other, &up);
        }
        if first {
            // Somebody asks the returned node for the channel before it knows that it is there.
            for other in [backup, follower] {
                sim.cut.insert(pair(home, other));
                sim.mend(home, other);
            }
            while sim.step(0) {}
        }
        sim.rehome(home, &up);
        if !first {
            for other in [backup, follower] {
                sim.cut.insert(pair(home, other));
                sim.mend(home, other);
            }
        }
        sim.settle();
        sim.publish(follower);
        sim.settle();
        sim.check();
        let Role::Home(own) = &sim.states[&home].role else {
            panic!("the returned node is no home")
        };
        let seq = own.stream.position().seq;
        assert_eq!(seq, 2, "knew {knew}, first {first}");
    }
}

/// The list of its own disk may be from when another node was its backup, which has an old copy still.
#[test]
fn a_node_that_returns_is_not_given_what_an_earlier_backup_had() {
    for first in [true, false] {
        let mut sim = Sim::new(&[1, 2, 3]);
        let (home, backup) = (sim.home(), sim.backup());
        let follower = 6 - home - backup;
        sim.join(follower, false);
        let alone = list(&[home, follower], &[], 2);
        for node in [home, follower] {
            sim.rehome(node, &alone);
        }
        sim.settle();
        sim.publish(follower);
        sim.settle();
        let whole = list(&sim.ids(), &[], 3);
        for node in sim.ids() {
            sim.rehome(node, &whole);
        }
        sim.settle();
        sim.publish(follower);
        sim.settle();
        sim.kill(home);
        sim.lists.insert(home, list(&[follower], &[], 2));
        let mut up = Members::clone(&whole);
        for (id, epoch) in &mut up.live {
            *epoch += u64::from(id.0 == home);
        }
        up.revision = 4;
        let up = Arc::new(up);
        for other in [backup, follower] {
            sim.rehome(other, &up);
        }
        let link = |sim: &mut Sim| {
            for other in [backup, follower] {
                sim.cut.insert(pair(home, other));
                sim.mend(home, other);
            }
        };
        if first {
            link(&mut sim);
            while sim.step(0) {}
        }
        sim.rehome(home, &up);
        if !first {
            link(&mut sim);
        }
        sim.settle();
        sim.publish(follower);
        sim.settle();
        sim.check();
        let Role::Home(own) = &sim.states[&home].role else {
            panic!("the returned node is no home")
        };
        assert_eq!(own.stream.position().seq, 3, "first {first}");
    }
}

/// The home dies while the node that takes the channel over from it is coming back: its backup was never touched.
#[test]
fn a_node_that_returns_asks_the_backup_when_the_home_dies_meanwhile() {
    for (starts_again, frames) in (0..8).flat_map(|n| [(true, n), (false, n)]) {
        let mut sim = Sim::new(&[1, 2, 3]);
        let returns = sim.home();
        sim.kill(returns);
        let rest = list(&sim.ids(), &[], 2);
        for node in sim.ids() {
            sim.rehome(node, &rest);
        }
        let (home, backup) = (sim.home(), sim.backup());
        sim.join(backup, false);
        sim.settle();
        for _ in 0..3 {
            sim.publish(backup);
            sim.settle();
        }
        let acked: Vec<String> = sim.acked.iter().map(|(text, _)| text.clone()).collect();
        assert_eq!(acked.len(), 3);
        let epochs = |of: [(u64, u64); 3], revision| {
            let mut live: Vec<_> = of.iter().map(|(id, epoch)| (NodeId(*id), *epoch)).collect();
            live.sort_unstable();
            let draining = Vec::new();
            Arc::new(Members {
                live,
                draining,
                revision,
            })
        };
        let up = epochs([(returns, 2), (home, 1), (backup, 1)], 3);
        sim.lists.insert(returns, rest.clone());
        for node in [backup, home, returns] {
            sim.rehome(node, &up);
        }
        for other in [home, backup] {
            sim.cut.insert(pair(returns, other));
            sim.mend(returns, other);
        }
        sim.join(returns, false);
        for _ in 0..frames {
            sim.step(0);
        }
        sim.kill(home);
        let after = match starts_again {
            true => epochs([(returns, 2), (home, 2), (backup, 1)], 4),
            false => list(&[returns, backup], &[], 4),
        };
        if starts_again {
            sim.lists.insert(home, after.clone());
            for other in [returns, backup] {
                sim.cut.insert(pair(home, other));
                sim.mend(home, other);
            }
        }
        for node in [returns, backup] {
            sim.rehome(node, &after);
        }
        sim.settle();
        sim.publish(backup);
        sim.settle();
        let Role::Home(own) = &sim.states[&returns].role else {
            panic!("the returned node is no home")
        };
        let kept = own.stream.history.snapshot();
        let kept = kept.publications().iter().map(|one| one.draft.data.clone());
        let kept: Vec<String> = kept
            .map(|data| String::from_utf8(data.to_vec()).unwrap())
            .collect();
        assert!(
            acked.iter().all(|text| kept.contains(text)),
            "starts again {starts_again}, {frames} frames: {kept:?}"
        );
        sim.check_delivery();
    }
}

/// What waits in a claim was said by a start of the node, or over a link, that may be no more when the claim ends.
#[test]
fn a_claim_counts_nothing_that_a_dead_start_or_a_broken_link_has_said() {
    for restarts in [true, false] {
        let mut sim = Sim::new(&[1, 2, 3]);
        let (home, backup) = (sim.home(), sim.backup());
        let follower = 6 - home - backup;
        sim.join(backup, false);
        sim.settle();
        sim.break_link(home, backup);
        let drained = list(&[backup, follower], &[home], 2);
        sim.rehome(backup, &drained);
        assert_eq!(sim.states[&backup].role_name(), "claiming");
        let subscribers = 7;
        let message = PeerMessage::Interest { subscribers };
        let from = NodeId(follower);
        sim.feed(backup, Input::From { from, message });
        if restarts {
            let mut again = Members::clone(&drained);
            again.revision += 1;
            for (id, epoch) in &mut again.live {
                *epoch += u64::from(id.0 == follower);
            }
            sim.rehome(backup, &Arc::new(again));
        } else {
            sim.feed(backup, Input::LinkUp(NodeId(follower)));
        }
        let told = sim
            .links
            .get(&(backup, follower))
            .cloned()
            .unwrap_or_default();
        assert!(told.contains(&PeerMessage::NotHome), "{told:?}");
        sim.pass(4_500);
        sim.pass(1_500);
        let Role::Home(own) = &sim.states[&backup].role else {
            panic!("not home")
        };
        assert!(own.interest.is_empty(), "{:?}", own.interest);
    }
}

#[test]
fn who_claims_gives_nobody_up_while_it_is_not_counted_in_itself() {
    let (mut sim, home, backup, edge) = super::forks::three();
    let before = super::forks::stream(&sim, home).log_position();
    sim.restart(home);
    while !sim.states.get(&home).is_some_and(Replica::is_claiming) {
        assert!(sim.step(0), "it claims");
    }
    // It is cut off before it has an answer.
    for other in [backup, edge] {
        sim.break_link(home, other);
    }
    sim.uncounted.insert(home);
    for _ in 0..400 {
        sim.pass(50);
    }
    assert!(sim.states[&home].is_claiming());
    sim.uncounted.clear();
    sim.mend_all();
    sim.settle();
    sim.check();
    let after = super::forks::stream(&sim, home).log_position();
    assert_eq!(
        after.epoch, before.epoch,
        "what the backup has is asked for"
    );
}
