//! The session contract: what a dialect's session must offer, and what the core does for it.
//!
//! A connection = transport × session × core. The session (an adapter's pure state machine) is fed
//! [`Input`]s and answers with [`Action`]s; the actor around it, its outbox, limits and timers are written
//! once for all dialects.

use super::authority::{Authority, Operations, Principal, Proof, SpokenFor};
use super::clock::Now;
use super::close::{Close, End};
use super::error::Refusal;
use super::ids::{ChannelKey, ConnectionId, Position, Text, Timetoken};
use super::message::{Broadcast, Draft, Member, Occupancy, Publication, Receipt};
use super::refusals::Told;
use bytes::Bytes;
use bytestring::ByteString;
use std::sync::Arc;

/// One whole message on the transport, framing removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Text that is known to be UTF-8.
    Text(ByteString),
    /// Bytes of any kind.
    Binary(Bytes),
}

/// What a session may look at beside its own state.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The id of this connection.
    pub id: ConnectionId,
    /// The moment at which the input is handled.
    pub now: Now,
    /// Read-only access view: keys to check signatures with, app settings, decisions.
    pub authority: &'a Authority,
}

/// A dialect's session: pure, one per connection, fed in order.
pub trait Session: 'static {
    /// Takes one input and appends what is to be done, in order. Must not block, sleep, log or panic.
    fn handle(&mut self, input: Input, cx: Context<'_>, out: &mut Vec<Action>);

    /// How long the presence entries stay when the socket is lost without a word, so that a client that
    /// comes back and takes them over is never seen leaving, ms. 0 = they leave with the socket.
    fn linger_ms(&self) -> u64 {
        0
    }
}

/// What happens to a session.
#[derive(Clone, Debug)]
pub enum Input {
    /// The transport is open; say hello or refuse.
    Opened,
    /// The client sent a message.
    Frame(Frame),
    /// The client showed a sign of life below the dialect (WebSocket ping or pong).
    Alive,
    /// The core has something to tell.
    Event(Event),
    /// A time asked for with [`Action::Wake`] has come.
    Wake,
    /// The connection is ending for this reason: last chance to say goodbye with [`Action::Send`] and
    /// [`Action::Close`], and to others with [`Intent::Publish`], as far as that is allowed without waiting.
    /// Nothing else is carried out any more.
    Ending(End),
}

/// What a session wants done. Carried out in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send to this client.
    Send(Frame),
    /// Ask the core.
    Do(Intent),
    /// Say this and end the connection.
    Close(Close),
    /// Tell the operators that the client has been refused something. Nothing of it reaches the client: what that is told
    /// stands in an action of its own.
    Refused(Box<Told>),
    /// Call [`Input::Wake`] at this time (monotonic ms), replacing an earlier request.
    Wake {
        /// When it wants to be woken, monotonic ms.
        at_mono_ms: u64,
    },
}

#[cfg(test)]
impl Action {
    /// Parts what operators are told from what is done: most tests are about the latter.
    pub(crate) fn parted(actions: Vec<Self>) -> (Vec<Self>, Vec<Told>) {
        let (mut done, mut told) = (Vec::new(), Vec::new());
        for action in actions {
            match action {
                Self::Refused(one) => told.push(*one),
                other @ (Self::Send(_) | Self::Do(_) | Self::Close(_) | Self::Wake { .. }) => {
                    done.push(other);
                }
            }
        }
        (done, told)
    }
}

/// What a session may ask of the core. Answers come as [`Event`]s, in the order of the requests on the
/// same channel.
#[derive(Clone, Debug, PartialEq)]
pub enum Intent {
    /// From now on the connection speaks for this principal. Every subscription is judged again.
    /// Answered by [`Event::Identified`] or [`Event::IdentifyRefused`] (blocked, revoked, expired).
    Identify(Box<Principal>),
    /// Bring this node's view up to everything acknowledged anywhere, before something is judged on it that
    /// cannot be judged again. Answered by [`Event::CaughtUp`].
    CatchUp,
    /// Start receiving a channel.
    Subscribe(Box<Subscribe>),
    /// Stop receiving a channel.
    Unsubscribe {
        /// The channel it is about.
        channel: Arc<ChannelKey>,
    },
    /// Send to a channel.
    Publish(Publish),
    /// Send several to a channel, in this order and with nothing in between; all are accepted or none. The answers may
    /// come after those to later requests.
    PublishBatch(Box<PublishBatch>),
    /// Enter, change or leave a presence set apart from a subscription.
    Presence(Box<PresenceRequest>),
    /// Read the presence set.
    Members {
        /// The channel whose presence set is read.
        channel: Arc<ChannelKey>,
        /// Comes back with the answer.
        tag: u64,
    },
    /// Read a page of history.
    History(Box<HistoryRequest>),
}

/// A subscription asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe {
    /// The channel it is about.
    pub channel: Arc<ChannelKey>,
    /// What must all be allowed.
    pub needs: Operations,
    /// What is wanted as well, if allowed (modes).
    pub wants: Operations,
    /// A proof for just this channel.
    pub proof: Option<Box<Proof>>,
    /// Where to begin.
    pub start: Start,
    /// Enter the presence set in the same step.
    pub member: Option<NewMember>,
    /// Whose this connection is on the channel, if it is not the principal's own user: ended with her.
    pub speaks_for: Option<Box<SpokenFor>>,
    /// Whether the answer needs the presence set.
    pub with_members: bool,
    /// How broadcasts reach the client.
    pub delivery: DeliveryMode,
    /// Whether own publications come back.
    pub echo: bool,
    /// Comes back with the answer.
    pub tag: u64,
}

impl Subscribe {
    /// The least that can be asked for: to receive what is published from now on, encoded once for all who read it.
    #[must_use]
    pub fn from_now(channel: Arc<ChannelKey>, tag: u64) -> Self {
        Self {
            channel,
            needs: Operations::SUBSCRIBE,
            wants: Operations::NONE,
            proof: None,
            start: Start::Now,
            member: None,
            speaks_for: None,
            with_members: false,
            delivery: DeliveryMode::Shared,
            echo: true,
            tag,
        }
    }

    /// What a long poll asks for: to receive, its own messages among them, into a queue of its session.
    #[must_use]
    pub fn by_poll(channel: Arc<ChannelKey>, start: Start, tag: u64) -> Self {
        Self {
            start,
            delivery: DeliveryMode::Session,
            ..Self::from_now(channel, tag)
        }
    }
}

/// How broadcasts reach a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMode {
    /// The same bytes as everyone with this connection's encoding: the fast path.
    Shared,
    /// As [`Event::Broadcast`], because the session must frame each one itself (long poll, filter,
    /// sequence numbers).
    Session,
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Start {
    /// With the next publication.
    Now,
    /// With the retained last value, if there is one (cache channels).
    Last,
    /// With up to this many past publications.
    Rewind {
        /// How many publications at most.
        count: u32,
    },
    /// With what was published in the last so many milliseconds.
    Since {
        /// How long ago.
        ago_ms: u64,
    },
    /// With what follows a position held by the client.
    After(Position),
    /// With what was stamped later than this timetoken: for clients whose one cursor spans many channels.
    AfterTime(Timetoken),
}

/// An entry for a presence set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMember {
    /// Verified client / user id.
    pub client: Text,
    /// What it says of itself.
    pub data: Bytes,
}

/// A publication asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    /// The channel it is about.
    pub channel: Arc<ChannelKey>,
    /// The message; `connection` is filled in by the core.
    pub draft: Box<Draft>,
    /// Whether a subscription of this connection must exist (client events).
    pub subscribed_only: bool,
    /// A proof for just this channel.
    pub proof: Option<Box<Proof>>,
    /// Answer with [`Event::Published`] carrying this; refusals are always told.
    pub ack: Option<u64>,
    /// Comes back with a refusal.
    pub tag: u64,
}

/// Several publications to one channel, asked for together.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishBatch {
    /// The channel it is about.
    pub channel: Arc<ChannelKey>,
    /// The messages; `connection` is filled in by the core.
    pub drafts: Vec<Draft>,
    /// Each is answered with [`Event::Published`]: the first with this, the others with the numbers that follow. A
    /// refusal is told once, with this.
    pub tag: u64,
}

/// A presence change asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct PresenceRequest {
    /// The channel it is about.
    pub channel: Arc<ChannelKey>,
    /// Enter or update (`Some`), leave (`None`).
    pub member: Option<NewMember>,
    /// Who leaves, if `member` is none.
    pub client: Text,
    /// Whom the connection enters, if it is not its principal's own user: taken out with her, and no more, since it
    /// may speak for many.
    pub speaks_for: Option<Box<SpokenFor>>,
    /// A proof for just this channel.
    pub proof: Option<Box<Proof>>,
    /// Comes back with the answer.
    pub tag: u64,
}

/// A page of history asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryRequest {
    /// The channel it is about.
    pub channel: Arc<ChannelKey>,
    /// Which part of the history.
    pub page: HistoryPage,
    /// Comes back with the answer.
    pub tag: u64,
}

/// A part of a channel's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HistoryPage {
    /// Only after this timetoken (exclusive); 0 = from the oldest.
    pub after: u64,
    /// Only up to this timetoken (inclusive); `u64::MAX` = to the newest.
    pub until: u64,
    /// At most so many.
    pub limit: u32,
    /// Whether the newest come first.
    pub backwards: bool,
}

/// What the core tells a session.
#[derive(Clone, Debug)]
pub enum Event {
    /// The principal was accepted.
    Identified,
    /// The principal was not accepted; the old one stays.
    IdentifyRefused(Refusal),
    /// The credential is revoked with a margin: the connection ends at this cluster time unless it has
    /// identified anew by then.
    Expiring {
        /// When, cluster time ms.
        at_ms: u64,
    },
    /// The view is as fresh as it was asked for, or could not be brought there.
    CaughtUp(Result<(), Refusal>),
    /// A subscription stands; nothing of it was delivered before this.
    Subscribed(Box<Subscribed>),
    /// A subscription was refused.
    SubscribeRefused {
        /// The channel it is about.
        channel: Arc<ChannelKey>,
        /// Why it was refused.
        refusal: Refusal,
        /// From the request.
        tag: u64,
    },
    /// A subscription has ended, as asked; `refusal` if there was none.
    Unsubscribed {
        /// The channel it is about.
        channel: Arc<ChannelKey>,
        /// Set when there was nothing to end.
        refusal: Option<Refusal>,
    },
    /// Rights on a subscription changed live. Without [`Operations::SUBSCRIBE`] it has already ended.
    RightsChanged {
        /// The channel it is about.
        channel: Arc<ChannelKey>,
        /// What is left.
        granted: Operations,
        /// Why, when the subscription ended.
        refusal: Option<Refusal>,
    },
    /// A publication with `ack` was accepted.
    Published {
        /// From the request.
        tag: u64,
        /// Where it stands.
        receipt: Receipt,
    },
    /// A publication was not accepted.
    PublishRefused {
        /// The channel it is about.
        channel: Arc<ChannelKey>,
        /// From the request.
        tag: u64,
        /// Why it was refused.
        refusal: Refusal,
    },
    /// A presence request was carried out or refused.
    PresenceDone {
        /// The channel it is about.
        channel: Arc<ChannelKey>,
        /// From the request.
        tag: u64,
        /// Why not, if not.
        refusal: Option<Refusal>,
    },
    /// The presence set, as asked.
    Members {
        /// From the request.
        tag: u64,
        /// The set, in order of entry.
        members: Result<Arc<[Member]>, Refusal>,
    },
    /// A page of history, as asked.
    History {
        /// From the request.
        tag: u64,
        /// The page, in the order asked for.
        page: Result<Vec<Arc<Publication>>, Refusal>,
    },
    /// A broadcast, for subscriptions in [`DeliveryMode::Session`].
    Broadcast {
        /// The channel it is about.
        channel: Arc<ChannelKey>,
        /// The broadcast itself.
        broadcast: Broadcast,
    },
}

/// A subscription that stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribed {
    /// The channel it is about.
    pub channel: Arc<ChannelKey>,
    /// From the request.
    pub tag: u64,
    /// What is allowed on it.
    pub granted: Operations,
    /// Where the live part begins: everything after this will be delivered.
    pub position: Position,
    /// Publications between the asked start and `position`, oldest first.
    pub backlog: Vec<Arc<Publication>>,
    /// `true` when nothing between the asked start and `position` is missing.
    pub continuous: bool,
    /// The presence set including the new member, if asked for.
    pub members: Option<Arc<[Member]>>,
    /// Counts right after the step.
    pub occupancy: Occupancy,
}
