//! One Pusher client: upgrade, greeting, subscriptions, then messages.
//!
//! **Must never know:** sockets and time: bytes in, bytes and notes out. Not an SDK: the official ones
//! cost a hundred times as much per message as the server that is to be measured.

use crate::credential::Credential;
use crate::frame::{self, Deframer};
use crate::stamp::Stamp;
use memchr::memmem;

/// What the client learned.
#[derive(Debug, PartialEq, Eq)]
pub enum Note {
    /// Connected, and subscribed to all its channels.
    Ready,
    /// A stamped message.
    Message(Stamp),
    /// The server refused something, in its words.
    Refused(String),
}

/// The client's side of one connection.
pub struct Session {
    upgrade: Option<Vec<u8>>,
    deframer: Deframer,
    channels: Vec<String>,
    unconfirmed: usize,
}

impl Session {
    /// A client that will subscribe to `channels`.
    #[must_use]
    pub fn new(channels: Vec<String>) -> Self {
        let unconfirmed = channels.len();
        Self {
            upgrade: Some(Vec::new()),
            deframer: Deframer::default(),
            channels,
            unconfirmed,
        }
    }

    /// The request that opens it.
    #[must_use]
    pub fn request(key: &str) -> String {
        format!(
            "GET /app/{key}?protocol=7&client=load&version=1.0.0 HTTP/1.1\r\nhost: 127.0.0.1\r\n\
             upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    }

    /// A client event, framed. `data` must need no JSON escaping.
    #[must_use]
    pub fn client_event(channel: &str, data: &str) -> Vec<u8> {
        let text = format!(r#"{{"event":"client-m","channel":"{channel}","data":"{data}"}}"#);
        let mut out = Vec::with_capacity(text.len() + 14);
        frame::client(frame::TEXT, text.as_bytes(), &mut out);
        out
    }

    /// Takes in bytes, appends to `reply` what must be sent back and to `notes` what was learned.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        credential: &Credential,
        reply: &mut Vec<u8>,
        notes: &mut Vec<Note>,
    ) {
        let Some(mut head) = self.upgrade.take() else {
            return self.frames(bytes, credential, reply, notes);
        };
        head.extend_from_slice(bytes);
        let Some(end) = memmem::find(&head, b"\r\n\r\n") else {
            self.upgrade = Some(head);
            return;
        };
        if !head.starts_with(b"HTTP/1.1 101") {
            notes.push(Note::Refused(String::from_utf8_lossy(&head).into_owned()));
            return;
        }
        self.frames(
            head.get(end + 4..).unwrap_or_default(),
            credential,
            reply,
            notes,
        );
    }

    fn frames(
        &mut self,
        bytes: &[u8],
        credential: &Credential,
        reply: &mut Vec<u8>,
        notes: &mut Vec<Note>,
    ) {
        let mut deframer = std::mem::take(&mut self.deframer);
        deframer.feed(bytes, |opcode, payload| match opcode {
            frame::PING => frame::client(frame::PONG, payload, reply),
            frame::CLOSE => {
                let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default());
                notes.push(Note::Refused(format!("closed by the server: {reason}")));
            }
            _ => match Stamp::find(payload) {
                Some(stamp) => notes.push(Note::Message(stamp)),
                None => self.control(payload, credential, reply, notes),
            },
        });
        self.deframer = deframer;
    }

    /// A frame of the protocol itself; these are few, so they are searched for one by one.
    fn control(
        &mut self,
        text: &[u8],
        credential: &Credential,
        reply: &mut Vec<u8>,
        notes: &mut Vec<Note>,
    ) {
        let says = |what: &str| memmem::find(text, what.as_bytes()).is_some();
        if says("pusher:connection_established") {
            let socket = socket_id(text).unwrap_or_default();
            for channel in &self.channels {
                subscribe(channel, &socket, credential, reply);
            }
            if self.unconfirmed == 0 {
                notes.push(Note::Ready);
            }
        } else if says("pusher_internal:subscription_succeeded") {
            self.unconfirmed = self.unconfirmed.saturating_sub(1);
            if self.unconfirmed == 0 {
                notes.push(Note::Ready);
            }
        } else if says("\"pusher:ping\"") {
            frame::client(frame::TEXT, br#"{"event":"pusher:pong","data":{}}"#, reply);
        } else if says("error") {
            notes.push(Note::Refused(String::from_utf8_lossy(text).into_owned()));
        }
    }
}

/// The socket id in a greeting, whose `data` is JSON within a JSON string.
fn socket_id(text: &[u8]) -> Option<String> {
    let greeting: serde_json::Value = serde_json::from_slice(text).ok()?;
    let data: serde_json::Value = serde_json::from_str(greeting.get("data")?.as_str()?).ok()?;
    Some(data.get("socket_id")?.as_str()?.to_owned())
}

fn subscribe(channel: &str, socket: &str, credential: &Credential, out: &mut Vec<u8>) {
    let auth = match channel.starts_with("private-") {
        true => credential.subscription(socket, channel),
        false => String::new(),
    };
    let text = format!(
        r#"{{"event":"pusher:subscribe","data":{{"auth":"{auth}","channel":"{channel}"}}}}"#
    );
    frame::client(frame::TEXT, text.as_bytes(), out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Failure;

    fn server_bytes() -> Vec<u8> {
        let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n".to_vec();
        for text in [
            r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"12.34\",\"activity_timeout\":120}"}"#.to_owned(),
            r#"{"event":"pusher_internal:subscription_succeeded","channel":"private-a","data":"{}"}"#.to_owned(),
            r#"{"event":"pusher:ping","data":"{}"}"#.to_owned(),
            format!(r#"{{"event":"m","channel":"private-a","data":"{}"}}"#, Stamp { due: 5, lane: 1, number: 0 }.payload(200)),
            r#"{"event":"pusher:error","data":{"code":4301,"message":"slow down"}}"#.to_owned(),
        ] {
            frame::server(frame::TEXT, text.as_bytes(), &mut bytes);
        }
        bytes
    }

    #[test]
    fn a_whole_life_however_it_is_cut() -> Result<(), Failure> {
        let credential = Credential::new("1", "key", "secret")?;
        let bytes = server_bytes();
        let mut replies = Vec::new();
        for at in 0..bytes.len() {
            let (before, after) = bytes.split_at(at);
            let mut session = Session::new(vec!["private-a".to_owned()]);
            let (mut reply, mut notes) = (Vec::new(), Vec::new());
            session.feed(before, &credential, &mut reply, &mut notes);
            session.feed(after, &credential, &mut reply, &mut notes);
            let seen: Vec<_> = notes
                .iter()
                .map(|note| match note {
                    Note::Ready => "ready",
                    Note::Message(_) => "message",
                    Note::Refused(_) => "refused",
                })
                .collect();
            assert_eq!(seen, ["ready", "message", "refused"], "cut at {at}");
            replies.push(reply);
        }
        // The subscription and the pong, the same every time.
        assert!(replies.windows(2).all(|pair| pair.first() == pair.last()));
        assert_eq!(
            replies
                .first()
                .map(|r| r.iter().filter(|b| **b == 0x81).count() >= 2),
            Some(true)
        );
        Ok(())
    }

    #[test]
    fn a_refused_upgrade_is_told() -> Result<(), Failure> {
        let credential = Credential::new("1", "key", "secret")?;
        let (mut reply, mut notes) = (Vec::new(), Vec::new());
        let mut session = Session::new(Vec::new());
        session.feed(
            b"HTTP/1.1 404 Not Found\r\n\r\n",
            &credential,
            &mut reply,
            &mut notes,
        );
        assert!(matches!(notes.as_slice(), [Note::Refused(text)] if text.contains("404")));
        Ok(())
    }
}
