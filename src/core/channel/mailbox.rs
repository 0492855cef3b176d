//! A channel's mailbox: each message becomes a request or another input of the replica.
//!
//! **Why a pass is looked at again here:** it is the proof that somebody decided; a subscriber's pass does not
//! publish.

use super::actor::{Channel, Joiner, Waiting, published};
use super::messages::{
    Differs, Dropped, FromPeer, Join, Leave, LinkUp, MembersChanged, Mutate, Mutation, PresenceTo,
    PublishBatchTo, PublishTo, Read, Repeat, Settled, Tell, Trim,
};
use super::replica::io::Input;
use super::replica::protocol::{JoinRequest, Request};
use super::requests;
use super::timer::Wake;
use super::wildcard;
use crate::core::authority::{Operations, Pass, Reason};
use crate::core::clock::Now;
use crate::core::error::Refusal;
use crate::core::session::{Event, NewMember};
use actix::prelude::*;

fn denied(pass: &Pass, needs: Operations, now: Now) -> Option<Refusal> {
    (!pass.allows(needs, now)).then_some(Refusal::Denied(Reason::NotGranted(needs)))
}

impl Handler<Join> for Channel {
    type Result = ();
    fn handle(&mut self, message: Join, cx: &mut Context<Self>) {
        let Some(join) = self.unless_retired(message) else {
            return;
        };
        let request = *join.request;
        if let Some(refusal) = denied(&join.pass, request.needs, self.context.now()) {
            let channel = self.key.clone();
            return join.subscriber.tell.do_send(Tell(Event::SubscribeRefused {
                channel,
                refusal,
                tag: request.tag,
            }));
        }
        let asked = Request::Join(JoinRequest {
            connection: join.subscriber.connection,
            start: request.start,
            member: request.member.map(|one| (one.client, one.data)),
            with_members: request.with_members,
            subscribers: 0,
        });
        let joiner = Joiner {
            subscriber: join.subscriber,
            granted: join.pass.operations(),
            mode: request.delivery,
            echo: request.echo,
            tag: request.tag,
        };
        self.request(asked, Waiting::Join(Box::new(joiner)), cx);
    }
}

impl Handler<Leave> for Channel {
    type Result = ();
    fn handle(&mut self, message: Leave, cx: &mut Context<Self>) {
        let Some(Leave {
            connection,
            gone,
            keeps_members,
        }) = self.unless_retired(message)
        else {
            return;
        };
        self.detach(connection);
        let input = match keeps_members {
            true => Input::Detach { connection },
            false => Input::Leave { connection, gone },
        };
        self.feed(input, cx);
    }
}

impl Handler<PublishTo> for Channel {
    type Result = ();
    fn handle(&mut self, message: PublishTo, cx: &mut Context<Self>) {
        let Some(message) = self.unless_retired(message) else {
            return;
        };
        let now = self.context.now();
        match denied(&message.pass, Operations::PUBLISH, now) {
            Some(refusal) => published(message.reply, Err(refusal), &self.key),
            None => {
                let waiting = Waiting::Publish(message.reply);
                self.request_at(now, Request::Publish(message.draft), waiting, cx);
            }
        }
    }
}

impl Handler<PublishBatchTo> for Channel {
    type Result = ();
    fn handle(&mut self, message: PublishBatchTo, cx: &mut Context<Self>) {
        let Some(message) = self.unless_retired(message) else {
            return;
        };
        match denied(&message.pass, Operations::PUBLISH, self.context.now()) {
            // Nobody waits any more: nothing to tell.
            Some(refusal) => drop(message.reply.send(Err(refusal))),
            None => {
                let waiting = Waiting::PublishBatch(message.reply);
                self.request(Request::PublishBatch(message.drafts), waiting, cx);
            }
        }
    }
}

impl Handler<Repeat> for Channel {
    type Result = ();
    fn handle(&mut self, message: Repeat, cx: &mut Context<Self>) {
        let Some(Repeat(draft)) = self.unless_retired(message) else {
            return;
        };
        let now = self.context.now();
        self.take_repeated(draft, wildcard::ATTEMPTS, now, cx);
    }
}

impl Handler<PresenceTo> for Channel {
    type Result = ();
    fn handle(&mut self, message: PresenceTo, cx: &mut Context<Self>) {
        let Some(message) = self.unless_retired(message) else {
            return;
        };
        let (tell, tag) = (message.tell, message.request.tag);
        if let Some(refusal) = denied(&message.pass, Operations::PRESENCE, self.context.now()) {
            return tell.do_send(Tell(Event::PresenceDone {
                channel: self.key.clone(),
                tag,
                refusal: Some(refusal),
            }));
        }
        let ask = requests::presence(message.connection, *message.request);
        self.request(ask, Waiting::Presence { tell, tag }, cx);
    }
}

impl Handler<Mutate> for Channel {
    type Result = ();
    fn handle(&mut self, message: Mutate, cx: &mut Context<Self>) {
        let Some(message) = self.unless_retired(message) else {
            return;
        };
        let (needs, ask) = match message.mutation {
            Mutation::EnsurePresent(connection, NewMember { client, data }) => (
                Operations::PRESENCE,
                Request::EnsurePresent {
                    connection,
                    client,
                    data,
                },
            ),
            Mutation::Leave(connection, client) => {
                let ask = Request::Leave { connection, client };
                (Operations::NONE, ask)
            }
            Mutation::Erase(after, until) => (Operations::DELETE, Request::Erase { after, until }),
        };
        let now = self.context.now();
        let refusal = match &message.pass {
            Some(pass) => denied(pass, needs, now),
            None => (!needs.is_empty()).then_some(Refusal::Denied(Reason::NotGranted(needs))),
        };
        match refusal {
            // Nobody waits any more: nothing to tell.
            Some(refusal) => drop(message.reply.send(Err(refusal))),
            None => self.request(ask, Waiting::Mutation(message.reply), cx),
        }
    }
}

impl Handler<Read> for Channel {
    type Result = ();
    fn handle(&mut self, message: Read, cx: &mut Context<Self>) {
        match self.unless_retired(message) {
            None => {}
            Some(Read::Occupancy(to)) => {
                self.request(Request::Occupancy, Waiting::Occupancy(to), cx)
            }
            Some(Read::Members(to)) => self.request(Request::Members, Waiting::Members(to), cx),
            Some(Read::History(page, to)) => {
                self.request(Request::History(page), Waiting::History(to), cx);
            }
            Some(Read::LastValue(to)) => {
                self.request(Request::LastValue, Waiting::LastValue(to), cx)
            }
            Some(Read::PresenceLog(page, to)) => {
                self.request(Request::PresenceLog(page), Waiting::PresenceLog(to), cx);
            }
        }
    }
}

impl Handler<FromPeer> for Channel {
    type Result = ();
    fn handle(&mut self, message: FromPeer, cx: &mut Context<Self>) {
        if let Some(FromPeer { from, message }) = self.unless_retired(message) {
            self.feed(Input::From { from, message }, cx);
        }
    }
}

impl Handler<Trim> for Channel {
    type Result = ();
    fn handle(&mut self, _: Trim, cx: &mut Context<Self>) {
        if !self.retired {
            self.limits_due = 0;
            self.feed(Input::Trim, cx);
        }
    }
}

impl Handler<Settled> for Channel {
    type Result = ();
    fn handle(&mut self, message: Settled, cx: &mut Context<Self>) {
        if let Some(Settled(ids)) = self.unless_retired(message) {
            self.feed(Input::Settled(ids), cx);
        }
    }
}

impl Handler<Wake> for Channel {
    type Result = ();
    fn handle(&mut self, _: Wake, cx: &mut Context<Self>) {
        self.wake(cx);
    }
}

impl Handler<LinkUp> for Channel {
    type Result = ();
    fn handle(&mut self, message: LinkUp, cx: &mut Context<Self>) {
        if !self.retired {
            self.feed(Input::LinkUp(message.0), cx);
        }
    }
}

impl Handler<MembersChanged> for Channel {
    type Result = ();
    fn handle(&mut self, message: MembersChanged, cx: &mut Context<Self>) {
        let MembersChanged(members, under_way) = message;
        if !self.retired {
            self.feed(Input::MembersChanged(members), cx);
        }
        drop(under_way);
    }
}

impl Handler<Differs> for Channel {
    type Result = ();
    fn handle(&mut self, message: Differs, cx: &mut Context<Self>) {
        if !self.retired {
            self.feed(Input::Differs(message.0), cx);
        }
    }
}

impl Handler<Dropped> for Channel {
    type Result = ();
    fn handle(&mut self, message: Dropped, cx: &mut Context<Self>) {
        if let Some(Dropped(node)) = self.unless_retired(message) {
            self.feed(Input::Dropped(node), cx);
        }
    }
}
