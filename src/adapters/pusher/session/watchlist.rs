//! The watchlist: whom a signed-in user is told about as they come and go.
//!
//! Being online is being in the presence set of one's own status; watching is subscribing to somebody's status.
//! Both are ordinary channels of the core, so a node that dies takes its users with it and nobody is counted twice.
//!
//! **Why the first answer waits for all:** clients take the first frame for the state of the whole list.

use super::{PusherSession, Turn};
use crate::adapters::pusher::frame::server;
use crate::adapters::pusher::{auth, codes, limits};
use crate::core::authority::{Operations, Revision, Signer};
use crate::core::ids::{ChannelKey, Text};
use crate::core::message::{Broadcast, PresenceAction};
use crate::core::session::{
    DeliveryMode, Intent, NewMember, PresenceRequest, Start, Subscribe, Subscribed,
};
use bytes::Bytes;
use std::collections::BTreeMap;

/// What is known of the users on the list.
#[derive(Debug, Default)]
pub(super) struct Watchlist {
    users: BTreeMap<Text, Seen>,
    /// The client has been told of the whole list.
    told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Not answered yet.
    Asked,
    /// Not to be had: nothing is said of this user.
    Unknown,
    Online,
    Offline,
}

impl Watchlist {
    /// Users in this state.
    fn of(&self, seen: Seen) -> Vec<&str> {
        let users = self.users.iter().filter(|(_, one)| **one == seen);
        users.map(|(user, _)| &**user).collect()
    }
}

/// Whom the user may watch: each once, in order; and whether the list was cut.
pub(super) fn bounded(asked: Vec<Text>, max: u64) -> (Vec<Text>, bool) {
    let mut users: Vec<Text> = Vec::new();
    for user in asked {
        if !users.contains(&user) {
            if users.len() as u64 >= max {
                return (users, true);
            }
            users.push(user);
        }
    }
    (users, false)
}

impl PusherSession {
    /// The user has signed in: from now on she hears of those on her list.
    pub(super) fn watch(&mut self, signer: &Signer, list: Vec<Text>, turn: &mut Turn<'_>) {
        if !limits::WATCHLIST.on(turn.app) {
            return;
        }
        let max = turn.limit(limits::WATCHED_USERS);
        let (users, cut) = bounded(list, max);
        if cut {
            let text = format!("The watchlist exceeds the allowed maximum ({max} users)");
            turn.send(server::error(Some(codes::WATCHLIST_LIMIT), &text));
        }
        let revision = turn.state.revision;
        for watched in users {
            let request = self.status(&watched, signer, revision);
            self.watchlist.users.insert(watched, Seen::Asked);
            turn.ask(Intent::Subscribe(request.into()));
        }
    }

    /// She is online from now on; the request that says so.
    pub(super) fn appear(&mut self, user: &Text, turn: &mut Turn<'_>) -> u64 {
        let tag = self.tag();
        let request = PresenceRequest {
            channel: ChannelKey::status(self.app, user),
            member: Some(NewMember {
                client: user.clone(),
                data: Bytes::new(),
            }),
            client: user.clone(),
            speaks_for: None,
            proof: None,
            tag,
        };
        turn.ask(Intent::Presence(request.into()));
        tag
    }

    fn status(&mut self, watched: &Text, signer: &Signer, revision: Revision) -> Subscribe {
        Subscribe {
            channel: ChannelKey::status(self.app, watched),
            needs: Operations::PRESENCE_READ,
            wants: Operations::NONE,
            proof: Some(auth::watch_proof(revision, signer, watched).into()),
            start: Start::Now,
            member: None,
            speaks_for: None,
            with_members: true,
            delivery: DeliveryMode::Session,
            echo: true,
            tag: self.tag(),
        }
    }

    /// A status is being watched.
    pub(super) fn watched(&mut self, answer: &Subscribed, turn: &mut Turn<'_>) {
        let online = answer.members.as_deref().is_some_and(|all| !all.is_empty());
        self.saw(&answer.channel.name, online, turn);
        self.tell_list(turn);
    }

    /// A status cannot be watched, or not any more.
    pub(super) fn unwatched(&mut self, user: &Text, turn: &mut Turn<'_>) {
        if let Some(seen) = self.watchlist.users.get_mut(user) {
            *seen = Seen::Unknown;
        }
        self.tell_list(turn);
    }

    /// Somebody on the list came or went.
    pub(super) fn status_changed(&mut self, user: &Text, what: &Broadcast, turn: &mut Turn<'_>) {
        let Broadcast::Presence(change) = what else {
            return;
        };
        match change.action {
            PresenceAction::Enter if change.client_transition => self.saw(user, true, turn),
            PresenceAction::Leave | PresenceAction::Timeout if change.client_transition => {
                self.saw(user, false, turn);
            }
            PresenceAction::Enter
            | PresenceAction::Update
            | PresenceAction::Leave
            | PresenceAction::Timeout => {}
        }
    }

    fn saw(&mut self, user: &Text, online: bool, turn: &mut Turn<'_>) {
        let Some(seen) = self.watchlist.users.get_mut(user) else {
            return;
        };
        let now = if online { Seen::Online } else { Seen::Offline };
        let news = std::mem::replace(seen, now) != now;
        if news && self.watchlist.told {
            let user = [&**user];
            let (came, left): (&[&str], &[&str]) = if online { (&user, &[]) } else { (&[], &user) };
            turn.send(server::watchlist(came, left));
        }
    }

    /// Tells of the whole list, once, when everyone on it is known.
    fn tell_list(&mut self, turn: &mut Turn<'_>) {
        let list = &mut self.watchlist;
        if list.told || list.users.values().any(|seen| *seen == Seen::Asked) {
            return;
        }
        list.told = true;
        turn.send(server::watchlist(
            &list.of(Seen::Online),
            &list.of(Seen::Offline),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_after_its_limit_and_names_count_once() {
        let list = |names: &[&str]| {
            names
                .iter()
                .map(|name| Text::from(*name))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            bounded(list(&["a", "b", "a"]), 2),
            (list(&["a", "b"]), false)
        );
        assert_eq!(
            bounded(list(&["a", "b", "c"]), 2),
            (list(&["a", "b"]), true)
        );
    }
}
