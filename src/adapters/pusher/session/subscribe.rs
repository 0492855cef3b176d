//! Subscribing and unsubscribing.
//!
//! **Must never know:** whether it is allowed: names, duplicates and signatures are checked here, rights in the core.

use super::subscribe_auth::{self, SubscribeAuth, Unclaimed};
use super::unsure::NoKey;
use super::{PusherSession, Subscription, Turn, User};
use crate::adapters::pusher::channel_name::{self, Class};
use crate::adapters::pusher::codes::{self, SubscriptionError};
use crate::adapters::pusher::frame::{client, server};
use crate::adapters::pusher::limits;
use crate::core::authority::{Operations, Principal};
use crate::core::ids::{ChannelKey, Text};
use crate::core::refusals::Rule;
use crate::core::session::{Intent, NewMember, Start, Subscribe};
use std::sync::Arc;

impl PusherSession {
    pub(super) fn subscribe(&mut self, ask: client::Subscribe, turn: &mut Turn<'_>) {
        let name = &*ask.channel;
        if let Some(leaving) = self.leaving(name) {
            if leaving.again.is_some() {
                return turn.fail(Rule::AlreadyDone, name, &codes::existing(name));
            }
            leaving.again = Some(ask.into());
            return;
        }
        if let Some(user) = channel_name::inbox_user(name) {
            return self.subscribe_inbox(user, name, turn);
        }
        let max = turn.limit(limits::CHANNEL_NAME_BYTES);
        if !channel_name::is_valid(name, max) {
            return turn.refuse(name, &invalid_name(name, max));
        }
        if self.subscriptions.contains_key(name) {
            return turn.fail(Rule::AlreadyDone, name, &codes::existing(name));
        }
        let class = channel_name::class(name);
        match subscribe_auth::check(&ask, class, self.user.as_ref(), turn) {
            Ok(mut auth) => {
                if let Some((user, principal)) = auth.signs_in.take()
                    && let Err(error) = self.becomes(user, *principal, turn)
                {
                    return turn.refuse(name, &error);
                }
                self.ask_to_subscribe(name, class, auth, turn);
            }
            Err(Unclaimed::Wrong(error)) => turn.refuse(name, &error),
            Err(Unclaimed::NoKey(error)) => match self.no_key() {
                NoKey::Later => {}
                NoKey::Unknown => turn.refuse(name, &error),
                NoKey::Refused(refusal) => turn.refuse(name, &codes::subscription(&refusal, name)),
            },
        }
    }

    /// From here on the connection is this user's, by her provider's token; a later one of hers takes its place.
    fn becomes(
        &mut self,
        user: User,
        principal: Principal,
        turn: &mut Turn<'_>,
    ) -> Result<(), SubscriptionError> {
        let signing_in = self.signing_in.as_ref().map(|one| &one.user.id);
        let signed_in = self.user.as_ref().map(|known| &known.id);
        let mut others = signed_in.into_iter().chain(signing_in);
        if others.any(|other| *other != user.id) {
            let text = "Connection already signed in as another user";
            let error = SubscriptionError::auth(401, text.into());
            return Err(error.because(Rule::WrongUser));
        }
        let principal = self.opened(principal);
        turn.ask(Intent::Identify(principal.into()));
        // Who is refused loses the connection: nothing else is told by this.
        self.user.get_or_insert(user);
        Ok(())
    }

    fn ask_to_subscribe(
        &mut self,
        name: &str,
        class: Class,
        auth: SubscribeAuth,
        turn: &mut Turn<'_>,
    ) {
        let key = ChannelKey::channel(self.app, name);
        let (needs, wants) = operations(class);
        let member = auth.member.map(|user| NewMember {
            client: user.id,
            data: user.info,
        });
        let subscription = self.remember(key, true);
        subscription.user = member.as_ref().map(|member| member.client.clone());
        let start = match channel_name::is_cache(name) {
            true => Start::Last,
            false => Start::Now,
        };
        let request = Subscribe {
            needs,
            wants,
            proof: auth.proof,
            start,
            member,
            speaks_for: auth.speaks_for,
            with_members: class == Class::Presence,
            ..plain(subscription)
        };
        turn.ask(Intent::Subscribe(request.into()));
    }

    /// The client wants the inbox that it has got since it signed in.
    fn subscribe_inbox(&mut self, user: &str, name: &str, turn: &mut Turn<'_>) {
        if self.user.as_ref().is_none_or(|known| &*known.id != user) {
            let text = format!(
                "Not signed in as the user of channel {}",
                codes::clip(name, 200)
            );
            let error = SubscriptionError::auth(401, text).because(Rule::WrongUser);
            return turn.refuse(name, &error);
        }
        match self.subscriptions.get_mut(name) {
            Some(inbox) if inbox.told => {
                turn.fail(Rule::AlreadyDone, name, &codes::existing(name));
            }
            Some(inbox) => {
                inbox.told = true;
                if inbox.live {
                    turn.send(server::subscribed(name, None));
                }
            }
            None => self.open_inbox(user, true, turn),
        }
    }

    /// Subscribes to a user's inbox; the sign-in is the proof.
    pub(super) fn open_inbox(&mut self, user: &str, told: bool, turn: &mut Turn<'_>) {
        let subscription = self.remember(ChannelKey::user(self.app, user), told);
        let request = plain(subscription);
        turn.ask(Intent::Subscribe(request.into()));
    }

    fn remember(&mut self, key: Arc<ChannelKey>, told: bool) -> &mut Subscription {
        let tag = self.tag();
        let name: Text = channel_name::wire_text(&key);
        let subscription = Subscription {
            key,
            tag,
            live: false,
            told,
            leaving: false,
            again: None,
            user: None,
        };
        self.subscriptions
            .entry(name)
            .insert_entry(subscription)
            .into_mut()
    }

    /// Ends a subscription, or takes a request back that was not answered yet.
    pub(super) fn unsubscribe(&mut self, name: &str, turn: &mut Turn<'_>) {
        let taken_back = self.leaving(name).map(|leaving| leaving.again.take());
        let Some(subscription) = self.subscriptions.get_mut(name) else {
            let text = codes::no_current(codes::clip(name, 200));
            return turn.fail(Rule::NotSubscribed, name, &text);
        };
        match taken_back {
            Some(Some(_)) => return,
            Some(None) => {
                return turn.fail(Rule::NotSubscribed, name, &codes::no_current(name));
            }
            None => {}
        }
        let channel = subscription.key.clone();
        if subscription.live {
            self.subscriptions.remove(name);
        } else {
            subscription.leaving = true;
        }
        turn.ask(Intent::Unsubscribe { channel });
    }

    /// The core has let go of a subscription; one asked for again meanwhile can begin.
    pub(super) fn unsubscribed(&mut self, name: &str, turn: &mut Turn<'_>) {
        if self.leaving(name).is_none() {
            return;
        }
        let gone = self.subscriptions.remove(name);
        if let Some(again) = gone.and_then(|gone| gone.again) {
            self.subscribe(*again, turn);
        }
    }

    fn leaving(&mut self, name: &str) -> Option<&mut Subscription> {
        self.subscriptions
            .get_mut(name)
            .filter(|subscription| subscription.leaving)
    }
}

impl Turn<'_> {
    /// Refuses a subscription, in the words of the real service and in those of pusher-js.
    pub(super) fn refuse(&mut self, channel: &str, error: &SubscriptionError) {
        self.send(server::error(None, &error.text));
        self.told(error.told(channel));
        let (kind, status) = (error.kind, error.status);
        self.send(server::subscription_error(
            channel,
            kind,
            &error.text,
            status,
        ));
    }
}

/// What a subscription must have, and what it takes as well if it may.
fn operations(class: Class) -> (Operations, Operations) {
    match class {
        Class::Public => (Operations::SUBSCRIBE, Operations::NONE),
        Class::Private => (Operations::SUBSCRIBE, Operations::PUBLISH),
        Class::Presence => (
            Operations::SUBSCRIBE | Operations::PRESENCE | Operations::PRESENCE_READ,
            Operations::PUBLISH,
        ),
    }
}

fn plain(subscription: &Subscription) -> Subscribe {
    Subscribe {
        echo: false,
        ..Subscribe::from_now(subscription.key.clone(), subscription.tag)
    }
}

fn invalid_name(name: &str, max: u64) -> SubscriptionError {
    if name.len() as u64 > max {
        let text = format!("The channel name exceeds the allowed maximum ({max} characters)");
        return SubscriptionError::limit(4009, text).because(Rule::ChannelName);
    }
    SubscriptionError {
        kind: "InvalidChannelName",
        status: 400,
        text: format!("Invalid channel name: {name}"),
        why: Rule::ChannelName.into(),
    }
}
