//! Wildcards: the streams that everything published below a level is repeated in.
//!
//! `a.*` is a stream of its own, with a home, an order, history and presence; the home of `a.b.c` repeats each of its
//! broadcasts in `a.*` and `a.b.*`. Where a repeated broadcast comes from stands in its draft's tag, which in that space is this
//! file's and no dialect's.
//!
//! **Must never know:** who may read what: whoever shows a repeated broadcast judges its channel.
//! **Why a stream and not a subscription to every channel below:** a subscriber joins once, whatever comes to be below;
//! it has one cursor, and what it missed is in one history.

use crate::core::ids::{ChannelKey, Space, Text, Timetoken};
use crate::core::message::{
    Broadcast, ContentKind, Draft, Member, PresenceAction, PresenceChange, Publication,
};
use bytes::Bytes;
use std::sync::Arc;

/// How often a wildcard is asked to take what was broadcast below it, before that is given up: each time it is waited for
/// its home as long as any request is.
pub(crate) const ATTEMPTS: usize = 6;
/// Wildcards have at most so many levels.
const LEVELS: usize = 2;

/// The wildcards that a channel stands below; none for most.
#[must_use]
pub fn parent_wildcards(key: &ChannelKey) -> Vec<Arc<ChannelKey>> {
    let dots = key.name.match_indices('.').take(LEVELS);
    match key.space {
        Space::Channel => dots
            .filter_map(|(at, _)| key.name.get(..=at))
            .filter(|prefix| prefix.len() > 1 && prefix.len() < key.name.len())
            .map(|prefix| ChannelKey::wildcard(key.app, &format!("{prefix}*")))
            .collect(),
        Space::User | Space::Status | Space::Wildcard | Space::DeadLetters => Vec::new(),
    }
}

/// A repeated broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeated {
    /// The channel it was published to.
    pub channel: Text,
    /// As its subscribers there got it.
    pub broadcast: Broadcast,
}

/// A broadcast of `channel` as a wildcard's stream takes it. The same one is taken once.
#[must_use]
pub fn repeated(channel: &str, broadcast: &Broadcast) -> Option<Draft> {
    let head = |at: Timetoken, what: char, clients: u64| {
        let length = channel.len();
        format!("{at} {what} {clients} {length} {channel}")
    };
    match broadcast {
        Broadcast::Message(one) => {
            let at = one.position;
            let tag = one.draft.tag.as_deref();
            let mark = if tag.is_some() { 'M' } else { 'm' };
            let tag = format!(
                "{}{}",
                head(one.timetoken, mark, 0),
                tag.unwrap_or_default()
            );
            Some(Draft {
                id: Some(format!("{channel} {:x}.{}", at.epoch, at.seq).into()),
                retain_ms: None,
                tag: Some(tag.into()),
                ..(*one.draft).clone()
            })
        }
        Broadcast::Presence(one) => {
            let what = letter(one.action, one.client_transition);
            Some(Draft {
                id: Some(format!("{channel} {}", one.timetoken).into()),
                name: "".into(),
                data: one.member.data.clone(),
                kind: ContentKind::Binary,
                meta: None,
                client: Some(one.member.client.clone()),
                connection: None,
                except: None,
                store: false,
                retain_ms: None,
                tag: Some(head(one.timetoken, what, one.clients).into()),
            })
        }
        Broadcast::Count(_) => None,
    }
}

const ACTIONS: [(PresenceAction, char); 4] = [
    (PresenceAction::Enter, 'e'),
    (PresenceAction::Update, 'u'),
    (PresenceAction::Leave, 'l'),
    (PresenceAction::Timeout, 't'),
];

/// In capitals when it is the first or the last of its client.
fn letter(action: PresenceAction, transition: bool) -> char {
    let known = ACTIONS.iter().find(|(one, _)| *one == action);
    let letter = known.map_or('u', |(_, letter)| *letter);
    if transition {
        letter.to_ascii_uppercase()
    } else {
        letter
    }
}

/// What a wildcard's publication repeats; `None` for what [`repeated`] did not make.
#[must_use]
pub fn repeats(publication: &Publication) -> Option<Repeated> {
    let draft = &publication.draft;
    let mut parts = draft.tag.as_deref()?.splitn(5, ' ');
    let timetoken: Timetoken = parts.next()?.parse().ok()?;
    let what = parts.next()?.chars().next()?;
    let clients: u64 = parts.next()?.parse().ok()?;
    let length: usize = parts.next()?.parse().ok()?;
    let (channel, tag) = parts.next()?.split_at_checked(length)?;
    let known = ACTIONS
        .iter()
        .find(|(_, letter)| what.eq_ignore_ascii_case(letter));
    let broadcast = match known {
        None => Broadcast::Message(Arc::new(Publication {
            draft: Box::new(Draft {
                tag: (what == 'M').then(|| tag.into()),
                id: None,
                ..(**draft).clone()
            }),
            position: publication.position,
            timetoken,
        })),
        Some((action, _)) => Broadcast::Presence(Arc::new(PresenceChange {
            action: *action,
            member: member(draft, timetoken),
            client_transition: what.is_ascii_uppercase(),
            clients,
            position: publication.position,
            timetoken,
        })),
    };
    Some(Repeated {
        channel: channel.into(),
        broadcast,
    })
}

/// Which connection and node it was on is not repeated.
fn member(draft: &Draft, since: Timetoken) -> Member {
    Member {
        client: draft.client.clone().unwrap_or_else(|| "".into()),
        connection: crate::core::ids::ConnectionId(0, 0),
        node: crate::core::ids::NodeId(0),
        data: Bytes::clone(&draft.data),
        since,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::core::ids::{AppId, ConnectionId, NodeId, Position};

    fn names(channel: &str) -> Vec<String> {
        let key = ChannelKey::channel(AppId(1), channel);
        let keys = parent_wildcards(&key).into_iter();
        keys.map(|key| {
            assert_eq!((key.app, key.space), (AppId(1), Space::Wildcard));
            key.name.to_string()
        })
        .collect()
    }

    #[test]
    fn a_channel_stands_below_its_first_two_levels() {
        assert_eq!(names("a.b"), ["a.*"]);
        assert_eq!(names("a.b.c"), ["a.*", "a.b.*"]);
        assert_eq!(names("a.b.c.d"), ["a.*", "a.b.*"]);
        assert_eq!(names("ü.x"), ["ü.*"]);
        for none in ["a", "", ".", "a."] {
            assert!(names(none).is_empty(), "{none}");
        }
        assert!(parent_wildcards(&ChannelKey::user(AppId(1), "a.b")).is_empty());
        assert!(parent_wildcards(&ChannelKey::wildcard(AppId(1), "a.b.*")).is_empty());
    }

    fn published(draft: Draft) -> Publication {
        Publication {
            draft: Box::new(draft),
            position: Position { epoch: 9, seq: 1 },
            timetoken: 99,
        }
    }

    fn draft(tag: Option<&str>) -> Draft {
        Draft {
            id: Some("from the client".into()),
            name: "greet".into(),
            data: Bytes::from_static(b"hi"),
            kind: ContentKind::Text,
            meta: Some(Bytes::from_static(b"{}")),
            client: Some("ann".into()),
            connection: Some(ConnectionId(1, 2)),
            except: None,
            store: true,
            retain_ms: Some(5),
            tag: tag.map(Into::into),
        }
    }

    #[test]
    fn a_message_comes_out_as_it_went_in() {
        for tag in [None, Some(""), Some("pubnub {\"i\": \"a b\"}")] {
            let original = Publication {
                draft: Box::new(draft(tag)),
                position: Position {
                    epoch: 0xab,
                    seq: 7,
                },
                timetoken: 17,
            };
            let taken = repeated("a.b c", &Broadcast::Message(original.clone().into())).unwrap();
            assert_eq!(taken.id.as_deref(), Some("a.b c ab.7"));
            assert_eq!((taken.store, taken.retain_ms), (true, None));
            let out = repeats(&published(taken)).unwrap();
            assert_eq!(&*out.channel, "a.b c");
            let Broadcast::Message(one) = out.broadcast else {
                panic!("a message");
            };
            assert_eq!(one.timetoken, 17);
            let wanted = Draft {
                id: None,
                retain_ms: None,
                ..*original.draft
            };
            assert_eq!(*one.draft, wanted);
        }
    }

    #[test]
    fn presence_keeps_what_it_says() {
        for (action, letter) in ACTIONS {
            for transition in [false, true] {
                let change = PresenceChange {
                    action,
                    member: Member {
                        client: "ann".into(),
                        connection: ConnectionId(1, 2),
                        node: NodeId(3),
                        data: Bytes::from_static(b"{\"mood\":1}"),
                        since: 5,
                    },
                    client_transition: transition,
                    clients: 4,
                    position: Position::default(),
                    timetoken: 17,
                };
                let taken = repeated("a.b", &Broadcast::Presence(change.into())).unwrap();
                assert!(!taken.store, "{letter}");
                let Broadcast::Presence(one) = repeats(&published(taken)).unwrap().broadcast else {
                    panic!("presence");
                };
                assert_eq!(
                    (one.action, one.client_transition, one.clients),
                    (action, transition, 4)
                );
                assert_eq!((&*one.member.client, one.timetoken), ("ann", 17));
                assert_eq!(one.member.data, "{\"mood\":1}");
            }
        }
    }

    #[test]
    fn what_is_not_repeated_is_told_apart() {
        assert!(repeated("a.b", &Broadcast::Count(1)).is_none());
        for tag in [None, Some("x"), Some("1 m 0 9 a.b"), Some("1 m 0 3")] {
            assert_eq!(repeats(&published(draft(tag))), None);
        }
    }
}
