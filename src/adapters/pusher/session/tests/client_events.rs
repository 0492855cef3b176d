//! What one subscriber says to the others.

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
            "Client events are only supported on private and presence channels, not on news".into(),
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
