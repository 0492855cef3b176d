//! What one operation asks of the allocator, counted at a whole node in this process: a clone or a formatted name that
//! creeps into the path of every message is seen the day it comes, on any machine and in any build.
//!
//! **Why not instructions:** `scripts/instructions` counts those, of the release build and under valgrind. This runs with
//! the other tests.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says where, and one that counts says what"
)]

mod counting;
mod node;

use clap::Parser as _;
use gatecast_load::options::Options;
use node::Node;

/// An operation, how often it is done, and the most allocations that one `unit` of it may take.
struct Budget {
    step: &'static str,
    operations: u64,
    receivers: u64,
    allocations: f64,
}

const BUDGETS: &[Budget] = &[
    // Per connection that gets the message, and the message's own shared by all of them.
    of("fanout", 40, 100, 1.0),
    of("event", 400, 1, 14.0),
    of("connect", 100, 1, 145.0),
    of("trigger", 200, 1, 55.0),
    of("publish", 200, 1, 75.0),
    // With the poll that follows, and a twentieth of the publish.
    of("poll", 20, 20, 92.0),
];

const fn of(step: &'static str, operations: u64, receivers: u64, allocations: f64) -> Budget {
    Budget {
        step,
        operations,
        receivers,
        allocations,
    }
}

impl Budget {
    /// Allocations of the node while the step is done so often, with what it takes to connect.
    fn play(&self, node: &Node, operations: u64) -> u64 {
        let words = format!(
            "load steps {} --operations {operations} --receivers {} --server {}",
            self.step, self.receivers, node.public
        );
        let credentials = node.credentials(self.step).iter();
        let credentials = credentials.flat_map(|(name, value)| [name.as_str(), value]);
        let options = Options::parse_from(words.split(' ').chain(credentials));
        let before = counting::so_far();
        gatecast_load::scenario::play(&options).unwrap();
        counting::so_far() - before
    }

    /// Allocations of one unit. Other threads of the node tick meanwhile, which can only add: the least of several runs
    /// counts.
    fn each(&self, node: &Node) -> f64 {
        self.play(node, self.operations);
        let least = |operations| (0..5).map(|_| self.play(node, operations)).min();
        let (once, twice) = (least(self.operations), least(2 * self.operations));
        let more = twice.unwrap_or(0).saturating_sub(once.unwrap_or(0));
        more as f64 / (self.operations * self.receivers) as f64
    }
}

#[test]
fn an_operation_takes_no_more_allocations_than_its_budget() {
    counting::leave_out_this_thread();
    let node = Node::start();
    let counted = BUDGETS.iter().map(|one| (one, one.each(&node)));
    let counted: Vec<_> = counted.collect();
    for (one, each) in &counted {
        println!("{:<8} {each:>7.1} of {:.0}", one.step, one.allocations);
    }
    let missed = |(one, each): &&(&Budget, f64)| *each > one.allocations;
    let missed: Vec<_> = counted
        .iter()
        .filter(missed)
        .map(|(one, _)| one.step)
        .collect();
    assert!(
        missed.is_empty(),
        "more allocations than allowed: {missed:?}"
    );
}
