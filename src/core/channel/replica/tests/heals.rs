//! Whatever one node does not take of what another said, both say it again, and then they have the same of each other.

use super::*;

/// Three nodes with subscribers and a member each.
fn whole() -> Sim {
    let mut sim = Sim::new(&[1, 2, 3]);
    for node in sim.ids() {
        sim.join(node, false);
        sim.join(node, true);
    }
    sim.settle();
    sim.publish(1);
    sim.settle();
    sim.check();
    sim
}

/// As two nodes do whose digests differ.
fn compare(sim: &mut Sim, one: u64, other: u64) {
    for (node, with) in [(one, other), (other, one)] {
        sim.feed(node, Input::Differs(NodeId(with)));
    }
    sim.settle();
}

fn differ(sim: &Sim) -> bool {
    let mut heard = Vec::new();
    sim.states[&sim.home()].heard_interest(&mut heard);
    let own = sim.states.iter();
    let own: Vec<_> = own
        .filter_map(|(node, state)| Some((NodeId(*node), state.own_interest()?.1)))
        .collect();
    heard != own
}

#[test]
fn an_announcement_that_was_lost_shows_in_the_numbers_and_heals() {
    fn home_of(sim: &mut Sim) -> &mut Home {
        let home = sim.home();
        match &mut sim.states.get_mut(&home).unwrap().role {
            Role::Home(home) => home,
            Role::Follower(_) | Role::Claiming(_) => panic!("not home"),
        }
    }
    let changes: [fn(&mut Sim, u64); 4] = [
        |sim, node| {
            home_of(sim).interest.remove(&NodeId(node));
        },
        |sim, node| {
            home_of(sim).interest.insert(NodeId(node), 9);
        },
        |sim, node| {
            let one = sim
                .conns
                .iter()
                .find(|(_, one)| one.node == node && one.member.is_none());
            let id = *one.unwrap().0;
            sim.leave(id);
        },
        |sim, node| {
            let one = sim
                .conns
                .iter()
                .find(|(_, one)| one.node == node && one.member.is_some());
            let id = *one.unwrap().0;
            sim.leave(id);
        },
    ];
    for (n, change) in changes.iter().enumerate() {
        let mut sim = whole();
        let home = sim.home();
        let node = sim.ids().into_iter().find(|node| *node != home).unwrap();
        change(&mut sim, node);
        sim.pass(20);
        sim.links.remove(&(node, home));
        while sim.step(0) {}
        assert!(differ(&sim), "change {n}");
        compare(&mut sim, node, home);
        assert!(!differ(&sim), "change {n}");
        sim.publish(home);
        sim.settle();
        sim.check();
    }
}

#[test]
fn a_home_that_counts_who_is_not_there_hears_of_it() {
    let mut sim = whole();
    let home = sim.home();
    let node = sim.ids().into_iter().find(|node| *node != home).unwrap();
    // The channel has stopped there, and the home did not hear of the last that left.
    sim.states.remove(&node);
    sim.conns.retain(|_, conn| conn.node != node);
    sim.feed(home, Input::Differs(NodeId(node)));
    sim.settle();
    let mut heard = Vec::new();
    sim.states[&home].heard_interest(&mut heard);
    assert!(heard.iter().all(|(one, _)| one.0 != node), "{heard:?}");
}

#[test]
fn what_a_channel_did_not_take_is_said_again() {
    let pairs = [(1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)];
    for ((from, to), before) in pairs
        .into_iter()
        .flat_map(|pair| (0..8).map(move |n| (pair, n)))
    {
        let mut sim = whole();
        for node in sim.ids() {
            sim.publish(node);
            sim.join(node, true);
        }
        for pick in 0..before {
            sim.step(pick);
        }
        // All that waits for the channel is dropped, as one mailbox's worth; its link goes on.
        sim.links.remove(&(from, to));
        sim.feed(to, Input::Dropped(NodeId(from)));
        for node in sim.ids() {
            sim.publish(node);
        }
        sim.settle();
        sim.check();
    }
}
