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
    /// How many of them are subscribers.
    joining: usize,
    bytes: usize,
    /// Since when the lease has been over, monotonic ms.
    since: Option<u64>,
    /// The connections have been sent away since then.
    gave_up: bool,
    /// Something found no room: whoever was to get it has to be sent away before anything else comes.
    lost: bool,
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
            joining: 0,
            bytes: 0,
            since: None,
            gave_up: false,
            lost: false,
        }
    }

    /// Gives the message back when it may be delivered at once.
    pub(super) fn admit(
        &mut self,
        message: Deliver,
        serving: bool,
        now: impl FnOnce() -> u64,
    ) -> Option<Deliver> {
        if serving && self.buffered.is_empty() && !self.lost {
            self.since = None;
            return Some(message);
        }
        self.since.get_or_insert_with(now);
        if self.takes(size(&message)) {
            self.buffered.push_back(Buffered::Deliver(message));
        }
        None
    }

    /// Whether so many bytes more may wait. What does not is lost, and nothing behind it is kept.
    fn takes(&mut self, more: usize) -> bool {
        let bytes = self.bytes.saturating_add(more);
        self.lost |= bytes > MAX_BYTES;
        if !self.lost {
            self.bytes = bytes;
        }
        !self.lost
    }

    /// Gives the message back when nothing waits that it would overtake, or when too much waits: then it is attached now,
    /// and is sent away with all others at the next tick.
    pub(super) fn admit_subscriber(&mut self, message: Attach) -> Option<Attach> {
        if self.buffered.is_empty() || !self.takes(subscriber_size(&message)) {
            return Some(message);
        }
        self.joining += 1;
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

    /// Takes out all subscribers that wait.
    pub(super) fn take_joining(&mut self) -> Vec<Attach> {
        self.take_attaches(|_| true)
    }

    fn take_attaches(&mut self, which: impl Fn(&Attach) -> bool) -> Vec<Attach> {
        let mut taken = Vec::new();
        if self.joining == 0 {
            return taken;
        }
        for one in std::mem::take(&mut self.buffered) {
            match one {
                Buffered::Attach(one) if which(&one) => taken.push(one),
                other @ (Buffered::Attach(_) | Buffered::Deliver(_)) => {
                    self.buffered.push_back(other);
                }
            }
        }
        self.joining -= taken.len();
        taken
    }

    /// Looks at the lease again. While it holds, nothing waits behind this.
    pub(super) fn tick(&mut self, serving: bool, now: u64) -> Verdict {
        if !serving {
            let since = *self.since.get_or_insert(now);
            let patient = !self.lost && now.saturating_sub(since) < self.grace_ms;
            if self.gave_up || patient {
                return Verdict::Wait;
            }
        }
        // Something was lost, or nobody knows how long this takes: let them go where the view is fresh.
        let gives_up = !serving || self.lost;
        let joining = match gives_up {
            true => self.take_joining(),
            false => Vec::new(),
        };
        let buffered = std::mem::take(&mut self.buffered);
        *self = Self {
            gave_up: !serving,
            ..Self::new(self.grace_ms)
        };
        match gives_up {
            true => Verdict::GiveUp(joining),
            false if buffered.is_empty() => Verdict::Wait,
            false => Verdict::Release(buffered),
        }
    }
}

/// What a subscriber gets first waits with it.
fn subscriber_size(message: &Attach) -> usize {
    let backlog = message.subscribed.backlog.iter();
    let messages: usize = backlog.map(|one| one.draft.data.len()).sum();
    let members = message.subscribed.members.iter().flat_map(|all| all.iter());
    let members: usize = members.map(|one| one.data.len()).sum();
    messages + members + std::mem::size_of::<Attach>()
}

fn size(message: &Deliver) -> usize {
    let frames: usize = message.frames.iter().map(|(_, frame)| frame.len()).sum();
    frames + std::mem::size_of::<Deliver>()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::core::authority::{AppId, Operations};
    use crate::core::delivery::encoding::EncodingId;
    use crate::core::ids::{NodeId, Position};
    use crate::core::message::{Broadcast, Member, Occupancy};
    use crate::core::session::{DeliveryMode, Subscribed};

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
        let passes = stale_buffer.admit(message(1, 1), true, || 1);
        assert!(passes.is_none(), "it would pass what found no room");
        assert!(matches!(stale_buffer.tick(true, 1), Verdict::GiveUp(_)));
        assert!(stale_buffer.admit(message(2, 1), true, || 2).is_some());
    }

    #[test]
    fn nobody_is_deaf_once_the_lease_is_back_however_much_came_meanwhile() {
        let mut stale_buffer = StaleBuffer::new(3_000);
        assert!(matches!(stale_buffer.tick(false, 0), Verdict::Wait));
        let sent_away = stale_buffer.tick(false, 3_000);
        assert!(matches!(sent_away, Verdict::GiveUp(_)));
        for number in 0..6 {
            let message = message(number, MAX_BYTES / 4);
            assert!(stale_buffer.admit(message, false, || 3_500).is_none());
        }
        assert!(matches!(stale_buffer.tick(false, 3_600), Verdict::Wait));
        let missed = stale_buffer.tick(true, 4_000);
        assert!(matches!(missed, Verdict::GiveUp(_)), "whoever came since");
        assert!(stale_buffer.admit(message(7, 1), true, || 5_000).is_some());
        assert!(matches!(stale_buffer.tick(true, 5_001), Verdict::Wait));
    }

    fn joining(connection: u64, member: usize) -> Attach {
        let channel = ChannelKey::channel(AppId(1), "room");
        let data = vec![0; member].into();
        let member = Member {
            connection: ConnectionId(1, connection),
            client: "ana".into(),
            node: NodeId(1),
            data,
            since: 0,
        };
        Attach {
            channel: channel.clone(),
            connection: ConnectionId(1, connection),
            mode: DeliveryMode::Shared,
            encoding: EncodingId(0),
            echo: true,
            subscribed: Box::new(Subscribed {
                channel,
                tag: 0,
                granted: Operations::SUBSCRIBE,
                position: Position::default(),
                backlog: Vec::new(),
                continuous: true,
                members: Some([member].into()),
                occupancy: Occupancy::default(),
            }),
        }
    }

    #[test]
    fn what_joiners_get_first_counts_and_those_who_find_no_room_go_with_the_rest() {
        let mut stale_buffer = StaleBuffer::new(3_000);
        assert!(stale_buffer.admit(message(0, 1), false, || 0).is_none());
        let mut waits = |one: &u64| {
            let joining = joining(*one, MAX_BYTES / 8);
            stale_buffer.admit_subscriber(joining).is_none()
        };
        let waiting = (0..20).take_while(|one| waits(one)).count();
        assert_eq!(waiting, 7, "no more than fits waits");
        let Verdict::GiveUp(taken) = stale_buffer.tick(true, 1) else {
            panic!("nothing is passed over in silence");
        };
        assert_eq!(taken.len(), 7);
        assert!(stale_buffer.admit_subscriber(joining(9, 1)).is_some());
    }

    #[test]
    fn one_who_leaves_does_not_wait_any_more_and_what_is_released_is_forgotten() {
        let mut stale_buffer = StaleBuffer::new(3_000);
        let channel = ChannelKey::channel(AppId(1), "room");
        let take = |stale_buffer: &mut StaleBuffer, one| {
            let all = stale_buffer.take_subscribers(&channel, Some(ConnectionId(1, one)));
            all.len()
        };
        assert!(stale_buffer.admit(message(0, 1), false, || 0).is_none());
        assert!(stale_buffer.admit_subscriber(joining(1, 1)).is_none());
        assert!(stale_buffer.admit_subscriber(joining(2, 1)).is_none());
        assert_eq!(
            (take(&mut stale_buffer, 1), take(&mut stale_buffer, 1)),
            (1, 0)
        );
        assert_eq!(stale_buffer.joining, 1);
        assert!(matches!(stale_buffer.tick(true, 1), Verdict::Release(all) if all.len() == 2));
        assert_eq!((stale_buffer.joining, take(&mut stale_buffer, 2)), (0, 0));
    }
}
