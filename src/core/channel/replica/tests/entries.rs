//! Entries of the presence set while their home withdraws, ceases or is not heard: who was taken out stays out, and who
//! came back stays there.

use super::forks::{stream, three};
use super::*;

/// The entry that is held, taken out and held again.
fn ensure() -> Request {
    let (connection, client) = whose();
    let data = Bytes::new();
    Request::EnsurePresent {
        connection,
        client,
        data,
    }
}

fn leave() -> Request {
    let (connection, client) = whose();
    Request::Leave { connection, client }
}

#[test]
fn a_home_that_withdraws_still_refuses_and_still_says_who_was_taken_out() {
    let (mut sim, home, backup, follower) = three();
    ask(&mut sim, follower, ensure());
    sim.settle();
    let full = Limits {
        presence_clients: 0,
        ..limits()
    };
    sim.states.get_mut(&home).unwrap().set_limits(full);
    sim.links.clear();
    sim.break_link(home, backup);
    let held = sim.publish(home);
    sim.join(home, true);
    ask(&mut sim, home, leave());
    assert!(
        sim.refused.is_empty(),
        "nothing leaves before the backup has it"
    );
    let drained = list(&[backup, follower], &[home], 2);
    sim.rehome(home, &drained);
    let limit = "presence_clients";
    assert_eq!(sim.refused, [Refusal::Limit { limit, max: 0 }]);
    let told = sim.links.get(&(home, follower)).into_iter().flatten();
    let taken = told.filter(|one| matches!(one, PeerMessage::TakenOut { .. }));
    assert_eq!(taken.count(), 1);
    assert!(sim.acked.iter().all(|(text, _)| *text != held));
}

#[test]
fn who_enters_and_at_once_says_more_is_there_though_the_first_was_given_up() {
    let mut sim = Sim::new(&[1, 2]);
    let (home, follower) = (sim.home(), 3 - sim.home());
    let enter = |data: &'static str| {
        let (connection, client) = whose();
        let data = Bytes::from_static(data.as_bytes());
        Request::Enter {
            connection,
            client,
            data,
        }
    };
    sim.break_link(1, 2);
    ask(&mut sim, follower, enter("one"));
    sim.pass(100);
    ask(&mut sim, follower, enter("two"));
    sim.pass(4_950);
    sim.mend_all();
    sim.settle();
    let data = |sim: &Sim, node: u64| {
        let member = stream(sim, node).presence.get(&whose());
        member.map(|one| one.data.clone())
    };
    assert_eq!(data(&sim, home), Some(Bytes::from_static(b"two")));
    // The next home hears of it from the node that it is on.
    let drained = list(&[follower], &[home], 2);
    sim.states.get_mut(&home).unwrap().copy = None;
    for node in [follower, home] {
        sim.rehome(node, &drained);
    }
    sim.settle();
    assert_eq!(data(&sim, follower), Some(Bytes::from_static(b"two")));
}

#[test]
fn a_home_that_ceased_is_heard_when_it_says_who_was_taken_out() {
    for (late, comes_back) in [(false, false), (true, false), (true, true)] {
        let (mut sim, home, backup, follower) = three();
        ask(&mut sim, follower, ensure());
        sim.settle();
        ask(&mut sim, home, leave());
        // The backup has it; what the holder is to hear waits on the link while the home moves.
        let mut said = VecDeque::new();
        while sim.step(0) {
            let queue = sim.links.entry((home, follower)).or_default();
            said.extend(queue.extract_if_taken_out());
        }
        assert_eq!(said.len(), 1);
        let drained = list(&[backup, follower], &[home], 2);
        for node in [follower, home, backup] {
            sim.rehome(node, &drained);
        }
        if late {
            sim.settle();
        }
        if comes_back {
            ask(&mut sim, follower, ensure());
            sim.settle();
        }
        let (from, message) = (NodeId(home), said.pop_front().unwrap());
        sim.feed(follower, Input::From { from, message });
        sim.settle();
        let there = stream(&sim, backup).presence.get(&whose()).is_some();
        assert_eq!(there, comes_back, "late {late}");
    }
}

trait TakenOut {
    fn extract_if_taken_out(&mut self) -> Vec<PeerMessage>;
}

impl TakenOut for VecDeque<PeerMessage> {
    fn extract_if_taken_out(&mut self) -> Vec<PeerMessage> {
        let is = |one: &PeerMessage| matches!(one, PeerMessage::TakenOut { .. });
        let taken = self.iter().filter(|one| is(one)).cloned().collect();
        self.retain(|one| !is(one));
        taken
    }
}
