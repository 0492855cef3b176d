//! How a connection begins, and is refused.

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
        closing(4008, "No protocol version supplied")
    );
    assert_eq!(
        opened("protocol=8"),
        closing(4007, "Unsupported protocol version 8")
    );
    assert_eq!(
        opened("protocol=x"),
        closing(4007, "Unsupported protocol version x")
    );
    let bad = opened("protocol=7&version=%3Cscript%3E");
    assert_eq!(bad, closing(4006, "Invalid version string format"));
}

#[test]
fn unknown_keys_and_closed_apps_are_refused_for_good() {
    let opened = |hello, state| Client::with(hello, state).feed(Input::Opened);
    let text = "App key nokey not in this cluster. Did you forget to specify the cluster?";
    let state = fixture::state(|_| {});
    assert_eq!(
        opened(Hello::new("nokey", "protocol=7", false), state.clone()),
        closing(4001, text)
    );
    assert_eq!(
        opened(Hello::new("a/b", "protocol=7", false), state.clone()),
        closing(4005, "Path not found")
    );
    assert_eq!(
        opened(Hello::new("", "protocol=7", false), state),
        closing(4005, "Path not found")
    );
    let hello = || Hello::new(KEY, "protocol=7", false);
    let disabled = fixture::state(|app| app.enabled = false);
    assert_eq!(
        opened(hello(), disabled),
        closing(4003, "Application is disabled")
    );
    let text = "The Pusher protocol is not enabled for this application";
    assert_eq!(
        opened(hello(), fixture::state(|app| app.protocols.clear())),
        closing(4003, text)
    );
    let mut state = fixture::state(|_| {});
    let key = crate::core::authority::ApiKey {
        enabled: false,
        ..fixture::key()
    };
    state.keys.insert(key.id.clone(), key.into());
    assert!(matches!(&opened(hello(), state)[..], [_, Action::Close(close)] if close.code == 4001));
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
        assert_eq!(said, closing(code, text));
        assert_eq!(client.say("{}"), [], "nothing after goodbye");
        assert_eq!(client.feed(Input::Ending(End::Gone)), []);
    }
}
