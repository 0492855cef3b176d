//! The session against a fixed view: every input with what it says and asks for.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]

use super::*;
use crate::adapters::ably::auth::{self, Credential};
use crate::adapters::ably::fixture::{self, NAME, SECRET};
use crate::adapters::ably::frame::flag;
use crate::core::authority::{Authority, Cut, Operations, Reason, SettingValue};
use crate::core::clock::Now;
use crate::core::error::Refusal;
use crate::core::ids::{ChannelKey, ConnectionId, Position};
use crate::core::message::{ContentKind, Draft, Occupancy, Publication, Receipt};
use crate::core::refusals::{Rule, Told};
use crate::core::session::{DeliveryMode, Start, Subscribed};
use serde_json::{Value, json};
use std::sync::Arc;

const NOW: u64 = 1_700_000_000_000;

struct Client {
    session: AblySession,
    authority: Authority,
    mono_ms: u64,
    cluster_ms: u64,
    told: Vec<Told>,
}

impl Client {
    fn new(credential: Credential) -> Self {
        let state = fixture::state();
        let hello = Hello {
            format: Format::Json,
            identity: auth::check(&credential, None, &state, NOW),
            not_resumed: None,
            echo: true,
            heartbeat_ms: 15_000,
            present_ms: 7_000,
        };
        Self {
            session: AblySession::new(hello, ClosedConnections::default()),
            authority: Authority::fixed(state, NOW),
            mono_ms: 0,
            cluster_ms: NOW,
            told: Vec::new(),
        }
    }

    /// Open, in an app with this setting.
    fn limited(name: &str, value: u64) -> Self {
        let mut client = Self::new(Credential::Key(format!("{NAME}:{SECRET}")));
        let mut state = fixture::state();
        let app = Arc::make_mut(state.apps.get_mut(&fixture::APP).unwrap());
        app.settings.insert(name.into(), SettingValue::Int(value));
        client.authority = Authority::fixed(state, NOW);
        client.feed(Input::Opened);
        client.feed(Input::Event(Event::Identified));
        client
    }

    fn key() -> Self {
        Self::new(Credential::Key(format!("{NAME}:{SECRET}")))
    }

    fn open(credential: Credential) -> Self {
        let mut client = Self::new(credential);
        client.feed(Input::Opened);
        client.feed(Input::Event(Event::Identified));
        client
    }

    fn feed(&mut self, input: Input) -> Vec<Action> {
        let mut out = Vec::new();
        let cx = Context {
            id: ConnectionId(1, 2),
            now: Now {
                mono_ms: self.mono_ms,
                cluster_ms: self.cluster_ms,
            },
            authority: &self.authority,
        };
        self.session.handle(input, cx, &mut out);
        let (done, told) = Action::parted(out);
        self.told.extend(told);
        done
    }

    fn say(&mut self, frame: Value) -> Vec<Action> {
        self.feed(Input::Frame(Frame::Text(frame.to_string().into())))
    }

    fn attach(&mut self, frame: Value, granted: Operations, continuous: bool) -> Vec<Value> {
        self.attach_after(frame, granted, continuous, Vec::new())
    }

    fn attach_after(
        &mut self,
        frame: Value,
        granted: Operations,
        continuous: bool,
        backlog: Vec<Arc<Publication>>,
    ) -> Vec<Value> {
        let asked = self.say(frame);
        let [Action::Do(Intent::Subscribe(request))] = asked.as_slice() else {
            panic!("{asked:?}");
        };
        let subscribed = Subscribed {
            channel: request.channel.clone(),
            tag: request.tag,
            granted,
            position: Position { epoch: 9, seq: 5 },
            backlog,
            continuous,
            members: None,
            occupancy: Occupancy::default(),
        };
        said(&self.feed(Input::Event(Event::Subscribed(Box::new(subscribed)))))
    }
}

fn said(actions: &[Action]) -> Vec<Value> {
    let texts = actions.iter().filter_map(|action| match action {
        Action::Send(Frame::Text(text)) => Some(text),
        _ => None,
    });
    texts
        .map(|text| serde_json::from_str(text).unwrap())
        .collect()
}

#[test]
fn connected_carries_what_clients_insist_on() {
    let mut client = Client::key();
    assert!(matches!(
        &client.feed(Input::Opened)[..],
        [Action::Do(Intent::Identify(_))]
    ));
    let told = said(&client.feed(Input::Event(Event::Identified)));
    assert_eq!(told[0]["action"], 4);
    assert_eq!(told[0]["connectionId"], "0000000100000002");
    let details = &told[0]["connectionDetails"];
    assert!(
        details["connectionKey"]
            .as_str()
            .unwrap()
            .starts_with("0000000100000002!")
    );
    assert!(details.get("clientId").is_none() && told[0].get("channel").is_none());
    assert_eq!(details["maxIdleInterval"], 15_000);
}

#[test]
fn a_bad_credential_is_told_in_a_frame() {
    let mut client = Client::new(Credential::Key(format!("{NAME}:wrong")));
    let out = client.feed(Input::Opened);
    let told = said(&out);
    assert_eq!(
        (&told[0]["action"], &told[0]["error"]["code"]),
        (&json!(9), &json!(40101))
    );
    assert!(told[0]["error"]["message"].is_string() && told[0]["error"]["statusCode"] == 401);
    assert!(matches!(out.last(), Some(Action::Close(_))));
    assert_eq!(client.session.linger_ms(), 0);
}

#[test]
fn what_passes_is_a_disconnect_and_what_does_not_an_error() {
    for (refusal, action, code) in [
        (Refusal::Unavailable("x"), 6, 50003),
        (
            Refusal::Denied(Reason::Blocked { until_ms: None }),
            9,
            40300,
        ),
        (Refusal::Denied(Reason::Expired { at_ms: 1 }), 9, 40142),
    ] {
        let mut client = Client::key();
        client.feed(Input::Opened);
        let told = said(&client.feed(Input::Event(Event::IdentifyRefused(refusal))));
        assert_eq!(
            (&told[0]["action"], &told[0]["error"]["code"]),
            (&json!(action), &json!(code))
        );
    }
}

#[test]
fn attached_names_the_granted_modes() {
    let mut client = Client::open(Credential::Key(format!("{NAME}:{SECRET}")));
    let told = client.attach(json!({"action":10,"channel":"c"}), Operations::CLIENT, true);
    assert_eq!(
        told,
        [json!({
            "action": 11, "channel": "c", "flags": 3_080_192,
            "channelSerial": "0000000000000009:0000000005",
        })]
    );
    // Once more: answered at once.
    let told = said(&client.say(json!({"action":10,"channel":"c","flags":131_072 | 786_432})));
    assert_eq!(told[0]["flags"], json!(131_072 | 786_432 | flag::RESUMED));
}

#[test]
fn a_serial_is_continued_or_the_loss_is_told() {
    let frame = json!({"action":10,"channel":"c","channelSerial":"0000000000000009:0000000003"});
    for (continuous, resumed) in [(true, true), (false, false)] {
        let mut client = Client::open(Credential::Key(format!("{NAME}:{SECRET}")));
        let told = client.attach(frame.clone(), Operations::CLIENT, continuous);
        let flags = told[0]["flags"].as_u64().unwrap();
        assert_eq!(flags & flag::RESUMED != 0, resumed);
        assert_eq!(told[0]["error"]["code"] == json!(90003), !resumed);
    }
    let mut client = Client::open(Credential::Key(format!("{NAME}:{SECRET}")));
    let out = client.say(frame);
    let [Action::Do(Intent::Subscribe(request))] = out.as_slice() else {
        panic!()
    };
    assert_eq!(request.start, Start::After(Position { epoch: 9, seq: 3 }));
    assert_eq!(request.delivery, DeliveryMode::Shared);
}

fn publications(count: u64, bytes: usize) -> Vec<Arc<Publication>> {
    let one = |seq| {
        let draft = Draft {
            id: Some(format!("~{seq}").into()),
            ..Draft::new("".into(), "x".repeat(bytes).into(), ContentKind::Text)
        };
        Arc::new(Publication {
            draft: Box::new(draft),
            position: Position { epoch: 9, seq },
            timetoken: seq,
        })
    };
    (1..=count).map(one).collect()
}

#[test]
fn more_than_may_wait_is_told_as_lost_and_shortens_a_rewind() {
    let attach = |frame: Value, count| {
        let mut client = Client::open(Credential::Key(format!("{NAME}:{SECRET}")));
        let backlog = publications(count, 100_000);
        client.attach_after(frame, Operations::CLIENT, true, backlog)
    };
    let resume = json!({"action":10,"channel":"c","channelSerial":"0000000000000009:0000000000"});
    let told = attach(resume.clone(), 20);
    assert_eq!((told.len(), &told[0]["error"]), (21, &Value::Null));
    assert_eq!(told[0]["channelSerial"], resume["channelSerial"]);
    let told = attach(resume, 30);
    assert_eq!((told.len(), &told[0]["error"]["code"]), (1, &json!(90003)));
    assert_eq!(told[0]["channelSerial"], "0000000000000009:0000000005");
    let rewind = json!({"action":10,"channel":"c","params":{"rewind":"30"}});
    let told = attach(rewind, 30);
    assert_eq!((told.len(), &told[0]["error"]), (27, &Value::Null));
    assert_eq!(told[0]["channelSerial"], "0000000000000009:0000000004");
    assert_eq!(told[1]["channelSerial"], "0000000000000009:0000000005");
}

#[test]
fn rights_choose_the_footing() {
    let token = fixture::limited(NOW, 60_000, None, r#"{"c":["publish"]}"#);
    let mut client = Client::open(Credential::Token(token));
    let out = client.say(json!({"action":10,"channel":"c"}));
    let [Action::Do(Intent::Subscribe(request))] = out.as_slice() else {
        panic!()
    };
    assert_eq!(
        (request.needs, request.delivery),
        (Operations::PUBLISH, DeliveryMode::Session)
    );
}

#[test]
fn bad_names_fail_their_channel_only() {
    let mut client = Client::open(Credential::Key(format!("{NAME}:{SECRET}")));
    for name in ["", ":hell", "[x]"] {
        let told = said(&client.say(json!({"action":10,"channel":name})));
        assert_eq!(told[0]["error"]["code"], 40010);
        assert_eq!(told[0]["channel"], name);
    }
    let told = said(&client.say(json!({"action":12,"channel":"never"})));
    assert_eq!(told, [json!({"action":13,"channel":"never"})]);
}

#[test]
fn acknowledgements_keep_the_order_of_the_frames() {
    let mut client = Client::open(Credential::Key(format!("{NAME}:{SECRET}")));
    let message = |serial: u64, n: usize| json!({"action":15,"channel":"c","msgSerial":serial,"messages":vec![json!({"data":"x"}); n]});
    let first = client.say(message(0, 2));
    let [Action::Do(Intent::PublishBatch(batch))] = &first[..] else {
        panic!("{first:?}");
    };
    let ids = batch.drafts.iter().map(|draft| draft.id.clone().unwrap());
    let ids: Vec<_> = ids.map(|id| id.to_string()).collect();
    assert_eq!(ids, ["0000000100000002:0:0", "0000000100000002:0:1"]);
    client.say(message(1, 1));
    assert!(said(&client.say(message(2, 0))).is_empty());
    let receipt = Receipt {
        position: Position { epoch: 1, seq: 1 },
        timetoken: 10_000,
        duplicate: false,
    };
    let published = |tag| Input::Event(Event::Published { tag, receipt });
    assert!(said(&client.feed(published(3))).is_empty());
    assert!(said(&client.feed(published(1))).is_empty());
    let told = said(&client.feed(published(2)));
    let kinds: Vec<_> = told
        .iter()
        .map(|one| {
            (
                one["action"].clone(),
                one["msgSerial"].clone(),
                one["count"].clone(),
            )
        })
        .collect();
    assert_eq!(
        kinds,
        [
            (json!(1), json!(0), json!(1)),
            (json!(1), json!(1), json!(1)),
            (json!(2), json!(2), json!(1))
        ]
    );
    assert_eq!(told[0]["res"][0]["serials"].as_array().unwrap().len(), 2);
}

#[test]
fn messages_are_counted_one_by_one_and_refused_by_the_frame() {
    let mut client = Client::limited("inbound_messages_per_second", 10);
    client.mono_ms = 5_000;
    let send = |n: usize| json!({"action":15,"channel":"c","msgSerial":0,"messages":vec![json!({"data":"x"}); n]});
    let codes = |out: Vec<Action>| -> Vec<Value> {
        let told = said(&out);
        told.iter()
            .map(|one| one["error"]["code"].clone())
            .collect()
    };
    client.attach(json!({"action":10,"channel":"c"}), Operations::CLIENT, true);
    let enter =
        json!({"action":14,"channel":"c","msgSerial":1,"presence":[{"action":2,"clientId":"x"}]});
    // A frame that does not fit leaves what is left to others.
    assert!(!client.say(send(8)).is_empty());
    let out = client.say(send(3));
    assert!(out.is_empty(), "in its place behind the first: {out:?}");
    assert!(matches!(
        client.say(enter.clone())[..],
        [Action::Do(Intent::Presence(_))]
    ));
    assert!(matches!(
        client.say(send(1))[..],
        [Action::Do(Intent::Publish(_))]
    ));
    assert!(client.say(enter.clone()).is_empty());
    // Everything is acknowledged, and the connection goes on.
    let mut client = Client::limited("inbound_messages_per_second", 1);
    client.mono_ms = 5_000;
    client.attach(json!({"action":10,"channel":"c"}), Operations::CLIENT, true);
    client.say(json!({"action":15,"channel":"c","msgSerial":0,"messages":[{}],"params":{"_forceNack":true}}));
    for refused in [send(1), enter] {
        let told = said(&client.say(refused));
        assert_eq!(
            (
                &told[0]["action"],
                &told[0]["error"]["code"],
                &told[0]["error"]["statusCode"]
            ),
            (&json!(2), &json!(42911), &json!(429))
        );
    }
    client.mono_ms = 6_000;
    assert_eq!(codes(client.say(send(1))), [] as [Value; 0]);
}

#[test]
fn without_a_rate_nothing_is_promised_and_nothing_refused() {
    let rate = |client: &mut Client| {
        said(&client.feed(Input::Event(Event::Identified)))[0]["connectionDetails"]
            ["maxInboundRate"]
            .clone()
    };
    let mut client = Client::limited("inbound_messages_per_second", 0);
    assert_eq!(rate(&mut client), Value::Null);
    let send =
        json!({"action":15,"channel":"c","msgSerial":0,"messages":vec![json!({"data":"x"}); 1000]});
    for _ in 0..3 {
        assert!(!client.say(send.clone()).is_empty());
    }
    let mut client = Client::open(Credential::Key(format!("{NAME}:{SECRET}")));
    assert_eq!(rate(&mut client), 1_000);
}

#[test]
fn a_frame_of_several_is_refused_as_a_whole_or_not_at_all() {
    let mut client = Client::open(Credential::Key(format!("{NAME}:{SECRET}")));
    let send =
        |messages: Value| json!({"action":15,"channel":"c","msgSerial":0,"messages":messages});
    // Nothing is asked of the core when the last of them is wrong.
    for (messages, code) in [
        (json!([{"data":"x"}, {"data":"y","clientId":"*"}]), 40012),
        (json!([{"id":"b:0"}, {"id":"b:2"}]), 40031),
        (json!([{"data":"x"}, {"action":1}]), 40000),
        (json!([{"data":"x"}, {"data":"y".repeat(65_536)}]), 40009),
    ] {
        let out = client.say(send(messages));
        assert_eq!(said(&out)[0]["error"]["code"], code);
        assert_eq!(out.len(), 1, "{out:?}");
    }
    // The core's one refusal is the frame's one NACK.
    let out = client.say(send(json!([{}, {}, {}])));
    let [Action::Do(Intent::PublishBatch(batch))] = &out[..] else {
        panic!("{out:?}");
    };
    let told = said(&client.feed(Input::Event(Event::PublishRefused {
        channel: batch.channel.clone(),
        tag: batch.tag,
        refusal: Refusal::Denied(Reason::NotGranted(Operations::PUBLISH)),
    })));
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&told[0]["action"], &told[0]["error"]["code"]),
        (&json!(2), &json!(40160))
    );
}

#[test]
fn client_ids_are_stamped_or_refused() {
    let token = fixture::ours(NOW, 60_000, Some("bob"));
    let mut client = Client::open(Credential::Token(token));
    let send =
        |id: Value| json!({"action":15,"channel":"c","msgSerial":0,"messages":[{"clientId":id}]});
    let out = client.say(send(Value::Null));
    let [Action::Do(Intent::Publish(publish))] = out.as_slice() else {
        panic!()
    };
    assert_eq!(publish.draft.client.as_deref(), Some("bob"));
    // In its place behind the one that is not through.
    assert!(said(&client.say(send(json!("eve")))).is_empty());
}

#[test]
fn presence_needs_an_attachment_a_mode_and_somebody() {
    let mut client = Client::open(Credential::Key(format!("{NAME}:{SECRET}")));
    let enter = json!({"action":14,"channel":"c","msgSerial":0,"presence":[{"action":2}]});
    assert_eq!(said(&client.say(enter.clone()))[0]["error"]["code"], 90001);
    client.attach(json!({"action":10,"channel":"c"}), Operations::CLIENT, true);
    assert_eq!(said(&client.say(enter))[0]["error"]["code"], 91000);
    client.attach(
        json!({"action":10,"channel":"d","flags":262_144}),
        Operations::CLIENT,
        true,
    );
    let other =
        json!({"action":14,"channel":"d","msgSerial":0,"presence":[{"action":2,"clientId":"x"}]});
    assert_eq!(said(&client.say(other))[0]["error"]["code"], 40165);
}

#[test]
fn a_token_is_asked_for_30_s_early_and_ends_on_time() {
    let mut client = Client::open(Credential::Token(fixture::ours(NOW, 60_000, None)));
    (client.mono_ms, client.cluster_ms) = (30_000, NOW + 30_000);
    let told = said(&client.feed(Input::Wake));
    assert_eq!(told[0], json!({"action": 17}));
    (client.mono_ms, client.cluster_ms) = (60_000, NOW + 60_000);
    let told = said(&client.feed(Input::Wake));
    assert_eq!(
        (&told[0]["action"], &told[0]["error"]["code"]),
        (&json!(6), &json!(40142))
    );
    assert_eq!(
        client.session.linger_ms(),
        7_000,
        "as its address asked for"
    );
}

#[test]
fn reauthorization_keeps_app_key_and_client() {
    let auth = |token: String| json!({"action":17,"auth":{"accessToken":token}});
    let mut client = Client::open(Credential::Token(fixture::ours(NOW, 60_000, Some("bob"))));
    let out = client.say(auth(fixture::ours(NOW + 1, 60_000, Some("bob"))));
    assert!(matches!(&out[..], [Action::Do(Intent::Identify(_))]));
    assert_eq!(
        said(&client.feed(Input::Event(Event::Identified)))[0]["action"],
        4
    );
    let told = said(&client.say(auth(fixture::ours(NOW, 60_000, Some("eve")))));
    assert_eq!(
        (&told[0]["action"], &told[0]["error"]["code"]),
        (&json!(9), &json!(40102))
    );
}

#[test]
fn who_missed_something_is_sent_to_resume_and_told_where_that_fails() {
    let credential = || Credential::Key(format!("{NAME}:{SECRET}"));
    let mut client = Client::open(credential());
    client.attach(json!({"action":10,"channel":"c"}), Operations::CLIENT, true);
    let told = said(&client.feed(Input::Ending(End::Missed)));
    let last = told.last().unwrap();
    assert_eq!(
        (&last["action"], &last["error"]["code"]),
        (&json!(6), &json!(80003)),
        "disconnected: the client library comes back by itself"
    );
    // It does with the last it had, of an epoch that has ended or behind what the history still has.
    let frame = json!({"action":10,"channel":"c","channelSerial":"0000000000000008:0000000003"});
    let told = Client::open(credential()).attach(frame, Operations::CLIENT, false);
    assert_eq!(told[0]["flags"].as_u64().unwrap() & flag::RESUMED, 0);
    assert_eq!(told[0]["error"]["code"], json!(90003));
}

#[test]
fn revocation_says_which_token_error_it_is() {
    let mut client = Client::open(Credential::Token(fixture::ours(NOW, 60_000, None)));
    let cut = Cut::Revoked {
        issued_before_ms: 1,
        revision: 1,
        applies_ms: 1,
    };
    let told = said(&client.feed(Input::Ending(End::Cut(cut))));
    assert_eq!(
        (&told[0]["action"], &told[0]["error"]["code"]),
        (&json!(6), &json!(40141))
    );
    let mut client = Client::open(Credential::Token(fixture::ours(NOW, 60_000, None)));
    assert_eq!(
        said(&client.feed(Input::Event(Event::Expiring { at_ms: 9 }))),
        [json!({"action": 17})]
    );
}

#[test]
fn a_lost_right_fails_the_channel_or_narrows_it() {
    let token = fixture::limited(NOW, 60_000, None, r#"{"c":["publish"]}"#);
    let mut client = Client::open(Credential::Token(token));
    client.attach(
        json!({"action":10,"channel":"c"}),
        Operations::PUBLISH,
        true,
    );
    let lost = |name: &str| Event::RightsChanged {
        channel: ChannelKey::channel(fixture::APP, name),
        granted: Operations::NONE,
        refusal: Some(Refusal::Denied(Reason::NotGranted(Operations::SUBSCRIBE))),
    };
    // Publishing is still allowed: it goes on with that.
    let out = client.feed(Input::Event(lost("c")));
    assert!(matches!(&out[..], [Action::Do(Intent::Subscribe(_))]));
    let none = fixture::limited(NOW, 60_000, None, r#"{"d":["publish"]}"#);
    client.say(json!({"action":17,"auth":{"accessToken":none}}));
    client.feed(Input::Event(Event::Identified));
    let told = said(&client.feed(Input::Event(lost("c"))));
    assert_eq!(
        (&told[0]["action"], &told[0]["error"]["code"]),
        (&json!(9), &json!(40160))
    );
}

#[test]
fn heartbeats_come_back_and_come_by_themselves() {
    let mut client = Client::open(Credential::Key(format!("{NAME}:{SECRET}")));
    assert_eq!(
        said(&client.say(json!({"action":0,"id":"7"}))),
        [json!({"action":0,"id":"7"})]
    );
    client.mono_ms = 15_000;
    assert_eq!(said(&client.feed(Input::Wake)), [json!({"action":0})]);
    assert!(client.say(json!({"action":99})).is_empty());
    let told = said(&client.say(json!({"action":7})));
    assert_eq!(
        (told, client.session.linger_ms()),
        (vec![json!({"action":8})], 0)
    );
}

#[test]
fn operators_are_told_of_every_error_that_a_client_is_told_of() {
    let mut client = Client::open(Credential::Key(format!("{NAME}:{SECRET}")));
    assert_eq!(client.told, [], "nothing was refused so far");
    client.say(json!({"action": 10, "channel": ""}));
    client.say(json!({"action": 15, "channel": "a", "msgSerial": 0, "messages": []}));
    let told = std::mem::take(&mut client.told);
    let rules: Vec<(Rule, u32, Option<&str>)> = told
        .iter()
        .map(|one| (one.why.rule, one.code, one.channel.as_deref()))
        .collect();
    assert_eq!(
        rules,
        [
            (Rule::ChannelName, 40010, None),
            (Rule::BadValue, 40030, Some("a")),
        ]
    );
    let mut stranger = Client::new(Credential::Key(format!("{NAME}:wrong")));
    stranger.feed(Input::Opened);
    let rules: Vec<Rule> = stranger.told.iter().map(|one| one.why.rule).collect();
    assert_eq!(rules, [Rule::WrongSecret]);
}
