//! The clocks of nodes in the world: each carries cluster time, from the last stamp that it has heard of, by a clock of its own.
//!
//! **Why no clock goes backwards or far ahead:** by `cluster/src/raft/clock.rs` one wrong clock moves nothing. What is left are
//! nodes that have heard of the last stamp and nodes that have not, as in `cluster/src/raft/view.rs`.

use super::process::EPOCH_MS;
use super::world::World;

/// Cluster time as a node has it, in milliseconds since the world began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    /// The last stamp, and when it was heard of.
    stamp_ms: u64,
    heard_ms: u64,
    /// The latest that was shown to anybody.
    shown_ms: u64,
}

impl Clock {
    /// A stamp is heard of.
    fn hear(&mut self, stamp_ms: u64, now_ms: u64) {
        if stamp_ms > self.stamp_ms {
            self.stamp_ms = stamp_ms;
            self.heard_ms = now_ms;
        }
    }

    /// The last stamp and what has passed since; never backwards.
    pub(super) fn at(&mut self, now_ms: u64) -> u64 {
        let carried = self.stamp_ms + now_ms.saturating_sub(self.heard_ms);
        self.shown_ms = self.shown_ms.max(carried);
        self.shown_ms
    }
}

impl World {
    /// What whoever leads stamps with.
    pub(super) fn cluster_ms(&self) -> u64 {
        self.now_ms + self.walls_ms
    }

    /// A node's view shows the log up to there.
    pub(super) fn hear_stamp(&mut self, at: usize, index: u64) {
        let stamp_ms = self.log.state(index).time_ms.saturating_sub(EPOCH_MS);
        self.set_clock(at, stamp_ms);
    }

    /// A node asks how late it is, and hears what it was when its question was answered.
    pub(super) fn ask_the_time(&mut self, at: usize) {
        let ago = self.chance.between(0, 40);
        self.set_clock(at, self.cluster_ms().saturating_sub(ago));
    }

    fn set_clock(&mut self, at: usize, stamp_ms: u64) {
        let now_ms = self.now_ms;
        let process = &mut self.processes[at];
        process.clock.hear(stamp_ms, now_ms);
        let shown = process.clock.at(now_ms);
        process.authority.set_now(EPOCH_MS + shown);
    }

    /// The wall clocks of a majority move forward.
    pub(super) fn move_clocks(&mut self) {
        let ms = self.chance.pick(&[60, 300, 2_000, 10_000]);
        self.walls_ms += ms;
        self.note(|| format!("the clocks of a majority move forward by {ms} ms"));
        let now_ms = self.now_ms;
        let clocks = self.running.values().map(|at| self.processes[*at].clock);
        let mut shown: Vec<u64> = clocks.map(|mut one| one.at(now_ms)).collect();
        shown.sort_unstable();
        if shown.first() != shown.last() {
            self.reached("the clocks of two nodes differ");
        }
    }
}
