//! A connection goes on through another node and its entries with it: what its former node says of them comes late, and is
//! no news of where it is now.

use super::forks::stream;
use super::*;

/// The entry that moves.
fn enter(data: &'static str) -> Request {
    let (connection, client) = whose();
    let data = Bytes::from_static(data.as_bytes());
    Request::Enter {
        connection,
        client,
        data,
    }
}

/// What a session asks whose rights have ended.
fn end() -> Request {
    let (connection, client) = whose();
    Request::LeaveHere { connection, client }
}

/// On which node the home has the entry.
fn on(sim: &Sim) -> Option<u64> {
    let member = stream(sim, sim.home()).presence.get(&whose());
    member.map(|one| one.node.0)
}

/// Everything that is under way, but over no link from this node.
fn all_but_from(sim: &mut Sim, node: u64) {
    let held: Vec<_> = sim
        .links
        .extract_if(.., |(from, _), _| *from == node)
        .collect();
    while sim.step(0) {}
    for (link, mut first) in held {
        let later = sim.links.entry(link).or_default();
        first.append(later);
        *later = first;
    }
}

/// The next home hears of the entry from the node that it is on, and from no other.
fn check_at_the_next_home(mut sim: Sim, next: u64) {
    let leaving = sim.home();
    let rest: Vec<u64> = sim.ids().into_iter().filter(|id| *id != leaving).collect();
    let members = list(&rest, &[leaving], 2);
    for state in sim.states.values_mut() {
        state.copy = None;
    }
    for node in sim.ids() {
        sim.rehome(node, &members);
    }
    sim.settle();
    assert_eq!(on(&sim), Some(next));
}

fn moves() -> impl Iterator<Item = (u64, u64)> {
    let pairs = (1..=3).flat_map(|former| (1..=3).map(move |next| (former, next)));
    pairs.filter(|(former, next)| former != next)
}

#[test]
fn an_end_at_the_former_node_that_comes_late_takes_nobody_out() {
    for (former, next) in moves() {
        let mut sim = Sim::new(&[1, 2, 3]);
        ask(&mut sim, former, enter("a"));
        sim.settle();
        if former == sim.home() {
            // Its own word cannot be late: it has heard of the move.
            ask(&mut sim, next, enter("b"));
            sim.settle();
            ask(&mut sim, former, end());
        } else {
            ask(&mut sim, former, end());
            ask(&mut sim, next, enter("b"));
            all_but_from(&mut sim, former);
        }
        sim.settle();
        assert_eq!(on(&sim), Some(next), "from {former}");
        check_at_the_next_home(sim, next);
    }
}

#[test]
fn an_end_at_the_node_that_has_the_entry_takes_it_out() {
    for node in 1..=3 {
        let mut sim = Sim::new(&[1, 2, 3]);
        ask(&mut sim, node, enter("a"));
        sim.settle();
        ask(&mut sim, node, end());
        sim.settle();
        assert_eq!(on(&sim), None, "at {node}");
    }
}

#[test]
fn an_announcement_from_before_a_move_takes_nothing_back() {
    for (former, next) in moves() {
        let mut sim = Sim::new(&[1, 2, 3]);
        let home = sim.home();
        ask(&mut sim, former, enter("a"));
        sim.settle();
        if former != home {
            sim.break_link(former, home);
            sim.mend(former, home);
        }
        ask(&mut sim, next, enter("b"));
        all_but_from(&mut sim, former);
        sim.settle();
        assert_eq!(on(&sim), Some(next), "from {former}");
        let data = stream(&sim, home).presence.get(&whose());
        assert_eq!(data.map(|one| &*one.data), Some(&b"b"[..]));
        check_at_the_next_home(sim, next);
    }
}

#[test]
fn who_asks_again_through_another_node_is_on_that_one() {
    for (former, next) in moves() {
        let mut sim = Sim::new(&[1, 2, 3]);
        ask(&mut sim, former, enter("a"));
        sim.settle();
        let home = sim.home();
        // What she says is the same, and asked again at the next home.
        let others = sim.ids().into_iter().filter(|id| *id != home);
        let others: Vec<u64> = others.collect();
        others.iter().for_each(|id| sim.break_link(home, *id));
        ask(&mut sim, next, enter("a"));
        let members = list(&others, &[home], 2);
        for node in sim.ids() {
            sim.rehome(node, &members);
        }
        sim.mend_all();
        sim.settle();
        let (connection, gone) = (whose().0, true);
        sim.feed(former, Input::Leave { connection, gone });
        sim.settle();
        assert_eq!(on(&sim), Some(next), "from {former}");
    }
}

#[test]
fn what_a_home_only_believes_to_be_on_another_node_is_on_the_one_that_claims_it() {
    for ((believed, claims), pick) in moves().flat_map(|pair| (0..12).map(move |pick| (pair, pick)))
    {
        let mut sim = Sim::new(&[1, 2, 3]);
        let old = sim.home();
        sim.join(6 - old - sim.backup(), false);
        ask(&mut sim, believed, enter("a"));
        sim.settle();
        if [believed, claims].contains(&old) {
            continue;
        }
        // The home had let her in through the other one, alone, and nobody else knows.
        let home = NodeId(old);
        let local = &mut sim.states.get_mut(&believed).unwrap().local;
        local.forget_entry(&whose());
        let local = &mut sim.states.get_mut(&claims).unwrap().local;
        local.record(&enter("b")).unwrap();
        local.accept(&enter("b"), home);
        sim.kill(old);
        let rest = sim.ids();
        let members = list(&rest, &[], 2);
        for node in rest {
            sim.rehome(node, &members);
        }
        for n in 0..pick {
            sim.step(pick * 7 + n);
        }
        sim.settle();
        assert_eq!(on(&sim), Some(claims), "{believed} has nothing");
    }
}
