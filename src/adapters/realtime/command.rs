//! The client's commands: `;`-separated fields, the last of which may hold anything (`realtime.md` §3-§4).

/// `MID_P-T_BODY`: one part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    /// Message id, chosen by the client.
    pub id: &'a str,
    /// Number of this part, from 1.
    pub part: u32,
    /// How many parts there are.
    pub total: u32,
    /// Offset of the body in the whole text.
    pub body: &'a [u8],
}

/// A parsed command. Texts are UTF-8 but for message bodies, which may hold lone surrogate halves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Validate(Validate<'a>),
    Subscribe {
        key: &'a str,
        token: &'a str,
        channel: &'a str,
    },
    SubscribeFilter {
        key: &'a str,
        token: &'a str,
        channel: &'a str,
        filter: &'a str,
    },
    SubscribeOptions {
        key: &'a str,
        token: &'a str,
        channel: &'a str,
        subscriber: &'a str,
        filter: &'a str,
    },
    Unsubscribe {
        key: &'a str,
        channel: &'a str,
    },
    Send {
        key: &'a str,
        token: &'a str,
        channel: &'a str,
        message: &'a [u8],
    },
    Publish {
        key: &'a str,
        token: &'a str,
        channel: &'a str,
        ttl_s: u64,
        message: &'a [u8],
    },
    Ack {
        channel: &'a str,
        id: &'a str,
        sequence: u64,
        all: bool,
    },
    SendProxy {
        key: &'a str,
        private: &'a str,
        channel: &'a str,
        message: &'a [u8],
    },
    BatchSend {
        key: &'a str,
        token: &'a str,
        channels: Vec<String>,
        message: &'a [u8],
    },
    Heartbeat,
}

/// The command by which a client says who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Validate<'a> {
    pub key: &'a str,
    pub token: &'a str,
    pub announcements: &'a str,
    pub metadata: String,
    /// Client heartbeat: every so many seconds, and how many may be missed.
    pub heartbeat: Option<(u64, u64)>,
}

/// Why a command was not understood; the text goes to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub &'static str);

/// Parses one command.
pub(super) fn parse(command: &[u8]) -> Result<Command<'_>, Malformed> {
    if command == b"b" {
        return Ok(Command::Heartbeat);
    }
    let mut fields = Fields {
        rest: Some(command),
    };
    match fields.text()? {
        "validate" => validate(&mut fields),
        "subscribe" => Ok(Command::Subscribe {
            key: fields.text()?,
            token: fields.text()?,
            channel: fields.text()?,
        }),
        "subscribefilter" => {
            let (key, token, channel) = (fields.text()?, fields.text()?, fields.text()?);
            fields.text()?;
            Ok(Command::SubscribeFilter {
                key,
                token,
                channel,
                filter: fields.last_text()?,
            })
        }
        "subscribeoptions" => options(&mut fields),
        "unsubscribe" => Ok(Command::Unsubscribe {
            key: fields.text()?,
            channel: fields.text()?,
        }),
        "send" => {
            let (key, token, channel) = (fields.text()?, fields.text()?, fields.text()?);
            fields.text()?;
            Ok(Command::Send {
                key,
                token,
                channel,
                message: fields.last()?,
            })
        }
        "publish" => {
            let (key, token, channel) = (fields.text()?, fields.text()?, fields.text()?);
            let ttl_s = fields.number()?;
            fields.text()?;
            Ok(Command::Publish {
                key,
                token,
                channel,
                ttl_s,
                message: fields.last()?,
            })
        }
        "ack" => ack(&mut fields),
        "sendproxy" => Ok(Command::SendProxy {
            key: fields.text()?,
            private: fields.text()?,
            channel: fields.text()?,
            message: fields.last()?,
        }),
        "batchSend" => batch(&mut fields),
        _ => Err(Malformed("unknown command")),
    }
}

fn validate<'a>(fields: &mut Fields<'a>) -> Result<Command<'a>, Malformed> {
    let (key, token, announcements) = (fields.text()?, fields.text()?, fields.text()?);
    fields.text()?;
    let tail = fields.last_text()?;
    let (metadata, heartbeat) = match split_heartbeat(tail) {
        Some((metadata, every, fails)) => (metadata, Some((every, fails))),
        None => (tail.strip_suffix(';').unwrap_or(tail), None),
    };
    let metadata = metadata.to_owned();
    Ok(Command::Validate(Validate {
        key,
        token,
        announcements,
        metadata,
        heartbeat,
    }))
}

/// `metadata;hbTime;hbFails[;]`, where the metadata may hold semicolons itself.
fn split_heartbeat(tail: &str) -> Option<(&str, u64, u64)> {
    let tail = tail.strip_suffix(';').unwrap_or(tail);
    let (before, fails) = tail.rsplit_once(';')?;
    let (metadata, every) = before.rsplit_once(';')?;
    let number = |text: &str| {
        (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse().ok())
            .flatten()
    };
    Some((metadata, number(every)?, number(fails)?))
}

/// `subscribeoptions;AK;AT;CH;SID;REGID;PLATFORM;H;FILTER`; one client leaves one field out, so the filter is
/// what follows the last of eight or nine fields.
fn options<'a>(fields: &mut Fields<'a>) -> Result<Command<'a>, Malformed> {
    let (key, token, channel, subscriber) = (
        fields.text()?,
        fields.text()?,
        fields.text()?,
        fields.text()?,
    );
    let (_registration, next) = (fields.text()?, fields.text()?);
    let third = fields.last_text()?;
    let platforms = ["", "GCM", "Apns", "undefined", "FCM"];
    let filter = match third.split_once(';') {
        Some((_hash, filter)) if platforms.contains(&next) => filter,
        Some(_) | None => third,
    };
    let subscriber = if subscriber == "null" { "" } else { subscriber };
    Ok(Command::SubscribeOptions {
        key,
        token,
        channel,
        subscriber,
        filter,
    })
}

fn ack<'a>(fields: &mut Fields<'a>) -> Result<Command<'a>, Malformed> {
    fields.text()?;
    let (channel, id) = (fields.text()?, fields.text()?);
    let sequence = fields.number()?;
    Ok(Command::Ack {
        channel,
        id,
        sequence,
        all: fields.last()?.starts_with(b"1"),
    })
}

fn batch<'a>(fields: &mut Fields<'a>) -> Result<Command<'a>, Malformed> {
    let (key, token) = (fields.text()?, fields.text()?);
    let channels: Vec<String> = serde_json::from_str(fields.text()?)
        .map_err(|_| Malformed("batchSend needs a JSON array of channels"))?;
    if channels.len() > CHANNELS_PER_BATCH {
        return Err(Malformed("batchSend takes at most 50 channels"));
    }
    fields.text()?;
    Ok(Command::BatchSend {
        key,
        token,
        channels,
        message: fields.last()?,
    })
}

/// Most channels in one `batchSend`, as the client documents.
const CHANNELS_PER_BATCH: usize = 50;

/// Splits `MID_P-T_BODY`; a text of another shape is one whole part without an id.
pub(super) fn part(message: &[u8]) -> Option<Part<'_>> {
    let head_end = message
        .iter()
        .take(64)
        .enumerate()
        .filter(|(_, byte)| **byte == b'_')
        .nth(1)?
        .0;
    let head = std::str::from_utf8(message.get(..head_end)?).ok()?;
    let (id, counts) = head.split_once('_')?;
    let (part, total) = counts.split_once('-')?;
    let (part, total) = (part.parse().ok()?, total.parse().ok()?);
    if id.is_empty() || part == 0 || part > total {
        return None;
    }
    Some(Part {
        id,
        part,
        total,
        body: message.get(head_end + 1..)?,
    })
}

struct Fields<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<&'a [u8], Malformed> {
        let rest = self.rest.take().ok_or(Malformed("a field is missing"))?;
        match rest.iter().position(|byte| *byte == b';') {
            Some(at) => {
                let (field, after) = rest.split_at(at);
                self.rest = after.get(1..);
                Ok(field)
            }
            None => Ok(rest),
        }
    }

    fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.next()?).map_err(|_| Malformed("a field is not UTF-8"))
    }

    fn number(&mut self) -> Result<u64, Malformed> {
        self.text()?
            .parse()
            .map_err(|_| Malformed("a field is not a number"))
    }

    fn last(&mut self) -> Result<&'a [u8], Malformed> {
        self.rest.take().ok_or(Malformed("a field is missing"))
    }

    fn last_text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.last()?).map_err(|_| Malformed("a field is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_clients_validate_is_understood() {
        for (text, metadata, heartbeat) in [
            (
                r#"validate;open;anytok;;;{"u":"al;ice"};15;3;"#,
                r#"{"u":"al;ice"}"#,
                Some((15, 3)),
            ),
            ("validate;sec;wrong;;;", "", None),
            (r#"validate;open;jt;;;{"u":"ja"}"#, r#"{"u":"ja"}"#, None),
            (
                "validate;open;pt;;VMxsF6gT0ebeZLA3;py;meta;",
                "py;meta",
                None,
            ),
            ("validate;open;pt;sub1;x;m;15;3", "m", Some((15, 3))),
        ] {
            let Command::Validate(validate) = parse(text.as_bytes()).unwrap() else {
                panic!("{text}")
            };
            assert_eq!(
                (validate.metadata.as_str(), validate.heartbeat),
                (metadata, heartbeat)
            );
        }
    }

    #[test]
    fn a_message_body_keeps_its_semicolons() {
        let Command::Send {
            channel, message, ..
        } = parse(b"send;open;tok;ch1;null;69981d4a_1-1_a;b;c").unwrap()
        else {
            panic!()
        };
        assert_eq!((channel, message), ("ch1", &b"69981d4a_1-1_a;b;c"[..]));
        let part = part(message).unwrap();
        assert_eq!(
            (part.id, part.part, part.total, part.body),
            ("69981d4a", 1, 1, &b"a;b;c"[..])
        );
    }

    #[test]
    fn options_come_with_eight_or_nine_fields() {
        for (text, filter) in [
            ("subscribeoptions;k;t;b1;sub-1;;;null;", ""),
            ("subscribeoptions;k;t;b1;sub-1;;GCM;null;", ""),
            (
                "subscribeoptions;k;t;b1;sub-1;;Apns;h;message.a = 40",
                "message.a = 40",
            ),
            (
                "subscribeoptions;k;t;b1;sub-1;;h4sh;message.a = 40",
                "message.a = 40",
            ),
        ] {
            let Command::SubscribeOptions {
                subscriber,
                filter: found,
                ..
            } = parse(text.as_bytes()).unwrap()
            else {
                panic!("{text}")
            };
            assert_eq!((subscriber, found), ("sub-1", filter), "{text}");
        }
    }

    #[test]
    fn text_of_another_shape_is_no_part() {
        for text in ["hello", "a_b", "_1-1_x", "id_2-1_x", "id_0-1_x", "id_1_x"] {
            assert_eq!(part(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let _ = part(&bytes);
            let _ = super::super::frame::commands(&String::from_utf8_lossy(&bytes));
        }
    }
}
