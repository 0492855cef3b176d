//! Signing in, and what comes with it.

use super::*;
use crate::core::authority::UNCONFIRMED;

const ANA: &str = "{\"id\":\"ana\", \"user_info\":{\"n\":1}}";

#[test]
fn success_echoes_the_data_and_opens_the_inbox() {
    let mut client = Client::open(|_| {});
    let principal = Principal {
        opened_under: Some(KEY.into()),
        ..auth::user(7, &Signer::unchecked(APP, KEY), "ana")
    };
    let identify = Action::Do(Intent::Identify(principal.into()));
    assert_eq!(client.sign_in(ANA), [identify]);
    assert_eq!(client.sign_in(ANA), failed("A sign-in is in progress"));
    let done = client.event(Event::Identified);
    assert_eq!(
        done.len(),
        1,
        "not told before her inbox is there: {done:?}"
    );
    assert_eq!(subscription(&done).channel, ChannelKey::user(APP, "ana"));
    assert_eq!(client.sign_in(ANA), failed("A sign-in is in progress"));

    let name = "#server-to-user-ana";
    assert_eq!(
        client.subscribe(name, Some(""), None),
        [],
        "not answered before it is there"
    );
    let told = client.inbox_stands(&done);
    let subscribed = Action::Send(server::subscribed(name, None));
    assert_eq!(told, [Action::Send(server::signed_in(ANA)), subscribed]);
    let twice = failed("Existing subscription to channel #server-to-user-ana");
    assert_eq!(client.subscribe(name, None, None), twice);
}

#[test]
fn an_inbox_that_is_there_is_answered_at_once_and_only_to_its_user() {
    let mut client = Client::open(|_| {});
    client.sign_in(ANA);
    let asked = client.event(Event::Identified);
    let told = client.inbox_stands(&asked);
    assert_eq!(told, [Action::Send(server::signed_in(ANA))]);
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
fn who_is_told_that_she_signed_in_is_online_and_has_her_inbox() {
    let signing = || {
        let mut client = Client::open(|app| on(app, "watchlist"));
        client.sign_in(r#"{"id":"ana","watchlist":["bea"]}"#);
        let asked = client.event(Event::Identified);
        let [Action::Do(Intent::Presence(status))] = &asked[..] else {
            panic!("first she comes online: {asked:?}");
        };
        assert_eq!(status.channel, ChannelKey::status(APP, "ana"));
        let (channel, tag) = (status.channel.clone(), status.tag);
        (client, move |refusal| Event::PresenceDone {
            channel,
            tag,
            refusal,
        })
    };
    let (mut client, done) = signing();
    let asked = client.event(done(None));
    assert_eq!(asked.len(), 1);
    assert_eq!(subscription(&asked).channel, ChannelKey::user(APP, "ana"));
    let told = client.inbox_stands(&asked);
    assert!(
        matches!(told[0], Action::Send(_)),
        "before her list: {told:?}"
    );
    assert_eq!(subscription(&told).channel, ChannelKey::status(APP, "bea"));

    let down = Refusal::Unavailable("the channel's home does not answer");
    let (mut client, done) = signing();
    let left = client.event(done(Some(down.clone())));
    assert!(
        texts(&left[..1])[0].contains("4100"),
        "she may come back: {left:?}"
    );
    let (mut client, done) = signing();
    let inbox = subscription(&client.event(done(None)));
    let left = client.event(Event::SubscribeRefused {
        channel: inbox.channel,
        refusal: down,
        tag: inbox.tag,
    });
    assert!(texts(&left[..1])[0].contains("4100"), "{left:?}");

    // What the key that vouches for her does not allow is no reason to send her away.
    let beyond = Refusal::Denied(Reason::BeyondKey(KEY.into()));
    let (mut client, done) = signing();
    let inbox = subscription(&client.event(done(Some(beyond.clone()))));
    let told = client.event(Event::SubscribeRefused {
        channel: inbox.channel,
        refusal: beyond,
        tag: inbox.tag,
    });
    assert_eq!(
        told[0],
        Action::Send(server::signed_in(r#"{"id":"ana","watchlist":["bea"]}"#))
    );
    assert_eq!(subscription(&told).channel, ChannelKey::status(APP, "bea"));
}

#[test]
fn whose_list_cannot_be_read_now_comes_back_and_reads_it_then() {
    let down = Refusal::Unavailable("the channel's home does not answer");
    let beyond = Refusal::Denied(Reason::BeyondKey(KEY.into()));
    for (refusal, leaves) in [(down, true), (beyond, false)] {
        let mut client = Client::open(|app| on(app, "watchlist"));
        client.sign_in(r#"{"id":"ana","watchlist":["bea"]}"#);
        let asked = client.event(Event::Identified);
        let [Action::Do(Intent::Presence(status))] = &asked[..] else {
            panic!("first she comes online: {asked:?}");
        };
        let asked = client.event(Event::PresenceDone {
            channel: status.channel.clone(),
            tag: status.tag,
            refusal: None,
        });
        let told = client.inbox_stands(&asked);
        let watched = subscription(&told);
        let told = client.event(Event::SubscribeRefused {
            channel: watched.channel,
            refusal,
            tag: watched.tag,
        });
        let closes = |one: &Action| matches!(one, Action::Close(_));
        assert_eq!(told.iter().any(closes), leaves, "{told:?}");
    }
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
    let confirmed = |auth: &str| {
        let mut client = Client::open(|_| {});
        let asked = client.sign_in_with(auth, ANA);
        assert_eq!(asked, [Action::Do(Intent::CatchUp)]);
        client.event(Event::CaughtUp(Ok(())))
    };
    let format = "Invalid sign-in: `auth` should be of format 'key:signature'";
    assert_eq!(no("x"), closing(4009, format));
    let key = "Invalid key in sign-in auth data: 'other'";
    assert_eq!(confirmed("other:00"), closing(4009, key));
    let signature = "Invalid signature of the sign-in";
    assert_eq!(
        no(&format!("{KEY}:{}", sign("1234.1234::user::{}"))),
        closing(4009, signature)
    );
}

#[test]
fn a_key_newer_than_this_nodes_view_is_looked_for_and_what_follows_waits() {
    let ask = |client: &mut Client| {
        let text = auth::user_text(SOCKET, ANA);
        let signed = client.sign_in_with(&format!("newer:{}", sign(&text)), ANA);
        assert_eq!(signed, [Action::Do(Intent::CatchUp)]);
        assert_eq!(client.say(r#"{"event":"pusher:ping"}"#), []);
    };
    let pong = Action::Send(server::bare("pusher:pong", None));

    let mut client = Client::open(|_| {});
    ask(&mut client);
    let mut state = State::clone(&client.authority.view());
    let mut key = fixture::key();
    key.id = "newer".into();
    state.keys.insert(key.id.clone(), key.into());
    client.authority.set_fixed(state, 0, true);
    let heard = client.event(Event::CaughtUp(Ok(())));
    assert!(
        matches!(&heard[..], [Action::Do(Intent::Identify(_)), last] if *last == pong),
        "{heard:?}"
    );

    let mut client = Client::open(|_| {});
    ask(&mut client);
    let refused = client.event(Event::CaughtUp(Err(UNCONFIRMED)));
    let codes = texts(&refused[..1]);
    assert!(codes[0].contains("4100"), "she may try again: {codes:?}");

    let mut client = Client::open(|_| {});
    ask(&mut client);
    let filler = format!(r#"{{"event":"x","data":"{}"}}"#, "x".repeat(60_000));
    let left = (0..30).find_map(|_| Some(client.say(&filler)).filter(|out| !out.is_empty()));
    let left = texts(&left.unwrap()[..1]);
    assert!(left[0].contains("4200"), "{left:?}");
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
        closing(4009, "you have been blocked by the app until 5 ms")
    );
}

fn identified(actions: &[Action]) -> Principal {
    match actions {
        [Action::Do(Intent::Identify(principal))] => (**principal).clone(),
        other => panic!("nobody to identify: {other:?}"),
    }
}

#[test]
fn the_key_that_signed_vouches_for_her_and_the_one_in_the_address_for_nobody() {
    let mut state = fixture::state(|_| {});
    let mut other = fixture::key();
    other.id = "other".into();
    state.keys.insert(other.id.clone(), other.into());
    let hello = Hello::new(KEY, "protocol=7&client=js&version=8.6.0", false);
    let mut client = Client::with(hello, state);
    let anyone = identified(&client.feed(Input::Opened));
    assert_eq!(anyone.vouched_by, Some(Voucher::Named(KEY.into())));
    client.event(Event::Identified);
    let signature = sign(&auth::user_text(SOCKET, ANA));
    let ana = identified(&client.sign_in_with(&format!("other:{signature}"), ANA));
    assert_eq!(ana.vouched_by, Some(Voucher::Held("other".into())));
    let mut keys: Vec<&str> = ana.keys().map(|key| &**key).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [KEY, "other"],
        "the end of either ends the connection"
    );
}
