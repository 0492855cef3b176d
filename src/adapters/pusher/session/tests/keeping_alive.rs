//! Pings, silence and the time to authorise.

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
        closing(4201, "Pong reply not received in time")
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
    assert_eq!(late(|_| {}), closing(4009, text));
    let public = late(|client| {
        client.join("news", None, Operations::SUBSCRIBE);
    });
    assert_eq!(public, closing(4009, text));
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
