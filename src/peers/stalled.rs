//! Frames for a channel that takes none at the moment: they wait in order, up to a bound, and hold up nobody else's.
//!
//! **Why what is too much is dropped as a whole:** a channel that lacks one frame has to ask for everything anyhow; it is told
//! that something was dropped, and both sides tell each other everything again. The other channels of that node go on.

use crate::core::ids::{ChannelKey, NodeId};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most frames of one node that may wait for one channel.
const MAX_FRAMES: usize = 4_096;
/// Most bytes of one node's frames that may wait for one channel.
const MAX_BYTES: usize = 8 << 20;
/// Most bytes of one node's frames that may wait for all channels.
const MAX_NODE_BYTES: usize = 64 << 20;

/// A channel, and the node that its frames come from.
type Place = (NodeId, Arc<ChannelKey>);

/// What a channel that was full is given next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<M> {
    /// The frame that comes next.
    Frame(M),
    /// That frames were dropped.
    Dropped,
    /// Nothing waits any more; frames go to it at once again.
    Nothing,
}

#[derive(Debug)]
struct Queue<M> {
    frames: VecDeque<(M, usize)>,
    bytes: usize,
    dropped: bool,
}

/// What waits, by channel and node.
#[derive(Debug)]
pub(super) struct Stalled<M> {
    queues: Mutex<HashMap<Place, Queue<M>>>,
    /// How many there are: nearly always none, and then nobody looks.
    count: AtomicUsize,
}

impl<M> Default for Stalled<M> {
    fn default() -> Self {
        Self {
            queues: Mutex::default(),
            count: AtomicUsize::new(0),
        }
    }
}

impl<M> Stalled<M> {
    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Queue<M>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a frame behind those that wait for the channel; gives it back when none do.
    pub(super) fn behind(
        &self,
        place: &Place,
        frame: M,
        weight: impl Fn(&Arc<ChannelKey>, &M) -> usize,
    ) -> Option<M> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Some(frame);
        }
        let mut queues = self.lock();
        if !queues.contains_key(place) {
            return Some(frame);
        }
        let bytes = weight(&place.1, &frame);
        let of_node = queues.iter().filter(|((node, _), _)| *node == place.0);
        let node_bytes: usize = of_node.map(|(_, one)| one.bytes).sum();
        if let Some(queue) = queues.get_mut(place) {
            queue.push(frame, bytes, node_bytes);
        }
        None
    }

    /// A channel was full: from now on its frames wait, this one first. Whoever says so brings them to it, by [`Self::next`].
    pub(super) fn begin(&self, place: Place, frame: M, bytes: usize) {
        let queue = Queue {
            frames: VecDeque::from([(frame, bytes)]),
            bytes,
            dropped: false,
        };
        let mut queues = self.lock();
        queues.insert(place, queue);
        self.count.store(queues.len(), Ordering::Release);
    }

    /// What the channel is given next.
    pub(super) fn next(&self, place: &Place) -> Next<M> {
        let mut queues = self.lock();
        let Some(queue) = queues.get_mut(place) else {
            return Next::Nothing;
        };
        if std::mem::take(&mut queue.dropped) {
            return Next::Dropped;
        }
        if let Some((frame, bytes)) = queue.frames.pop_front() {
            queue.bytes = queue.bytes.saturating_sub(bytes);
            return Next::Frame(frame);
        }
        queues.remove(place);
        self.count.store(queues.len(), Ordering::Release);
        Next::Nothing
    }
}

impl<M> Queue<M> {
    fn push(&mut self, frame: M, bytes: usize, node_bytes: usize) {
        let room = self.frames.len() < MAX_FRAMES
            && self.bytes + bytes <= MAX_BYTES
            && node_bytes + bytes <= MAX_NODE_BYTES;
        if room {
            self.bytes += bytes;
            return self.frames.push_back((frame, bytes));
        }
        // This one goes as well: it may rest on those before it.
        self.frames.clear();
        self.bytes = 0;
        self.dropped = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::AppId;

    fn place(name: &str) -> Place {
        (NodeId(2), ChannelKey::channel(AppId(1), name))
    }

    #[test]
    fn frames_wait_in_order_and_other_channels_are_not_concerned() {
        let stalled = Stalled::default();
        assert_eq!(stalled.behind(&place("a"), 1, |_, _| 10), Some(1));
        stalled.begin(place("a"), 1, 10);
        assert_eq!(stalled.behind(&place("a"), 2, |_, _| 10), None);
        assert_eq!(stalled.behind(&place("b"), 3, |_, _| 10), Some(3));
        let elsewhere = (NodeId(3), place("a").1);
        assert_eq!(
            stalled.behind(&elsewhere, 4, |_, _| 10),
            Some(4),
            "of another node"
        );
        assert_eq!(stalled.next(&place("a")), Next::Frame(1));
        assert_eq!(stalled.next(&place("a")), Next::Frame(2));
        assert_eq!(
            stalled.behind(&place("a"), 5, |_, _| 10),
            None,
            "not past one on its way"
        );
        assert_eq!(stalled.next(&place("a")), Next::Frame(5));
        assert_eq!(stalled.next(&place("a")), Next::Nothing);
        assert_eq!(stalled.behind(&place("a"), 6, |_, _| 10), Some(6));
    }

    #[test]
    fn what_is_too_much_is_dropped_as_a_whole_and_told() {
        for (frames, bytes) in [(MAX_FRAMES, 1), (8, MAX_BYTES / 8)] {
            let stalled = Stalled::default();
            stalled.begin(place("a"), 0, bytes);
            for n in 1..frames {
                assert_eq!(stalled.behind(&place("a"), n, |_, _| bytes), None);
            }
            assert_eq!(stalled.next(&place("a")), Next::Frame(0));
            for n in frames..frames + 2 {
                stalled.behind(&place("a"), n, |_, _| bytes);
            }
            stalled.behind(&place("a"), 9_999, |_, _| bytes);
            assert_eq!(stalled.next(&place("a")), Next::Dropped, "{frames} frames");
            assert_eq!(
                stalled.next(&place("a")),
                Next::Frame(9_999),
                "what came after it"
            );
            assert_eq!(stalled.next(&place("a")), Next::Nothing);
        }
    }

    #[test]
    fn one_node_fills_no_more_than_its_share() {
        let stalled = Stalled::default();
        let full = MAX_NODE_BYTES / MAX_BYTES;
        for n in 0..full {
            stalled.begin(place(&n.to_string()), 0, MAX_BYTES);
        }
        stalled.begin(place("last"), 1, 0);
        assert_eq!(stalled.behind(&place("last"), 2, |_, _| 1), None);
        assert_eq!(stalled.next(&place("last")), Next::Dropped);
    }
}
