//! A home that the others count out while it stands still or is cut off: one node orders at a time.
//!
//! **Why every number of frames in between:** whether the home that returns first meets its own timer, its clients'
//! next message, its former backup's answer or the new list is decided by how busy its machine is.

use super::*;

/// The lists after `node` was counted out and after it was counted in again, as a new start of it.
fn lists(sim: &Sim, node: u64) -> (Arc<Members>, Arc<Members>) {
    let rest: Vec<u64> = sim.ids().into_iter().filter(|id| *id != node).collect();
    let mut again = Members::clone(&list(&sim.ids(), &[], 3));
    for (id, epoch) in &mut again.live {
        *epoch += u64::from(id.0 == node);
    }
    (list(&rest, &[], 2), Arc::new(again))
}

/// Three nodes with a subscriber each, a message that everybody got, and one that was on its way when the home stood
/// still; the others have counted it out and gone on when it wakes up.
fn counted_out(under_way: usize, replicated: bool) -> (Sim, u64, Arc<Members>) {
    counted_out_after(1, under_way, replicated)
}

/// The same with so many messages that everybody got.
fn counted_out_after(
    before: usize,
    under_way: usize,
    replicated: bool,
) -> (Sim, u64, Arc<Members>) {
    let mut sim = Sim::new(&[1, 2, 3]);
    // What is told of the lifecycle is in the stream too.
    sim.watched = before > 0;
    let (home, backup) = (sim.home(), sim.backup());
    for node in sim.ids() {
        sim.join(node, false);
    }
    sim.settle();
    for _ in 0..before {
        sim.publish(backup);
        sim.settle();
    }
    for _ in 0..under_way {
        sim.publish(home);
    }
    if !replicated {
        sim.links.remove(&(home, backup));
    }
    sim.paused.insert(home);
    sim.uncounted.insert(home);
    sim.quiet();
    let (without, again) = lists(&sim, home);
    for node in sim.ids().into_iter().filter(|node| *node != home) {
        sim.rehome(node, &without);
    }
    sim.quiet();
    sim.publish(backup);
    sim.publish(6 - home - backup);
    sim.quiet();
    sim.paused.clear();
    (sim, home, again)
}

/// As a new start of it; unless it was told before, it never gets to know of the list that it was not in.
fn counted_in(sim: &mut Sim, again: &Arc<Members>) {
    for node in sim.ids() {
        sim.rehome(node, again);
    }
    sim.uncounted.clear();
}

/// As many frames arrive, each from another link.
fn take_steps(sim: &mut Sim, frames: usize) {
    for pick in 0..frames {
        sim.step(pick);
    }
}

/// The home is counted in again, everything arrives, and what is published then is whole.
fn goes_on(sim: &mut Sim, home: u64, again: &Arc<Members>) {
    counted_in(sim, again);
    sim.settle();
    sim.publish(home);
    sim.settle();
    sim.check();
}

#[test]
fn a_home_that_was_counted_out_acknowledges_nothing_that_the_next_one_lacks() {
    let all = (0..12).flat_map(|frames| (0..3).map(move |under_way| (frames, under_way)));
    for (frames, under_way) in all {
        for how in 0..32 {
            let (replicated, by_timer, told) = (how & 1 > 0, how & 2 > 0, how & 4 > 0);
            // Where nothing was said before, the two streams have nothing in common.
            let before = how >> 3 & 1;
            let link_is_late = how & 16 > 0;
            let (mut sim, home, again) = counted_out_after(before, under_way, replicated);
            if link_is_late {
                let next = sim.home();
                sim.break_link(home, next);
            }
            if by_timer {
                sim.pass(0);
            }
            // Its clients have waited for it, and it does not know yet that it is home no more.
            sim.publish(home);
            take_steps(&mut sim, frames);
            sim.publish(home);
            if told {
                let (without, _) = lists(&sim, home);
                sim.rehome(home, &without);
                sim.step(frames);
            }
            if link_is_late {
                counted_in(&mut sim, &again);
                sim.mend_all();
            }
            if before > 0 {
                goes_on(&mut sim, home, &again);
            } else {
                // Whoever is subscribed there gets it, or is told.
                counted_in(&mut sim, &again);
                sim.settle();
                sim.publish(home);
                sim.settle();
                assert!(sim.interrupted.iter().all(|(_, one)| one.node == home));
                sim.check_delivery();
            }
        }
    }
}

#[test]
fn a_batch_that_was_under_way_is_whole_or_asked_for_again() {
    for frames in 0..12 {
        let (mut sim, home, again) = counted_out(0, true);
        sim.publish_batch(home, 4);
        take_steps(&mut sim, frames);
        counted_in(&mut sim, &again);
        sim.settle();
        assert!(sim.refused.is_empty(), "{:?}", sim.refused);
        sim.check();
    }
}

#[test]
fn who_joins_at_a_home_that_was_counted_out_is_subscribed_at_the_next() {
    for frames in 0..12 {
        let (mut sim, home, again) = counted_out(1, false);
        sim.join(home, true);
        take_steps(&mut sim, frames);
        goes_on(&mut sim, home, &again);
    }
}

#[test]
fn a_home_goes_on_alone_only_while_it_is_counted_in() {
    let mut sim = Sim::new(&[1, 2]);
    let home = sim.home();
    sim.join(home, false);
    sim.settle();
    sim.break_link(1, 2);
    sim.uncounted.insert(home);
    sim.publish(home);
    sim.pass(4_500);
    assert!(
        sim.acked.is_empty(),
        "nobody knows whether it is home still"
    );
    sim.uncounted.clear();
    sim.pass(4_500);
    sim.publish(home);
    assert_eq!(sim.acked.len(), 2, "it is, and the backup is silent");
    // Looked at again and again.
    sim.uncounted.insert(home);
    sim.pass(2_000);
    sim.publish(home);
    assert_eq!(sim.acked.len(), 2, "nobody knows any more");
}

#[test]
fn who_is_told_that_nobody_could_let_her_in_is_not_there() {
    let mut sim = Sim::new(&[1, 2]);
    let home = sim.home();
    sim.join(home, false);
    sim.settle();
    sim.break_link(1, 2);
    sim.uncounted.insert(home);
    sim.join(home, true);
    sim.pass(4_500);
    sim.pass(600);
    assert_eq!(sim.refused.len(), 1);
    sim.uncounted.clear();
    sim.mend_all();
    sim.settle();
    sim.check();
}

#[test]
fn who_was_there_before_a_home_began_too_early_gets_what_is_handed_over_late() {
    let mut sim = Sim::new(&[1, 2, 3]);
    sim.watched = false;
    let returns = sim.home();
    let rest: Vec<u64> = sim.ids().into_iter().filter(|id| *id != returns).collect();
    let drained = list(&rest, &[returns], 2);
    for node in sim.ids() {
        sim.rehome(node, &drained);
    }
    let home = sim.home();
    sim.join(returns, false);
    sim.settle();
    for other in &rest {
        sim.break_link(*other, returns);
    }
    sim.publish(home);
    sim.quiet();
    assert_eq!(sim.acked.len(), 1);
    sim.paused.insert(home);
    let back = list(&[1, 2, 3], &[], 3);
    for node in sim.ids().into_iter().filter(|node| *node != home) {
        sim.rehome(node, &back);
    }
    sim.pass(4_500);
    sim.pass(1_500);
    assert_eq!(sim.states[&returns].role_name(), "home");
    sim.paused.clear();
    sim.mend_all();
    sim.rehome(home, &back);
    sim.settle();
    sim.check();
}
