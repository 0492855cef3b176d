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
use crate::core::authority::{Authority, Cut, Issued, Operations, Proof, Reason};
use crate::core::clock::Now;
use crate::core::close::Close;
use crate::core::connection::{
    DeliveryMode, Event, NewMember, Publish, Start, Subscribe, Subscribed,
};
use crate::core::error::Refusal;
use crate::core::ids::{ConnectionId, Position};
use crate::core::message::{ContentKind, Draft, Member, Occupancy, Publication};
use proptest::prelude::*;

const SOCKET: &str = "1234.1234";

struct Client {
    session: PusherSession,
    authority: Authority,
    now_ms: u64,
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
                cluster_ms: 0,
            },
            authority: &self.authority,
        };
        self.session.handle(input, cx, &mut out);
        out
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
        client.event(Event::Identified);
        client
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

fn goodbye(code: u16, text: &str) -> Vec<Action> {
    let reason = text.into();
    vec![
        Action::Send(server::error(Some(code), text)),
        Action::Close(Close { code, reason }),
    ]
}

mod opening {
    use super::*;

    #[test]
    fn the_key_is_asked_for_then_the_connection_is_established() {
        let mut client = Client::new("protocol=7&client=js&version=8.6.0", |_| {});
        let principal = Principal::anonymous(APP, Some(KEY.into()), 7);
        let identify = Intent::Identify(principal.into());
        assert_eq!(client.feed(Input::Opened), [Action::Do(identify)]);
        let early = client.subscribe("news", None, None);
        assert_eq!(early, failed("Wait for pusher:connection_established"));
        let established = Action::Send(server::established(SOCKET, 120));
        let wake = Action::Wake {
            at_mono_ms: 120_000,
        };
        assert_eq!(client.event(Event::Identified), [established, wake]);
    }

    #[test]
    fn old_protocols_are_spoken_and_others_refused_on_the_open_socket() {
        let opened = |query: &str| Client::new(query, |_| {}).feed(Input::Opened);
        for query in [
            "protocol=5&client=java-client&version=2.4.2",
            "protocol=6",
            "protocol=7&version=",
        ] {
            assert!(matches!(opened(query)[..], [Action::Do(_)]), "{query}");
        }
        assert_eq!(
            opened("client=js"),
            goodbye(4008, "No protocol version supplied")
        );
        assert_eq!(
            opened("protocol=8"),
            goodbye(4007, "Unsupported protocol version 8")
        );
        assert_eq!(
            opened("protocol=x"),
            goodbye(4007, "Unsupported protocol version x")
        );
        let bad = opened("protocol=7&version=%3Cscript%3E");
        assert_eq!(bad, goodbye(4006, "Invalid version string format"));
    }

    #[test]
    fn unknown_keys_and_closed_apps_are_refused_for_good() {
        let opened = |hello, state| Client::with(hello, state).feed(Input::Opened);
        let text = "App key nokey not in this cluster. Did you forget to specify the cluster?";
        let state = fixture::state(|_| {});
        assert_eq!(
            opened(Hello::new("nokey", "protocol=7", false), state.clone()),
            goodbye(4001, text)
        );
        assert_eq!(
            opened(Hello::new("a/b", "protocol=7", false), state.clone()),
            goodbye(4005, "Path not found")
        );
        assert_eq!(
            opened(Hello::new("", "protocol=7", false), state),
            goodbye(4005, "Path not found")
        );
        let hello = || Hello::new(KEY, "protocol=7", false);
        let disabled = fixture::state(|app| app.enabled = false);
        assert_eq!(
            opened(hello(), disabled),
            goodbye(4003, "Application is disabled")
        );
        let text = "The Pusher protocol is not enabled for this application";
        assert_eq!(
            opened(hello(), fixture::state(|app| app.doors.clear())),
            goodbye(4003, text)
        );
        let mut state = fixture::state(|_| {});
        let key = crate::core::authority::ApiKey {
            enabled: false,
            ..fixture::key()
        };
        state.keys.insert(key.id.clone(), key);
        assert!(
            matches!(&opened(hello(), state)[..], [_, Action::Close(close)] if close.code == 4001)
        );
    }

    #[test]
    fn the_core_has_the_last_word() {
        let refusals = [
            (
                Refusal::Unavailable("stale"),
                4100,
                "Not available now (stale), try again",
            ),
            (
                Refusal::Denied(Reason::AppDisabled),
                4003,
                "the app is disabled",
            ),
            (
                Refusal::Denied(Reason::Blocked { until_ms: None }),
                4009,
                "you have been blocked by the app",
            ),
        ];
        for (refusal, code, text) in refusals {
            let mut client = Client::new("protocol=7", |_| {});
            client.feed(Input::Opened);
            let said = client.event(Event::IdentifyRefused(refusal));
            assert_eq!(said, goodbye(code, text));
            assert_eq!(client.say("{}"), [], "nothing after goodbye");
            assert_eq!(client.feed(Input::Ending(End::Gone)), []);
        }
    }
}

mod keeping_alive {
    use super::*;

    #[test]
    fn pings_are_answered_and_silence_is_pinged_then_ended() {
        let mut client = Client::open(|app| set(app, "activity_timeout_ms", 10_000));
        let pong = Action::Send(server::bare("pusher:pong", None));
        assert_eq!(client.say(r#"{"event":"pusher:ping","data":{}}"#), [pong]);
        client.now_ms = 10_000;
        let ping = Action::Send(server::bare("pusher:ping", None));
        let wake = |at_mono_ms| Action::Wake { at_mono_ms };
        assert_eq!(client.feed(Input::Wake), [ping.clone(), wake(40_000)]);
        client.now_ms = 20_000;
        assert_eq!(client.say(r#"{"event":"pusher:pong","data":{}}"#), []);
        client.now_ms = 40_000;
        assert_eq!(client.feed(Input::Wake), [ping, wake(70_000)]);
        client.now_ms = 70_000;
        assert_eq!(
            client.feed(Input::Wake),
            goodbye(4201, "Pong reply not received in time")
        );
    }

    #[test]
    fn websocket_pings_count_as_life() {
        let mut client = Client::open(|_| {});
        client.now_ms = 100_000;
        assert_eq!(client.feed(Input::Alive), []);
        client.now_ms = 120_000;
        assert_eq!(
            client.feed(Input::Wake),
            [Action::Wake {
                at_mono_ms: 220_000
            }]
        );
    }

    #[test]
    fn unauthorized_connections_end_after_thirty_seconds() {
        let late = |change: fn(&mut Client)| {
            let mut client = Client::open(|app| on(app, "authorized_connections"));
            change(&mut client);
            client.now_ms = 30_000;
            client.feed(Input::Wake)
        };
        let text = "Connection not authorized within timeout";
        assert_eq!(late(|_| {}), goodbye(4009, text));
        let public = late(|client| {
            client.join("news", None, Operations::SUBSCRIBE);
        });
        assert_eq!(public, goodbye(4009, text));
        let stays = [Action::Wake {
            at_mono_ms: 120_000,
        }];
        let private = late(|client| {
            client.join("private-x", None, Operations::SUBSCRIBE);
        });
        assert_eq!(private, stays);
        let user = late(|client| {
            client.sign_in(r#"{"id":"ana"}"#);
            client.event(Event::Identified);
        });
        assert_eq!(user, stays);
    }
}

mod bad_frames {
    use super::*;

    #[test]
    fn they_are_answered_and_the_connection_stays() {
        let mut client = Client::open(|app| set(app, "frame_bytes", 1_000));
        assert_eq!(
            client.say("{"),
            failed("Malformed message: not a JSON object")
        );
        assert_eq!(
            client.say("{}"),
            failed("Malformed message: `event` is missing")
        );
        let binary = client.feed(Input::Frame(Frame::Binary("x".into())));
        assert_eq!(binary, failed("Binary messages are not supported"));
        let large = client.say(&"x".repeat(1_001));
        assert_eq!(
            large,
            failed("Message exceeds the allowed maximum (1000 bytes)")
        );
        for event in ["pusher:nope", "pusher_internal:member_added", "hello"] {
            let said = client.say(&format!(
                r#"{{"event":"{event}","channel":"a","data":{{}}}}"#
            ));
            assert_eq!(
                said,
                failed(&format!("Unsupported event received on socket: {event}"))
            );
        }
        assert_eq!(texts(&client.say(r#"{"event":"pusher:ping"}"#)).len(), 1);
    }
}

mod subscribing {
    use super::*;

    fn proof(channel: &str) -> Option<Box<Proof>> {
        let state = fixture::state(|_| {});
        Some(Box::new(auth::channel_proof(
            &state,
            &fixture::key(),
            channel,
        )))
    }

    fn asked(channel: &str, tag: u64) -> Subscribe {
        Subscribe {
            channel: ChannelKey::channel(APP, channel),
            needs: Operations::SUBSCRIBE,
            wants: Operations::NONE,
            proof: None,
            start: Start::Now,
            member: None,
            with_members: false,
            delivery: DeliveryMode::Shared,
            echo: false,
            tag,
        }
    }

    fn does(subscribe: Subscribe) -> [Action; 1] {
        [Action::Do(Intent::Subscribe(subscribe.into()))]
    }

    #[test]
    fn public_channels_need_no_signature() {
        let mut client = Client::open(|_| {});
        assert_eq!(
            client.subscribe("news", Some(""), None),
            does(asked("news", 1))
        );
        let yes = answer(&asked("news", 1), Operations::SUBSCRIBE);
        let told = client.event(Event::Subscribed(yes.into()));
        assert_eq!(told, [Action::Send(server::subscribed("news", None))]);
        let cached = Subscribe {
            start: Start::Last,
            ..asked("cache-x", 2)
        };
        assert_eq!(client.subscribe("cache-x", None, None), does(cached));
    }

    #[test]
    fn private_channels_bring_their_signature_as_proof() {
        let mut client = Client::open(|_| {});
        for (tag, channel) in [(1, "private-foobar"), (2, "private-encrypted-a")] {
            let wanted = Subscribe {
                wants: Operations::PUBLISH,
                proof: proof(channel),
                ..asked(channel, tag)
            };
            assert_eq!(client.subscribe_signed(channel, None), does(wanted));
        }
        assert_eq!(proof("private-foobar").unwrap().issued, Issued::Seen(7));
    }

    #[test]
    fn channel_data_is_covered_on_private_channels_too() {
        let mut client = Client::open(|_| {});
        let signature = "496d367857f5416a7f929c50af102f208f65bf5a00dfe4c146ef113eb5f6a5c7";
        let auth = format!("{KEY}:{signature}");
        let asked = client.subscribe("private-foobar", Some(&auth), Some("{\"user_id\":10}"));
        assert_eq!(subscription(&asked).member, None);
    }

    #[test]
    fn presence_channels_enter_a_member_whose_id_is_a_string() {
        let mut client = Client::open(|_| {});
        let data = r#"{"user_id":10,"user_info":{"name":"Mr. Channels"}}"#;
        let wanted = Subscribe {
            needs: Operations::SUBSCRIBE | Operations::PRESENCE | Operations::PRESENCE_READ,
            wants: Operations::PUBLISH,
            proof: proof("presence-foobar"),
            member: Some(NewMember {
                client: "10".into(),
                data: r#"{"name":"Mr. Channels"}"#.into(),
            }),
            with_members: true,
            ..asked("presence-foobar", 1)
        };
        assert_eq!(
            client.subscribe_signed("presence-foobar", Some(data)),
            does(wanted.clone())
        );
        let members: Arc<[Member]> = Arc::from([member("u1", ""), member("10", "{}")]);
        let yes = Subscribed {
            members: Some(members.clone()),
            ..answer(&wanted, wanted.needs)
        };
        let told = client.event(Event::Subscribed(yes.into()));
        assert_eq!(
            told,
            [Action::Send(server::subscribed(
                "presence-foobar",
                Some(&members)
            ))]
        );
    }

    #[test]
    fn the_signed_in_user_stands_in_for_missing_channel_data() {
        let mut client = Client::signed_in(|_| {});
        let asked = subscription(&client.subscribe_signed("presence-x", None));
        let ana = NewMember {
            client: "ana".into(),
            data: "{\"n\":1}".into(),
        };
        assert_eq!(asked.member, Some(ana));
        let other = Some(r#"{"user_id":"other"}"#);
        let asked = subscription(&client.subscribe_signed("presence-y", other));
        assert_eq!(&*asked.member.unwrap().client, "other");
    }

    #[test]
    fn stored_grants_speak_for_signed_in_users_where_the_app_says_so() {
        let grants = |app: &mut App| on(app, "grants_open_channels");
        let text = "Auth info required to subscribe to private-x";
        let no = refused("private-x", "AuthError", 401, text);
        assert_eq!(Client::open(grants).subscribe("private-x", None, None), no);
        assert_eq!(
            Client::signed_in(|_| {}).subscribe("private-x", Some(""), None),
            no
        );

        let mut client = Client::signed_in(grants);
        let asked = subscription(&client.subscribe("private-x", Some(""), None));
        assert_eq!((asked.proof, asked.wants), (None, Operations::PUBLISH));
        let unsigned = Some(r#"{"user_id":"somebody-else"}"#);
        let asked = subscription(&client.subscribe("presence-x", None, unsigned));
        assert_eq!((asked.proof, &*asked.member.unwrap().client), (None, "ana"));
        let wrong = client.subscribe("private-y", Some(&format!("{KEY}:00")), None);
        assert!(
            texts(&wrong)[0].contains("Invalid signature"),
            "a bad signature is not no signature"
        );
    }

    #[test]
    fn wrong_signatures_are_refused_in_the_words_of_the_real_service() {
        let mut client = Client::open(|_| {});
        let mut no = |auth: &str, text: &str| {
            let said = client.subscribe("private-x", Some(auth), None);
            assert_eq!(said, refused("private-x", "AuthError", 401, text));
        };
        no(
            "nocolon",
            "Auth value for subscription to private-x is invalid: should be of format 'key:signature'",
        );
        no("other:00", "Invalid key in subscription auth data: 'other'");
        let elsewhere = sign("9.9:private-x");
        let text = format!(
            "Invalid signature: Expected HMAC SHA256 hex digest of 1234.1234:private-x, but got {elsewhere}"
        );
        no(&format!("{KEY}:{elsewhere}"), &text);
        let data = client.subscribe(
            "private-x",
            Some(&format!("{KEY}:{}", sign("1234.1234:private-x"))),
            Some("{}"),
        );
        assert!(texts(&data)[0].contains("Invalid signature"));
    }

    #[test]
    fn bad_members_are_refused() {
        let mut client = Client::open(|_| {});
        let mut no = |data: Option<&str>, kind: &str, status: u16, text: &str| {
            let said = client.subscribe_signed("presence-x", data);
            assert_eq!(said, refused("presence-x", kind, status, text));
        };
        let nobody = "A presence channel needs channel_data with a user_id, or a signed-in user";
        no(None, "AuthError", 400, nobody);
        no(
            Some("[]"),
            "AuthError",
            400,
            "Invalid channel_data: not a JSON object",
        );
        let id = "Invalid channel_data: `user_id` must be a non-empty string or a number";
        for data in [
            "{}",
            r#"{"user_id":""}"#,
            r#"{"user_id":{}}"#,
            r#"{"user_id":null}"#,
        ] {
            no(Some(data), "AuthError", 400, id);
        }
        let long = format!(r#"{{"user_id":"{}"}}"#, "u".repeat(129));
        no(
            Some(&long),
            "LimitReached",
            4301,
            "The user id exceeds the allowed maximum (128 bytes)",
        );
        let large = format!(r#"{{"user_id":"u","user_info":"{}"}}"#, "u".repeat(1_023));
        no(
            Some(&large),
            "LimitReached",
            4301,
            "The user info exceeds the allowed maximum (1024 bytes)",
        );
    }

    #[test]
    fn bad_names_and_duplicates_are_refused() {
        let mut client = Client::open(|_| {});
        let no = refused(
            "a b",
            "InvalidChannelName",
            400,
            "Invalid channel name: a b",
        );
        assert_eq!(client.subscribe("a b", None, None), no);
        let long = "x".repeat(201);
        let text = "The channel name exceeds the allowed maximum (200 characters)";
        assert_eq!(
            client.subscribe(&long, None, None),
            refused(&long, "LimitReached", 4009, text)
        );
        client.subscribe("news", None, None);
        let twice = failed("Existing subscription to channel news");
        assert_eq!(client.subscribe("news", None, None), twice);
    }

    #[test]
    fn the_cores_refusals_are_told_and_the_name_is_free_again() {
        let mut client = Client::open(|_| {});
        let asked = subscription(&client.subscribe("news", None, None));
        let no = |refusal, tag| Event::SubscribeRefused {
            channel: asked.channel.clone(),
            refusal,
            tag,
        };
        let denied = Refusal::Denied(Reason::NotGranted(Operations::SUBSCRIBE));
        assert_eq!(
            client.event(no(denied.clone(), 99)),
            [],
            "an answer to nothing"
        );
        let text = "Access to channel news denied: nothing grants subscribe";
        assert_eq!(
            client.event(no(denied, asked.tag)),
            refused("news", "AuthError", 403, text)
        );
        let tag = subscription(&client.subscribe("news", None, None)).tag;
        let full = Refusal::Limit {
            limit: "presence_clients",
            max: 100,
        };
        let text = "Limit presence_clients of 100 is reached";
        assert_eq!(
            client.event(no(full, tag)),
            refused("news", "LimitReached", 4100, text)
        );
    }

    #[test]
    fn cache_channels_replay_their_last_event_or_say_there_is_none() {
        let mut client = Client::open(|_| {});
        let asked = subscription(&client.subscribe("cache-a", None, None));
        let told = client.event(Event::Subscribed(
            answer(&asked, Operations::SUBSCRIBE).into(),
        ));
        let miss = server::bare("pusher:cache_miss", Some("cache-a"));
        assert_eq!(told[1..], [Action::Send(miss)]);

        let asked = subscription(&client.subscribe("cache-b", None, None));
        let draft = Draft {
            id: None,
            name: "e".into(),
            data: "{}".into(),
            kind: ContentKind::Json,
            meta: None,
            client: None,
            connection: None,
            except: None,
            store: true,
            retain_ms: Some(1),
            tag: None,
        };
        let last = Publication {
            draft: Box::new(draft),
            position: Position::default(),
            timetoken: 0,
        };
        let yes = Subscribed {
            backlog: vec![last.into()],
            ..answer(&asked, Operations::SUBSCRIBE)
        };
        let told = client.event(Event::Subscribed(yes.into()));
        assert_eq!(
            told[1..],
            [Action::Send(server::event(
                "e",
                Some("cache-b"),
                "{}",
                None
            ))]
        );
    }

    const BYE: &str = r#"{"event":"pusher:unsubscribe","data":{"channel":"news"}}"#;
    const NOTHING: &str = "No current subscription to channel news, or subscription in progress";

    fn unsubscribed(refusal: Option<Refusal>) -> Event {
        let channel = ChannelKey::channel(APP, "news");
        Event::Unsubscribed { channel, refusal }
    }

    #[test]
    fn unsubscribing_is_not_answered_unless_there_was_nothing() {
        let mut client = Client::open(|_| {});
        assert_eq!(client.say(BYE), failed(NOTHING));
        client.join("news", None, Operations::SUBSCRIBE);
        let channel = ChannelKey::channel(APP, "news");
        let leave = Action::Do(Intent::Unsubscribe { channel });
        assert_eq!(client.say(BYE), [leave]);
        let again = subscription(&client.subscribe("news", None, None));
        assert_eq!(client.event(unsubscribed(None)), [], "the one before");
        let yes = answer(&again, Operations::SUBSCRIBE);
        assert_eq!(client.event(Event::Subscribed(yes.into())).len(), 1);
    }

    #[test]
    fn a_request_taken_back_and_made_again_waits_for_the_first_to_end() {
        let mut client = Client::open(|_| {});
        let first = subscription(&client.subscribe("news", None, None));
        assert_eq!(client.say(BYE).len(), 1);
        assert_eq!(client.say(BYE), failed(NOTHING));
        assert_eq!(client.subscribe("news", None, None), []);
        let twice = failed("Existing subscription to channel news");
        assert_eq!(client.subscribe("news", None, None), twice);
        let late = answer(&first, Operations::SUBSCRIBE);
        assert_eq!(
            client.event(Event::Subscribed(late.into())),
            [],
            "taken back"
        );
        let second = subscription(&client.event(unsubscribed(None)));
        assert_eq!((second.channel, second.tag), (first.channel, first.tag + 1));
    }

    #[test]
    fn a_request_taken_back_for_good_leaves_nothing() {
        let mut client = Client::open(|_| {});
        client.subscribe("news", None, None);
        client.say(BYE);
        client.subscribe("news", None, None);
        assert_eq!(client.say(BYE), []);
        assert_eq!(client.event(unsubscribed(None)), []);
        assert_eq!(client.say(BYE), failed(NOTHING));
    }

    #[test]
    fn a_refusal_ends_what_was_taken_back_and_answers_what_was_asked_again() {
        let mut client = Client::open(|_| {});
        let mut refuse = |again: bool| {
            let asked = subscription(&client.subscribe("news", None, None));
            client.say(BYE);
            if again {
                client.subscribe("news", None, None);
            }
            client.event(Event::SubscribeRefused {
                channel: asked.channel,
                refusal: Refusal::Denied(Reason::NotGranted(Operations::SUBSCRIBE)),
                tag: asked.tag,
            })
        };
        let text = "Access to channel news denied: nothing grants subscribe";
        assert_eq!(refuse(true), refused("news", "AuthError", 403, text));
        assert_eq!(refuse(false), []);
        assert_eq!(client.subscribe("news", None, None).len(), 1);
    }
}

mod rights {
    use super::*;

    const BOTH: Operations = Operations::SUBSCRIBE.or(Operations::PUBLISH);

    fn changed(granted: Operations, refusal: Option<Refusal>) -> Event {
        Event::RightsChanged {
            channel: ChannelKey::channel(APP, "private-x"),
            granted,
            refusal,
        }
    }

    #[test]
    fn losing_the_subscription_is_told_and_ends_client_events() {
        let mut client = Client::open(|_| {});
        client.join("private-x", None, BOTH);
        let denied = Refusal::Denied(Reason::NotGranted(Operations::SUBSCRIBE));
        let text = "Access to channel private-x denied: nothing grants subscribe";
        let error = server::subscription_error("private-x", "AuthError", text, 403);
        assert_eq!(
            client.event(changed(Operations::NONE, Some(denied))),
            [Action::Send(error)]
        );
        let text = "No current subscription to channel private-x, or subscription in progress";
        assert_eq!(client.trigger("client-a", "private-x", "{}"), failed(text));
        assert_eq!(client.event(changed(Operations::NONE, None)), []);
    }

    #[test]
    fn whether_a_subscriber_may_speak_is_the_cores_answer_each_time() {
        let mut client = Client::open(|_| {});
        client.join("private-x", None, Operations::SUBSCRIBE);
        assert_eq!(client.event(changed(Operations::SUBSCRIBE, None)), []);
        let asked = publication(&client.trigger("client-a", "private-x", "{}"));
        let no = Event::PublishRefused {
            channel: asked.channel,
            tag: asked.tag,
            refusal: Refusal::Denied(Reason::NotGranted(Operations::PUBLISH)),
        };
        let text = "You may not send client events to channel private-x";
        assert_eq!(client.event(no), failed(text));
    }

    #[test]
    fn every_ending_says_goodbye_in_its_code() {
        let ended = |end| Client::open(|_| {}).feed(Input::Ending(end));
        let revoked = Cut::Revoked {
            issued_before_ms: 0,
            revision: 9,
            applies_ms: 0,
        };
        let table = [
            (
                End::Cut(Cut::Disconnected),
                4009,
                "You got disconnected by the app.",
            ),
            (
                End::Cut(Cut::Blocked),
                4009,
                "You have been blocked by the app.",
            ),
            (End::Cut(revoked), 4009, "Your access has been revoked."),
            (
                End::Cut(Cut::Disabled),
                4003,
                "The app or its key is disabled",
            ),
            (
                End::Slow,
                4100,
                "Too many messages are waiting for this connection",
            ),
            (
                End::Draining,
                4200,
                "Server is restarting, please reconnect",
            ),
            (
                End::Stale,
                4200,
                "Server lost its cluster, please reconnect",
            ),
        ];
        for (end, code, text) in table {
            assert_eq!(ended(end), goodbye(code, text));
        }
        assert_eq!(ended(End::Gone), []);
    }
}

mod client_events {
    use super::*;

    const BOTH: Operations = Operations::SUBSCRIBE.or(Operations::PUBLISH);

    #[test]
    fn they_go_through_the_subscription_as_strings() {
        let mut client = Client::open(|_| {});
        client.join("private-x", None, BOTH);
        let publish = publication(&client.trigger("client-hi", "private-x", r#"{"a": [1]}"#));
        assert_eq!(publish.channel, ChannelKey::channel(APP, "private-x"));
        assert_eq!(
            (&*publish.draft.name, &*publish.draft.data),
            ("client-hi", &br#"{"a": [1]}"#[..])
        );
        assert_eq!(publish.draft.kind, ContentKind::Json);
        assert!(publish.subscribed_only && publish.ack.is_none() && publish.proof.is_none());
        assert_eq!(publish.draft.client, None);
        let publish = publication(&client.trigger("client-hi", "private-x", r#""a \"b\"""#));
        assert_eq!(
            (&*publish.draft.data, publish.draft.kind),
            (&b"a \"b\""[..], ContentKind::Text)
        );
    }

    #[test]
    fn presence_members_are_named() {
        let mut client = Client::signed_in(|_| {});
        client.join("presence-x", Some(r#"{"user_id":"u2"}"#), BOTH);
        let publish = publication(&client.trigger("client-hi", "presence-x", "1"));
        assert_eq!(publish.draft.client.as_deref(), Some("u2"));
    }

    #[test]
    fn what_is_wrong_with_them_is_told() {
        let mut client = Client::open(|app| set(app, "client_events_per_second", 100));
        client.join("private-x", None, BOTH);
        client.subscribe_signed("private-pending", None);
        let data = |bytes: usize| format!("\"{}\"", "x".repeat(bytes));
        let none = |channel| {
            format!("No current subscription to channel {channel}, or subscription in progress")
        };
        let long = format!("client-{}", "x".repeat(194));
        let cases = [
            (
                "client-a",
                "news",
                "{}".into(),
                "Client events are only supported on private and presence channels, not on news"
                    .into(),
            ),
            ("client-a", "private-y", "{}".into(), none("private-y")),
            (
                "client-a",
                "private-pending",
                "{}".into(),
                none("private-pending"),
            ),
            (
                &long,
                "private-x",
                "{}".into(),
                "The event name exceeds the allowed maximum (200 bytes)".into(),
            ),
            (
                "client-a",
                "private-x",
                data(10_241),
                "The data content of this event exceeds the allowed maximum (10240 bytes).".into(),
            ),
        ];
        for (event, channel, data, text) in cases {
            assert_eq!(client.trigger(event, channel, &data), failed(&text));
        }
        publication(&client.trigger("client-a", "private-x", &data(10_240)));
    }

    #[test]
    fn they_are_off_unless_the_app_has_them_on() {
        let mut client = Client::open(|app| set(app, "client_events", 0));
        client.join("private-x", None, BOTH);
        let text = "To send client events, you must enable this feature in the Settings page of your dashboard.";
        assert_eq!(client.trigger("client-a", "private-x", "{}"), failed(text));
    }

    #[test]
    fn more_than_ten_a_second_are_an_error_and_no_close() {
        let mut client = Client::open(|_| {});
        client.join("private-x", None, BOTH);
        for _ in 0..10 {
            publication(&client.trigger("client-a", "private-x", "{}"));
        }
        let text = "The client events exceed the allowed maximum (10 per second)";
        let error = server::error(Some(4301), text);
        assert_eq!(
            client.trigger("client-a", "private-x", "{}"),
            [Action::Send(error)]
        );
        client.now_ms = 100;
        publication(&client.trigger("client-a", "private-x", "{}"));
    }

    #[test]
    fn the_cores_refusals_are_told() {
        let mut client = Client::open(|_| {});
        let mut told = |refusal| {
            let channel = ChannelKey::channel(APP, "private-x");
            client.event(Event::PublishRefused {
                channel,
                tag: 1,
                refusal,
            })
        };
        let denied = Refusal::Denied(Reason::BeyondKey(KEY.into()));
        assert_eq!(
            told(denied),
            failed("You may not send client events to channel private-x")
        );
        let unknown = "The outcome is unknown: it may or may not have happened";
        assert_eq!(told(Refusal::OutcomeUnknown), failed(unknown));
    }
}

mod signing_in {
    use super::*;

    const ANA: &str = "{\"id\":\"ana\", \"user_info\":{\"n\":1}}";

    #[test]
    fn success_echoes_the_data_and_opens_the_inbox() {
        let mut client = Client::open(|_| {});
        let principal = Principal {
            user: Some("ana".into()),
            proof: Some(auth::user_proof(7, KEY.into(), "ana")),
            ..Principal::anonymous(APP, Some(KEY.into()), 7)
        };
        let identify = Action::Do(Intent::Identify(principal.into()));
        assert_eq!(client.sign_in(ANA), [identify]);
        assert_eq!(client.sign_in(ANA), failed("A sign-in is in progress"));
        let done = client.event(Event::Identified);
        assert_eq!(done[0], Action::Send(server::signed_in(ANA)));
        let inbox = subscription(&done);
        assert_eq!(inbox.channel, ChannelKey::user(APP, "ana"));

        let name = "#server-to-user-ana";
        assert_eq!(
            client.subscribe(name, Some(""), None),
            [],
            "not answered before it is there"
        );
        let yes = answer(&inbox, Operations::SUBSCRIBE);
        let told = client.event(Event::Subscribed(yes.into()));
        assert_eq!(told, [Action::Send(server::subscribed(name, None))]);
        let twice = failed("Existing subscription to channel #server-to-user-ana");
        assert_eq!(client.subscribe(name, None, None), twice);
    }

    #[test]
    fn an_inbox_that_is_there_is_answered_at_once_and_only_to_its_user() {
        let mut client = Client::open(|_| {});
        client.sign_in(ANA);
        let inbox = subscription(&client.event(Event::Identified));
        let yes = answer(&inbox, Operations::SUBSCRIBE);
        assert_eq!(client.event(Event::Subscribed(yes.into())), []);
        let name = "#server-to-user-ana";
        let told = client.subscribe(name, None, None);
        assert_eq!(told, [Action::Send(server::subscribed(name, None))]);
        let other = "#server-to-user-bob";
        let text = "Not signed in as the user of channel #server-to-user-bob";
        assert_eq!(
            client.subscribe(other, None, None),
            refused(other, "AuthError", 401, text)
        );
        assert_eq!(
            Client::open(|_| {}).subscribe(other, None, None),
            refused(other, "AuthError", 401, text)
        );
    }

    #[test]
    fn the_same_user_may_sign_in_again_and_another_may_not() {
        let mut client = Client::signed_in(|_| {});
        let other = client.sign_in(r#"{"id":"bob"}"#);
        assert_eq!(
            other,
            failed("Connection already signed in as another user")
        );
        client.sign_in(ANA);
        let again = client.event(Event::Identified);
        assert_eq!(again, [Action::Send(server::signed_in(ANA))]);
    }

    #[test]
    fn wrong_signatures_end_the_connection() {
        let no = |auth: &str| Client::open(|_| {}).sign_in_with(auth, ANA);
        let format = "Invalid sign-in: `auth` should be of format 'key:signature'";
        assert_eq!(no("x"), goodbye(4009, format));
        let key = "Invalid key in sign-in auth data: 'other'";
        assert_eq!(no("other:00"), goodbye(4009, key));
        let signature = "Invalid signature of the sign-in";
        assert_eq!(
            no(&format!("{KEY}:{}", sign("1234.1234::user::{}"))),
            goodbye(4009, signature)
        );
    }

    #[test]
    fn bad_user_data_and_a_switched_off_sign_in_are_told() {
        let mut client = Client::open(|_| {});
        let id = "Invalid user_data: `id` must be a non-empty string";
        for data in ["{}", r#"{"id":""}"#, r#"{"id":5}"#] {
            assert_eq!(client.sign_in(data), failed(id));
        }
        assert_eq!(
            client.sign_in("7"),
            failed("Invalid user_data: not a JSON object")
        );
        let long = format!(r#"{{"id":"{}"}}"#, "u".repeat(129));
        assert_eq!(
            client.sign_in(&long),
            failed("The user id exceeds the allowed maximum (128 bytes)")
        );
        let mut off = Client::open(|app| set(app, "user_sign_in", 0));
        let text = "To sign users in, enable user_sign_in in the settings of your app.";
        assert_eq!(off.sign_in(ANA), failed(text));
    }

    #[test]
    fn blocked_users_are_sent_away_for_good() {
        let mut client = Client::open(|_| {});
        client.sign_in(ANA);
        let blocked = Refusal::Denied(Reason::Blocked { until_ms: Some(5) });
        let said = client.event(Event::IdentifyRefused(blocked));
        assert_eq!(
            said,
            goodbye(4009, "you have been blocked by the app until 5 ms")
        );
    }
}

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
