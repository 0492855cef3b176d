//! What a channel of the world answers, and whom it attaches, as `core/channel/actor.rs` does.

use super::channel::{Joiner, Waiting};
use super::world::World;
use crate::core::channel::replica::io::Ticket;
use crate::core::channel::replica::protocol::{Joined, Response};
use crate::core::channel::requests;
use crate::core::delivery::messages::{Attach, Detach};
use crate::core::error::Refusal;
use crate::core::ids::ConnectionId;
use crate::core::session::Event;

impl World {
    pub(super) fn respond(
        &mut self,
        at: usize,
        channel: usize,
        ticket: Ticket,
        response: Result<Response, Refusal>,
    ) {
        let actor = self.processes[at].channels.get_mut(&channel);
        let Some(waiting) = actor.and_then(|one| one.waiting.remove(&ticket)) else {
            return;
        };
        let key = self.keys[channel].clone();
        match (waiting, response) {
            (Waiting::Publish(reply), Ok(Response::Receipt(receipt))) => {
                self.published(at, channel, reply, Ok(receipt));
            }
            (Waiting::Publish(reply), Err(refusal)) => {
                self.published(at, channel, reply, Err(refusal));
            }
            (Waiting::Repeat(..), Ok(_)) => {}
            (Waiting::Repeat(draft, left), Err(_)) => {
                self.reached("what a wildcard did not take is repeated again");
                self.ask_to_repeat(at, channel, draft, left);
            }
            (Waiting::Batch(connection, tag), Ok(Response::Receipts(receipts))) => {
                for (tag, receipt) in (tag..).zip(receipts) {
                    self.tell(at, connection, Event::Published { tag, receipt });
                }
            }
            (Waiting::Batch(connection, tag), Err(refusal)) => {
                let event = Event::PublishRefused {
                    channel: key,
                    tag,
                    refusal,
                };
                self.tell(at, connection, event);
            }
            (Waiting::Join(joiner), Ok(Response::Joined(joined))) => {
                self.attach(at, channel, *joiner, *joined);
            }
            (Waiting::Join(joiner), Err(refusal)) => {
                self.refuse(at, channel, joiner.connection, joiner.tag, refusal);
            }
            (Waiting::Presence(connection, tag), answer) => {
                self.presence_done(at, channel, (connection, tag), answer.err());
            }
            (Waiting::Members(connection, tag), Ok(Response::Members(members))) => {
                let members = Ok(members);
                self.tell(at, connection, Event::Members { tag, members });
            }
            (Waiting::Members(connection, tag), Err(refusal)) => {
                let members = Err(refusal);
                self.tell(at, connection, Event::Members { tag, members });
            }
            (Waiting::History(connection, tag), Ok(Response::History(page))) => {
                let page = Ok(page);
                self.tell(at, connection, Event::History { tag, page });
            }
            (Waiting::History(connection, tag), Err(refusal)) => {
                let page = Err(refusal);
                self.tell(at, connection, Event::History { tag, page });
            }
            (waiting, Ok(other)) => panic!("{waiting:?} was answered {other:?}"),
        }
    }

    pub(super) fn refuse(
        &mut self,
        at: usize,
        channel: usize,
        connection: ConnectionId,
        tag: u64,
        refusal: Refusal,
    ) {
        let channel = self.keys[channel].clone();
        let event = Event::SubscribeRefused {
            channel,
            refusal,
            tag,
        };
        self.tell(at, connection, event);
    }

    pub(super) fn presence_done(
        &mut self,
        at: usize,
        channel: usize,
        (connection, tag): (ConnectionId, u64),
        refusal: Option<Refusal>,
    ) {
        let channel = self.keys[channel].clone();
        let event = Event::PresenceDone {
            channel,
            tag,
            refusal,
        };
        self.tell(at, connection, event);
    }

    fn attach(&mut self, at: usize, channel: usize, joiner: Joiner, joined: Joined) {
        let key = self.keys[channel].clone();
        let process = &mut self.processes[at];
        let how = (joiner.encoding, joiner.mode);
        if let Some(actor) = process.channels.get_mut(&channel) {
            actor.subscribers.insert(joiner.connection, how);
        }
        process.dispatch.attach(Attach {
            channel: key.clone(),
            connection: joiner.connection,
            mode: joiner.mode,
            encoding: joiner.encoding,
            echo: joiner.echo,
            subscribed: requests::subscribed(&key, (joiner.tag, joiner.granted), joined),
        });
    }

    /// The connection gets nothing more, not even the answer to its join.
    pub(super) fn detach(&mut self, at: usize, channel: usize, connection: ConnectionId) {
        let key = self.keys[channel].clone();
        let process = &mut self.processes[at];
        let Some(actor) = process.channels.get_mut(&channel) else {
            return;
        };
        let joins =
            |one: &Waiting| matches!(one, Waiting::Join(joiner) if joiner.connection == connection);
        actor.waiting.retain(|_, one| !joins(one));
        if actor.subscribers.remove(&connection).is_some() {
            process.dispatch.detach(&Detach {
                channel: key,
                connection,
            });
        }
    }
}
