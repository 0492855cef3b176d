//! Who is asked for the channel, when whoever should have it has lost it: the last copy is found where it is.

use super::*;

/// The list with another start of one node.
fn restarted(members: &Arc<Members>, node: u64, revision: u64) -> Arc<Members> {
    let mut next = Members::clone(members);
    for (id, epoch) in &mut next.live {
        *epoch += u64::from(id.0 == node);
    }
    next.revision = revision;
    Arc::new(next)
}

/// The node is killed and comes back with nothing under the list of its own disk; its links are broken still.
fn comes_back_empty(sim: &mut Sim, node: u64, stale: &Arc<Members>) {
    let rest: Vec<u64> = sim.ids().into_iter().filter(|id| *id != node).collect();
    sim.kill(node);
    sim.lists
        .insert(node, Arc::new(stale.without(NodeId(node))));
    for other in rest {
        sim.cut.insert(pair(node, other));
    }
}

/// The texts of the history, as the present home has it.
fn history(sim: &Sim) -> Vec<String> {
    let kept = sim.states[&sim.home()].home_history();
    let texts = kept.iter().map(|one| one.draft.data.to_vec());
    texts.map(|one| String::from_utf8(one).unwrap()).collect()
}

#[test]
fn whoever_leaves_in_order_is_asked_when_the_next_home_was_lost_at_once() {
    let mut sim = Sim::new(&[1, 2, 3]);
    let (leaves, next) = (sim.home(), sim.backup());
    let other = 6 - leaves - next;
    sim.join(other, false);
    sim.settle();
    let first = sim.publish(other);
    sim.settle();
    let drained = list(&[next, other], &[leaves], 2);
    for node in sim.ids() {
        sim.rehome(node, &drained);
    }
    // It is lost before it has given anybody a copy.
    comes_back_empty(&mut sim, next, &drained);
    sim.mend(next, other);
    let again = restarted(&drained, next, 3);
    for node in sim.ids() {
        sim.rehome(node, &again);
    }
    while sim.step(0) {}
    sim.mend(next, leaves);
    let second = sim.publish(other);
    sim.settle();
    assert_eq!(history(&sim), [first, second]);
}

#[test]
fn a_node_that_joins_asks_whoever_leaves_in_order_too() {
    let all = list(&[1, 2, 3, 4], &[], 1);
    let home = all.place(&Sim::new(&[1]).key).unwrap().home.0;
    let rest: Vec<u64> = (1..=4).filter(|id| *id != home).collect();
    let mut sim = Sim::new(&rest);
    let (lost, leaves) = (sim.home(), sim.backup());
    let other = rest
        .iter()
        .copied()
        .find(|id| ![lost, leaves].contains(id))
        .unwrap();
    sim.join(other, false);
    sim.settle();
    let first = sim.publish(other);
    sim.settle();
    let before = sim.lists[&other].clone();
    comes_back_empty(&mut sim, lost, &before);
    let drained = restarted(&list(&[lost, other], &[leaves], 2), lost, 2);
    for node in sim.ids() {
        sim.rehome(node, &drained);
    }
    sim.mend(lost, other);
    // The backup was on its way out before the one that asks for its copy could reach it; then another takes over.
    let mut joined = Members::clone(&drained);
    joined.live.push((NodeId(home), 1));
    joined.live.sort_unstable();
    joined.revision = 3;
    let joined = Arc::new(joined);
    sim.lists
        .insert(home, Arc::new(joined.without(NodeId(home))));
    for node in sim.ids() {
        sim.rehome(node, &joined);
    }
    let second = sim.publish(other);
    sim.settle();
    assert_eq!(history(&sim), [first, second]);
}

#[test]
fn a_home_that_gets_its_own_words_back_asks_who_has_gone_on() {
    let mut sim = Sim::new(&[1, 2, 3]);
    let (returns, next) = (sim.home(), sim.backup());
    let backup = 6 - returns - next;
    sim.join(backup, false);
    sim.settle();
    let first = sim.publish(backup);
    sim.settle();
    // It is counted out while it stands still, and the two others go on.
    sim.paused.insert(returns);
    sim.uncounted.insert(returns);
    let without = list(&[next, backup], &[], 2);
    for node in [next, backup] {
        sim.rehome(node, &without);
    }
    sim.quiet();
    let second = sim.publish(backup);
    sim.quiet();
    assert_eq!(sim.acked.len(), 2);
    // The next home has lost everything, and cannot ask its backup; the former one wakes and gives it what it had.
    comes_back_empty(&mut sim, next, &without);
    let without = restarted(&without, next, 3);
    sim.rehome(next, &without);
    sim.rehome(backup, &without);
    sim.cut.remove(&pair(returns, next));
    sim.paused.clear();
    sim.rehome(returns, &without);
    while sim.step(0) {}
    assert_eq!(sim.states[&next].role_name(), "claiming");
    let mut again = Members::clone(&without);
    again.live.push((NodeId(returns), 2));
    again.live.sort_unstable();
    again.revision = 4;
    let again = Arc::new(again);
    for node in [next, backup, returns] {
        sim.rehome(node, &again);
    }
    sim.uncounted.clear();
    sim.settle();
    sim.mend_all();
    sim.settle();
    assert_eq!(sim.states[&returns].role_name(), "home");
    assert_eq!(history(&sim), [first, second]);
}
