//! Rights that change while a connection lives.

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
        (End::Missed, 4200, "Messages were missed, please reconnect"),
        (
            End::Stale,
            4200,
            "Server lost its cluster, please reconnect",
        ),
    ];
    for (end, code, text) in table {
        assert_eq!(ended(end), closing(code, text));
    }
    assert_eq!(ended(End::Gone), []);
}
