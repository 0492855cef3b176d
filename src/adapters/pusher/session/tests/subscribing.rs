//! Subscriptions: asked for, answered, taken back, presence and caches.

use super::*;

fn proof(channel: &str) -> Option<Box<Proof>> {
    let state = fixture::state(|_| {});
    Some(Box::new(auth::channel_proof(
        &state,
        &Signer::unchecked(APP, KEY),
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
        speaks_for: None,
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
        speaks_for: spoken_for("10"),
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
    assert_eq!(
        asked.speaks_for,
        spoken_for("other"),
        "beside who signed in"
    );
    let herself = Some(r#"{"user_id":"ana"}"#);
    let asked = subscription(&client.subscribe_signed("presence-z", herself));
    assert_eq!(asked.speaks_for, None);
}

/// Named by a signature over the state of the fixture.
fn spoken_for(user: &str) -> Option<Box<SpokenFor>> {
    let issued = Issued::Seen(7);
    let user = user.into();
    Some(Box::new(SpokenFor { user, issued }))
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
        let mut said = client.subscribe("private-x", Some(auth), None);
        if said == [Action::Do(Intent::CatchUp)] {
            said = client.event(Event::CaughtUp(Ok(())));
        }
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
        retain_ms: Some(1),
        ..Draft::new("e".into(), "{}".into(), ContentKind::Json)
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
