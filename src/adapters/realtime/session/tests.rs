//! The session by itself: what is said, what is asked of the core.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]

use super::*;
use crate::adapters::realtime::filter::tests::ASKED;
use crate::adapters::realtime::fixture::{self, APP, APPLICATION, PRIVATE};
use crate::core::authority::{Authority, Cut, Operations, Reason, SettingValue};
use crate::core::clock::Now;
use crate::core::error::Refusal;
use crate::core::ids::{ConnectionId, Position};
use crate::core::message::{Broadcast, Occupancy, Publication, Receipt};
use crate::core::refusals::{Rule, Told};
use crate::core::session::{DeliveryMode, Event, Publish, Start, Subscribe, Subscribed};
use std::sync::Arc;

struct Client {
    session: RealtimeSession,
    authority: Authority,
    now_ms: u64,
    told: Vec<Told>,
}

impl Client {
    fn new(state: State) -> Self {
        Self {
            session: RealtimeSession::new(OfNode::default()),
            authority: Authority::fixed(state, 1_000),
            now_ms: 0,
            told: Vec::new(),
        }
    }

    /// Let in with authentication off.
    fn open() -> Self {
        let mut client = Self::new(fixture::state(false));
        client.feed(Input::Opened);
        client.say(&format!("validate;{APPLICATION};tok;;;me;"));
        client.event(Event::Identified);
        client
    }

    fn feed(&mut self, input: Input) -> Vec<Action> {
        let mut out = Vec::new();
        let cx = Context {
            id: ConnectionId(1, 2),
            now: Now {
                mono_ms: self.now_ms,
                cluster_ms: 1_000,
            },
            authority: &self.authority,
        };
        self.session.handle(input, cx, &mut out);
        let (done, told) = Action::parted(out);
        self.told.extend(told);
        done
    }

    fn say(&mut self, command: &str) -> Vec<Action> {
        let frame = serde_json::to_string(command).unwrap();
        self.feed(Input::Frame(Frame::Text(frame.into())))
    }

    fn event(&mut self, event: Event) -> Vec<Action> {
        self.feed(Input::Event(event))
    }

    /// Subscribes and lets the core say yes.
    fn join(&mut self, command: &str, backlog: Vec<Publication>) -> Vec<Action> {
        let asked = subscribe(&self.say(command));
        self.event(stands(&asked, backlog))
    }
}

fn stands(asked: &Subscribe, backlog: Vec<Publication>) -> Event {
    Event::Subscribed(Box::new(Subscribed {
        channel: asked.channel.clone(),
        tag: asked.tag,
        granted: Operations::SUBSCRIBE,
        position: Position { epoch: 7, seq: 3 },
        backlog: backlog.into_iter().map(Arc::new).collect(),
        continuous: true,
        members: None,
        occupancy: Occupancy::default(),
    }))
}

fn texts(actions: &[Action]) -> Vec<String> {
    let text = |action: &Action| match action {
        Action::Send(Frame::Text(text)) => Some(text.to_string()),
        Action::Send(Frame::Binary(_))
        | Action::Do(_)
        | Action::Close(_)
        | Action::Refused(_)
        | Action::Wake { .. } => None,
    };
    actions.iter().filter_map(text).collect()
}

fn asked(actions: &[Action]) -> Vec<&Intent> {
    fn intent(action: &Action) -> Option<&Intent> {
        match action {
            Action::Do(intent) => Some(intent),
            Action::Send(_) | Action::Close(_) | Action::Refused(_) | Action::Wake { .. } => None,
        }
    }
    actions.iter().filter_map(intent).collect()
}

fn subscribe(actions: &[Action]) -> Subscribe {
    match asked(actions)[..] {
        [.., Intent::Subscribe(subscribe)] => (**subscribe).clone(),
        ref other => panic!("{other:?}"),
    }
}

fn publishes(actions: &[Action]) -> Vec<Publish> {
    let publish = |intent: &Intent| match intent {
        Intent::Publish(publish) => Some(publish.clone()),
        _ => None,
    };
    asked(actions).into_iter().filter_map(publish).collect()
}

fn published(message: &str, ttl_s: Option<u64>, timetoken: u64) -> Publication {
    Publication {
        draft: Box::new(crate::adapters::realtime::encoder::draft(
            message.as_bytes(),
            ttl_s,
        )),
        position: Position { epoch: 7, seq: 4 },
        timetoken,
    }
}

fn broadcast(channel: &str, publication: Publication) -> Event {
    Event::Broadcast {
        channel: ChannelKey::channel(APP, channel),
        broadcast: Broadcast::Message(publication.into()),
    }
}

const INVALID: &str =
    r#"a["{\"op\":\"ortc-error\",\"ex\":{\"op\":\"validate\",\"ex\":\"Invalid connection.\"}}"]"#;

mod validating {
    use super::*;

    #[test]
    fn any_token_connects_with_authentication_off_and_is_announced() {
        let mut client = Client::new(fixture::state(false));
        assert_eq!(texts(&client.feed(Input::Opened)), ["o"]);
        let said = client.say(&format!("validate;{APPLICATION};any;sub1;;m\"e;"));
        let [Intent::Identify(principal)] = asked(&said)[..] else {
            panic!("{said:?}")
        };
        assert_eq!(principal.token.as_deref(), Some("any"));
        assert_eq!(principal.proof, None);
        let said = client.event(Event::Identified);
        assert_eq!(
            texts(&said),
            [r#"a["{\"op\":\"ortc-validated\",\"up\":null,\"set\":30}"]"#]
        );
        let announced = &publishes(&said)[0];
        assert_eq!(&*announced.channel.name, "ortcClientConnected:sub1");
        assert_eq!(announced.draft.data, r#"{"cm":"m\"e"}"#);
        let gone = client.feed(Input::Ending(End::Gone));
        assert_eq!(
            &*publishes(&gone)[0].channel.name,
            "ortcClientDisconnected:sub1"
        );
    }

    #[test]
    fn a_token_keeps_what_it_may_do_when_it_connects() {
        let both = Operations::SUBSCRIBE | Operations::PUBLISH;
        let state = fixture::granted(
            true,
            &[
                ("rd", Operations::SUBSCRIBE),
                ("main:*", both),
                ("seen", Operations::PRESENCE_READ),
            ],
        );
        let mut client = Client::new(state);
        client.feed(Input::Opened);
        let said = client.say(&format!("validate;{APPLICATION};tok;;;;"));
        assert_eq!(asked(&said), [&Intent::CatchUp], "on a fresh view");
        let said = client.event(Event::CaughtUp(Ok(())));
        let [Intent::Identify(principal)] = asked(&said)[..] else {
            panic!("{said:?}")
        };
        let copy = principal.proof.as_ref().unwrap();
        assert_eq!(
            (&*copy.key, copy.expires_ms),
            ("k1", None),
            "past the token's time"
        );
        let on = |channel| {
            let of = crate::core::authority::Resource::Channel;
            copy.capability.operations_on(of, channel)
        };
        assert_eq!(on("rd"), Operations::SUBSCRIBE);
        assert_eq!(on("main:x:y"), Operations::SUBSCRIBE | Operations::PUBLISH);
        assert_eq!(on("main"), Operations::NONE);
        let told = texts(&client.event(Event::Identified)).concat();
        assert!(
            told.starts_with(r#"a["{\"op\":\"ortc-validated\",\"up\":{\"rd\":\""#),
            "{told}"
        );
        assert!(
            told.contains(r#"\"main:*\":\""#) && !told.contains("seen"),
            "{told}"
        );
    }

    #[test]
    fn what_is_taken_while_it_is_let_in_sends_it_back() {
        let rights = [("room", Operations::SUBSCRIBE)];
        let mut client = Client::new(fixture::granted(true, &rights));
        client.feed(Input::Opened);
        client.say(&format!("validate;{APPLICATION};tok;;;;"));
        client.event(Event::CaughtUp(Ok(())));
        // The copy is made, and the connection is not known yet to whatever takes rights away.
        let fewer = fixture::granted(true, &[("other", Operations::SUBSCRIBE)]);
        client.authority.set_fixed(fewer, 1_000, true);
        let out = client.event(Event::Identified);
        let told = texts(&out).concat();
        assert!(!told.contains("ortc-validated"), "{told}");
        assert!(!out.is_empty());
    }

    #[test]
    fn what_is_not_known_is_refused_and_closed_a_second_later() {
        for (state, command) in [
            (
                fixture::state(true),
                format!("validate;{APPLICATION};nobody;;;;"),
            ),
            (fixture::state(true), format!("validate;{APPLICATION};;;;;")),
            (fixture::state(false), "validate;other;tok;;;;".into()),
        ] {
            let mut client = Client::new(state);
            client.feed(Input::Opened);
            assert_eq!(asked(&client.say(&command)), [&Intent::CatchUp]);
            let said = client.event(Event::CaughtUp(Ok(())));
            assert_eq!(texts(&said), [INVALID]);
            client.now_ms = 1_000;
            let end = client.feed(Input::Wake);
            assert!(matches!(&end[..], [Action::Close(close)] if close.code == 1008));
        }
    }

    #[test]
    fn nobody_is_refused_for_good_when_nothing_is_known_and_only_the_browser_is_told_why() {
        const BUSY: &str = r#"a["{\"op\":\"ortc-error\",\"ex\":{\"op\":\"validate\",\"ex\":\"Server is too busy\"}}"]"#;
        let command = format!("validate;{APPLICATION};tok;;;;");
        for (frame, told) in [
            (format!("\"{command}\""), vec![]),
            (format!("[\"{command}\"]"), vec![BUSY]),
        ] {
            let client = || {
                let mut client = Client::new(fixture::state(true));
                client.feed(Input::Opened);
                client.feed(Input::Frame(Frame::Text(frame.as_str().into())));
                client
            };
            // Nobody answers the node at all: the client hears of it before it gives up on us.
            let mut waits = client();
            waits.now_ms = 3_999;
            assert!(
                !waits
                    .feed(Input::Wake)
                    .iter()
                    .any(|one| matches!(one, Action::Close(_)))
            );
            waits.now_ms = 4_000;
            let refused = client().event(Event::CaughtUp(Err(Refusal::Unavailable("x"))));
            let left = client().feed(Input::Ending(End::Draining));
            for end in [waits.feed(Input::Wake), refused, left] {
                assert_eq!(texts(&end), told);
                let last = end.last();
                assert!(
                    matches!(last, Some(Action::Close(close)) if close.code == 1013),
                    "{end:?}"
                );
            }
        }
    }

    #[test]
    fn commands_before_it_are_not_answered_and_silence_ends() {
        let mut client = Client::new(fixture::state(false));
        client.feed(Input::Opened);
        assert_eq!(client.say("subscribe;a;t;c;null"), []);
        client.now_ms = 10_000;
        assert!(matches!(client.feed(Input::Wake)[..], [Action::Close(_)]));
    }

    #[test]
    fn heartbeats_go_out_and_are_missed_when_promised() {
        let mut client = Client::open();
        client.now_ms = 25_000;
        assert_eq!(texts(&client.feed(Input::Wake)), ["h"]);
        let mut client = Client::new(fixture::state(false));
        client.feed(Input::Opened);
        client.say(&format!("validate;{APPLICATION};tok;;;me;15;3;"));
        client.event(Event::Identified);
        client.now_ms = 50_000;
        client.say("b");
        client.now_ms = 100_000;
        assert_eq!(texts(&client.feed(Input::Wake)), ["h"]);
        client.now_ms = 110_000;
        assert!(matches!(
            client.feed(Input::Wake)[..],
            [.., Action::Close(_)]
        ));
    }
}

mod subscribing {
    use super::*;

    #[test]
    fn plain_ones_take_the_shared_path() {
        let mut client = Client::open();
        let asked = subscribe(&client.say(&format!("subscribe;{APPLICATION};tok;ch1;null")));
        assert_eq!((asked.delivery, asked.echo), (DeliveryMode::Shared, true));
        let said = client.event(stands(&asked, Vec::new()));
        assert_eq!(
            texts(&said),
            [r#"a["{\"op\":\"ortc-subscribed\",\"ch\":\"ch1\"}"]"#]
        );
        let announced = &publishes(&said)[0];
        assert_eq!(announced.draft.data, r#"{"cm":"me","ch":"ch1"}"#);
        client.say("unsubscribe;a;ch1");
        let channel = asked.channel.clone();
        let refusal = None;
        let said = client.event(Event::Unsubscribed { channel, refusal });
        assert_eq!(
            texts(&said),
            [r#"a["{\"op\":\"ortc-unsubscribed\",\"ch\":\"ch1\"}"]"#]
        );
    }

    #[test]
    fn refusals_name_the_channel_and_keep_the_connection() {
        let mut client = Client::open();
        let asked = subscribe(&client.say("subscribe;a;t;ch1;null"));
        let said = client.event(Event::SubscribeRefused {
            channel: asked.channel,
            refusal: Refusal::Denied(Reason::NotGranted(Operations::SUBSCRIBE)),
            tag: asked.tag,
        });
        let text = r#"a["{\"op\":\"ortc-error\",\"ex\":{\"op\":\"subscribe\",\"ch\":\"ch1\",\"ex\":\"No permission to subscribe\"}}"]"#;
        assert_eq!(texts(&said), [text]);
        let said = texts(&client.say("subscribefilter;a;t;ch1;null;sum(message.a) > 1")).concat();
        assert!(said.contains("Invalid filter: "), "{said}");
        assert!(
            texts(&client.say("subscribe;a;t;main:*;null"))
                .concat()
                .contains("Invalid channel name")
        );
    }

    #[test]
    fn filters_say_whether_they_could_be_asked() {
        let mut client = Client::open();
        client.join("subscribefilter;a;t;ch1;null;message.a = 40", Vec::new());
        let mut get = |body: &str| texts(&client.event(broadcast("ch1", published(body, None, 1))));
        assert_eq!(get("m_1-1_{\"a\":41}"), [""; 0]);
        assert_eq!(
            get("m_1-1_{\"a\":40}"),
            [r#"a["{\"ch\":\"ch1\",\"f\":true,\"m\":\"m_1-1_{\\\"a\\\":40}\"}"]"#]
        );
        assert_eq!(
            get("m_1-1_x"),
            [r#"a["{\"ch\":\"ch1\",\"f\":false,\"m\":\"m_1-1_x\"}"]"#]
        );
    }

    #[test]
    fn ten_subscribers_with_one_filter_cost_it_once() {
        let of_node = OfNode::default();
        let mut clients: Vec<Client> = (0..10)
            .map(|_| {
                let mut client = Client::open();
                client.session.of_node = of_node.clone();
                client.join("subscribefilter;a;t;ch1;null;message.a = 40", Vec::new());
                client
            })
            .collect();
        let before = ASKED.get();
        for seq in 1..=5 {
            let one = broadcast("ch1", published("m_1-1_{\"a\":40}", None, seq));
            for client in &mut clients {
                let said = texts(&client.event(one.clone()));
                assert!(said[0].contains(r#"\"f\":true"#), "{said:?}");
            }
        }
        assert_eq!(ASKED.get() - before, 5);
    }

    #[test]
    fn a_lost_right_is_told_as_both_an_end_and_an_error() {
        let mut client = Client::open();
        client.join("subscribe;a;t;ch1;null", Vec::new());
        let said = texts(&client.event(Event::RightsChanged {
            channel: ChannelKey::channel(APP, "ch1"),
            granted: Operations::NONE,
            refusal: Some(Refusal::Denied(Reason::NotGranted(Operations::SUBSCRIBE))),
        }));
        assert!(said[0].contains("ortc-unsubscribed") && said[1].contains("No permission"));
        let said = texts(&client.feed(Input::Ending(End::Cut(Cut::Blocked))));
        assert_eq!(said, [INVALID]);
    }
}

mod sending {
    use super::*;

    #[test]
    fn refusals_are_errors_of_the_command() {
        let mut client = Client::open();
        let said = client.say("send;a;t;ch1;null;id_1-1_x;y");
        let asked = &publishes(&said)[0];
        assert_eq!((&asked.draft.data[..], asked.ack), (&b"x;y"[..], None));
        let said = client.event(Event::PublishRefused {
            channel: asked.channel.clone(),
            tag: asked.tag,
            refusal: Refusal::Denied(Reason::NotGranted(Operations::PUBLISH)),
        });
        assert!(texts(&said)[0].contains(r#"\"op\":\"send\",\"ch\":\"ch1\""#));
        for bad in [
            "send;a;t;ortcClientConnected:x;null;i_1-1_x",
            "send;a;t;a b;null;i_1-1_x",
        ] {
            assert!(texts(&client.say(bad))[0].contains("ortc-error"), "{bad}");
        }
    }

    #[test]
    fn every_published_part_is_acknowledged_with_a_number() {
        let mut client = Client::open();
        let said = client.say("publish;a;t;ch1;60;null;3fd3ab29_2-2_x");
        let asked = publishes(&said)[0].clone();
        let receipt = Receipt {
            position: Position::default(),
            timetoken: 9,
            duplicate: false,
        };
        let tag = asked.ack.unwrap();
        let said = texts(&client.event(Event::Published { tag, receipt }));
        assert_eq!(
            said,
            [r#"a["{\"op\":\"ortc-ack\",\"m\":\"3fd3ab29\",\"p\":2,\"seq\":\"9\"}"]"#]
        );
        let said = client.say("publish;a;t;ch1;60;null;3fd3ab29_1-1_x");
        let said = client.event(Event::PublishRefused {
            channel: asked.channel,
            tag: publishes(&said)[0].tag,
            refusal: Refusal::OutcomeUnknown,
        });
        assert!(texts(&said)[0].contains(r#"\"p\":1,\"err\":\""#));
    }

    #[test]
    fn a_rate_counts_every_message_and_says_when_to_try_again() {
        let mut state = fixture::state(false);
        let app = Arc::make_mut(state.apps.get_mut(&APP).unwrap());
        let rate = SettingValue::Int(4);
        let name = "realtime_messages_per_second";
        app.settings.insert(name.into(), rate);
        let mut client = Client::new(state);
        client.feed(Input::Opened);
        client.say(&format!("validate;{APPLICATION};tok;;;me;"));
        client.event(Event::Identified);
        client.now_ms = 5_000;
        // One for each channel, and the last of them is too much.
        assert_eq!(
            publishes(&client.say("send;a;t;ch1;null;id_1-1_x")).len(),
            1
        );
        let said = client.say(r#"batchSend;a;t;["c1","c2","c3","c4"];{};id_1-1_x"#);
        assert_eq!(publishes(&said).len(), 3);
        let told = texts(&said);
        assert_eq!(told.len(), 1);
        let words = r#"\"op\":\"send\",\"ch\":\"c4\""#;
        assert!(told[0].contains(words), "{told:?}");
        let words = "Limit realtime_messages_per_second is reached, try again in 251 ms";
        assert!(told[0].contains(words), "{told:?}");
        let said = client.say("publish;a;t;ch1;60;null;3fd3ab29_2-2_x");
        assert!(publishes(&said).is_empty());
        assert!(texts(&said)[0].contains(r#"\"p\":2,\"err\":\"Limit"#));
        client.now_ms = 5_251;
        assert_eq!(
            publishes(&client.say("publish;a;t;ch1;60;null;3fd3ab29_2-2_x")).len(),
            1
        );
    }

    #[test]
    fn a_private_key_sends_whatever_the_token_may() {
        let mut client = Client::open();
        let said = client.say(&format!("sendproxy;a;{PRIVATE};ch1;id_1-1_x"));
        assert_eq!(&*publishes(&said)[0].proof.as_ref().unwrap().key, "k1");
        let said = client.say("sendproxy;a;wrong;ch1;id_1-1_x");
        assert!(texts(&said)[0].contains("Invalid private key"));
        let batch = client.say(r#"batchSend;a;t;["c1","c2"];[null,null];id_1-1_x"#);
        assert_eq!(publishes(&batch).len(), 2);
    }
}

mod places {
    use super::*;

    const MS: u64 = crate::adapters::realtime::encoder::TICKS_PER_MS;

    /// Asks with a subscriber id; the place has this in it.
    fn begin(client: &mut Client, place: Option<u64>) -> Subscribe {
        let asked = subscribe(&client.say("subscribeoptions;a;t;b1;sub-1;;;null;"));
        assert_eq!(asked.start, Start::Last);
        let kept = place.map(|done| published(&done.to_string(), None, 1));
        let said = client.event(stands(&asked, kept.into_iter().collect()));
        subscribe(&said)
    }

    #[test]
    fn whoever_has_no_place_begins_with_the_oldest_that_she_may_read_and_has_one_at_once() {
        let mut client = Client::open();
        let asked = begin(&mut client, None);
        assert!(asked.wants.contains(Operations::HISTORY));
        // From the beginning of time: who is new cannot be told from whose place was lost.
        assert_eq!(
            (asked.start, asked.delivery),
            (Start::AfterTime(0), DeliveryMode::Session)
        );
        let backlog = vec![published("a_1-1_old", Some(0), 3 * MS)];
        let mut stands = stands(&asked, backlog);
        if let Event::Subscribed(subscribed) = &mut stands {
            subscribed.granted = Operations::SUBSCRIBE | Operations::HISTORY;
        }
        let said = client.event(stands);
        let shown = texts(&said);
        assert!(shown[0].contains("ortc-subscribed"));
        assert!(shown[1].contains("a_1-1_old"));
        let kept = publishes(&said).pop().unwrap();
        assert_eq!(&*kept.channel.name, "realtime-place\nb1\nsub-1");
        assert_eq!(kept.draft.data, "0");
        assert!(kept.draft.retain_ms.is_some());
    }

    #[test]
    fn a_made_up_id_reads_nothing_that_was_published_before() {
        let mut client = Client::open();
        let asked = begin(&mut client, None);
        let old = |at| published("a_1-1_old", Some(0), at * MS);
        let said = client.event(stands(&asked, vec![old(3), old(4)]));
        let shown = texts(&said);
        assert!(shown[0].contains("ortc-subscribed"));
        assert!(!shown.concat().contains("old"), "{shown:?}");
        // Its place is behind it from now on, and what comes is hers.
        let kept = publishes(&said).pop().unwrap();
        assert_eq!(kept.draft.data, (4 * MS).to_string());
        let new = published("b_1-1_new", Some(0), 5 * MS);
        assert!(texts(&client.event(broadcast("b1", new)))[0].contains("new"));
        // A place that is there stays what it is.
        let mut client = Client::open();
        let asked = begin(&mut client, Some(3 * MS));
        assert!(!asked.wants.contains(Operations::HISTORY));
        let said = client.event(stands(&asked, vec![old(3), old(4)]));
        assert!(texts(&said)[1].contains("old"));
    }

    #[test]
    fn a_place_above_the_apps_number_is_refused_in_words_and_one_that_is_there_is_not() {
        let mut client = Client::open();
        let asked = begin(&mut client, None);
        client.event(stands(&asked, Vec::new()));
        let mut other = Client::open();
        other.session.of_node = client.session.of_node.clone();
        for n in 1..crate::adapters::realtime::limits::PLACES.default {
            let places = &client.session.of_node.places;
            places.note(APP, &n.to_string(), 9_000);
        }
        let said = texts(&other.say("subscribeoptions;a;t;b1;sub-2;;;null;")).concat();
        assert!(said.contains("No place can be kept") && said.contains("places_per_node"));
        begin(&mut other, Some(500 * MS));
    }

    #[test]
    fn a_place_that_cannot_be_read_is_none() {
        for broken in ["", "x", "-1", "1 2 3", "\u{fffd}"] {
            let mut client = Client::open();
            let asked = subscribe(&client.say("subscribeoptions;a;t;b1;sub-1;;;null;"));
            let kept = published(broken, None, 1);
            let asked = subscribe(&client.event(stands(&asked, vec![kept])));
            assert_eq!(asked.start, Start::AfterTime(0), "{broken:?}");
        }
    }

    #[test]
    fn who_missed_something_is_sent_to_come_back_to_its_place() {
        let mut client = Client::open();
        let asked = begin(&mut client, Some(500 * MS));
        client.event(stands(&asked, Vec::new()));
        let said = client.feed(Input::Ending(End::Missed));
        let Some(Action::Close(close)) = said.last() else {
            panic!("it stays: {said:?}");
        };
        assert_eq!((close.code, &*close.reason), (1013, "Reconnect"));
    }

    #[test]
    fn an_id_is_a_tokens_own_where_tokens_are_known() {
        let place = |token: &str, authentication| {
            let mut client = Client::open();
            client.authority = Authority::fixed(fixture::state(authentication), 1_000);
            client.session.who.token = token.into();
            let asked = subscribe(&client.say("subscribeoptions;a;t;b1;sub-1;;;null;"));
            asked.channel.name.clone()
        };
        assert_eq!(place("one", true), place("one", true));
        assert_ne!(place("one", true), place("other", true));
        assert!(!place("one", true).contains("one"));
        // Without authentication a token says nothing, and clients make up new ones.
        assert_eq!(place("one", false), place("other", false));
    }

    #[test]
    fn a_home_whose_clock_is_behind_loses_nothing() {
        let mut client = Client::open();
        let asked = begin(&mut client, None);
        client.event(stands(&asked, Vec::new()));
        let first = published("b_1-1_first", Some(0), 990 * MS);
        assert!(texts(&client.event(broadcast("b1", first)))[0].contains("first"));
    }

    #[test]
    fn what_was_published_meanwhile_comes_after_the_answer_and_once() {
        let mut client = Client::open();
        let asked = begin(&mut client, Some(500 * MS));
        // As the home stamped it: how far this node is behind its clock does not count.
        assert_eq!(asked.start, Start::AfterTime(500 * MS));
        let backlog = vec![
            published("a_1-1_seen", Some(0), 500 * MS),
            published("b_1-1_kept", Some(0), 600 * MS),
            published("c_1-1_over", Some(0), 601 * MS).over(),
            published("d_1-1_sent", None, 602 * MS),
        ];
        let said = texts(&client.event(stands(&asked, backlog)));
        assert!(said[0].contains("ortc-subscribed"));
        let kept = format!(
            r#"a["{{\"ch\":\"b1\",\"m\":\"b_1-1_kept\",\"s\":\"{}\"}}"]"#,
            600 * MS
        );
        assert_eq!(said[1..], [kept]);
    }

    #[test]
    fn the_place_stays_before_the_first_message_that_was_not_noted() {
        let most = crate::adapters::realtime::session::outstanding::MAX_OUTSTANDING as u64;
        let mut client = Client::open();
        let asked = begin(&mut client, Some(500 * MS));
        client.event(stands(&asked, Vec::new()));
        let id = |n: u64| format!("{n:08}");
        for n in 1..=most + 2 {
            let message = published(&format!("{}_1-1_x", id(n)), Some(0), (1_000 + n) * MS);
            client.event(broadcast("b1", message));
        }
        let mut kept = Vec::new();
        for n in (1..=most).chain([most + 2]) {
            let said = client.say(&format!("ack;a;b1;{};{};1", id(n), (1_000 + n) * MS));
            kept.extend(publishes(&said).pop().map(|one| one.draft.data));
        }
        let place = (1_000 + most + 1) * MS - 1;
        assert_eq!(kept.len() as u64, most, "one move for each that was noted");
        assert_eq!(kept.last().unwrap(), &place.to_string());
    }

    impl Publication {
        /// Its time to live is over.
        fn over(mut self) -> Self {
            self.draft.tag = Some("ortc+0:c_1-1".into());
            self.timetoken = 1;
            self
        }
    }

    #[test]
    fn the_place_moves_with_the_acknowledgements_and_not_past_a_gap() {
        let mut client = Client::open();
        let asked = begin(&mut client, Some(500 * MS));
        client.event(stands(&asked, Vec::new()));
        for (message, at) in [("a_1-1_x", 1_000), ("b_1-2_x", 1_001), ("b_2-2_x", 1_002)] {
            client.event(broadcast("b1", published(message, Some(0), at * MS)));
        }
        let mut moved = |ack: &str| {
            let said = client.say(ack);
            publishes(&said)
                .pop()
                .map(|one| String::from_utf8(one.draft.data.to_vec()).unwrap())
        };
        let ack = |id: &str, at: u64, all: u8| format!("ack;a;b1;{id};{};{all}", at * MS);
        assert_eq!(moved(&ack("b", 1_001, 0)), None);
        assert_eq!(
            moved(&ack("b", 1_002, 1)),
            Some((1_000 * MS - 1).to_string())
        );
        assert_eq!(moved(&ack("a", 1_000, 1)), Some((1_002 * MS).to_string()));
        assert_eq!(moved(&ack("a", 1_000, 1)), None);
    }
}

#[test]
fn operators_are_told_what_invalid_connection_hides() {
    let rules = |client: &mut Client| -> Vec<Rule> {
        let told = std::mem::take(&mut client.told);
        told.iter().map(|one| one.why.rule).collect()
    };
    let refused = |application: &str, token: &str| {
        let mut client = Client::new(fixture::state(true));
        client.feed(Input::Opened);
        client.say(&format!("validate;{application};{token};;;me;"));
        client.event(Event::CaughtUp(Ok(())));
        client
    };
    assert_eq!(rules(&mut refused("nobody", "tok")), [Rule::UnknownKey]);
    let mut unknown = refused(APPLICATION, "no-such-token");
    assert_eq!(unknown.told[0].app, Some(fixture::APP));
    assert_eq!(rules(&mut unknown), [Rule::TokenUnknown]);
    let malformed = rules(&mut refused("no key!", "tok"));
    assert_eq!(malformed.first(), Some(&Rule::CredentialMalformed));
    let mut client = Client::open();
    client.say("subscribe;x;y;bad name!;");
    client.say("nonsense");
    assert!(!rules(&mut client).is_empty());
}
