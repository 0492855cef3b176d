//! What makes no sense is told, and the connection goes on.

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
