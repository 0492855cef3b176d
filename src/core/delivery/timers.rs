//! One heap of deadlines per worker thread, instead of a timer per connection.
//!
//! Pure: time comes in.
//! **Why postponing costs nothing:** most deadlines are idle limits that move with every frame. An entry that fires
//! early looks up the true time and goes back in, so the heap holds about one entry per connection.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Deadlines by slot number.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(u64, u32)>>,
}

/// One slot's deadline, kept beside whatever the slot is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Deadline {
    /// When it is due, monotonic ms.
    at: Option<u64>,
    /// The earliest heap entry known for it.
    entry: Option<u64>,
}

impl Timers {
    /// Sets or drops a slot's deadline.
    pub(super) fn set(&mut self, slot: u32, deadline: &mut Deadline, at: Option<u64>) {
        deadline.at = at;
        if let Some(at) = at
            && deadline.entry.is_none_or(|entry| at < entry)
        {
            deadline.entry = Some(at);
            self.heap.push(Reverse((at, slot)));
        }
    }

    /// When the next entry is due. Perhaps earlier than any deadline, never later.
    pub(super) fn next(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the next entry that is due. The caller looks the slot up and asks [`Self::fires`].
    pub(super) fn pop(&mut self, now: u64) -> Option<(u64, u32)> {
        let Reverse((at, slot)) = *self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        Some((at, slot))
    }

    /// Whether the entry taken for this slot is a deadline that has come; one that moved goes back in.
    pub(super) fn fires(&mut self, entry: (u64, u32), deadline: &mut Deadline, now: u64) -> bool {
        let (at, slot) = entry;
        if deadline.entry != Some(at) {
            // Overtaken by an earlier entry, or left over from the slot's former owner.
            return false;
        }
        deadline.entry = None;
        match deadline.at {
            Some(true_at) if true_at <= now => {
                deadline.at = None;
                true
            }
            moved => {
                self.set(slot, deadline, moved);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(timers: &mut Timers, deadline: &mut Deadline, now: u64) -> u32 {
        let mut fired = 0;
        while let Some(entry) = timers.pop(now) {
            fired += u32::from(timers.fires(entry, deadline, now));
        }
        fired
    }

    #[test]
    fn a_deadline_fires_once_at_its_last_time() {
        let (mut timers, mut deadline) = (Timers::default(), Deadline::default());
        for at in 10..1_000 {
            timers.set(7, &mut deadline, Some(at));
        }
        assert_eq!(timers.heap.len(), 1, "postponing adds no entry");
        assert_eq!(timers.next(), Some(10), "and is not looked for");
        assert_eq!(run(&mut timers, &mut deadline, 998), 0);
        assert_eq!(run(&mut timers, &mut deadline, 999), 1);
        assert_eq!(run(&mut timers, &mut deadline, 9_999), 0);
    }

    #[test]
    fn moving_it_forward_or_dropping_it_works() {
        let (mut timers, mut deadline) = (Timers::default(), Deadline::default());
        timers.set(7, &mut deadline, Some(100));
        timers.set(7, &mut deadline, Some(50));
        assert_eq!(run(&mut timers, &mut deadline, 50), 1);
        timers.set(7, &mut deadline, Some(70));
        timers.set(7, &mut deadline, None);
        assert_eq!(run(&mut timers, &mut deadline, 1_000), 0);
    }
}
