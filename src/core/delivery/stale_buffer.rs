//! What happens to broadcasts while this node's lease is over: they wait, in order and bounded.
//!
//! Pure.
//! **Why they wait instead of being dropped:** a dropped message is a gap that most dialects cannot see. Either the
//! lease comes back, and everything goes out in order after what was enforced meanwhile, or the clients are sent to
//! another node, where they can ask for what they missed.
//! **Why whoever joins waits in the same line:** what waits before the joining is in what the subscriber gets first;
//! released to it as well, it would come twice.

use super::messages::{Attach, Deliver};
use crate::core::ids::{ChannelKey, ConnectionId};
use std::collections::VecDeque;

/// Most bytes that wait on one worker.
const MAX_BYTES: usize = 4 << 20;

/// What waits, in the order in which it was decided.
#[derive(Debug)]
pub(super) enum Buffered {
    /// A broadcast that may not be delivered now.
    Deliver(Deliver),
    /// A subscriber that joined behind it.
    Attach(Attach),
}

/// Broadcasts that may not be delivered now.
#[derive(Debug)]
pub(super) struct StaleBuffer {
    /// How long the lease may be over before connections are sent away.
    grace_ms: u64,
    buffered: VecDeque<Buffered>,
    bytes: usize,
    /// Since when the lease has been over, monotonic ms.
    since: Option<u64>,
    gave_up: bool,
}

/// What to do at a tick.
#[derive(Debug)]
pub(super) enum Verdict {
    /// There is nothing to do.
    Wait,
    /// Do this now, in this order.
    Release(VecDeque<Buffered>),
    /// Send the connections away, and first of all attach those: they are to be sent away as well.
    GiveUp(Vec<Attach>),
}

impl StaleBuffer {
    /// An empty one. With a grace as long as the lease, nobody is held by a node that was cut off for two.
    pub(super) fn new(grace_ms: u64) -> Self {
        Self {
            grace_ms,
            buffered: VecDeque::new(),
            bytes: 0,
            since: None,
            gave_up: false,
        }
    }

    /// Gives the message back when it may be delivered at once.
    pub(super) fn admit(
        &mut self,
        message: Deliver,
        serving: bool,
        now: impl FnOnce() -> u64,
    ) -> Option<Deliver> {
        if serving && self.buffered.is_empty() {
            self.since = None;
            return Some(message);
        }
        self.since.get_or_insert_with(now);
        self.bytes = self.bytes.saturating_add(size(&message));
        if self.bytes <= MAX_BYTES {
            self.buffered.push_back(Buffered::Deliver(message));
        }
        None
    }

    /// Gives the message back when nothing waits that it would overtake.
    pub(super) fn admit_subscriber(&mut self, message: Attach) -> Option<Attach> {
        if self.buffered.is_empty() {
            return Some(message);
        }
        self.buffered.push_back(Buffered::Attach(message));
        None
    }

    /// Takes out the subscribers of a channel that wait: this one, or all.
    pub(super) fn take_subscribers(
        &mut self,
        channel: &ChannelKey,
        only: Option<ConnectionId>,
    ) -> Vec<Attach> {
        let its = |one: &Attach| {
            *one.channel == *channel && only.is_none_or(|only| only == one.connection)
        };
        self.take_attaches(its)
    }

    fn take_attaches(&mut self, which: impl Fn(&Attach) -> bool) -> Vec<Attach> {
        let mut taken = Vec::new();
        for one in std::mem::take(&mut self.buffered) {
            match one {
                Buffered::Attach(one) if which(&one) => taken.push(one),
                other @ (Buffered::Attach(_) | Buffered::Deliver(_)) => {
                    self.buffered.push_back(other);
                }
            }
        }
        taken
    }

    /// Looks at the lease again.
    pub(super) fn tick(&mut self, serving: bool, now: u64) -> Verdict {
        let overrun = self.bytes > MAX_BYTES;
        if serving && !overrun {
            self.since = None;
            self.gave_up = false;
            self.bytes = 0;
            let buffered = std::mem::take(&mut self.buffered);
            return if buffered.is_empty() {
                Verdict::Wait
            } else {
                Verdict::Release(buffered)
            };
        }
        let since = *self.since.get_or_insert(now);
        if self.gave_up || (!overrun && now.saturating_sub(since) < self.grace_ms) {
            return Verdict::Wait;
        }
        // Something was lost, or nobody knows how long this takes: let them go where the view is fresh.
        let joining = self.take_attaches(|_| true);
        self.buffered.clear();
        self.bytes = 0;
        self.since = None;
        self.gave_up = !serving;
        Verdict::GiveUp(joining)
    }
}

fn size(message: &Deliver) -> usize {
    let frames: usize = message.frames.iter().map(|(_, frame)| frame.len()).sum();
    frames + std::mem::size_of::<Deliver>()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::core::authority::AppId;
    use crate::core::delivery::encoding::EncodingId;
    use crate::core::ids::ChannelKey;
    use crate::core::message::Broadcast;

    fn message(number: u64, bytes: usize) -> Deliver {
        Deliver {
            channel: ChannelKey::channel(AppId(1), "room"),
            frames: [(EncodingId(0), vec![0; bytes].into())]
                .into_iter()
                .collect(),
            broadcast: Broadcast::Count(number),
            except: None,
            publisher: None,
        }
    }

    #[test]
    fn everything_waits_and_comes_back_in_order() {
        let mut stale_buffer = StaleBuffer::new(3_000);
        assert!(stale_buffer.admit(message(0, 1), true, || 0).is_some());
        assert!(stale_buffer.admit(message(1, 1), false, || 10).is_none());
        // The lease is back, but the first one has not gone out yet: order before speed.
        assert!(stale_buffer.admit(message(2, 1), true, || 20).is_none());
        let Verdict::Release(buffered) = stale_buffer.tick(true, 50) else {
            panic!("the lease is back");
        };
        let number = |one: &Buffered| match one {
            Buffered::Deliver(one) => one.broadcast.clone(),
            Buffered::Attach(_) => panic!("nobody has joined"),
        };
        let numbers: Vec<_> = buffered.iter().map(number).collect();
        assert_eq!(numbers, [Broadcast::Count(1), Broadcast::Count(2)]);
        assert!(stale_buffer.admit(message(3, 1), true, || 60).is_some());
    }

    #[test]
    fn a_lost_lease_sends_connections_away_once() {
        let mut stale_buffer = StaleBuffer::new(3_000);
        assert!(matches!(stale_buffer.tick(false, 0), Verdict::Wait));
        assert!(matches!(stale_buffer.tick(false, 2_999), Verdict::Wait));
        assert!(matches!(
            stale_buffer.tick(false, 3_000),
            Verdict::GiveUp(_)
        ));
        assert!(matches!(stale_buffer.tick(false, 9_000), Verdict::Wait));
    }

    #[test]
    fn what_cannot_wait_is_never_passed_over_in_silence() {
        let mut stale_buffer = StaleBuffer::new(3_000);
        assert!(
            stale_buffer
                .admit(message(0, MAX_BYTES), false, || 0)
                .is_none()
        );
        assert!(matches!(stale_buffer.tick(true, 1), Verdict::GiveUp(_)));
        assert!(stale_buffer.admit(message(1, 1), true, || 2).is_some());
    }
}
