//! What the server sends. `data` is always there, and always a string, except in `pusher:error`.

use super::json::push_string;
use crate::core::message::Member;
use crate::core::session::Frame;
use bytestring::ByteString;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// An event frame.
pub(crate) fn event(name: &str, channel: Option<&str>, data: &str, user: Option<&str>) -> Frame {
    let names = name.len() + channel.map_or(0, str::len) + user.map_or(0, str::len);
    let mut out = String::with_capacity(names + data.len() + data.len() / 8 + 64);
    out.push_str("{\"event\":");
    push_string(&mut out, name);
    if let Some(channel) = channel {
        out.push_str(",\"channel\":");
        push_string(&mut out, channel);
    }
    out.push_str(",\"data\":");
    push_string(&mut out, data);
    if let Some(user) = user {
        out.push_str(",\"user_id\":");
        push_string(&mut out, user);
    }
    out.push('}');
    text(out)
}

/// `pusher:error`; no code = the request failed, the connection is fine.
pub(crate) fn error(code: Option<u16>, message: &str) -> Frame {
    let code = code.map_or(Cow::Borrowed("null"), |code| code.to_string().into());
    let mut out = String::with_capacity(message.len() + 64);
    out.push_str("{\"event\":\"pusher:error\",\"data\":{\"code\":");
    out.push_str(&code);
    out.push_str(",\"message\":");
    push_string(&mut out, message);
    out.push_str("}}");
    text(out)
}

/// The first frame of a connection.
pub(crate) fn established(socket_id: &str, activity_timeout_s: u64) -> Frame {
    let data =
        format!("{{\"socket_id\":\"{socket_id}\",\"activity_timeout\":{activity_timeout_s}}}");
    event("pusher:connection_established", None, &data, None)
}

/// A frame without content, such as `pusher:pong`.
pub(crate) fn bare(name: &str, channel: Option<&str>) -> Frame {
    event(name, channel, "{}", None)
}

/// `pusher:subscription_error`, as pusher-js shapes its own.
pub(crate) fn subscription_error(channel: &str, kind: &str, error: &str, status: u16) -> Frame {
    let mut data = "{\"type\":".to_owned();
    push_string(&mut data, kind);
    data.push_str(",\"error\":");
    push_string(&mut data, error);
    data.push_str(&format!(",\"status\":{status}}}"));
    event("pusher:subscription_error", Some(channel), &data, None)
}

/// `pusher_internal:subscription_succeeded`, with the list of users on a presence channel. Members come in
/// order of entry; the first connection of a user speaks for that user.
pub(crate) fn subscribed(channel: &str, members: Option<&[Member]>) -> Frame {
    let data = members.map_or_else(|| "{}".to_owned(), presence);
    let name = "pusher_internal:subscription_succeeded";
    event(name, Some(channel), &data, None)
}

/// The frame `pusher_internal:member_added`.
pub(crate) fn member_added(channel: &str, member: &Member) -> Frame {
    let mut data = "{\"user_id\":".to_owned();
    push_string(&mut data, &member.client);
    if !member.data.is_empty() {
        data.push_str(",\"user_info\":");
        data.push_str(&info(member));
    }
    data.push('}');
    event("pusher_internal:member_added", Some(channel), &data, None)
}

/// The frame `pusher_internal:member_removed`.
pub(crate) fn member_removed(channel: &str, member: &Member) -> Frame {
    let mut data = "{\"user_id\":".to_owned();
    push_string(&mut data, &member.client);
    data.push('}');
    event("pusher_internal:member_removed", Some(channel), &data, None)
}

/// `pusher:signin_success`; `user_data` goes back as it came.
pub(crate) fn signed_in(user_data: &str) -> Frame {
    let mut data = "{\"user_data\":".to_owned();
    push_string(&mut data, user_data);
    data.push('}');
    event("pusher:signin_success", None, &data, None)
}

/// `pusher_internal:watchlist_events`: who came and who left.
pub(crate) fn watchlist(online: &[&str], offline: &[&str]) -> Frame {
    let mut data = "{\"events\":[".to_owned();
    let lists = [("online", online), ("offline", offline)];
    let lists = lists.iter().filter(|(_, users)| !users.is_empty());
    for (index, (name, users)) in lists.enumerate() {
        comma(&mut data, index);
        data.push_str(&format!("{{\"name\":\"{name}\",\"user_ids\":["));
        for (index, user) in users.iter().enumerate() {
            comma(&mut data, index);
            push_string(&mut data, user);
        }
        data.push_str("]}");
    }
    data.push_str("]}");
    event("pusher_internal:watchlist_events", None, &data, None)
}

fn presence(members: &[Member]) -> String {
    let mut seen = BTreeSet::new();
    let users: Vec<&Member> = members
        .iter()
        .filter(|member| seen.insert(&*member.client))
        .collect();
    let mut out = "{\"presence\":{\"ids\":[".to_owned();
    for (index, user) in users.iter().enumerate() {
        comma(&mut out, index);
        push_string(&mut out, &user.client);
    }
    out.push_str("],\"hash\":{");
    for (index, user) in users.iter().enumerate() {
        comma(&mut out, index);
        push_string(&mut out, &user.client);
        out.push(':');
        out.push_str(&info(user));
    }
    out.push_str(&format!("}},\"count\":{}}}}}", users.len()));
    out
}

fn comma(out: &mut String, index: usize) {
    if index > 0 {
        out.push(',');
    }
}

/// What a member says of itself, as JSON. Members of other dialects may say it in text or bytes.
fn info(member: &Member) -> Cow<'_, str> {
    if member.data.is_empty() {
        return Cow::Borrowed("null");
    }
    let said = payload(&member.data);
    if super::json::is_json(&said) {
        return said;
    }
    let mut out = String::new();
    push_string(&mut out, &said);
    Cow::Owned(out)
}

/// Bytes as the string this dialect can carry: text as it is, anything else in base64.
pub(crate) fn payload(data: &[u8]) -> Cow<'_, str> {
    use base64::Engine as _;
    match std::str::from_utf8(data) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(base64::engine::general_purpose::STANDARD.encode(data)),
    }
}

fn text(json: String) -> Frame {
    Frame::Text(ByteString::from(json))
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::core::ids::{ConnectionId, NodeId};

    pub(crate) fn show(frame: &Frame) -> &str {
        match frame {
            Frame::Text(text) => text,
            Frame::Binary(_) => panic!("binary"),
        }
    }

    pub(crate) fn member(client: &str, data: &'static str) -> Member {
        Member {
            client: client.into(),
            connection: ConnectionId(1, 1),
            node: NodeId(1),
            data: data.into(),
            since: 0,
        }
    }

    #[test]
    fn frames_are_as_documented() {
        let cases = [
            (
                established("123456.7890123", 120),
                r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"123456.7890123\",\"activity_timeout\":120}"}"#,
            ),
            (
                bare("pusher:pong", None),
                r#"{"event":"pusher:pong","data":"{}"}"#,
            ),
            (
                error(Some(4301), "slow \"down\""),
                r#"{"event":"pusher:error","data":{"code":4301,"message":"slow \"down\""}}"#,
            ),
            (
                error(None, "x"),
                r#"{"event":"pusher:error","data":{"code":null,"message":"x"}}"#,
            ),
            (
                subscribed("news", None),
                r#"{"event":"pusher_internal:subscription_succeeded","channel":"news","data":"{}"}"#,
            ),
            (
                signed_in("{\"id\":\"u1\"}"),
                r#"{"event":"pusher:signin_success","data":"{\"user_data\":\"{\\\"id\\\":\\\"u1\\\"}\"}"}"#,
            ),
            (
                member_added("presence-r", &member("u2", "{\"n\":1}")),
                r#"{"event":"pusher_internal:member_added","channel":"presence-r","data":"{\"user_id\":\"u2\",\"user_info\":{\"n\":1}}"}"#,
            ),
            (
                member_added("presence-r", &member("u2", "")),
                r#"{"event":"pusher_internal:member_added","channel":"presence-r","data":"{\"user_id\":\"u2\"}"}"#,
            ),
            (
                member_removed("presence-r", &member("u2", "{}")),
                r#"{"event":"pusher_internal:member_removed","channel":"presence-r","data":"{\"user_id\":\"u2\"}"}"#,
            ),
            (
                subscription_error("private-x", "AuthError", "no", 403),
                r#"{"event":"pusher:subscription_error","channel":"private-x","data":"{\"type\":\"AuthError\",\"error\":\"no\",\"status\":403}"}"#,
            ),
            (
                event("e1", Some("news"), "{\"x\":1}", None),
                r#"{"event":"e1","channel":"news","data":"{\"x\":1}"}"#,
            ),
            (
                event("client-e", Some("presence-r"), "a", Some("u2")),
                r#"{"event":"client-e","channel":"presence-r","data":"a","user_id":"u2"}"#,
            ),
        ];
        for (frame, wanted) in &cases {
            assert_eq!(show(frame), *wanted);
        }
    }

    #[test]
    fn presence_lists_users_once_and_the_first_connection_speaks() {
        let members = [
            member("u1", "{\"name\":\"A\"}"),
            member("u2", ""),
            member("u1", "{\"name\":\"B\"}"),
            member("3", "plain"),
        ];
        let wanted = r#"{"event":"pusher_internal:subscription_succeeded","channel":"presence-room","data":"{\"presence\":{\"ids\":[\"u1\",\"u2\",\"3\"],\"hash\":{\"u1\":{\"name\":\"A\"},\"u2\":null,\"3\":\"plain\"},\"count\":3}}"}"#;
        assert_eq!(show(&subscribed("presence-room", Some(&members))), wanted);
    }
}
