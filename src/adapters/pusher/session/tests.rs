//! The session against a fixed view: every input with the exact list of what it asks for.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]

use super::*;
use crate::adapters::pusher::auth;
use crate::adapters::pusher::fixture::{self, APP, KEY, on, set, sign};
use crate::adapters::pusher::frame::server::tests::{member, show};
use crate::core::authority::{
    Authority, Cut, Issued, Operations, Proof, Reason, Signer, SpokenFor, Voucher,
};
use crate::core::clock::Now;
use crate::core::close::Close;
use crate::core::error::Refusal;
use crate::core::ids::{ConnectionId, Position};
use crate::core::message::{ContentKind, Draft, Member, Occupancy, Publication};
use crate::core::refusals::{Rule, Told};
use crate::core::session::{DeliveryMode, Event, NewMember, Publish, Start, Subscribe, Subscribed};
use proptest::prelude::*;

const SOCKET: &str = "1234.1234";

struct Client {
    session: PusherSession,
    authority: Authority,
    now_ms: u64,
    told: Vec<Told>,
}

impl Client {
    fn new(query: &str, change: impl FnOnce(&mut App)) -> Self {
        Self::with(Hello::new(KEY, query, false), fixture::state(change))
    }

    fn with(hello: Hello, state: State) -> Self {
        Self {
            session: PusherSession::new(hello),
            authority: Authority::fixed(state, 0),
            now_ms: 0,
            told: Vec::new(),
        }
    }

    /// Connected, with the opening exchange behind it.
    fn open(change: impl FnOnce(&mut App)) -> Self {
        let mut client = Self::new("protocol=7&client=js&version=8.6.0", change);
        client.feed(Input::Opened);
        client.event(Event::Identified);
        client
    }

    fn feed(&mut self, input: Input) -> Vec<Action> {
        let mut out = Vec::new();
        let cx = Context {
            id: ConnectionId(1234, 1234),
            now: Now {
                mono_ms: self.now_ms,
                cluster_ms: self.authority.now().cluster_ms,
            },
            authority: &self.authority,
        };
        self.session.handle(input, cx, &mut out);
        let (done, told) = Action::parted(out);
        self.told.extend(told);
        done
    }

    fn say(&mut self, text: &str) -> Vec<Action> {
        self.feed(Input::Frame(Frame::Text(text.into())))
    }

    fn event(&mut self, event: Event) -> Vec<Action> {
        self.feed(Input::Event(event))
    }

    fn subscribe(&mut self, channel: &str, auth: Option<&str>, data: Option<&str>) -> Vec<Action> {
        let data = serde_json::json!({"channel": channel, "auth": auth, "channel_data": data});
        self.say(&serde_json::json!({"event": "pusher:subscribe", "data": data}).to_string())
    }

    fn subscribe_signed(&mut self, channel: &str, data: Option<&str>) -> Vec<Action> {
        let text = auth::channel_text(SOCKET, channel, data);
        let auth = format!("{KEY}:{}", sign(&text));
        self.subscribe(channel, Some(&auth), data)
    }

    /// Subscribes and has the core say yes; gives what the client is told.
    fn join(&mut self, channel: &str, data: Option<&str>, granted: Operations) -> Vec<String> {
        let asked = self.subscribe_signed(channel, data);
        let subscribe = subscription(&asked);
        let answer = answer(&subscribe, granted);
        texts(&self.event(Event::Subscribed(answer.into())))
    }

    fn sign_in(&mut self, user_data: &str) -> Vec<Action> {
        let auth = format!("{KEY}:{}", sign(&auth::user_text(SOCKET, user_data)));
        self.sign_in_with(&auth, user_data)
    }

    fn sign_in_with(&mut self, auth: &str, user_data: &str) -> Vec<Action> {
        let data = serde_json::json!({"auth": auth, "user_data": user_data});
        self.say(&serde_json::json!({"event": "pusher:signin", "data": data}).to_string())
    }

    fn signed_in(change: impl FnOnce(&mut App)) -> Self {
        let mut client = Self::open(change);
        client.sign_in(r#"{"id":"ana","user_info":{"n":1}}"#);
        let asked = client.event(Event::Identified);
        client.inbox_stands(&asked);
        client
    }

    /// The core opens the inbox that was asked for.
    fn inbox_stands(&mut self, asked: &[Action]) -> Vec<Action> {
        let inbox = subscription(asked);
        let yes = answer(&inbox, Operations::SUBSCRIBE);
        self.event(Event::Subscribed(yes.into()))
    }

    fn trigger(&mut self, event: &str, channel: &str, data: &str) -> Vec<Action> {
        let frame = format!(r#"{{"event":"{event}","channel":"{channel}","data":{data}}}"#);
        self.say(&frame)
    }
}

fn texts(actions: &[Action]) -> Vec<String> {
    let text = |action: &Action| match action {
        Action::Send(frame) => show(frame).to_owned(),
        other => panic!("not a frame: {other:?}"),
    };
    actions.iter().map(text).collect()
}

fn subscription(actions: &[Action]) -> Subscribe {
    match actions.last() {
        Some(Action::Do(Intent::Subscribe(subscribe))) => (**subscribe).clone(),
        other => panic!("no subscription: {other:?}"),
    }
}

fn publication(actions: &[Action]) -> Publish {
    match actions {
        [Action::Do(Intent::Publish(publish))] => publish.clone(),
        other => panic!("no publication: {other:?}"),
    }
}

fn answer(subscribe: &Subscribe, granted: Operations) -> Subscribed {
    Subscribed {
        channel: subscribe.channel.clone(),
        tag: subscribe.tag,
        granted,
        position: Position::default(),
        backlog: Vec::new(),
        continuous: true,
        members: None,
        occupancy: Occupancy::default(),
    }
}

fn failed(text: &str) -> Vec<Action> {
    vec![Action::Send(server::error(None, text))]
}

fn refused(channel: &str, kind: &str, status: u16, text: &str) -> Vec<Action> {
    vec![
        Action::Send(server::error(None, text)),
        Action::Send(server::subscription_error(channel, kind, text, status)),
    ]
}

fn closing(code: u16, text: &str) -> Vec<Action> {
    let reason = text.into();
    vec![
        Action::Send(server::error(Some(code), text)),
        Action::Close(Close { code, reason }),
    ]
}

mod bad_frames;
mod by_token;
mod client_events;
mod keeping_alive;
mod opening;
mod rights;
mod signing_in;
mod subscribing;
/// Frames that are nearly right, which reach further than noise.
fn nearly() -> impl Strategy<Value = String> {
    let event = prop_oneof![
        Just("pusher:subscribe"),
        Just("pusher:unsubscribe"),
        Just("pusher:signin"),
        Just("pusher:ping"),
        Just("client-x"),
    ];
    let value = prop_oneof![
        Just("null".to_owned()),
        any::<f64>().prop_map(|number| number.to_string()),
        any::<String>().prop_map(|text| serde_json::Value::from(text).to_string()),
        "(private-|presence-|#server-to-user-)?[a-z]{0,3}".prop_map(|text| format!("{text:?}")),
        Just("{}".to_owned()),
        "\\PC{0,20}",
    ];
    let member = prop_oneof![
        Just("channel"),
        Just("auth"),
        Just("channel_data"),
        Just("user_data")
    ];
    let members = prop::collection::vec((member, value.clone()), 0..5);
    (event, members, value).prop_map(|(event, members, channel)| {
        let members: Vec<String> = members
            .iter()
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        let data = members.join(",");
        format!(r#"{{"event":"{event}","channel":{channel},"data":{{{data}}}}}"#)
    })
}

proptest! {
    #[test]
    fn no_text_is_too_much(frames in prop::collection::vec(prop_oneof![any::<String>(), nearly()], 1..20)) {
        let mut client = Client::signed_in(|app| on(app, "grants_open_channels"));
        for frame in frames {
            for action in client.say(&frame) {
                if let Action::Send(frame) = &action {
                    let parsed: serde_json::Value = serde_json::from_str(show(frame)).unwrap();
                    prop_assert!(parsed["event"].is_string() && !parsed["data"].is_null());
                }
            }
        }
    }
}

/// What is told of each mistake of a client that is let in.
#[test]
fn operators_are_told_what_was_broken_and_on_which_channel() {
    let mut client = Client::open(|app| {
        app.settings.insert(
            "client_events".into(),
            crate::core::authority::SettingValue::Bool(true),
        );
    });
    assert_eq!(client.told, [], "nothing was refused so far");
    let told = |client: &mut Client| -> Vec<(Rule, Option<String>)> {
        let told = std::mem::take(&mut client.told);
        let one = |one: Told| (one.why.rule, one.channel.map(|name| name.to_string()));
        told.into_iter().map(one).collect()
    };
    let on = |rule, channel: &str| vec![(rule, Some(channel.to_owned()))];
    client.subscribe("private-a", None, None);
    assert_eq!(told(&mut client), on(Rule::CredentialMissing, "private-a"));
    client.subscribe("private-a", Some(&format!("{KEY}:beef")), None);
    assert_eq!(told(&mut client), on(Rule::WrongSecret, "private-a"));
    client.subscribe("private-a", Some("no-pair"), None);
    assert_eq!(
        told(&mut client),
        on(Rule::CredentialMalformed, "private-a")
    );
    client.subscribe_signed("presence-a", None);
    assert_eq!(told(&mut client), on(Rule::MemberMissing, "presence-a"));
    client.subscribe(&"n".repeat(300), None, None);
    assert_eq!(told(&mut client)[0].0, Rule::ChannelName);
    client.say("{");
    assert_eq!(told(&mut client), [(Rule::BadMessage, None)]);
    client.say(r#"{"event":"client-x","channel":"open","data":"{}"}"#);
    assert_eq!(told(&mut client), on(Rule::ChannelPrefix, "open"));
    client.say(r#"{"event":"client-x","channel":"private-z","data":"{}"}"#);
    assert_eq!(told(&mut client), on(Rule::NotSubscribed, "private-z"));
}
