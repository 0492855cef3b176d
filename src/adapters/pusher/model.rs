//! A client of this dialect, as the world of whole nodes plays it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::auth;
use super::encoder::PusherEncoder;
use super::session::{Hello, PusherSession};
use crate::core::delivery::encoding::Encoder;
use crate::core::ids::{ChannelKey, Space};
use crate::world_tests::client::{Act, DialectModel, Model, Opened, Seen, Site};
use crate::world_tests::people::USERS;
use crate::world_tests::story::{KEY, SECRET};
use serde_json::{Value, json};
use std::any::Any;
use std::collections::BTreeSet;

/// The dialect.
#[derive(Debug)]
pub(crate) struct Pusher;

/// One client.
#[derive(Debug)]
struct Client {
    channel: String,
    /// As whom it is present.
    user: Option<String>,
    members: BTreeSet<String>,
    /// As which user it signs in: then it wants her inbox, and no channel.
    signs_in: Option<String>,
    /// Whom of her watchlist it believes to be online.
    online: BTreeSet<String>,
}

impl DialectModel for Pusher {
    fn name(&self) -> &'static str {
        super::DIALECT
    }

    fn encoder(&self) -> Box<dyn Encoder> {
        Box::new(PusherEncoder)
    }

    fn node(&self) -> Box<dyn Any> {
        Box::new(())
    }

    fn client(&self, number: u64, channel: &ChannelKey, present: bool) -> Box<dyn Model> {
        let inbox = channel.space == Space::User;
        Box::new(Client {
            channel: channel.name.to_string(),
            user: present.then(|| format!("u{number}")),
            members: BTreeSet::new(),
            signs_in: inbox.then(|| channel.name.to_string()),
            online: BTreeSet::new(),
        })
    }
}

fn sign(text: &str) -> String {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    format!("{KEY}:{}", hex::encode(mac.finalize().into_bytes()))
}

fn user_id(data: &Value) -> String {
    data["user_id"].as_str().unwrap_or_default().to_owned()
}

impl Client {
    fn subscribe(&self, socket: &str) -> Act {
        let user = self.user.as_ref();
        let member = user.map(|user| json!({"user_id": user}).to_string());
        let text = auth::channel_text(socket, &self.channel, member.as_deref());
        let data = json!({"channel": self.channel, "auth": sign(&text), "channel_data": member});
        Act::Say(json!({"event": "pusher:subscribe", "data": data}).to_string())
    }

    fn sign_in(&self, user: &str, socket: &str) -> Act {
        let user_data = json!({"id": user, "watchlist": USERS}).to_string();
        let auth = sign(&auth::user_text(socket, &user_data));
        let data = json!({"auth": auth, "user_data": user_data});
        Act::Say(json!({"event": "pusher:signin", "data": data}).to_string())
    }

    fn watched(&mut self, events: &Value) {
        for event in events["events"].as_array().into_iter().flatten() {
            let users = event["user_ids"].as_array().into_iter().flatten();
            for user in users.filter_map(Value::as_str) {
                match event["name"] == "online" {
                    true => self.online.insert(user.to_owned()),
                    false => self.online.remove(user),
                };
            }
        }
    }

    fn changed(&mut self, news: bool, what: &str, user: &str, out: &mut Vec<Act>) {
        if !news {
            let what = format!("{what} of {user}, again");
            out.push(Act::Saw(Seen::Wrong(what)));
        }
    }
}

impl Model for Client {
    fn open(&mut self, _site: &Site<'_>) -> Opened {
        let hello = Hello::new(KEY, "protocol=7&client=js&version=8.6.0", false);
        Opened {
            session: Box::new(PusherSession::new(hello)),
            resumes: None,
        }
    }

    fn hear(&mut self, frame: &str, out: &mut Vec<Act>) {
        let frame: Value = serde_json::from_str(frame).unwrap();
        let data = frame["data"].as_str();
        let inner = data.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let inner = inner.unwrap_or_default();
        match frame["event"].as_str().unwrap_or_default() {
            "pusher:connection_established" => {
                let socket = inner["socket_id"].as_str().unwrap();
                self.online.clear();
                out.push(match &self.signs_in {
                    Some(user) => self.sign_in(user, socket),
                    None => self.subscribe(socket),
                });
            }
            "pusher:signin_success" => out.push(Act::Saw(Seen::Stands(false))),
            "pusher_internal:watchlist_events" => {
                let events = if data.is_some() {
                    inner
                } else {
                    frame["data"].clone()
                };
                self.watched(&events);
            }
            "pusher:error" if self.signs_in.is_some() => {
                out.push(Act::Saw(Seen::Ended));
                out.push(Act::Hangup);
            }
            "pusher:ping" => out.push(Act::Say(json!({"event": "pusher:pong"}).to_string())),
            "pusher_internal:subscription_succeeded" => {
                // It begins anew, whatever was before.
                out.push(Act::Saw(Seen::Stands(false)));
                let ids = inner["presence"]["ids"].as_array().into_iter().flatten();
                self.members = ids.filter_map(Value::as_str).map(str::to_owned).collect();
            }
            "pusher_internal:member_added" => {
                let news = self.members.insert(user_id(&inner));
                self.changed(news, "member_added", &user_id(&inner), out);
            }
            "pusher_internal:member_removed" => {
                let news = self.members.remove(&user_id(&inner));
                self.changed(news, "member_removed", &user_id(&inner), out);
            }
            "pusher:subscription_error" => {
                out.push(Act::Saw(Seen::Ended));
                out.push(Act::Hangup);
            }
            name if name.starts_with("pusher") => {}
            _ => out.push(Act::Saw(Seen::Got(data.unwrap_or_default().to_owned()))),
        }
    }

    fn closed(&mut self) {}

    /// Client events are not acknowledged: this client does without.
    fn publish(&mut self, _text: &str, _out: &mut Vec<Act>) -> bool {
        false
    }

    fn present(&self) -> Option<BTreeSet<String>> {
        self.user.as_ref().map(|_| self.members.clone())
    }

    /// What it signs for opens its channel, or its inbox, as well.
    fn needs_open(&self) -> bool {
        self.user.is_none() && self.signs_in.is_none()
    }

    fn user(&self) -> Option<String> {
        self.signs_in.clone()
    }

    fn watches(&self) -> Option<BTreeSet<String>> {
        self.signs_in.as_ref().map(|_| self.online.clone())
    }

    fn is(&self) -> Option<String> {
        self.user.clone()
    }
}
