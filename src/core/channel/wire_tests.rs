//! Every message between replicas, byte by byte: two versions of a node must understand each other.
#![allow(clippy::unwrap_used)]

use super::super::history::Bounds;
use super::super::stream::Stream;
use super::*;
use crate::core::clock::Now;
use crate::core::ids::{AppId, ChannelKey, NodeId};
use crate::core::message::ContentKind;
use crate::core::session::{HistoryPage, Start};

const NOW: Now = Now {
    mono_ms: 5,
    cluster_ms: 1_000,
};

fn draft(data: &'static str) -> Draft {
    Draft {
        id: Some("id".into()),
        name: "n".into(),
        data: Bytes::from_static(data.as_bytes()),
        kind: ContentKind::Text,
        meta: None,
        client: Some("ana".into()),
        connection: Some(ConnectionId(1, 2)),
        except: None,
        store: true,
        retain_ms: Some(9),
        tag: None,
    }
}

fn member() -> Member {
    Member {
        client: "ana".into(),
        connection: ConnectionId(1, 2),
        node: NodeId(3),
        data: Bytes::from_static(b"d"),
        since: 0,
    }
}

fn stream() -> Stream {
    let bounds = Bounds {
        messages: 9,
        age_ms: 900,
        bytes: 9_999,
    };
    let mut stream = Stream::new(7);
    stream.publish(Box::new(draft("hi")), bounds, NOW);
    stream.enter(member(), NOW);
    stream.cut(8);
    stream
}

fn asks() -> Vec<Ask> {
    let (connection, client) = (ConnectionId(1, 2), Text::from("ana"));
    let data = Bytes::from_static(b"d");
    let page = HistoryPage {
        after: 1,
        until: 2,
        limit: 3,
        backwards: true,
    };
    vec![
        Ask::Publish(Box::new(draft("hi"))),
        Ask::Join {
            connection,
            start: Start::Rewind { count: 4 },
            member: Some((client.clone(), data.clone())),
            with_members: true,
            subscribers: 5,
        },
        Ask::Present {
            connection,
            client: client.clone(),
            data: data.clone(),
        },
        Ask::Absent {
            connection,
            client: client.clone(),
        },
        Ask::Occupancy,
        Ask::Members,
        Ask::History(page),
        Ask::Last,
        Ask::Hold {
            connection,
            client,
            data,
        },
        Ask::Erase { after: 1, until: 2 },
        Ask::Changes(page),
        Ask::PublishBatch(vec![draft("a"), draft("b")]),
    ]
}

fn answers() -> Vec<Result<Answer, Declined>> {
    let stream = stream();
    let occupancy = Occupancy {
        subscribers: 1,
        clients: 2,
        members: 3,
    };
    let receipt = Receipt {
        position: stream.position(),
        timetoken: 4,
        duplicate: true,
    };
    let members: Arc<[Member]> = vec![member()].into();
    let backlog = stream
        .history
        .backlog(Start::Rewind { count: 1 }, stream.position(), NOW);
    let page = HistoryPage {
        after: 0,
        until: u64::MAX,
        limit: 3,
        backwards: true,
    };
    vec![
        Ok(Answer::Receipt(receipt)),
        Ok(Answer::Joined(Box::new(Joined {
            seen: stream.seen(),
            position: stream.position(),
            backlog: backlog.clone(),
            members: Some(members.clone()),
            occupancy,
        }))),
        Ok(Answer::Done),
        Ok(Answer::Occupancy(occupancy)),
        Ok(Answer::Members(members)),
        Ok(Answer::History(backlog.publications)),
        Ok(Answer::Last(stream.history.last(NOW))),
        Ok(Answer::Changes(stream.changes.page(page))),
        Ok(Answer::Receipts(vec![receipt])),
        Err(Declined::PresenceClients { max: 6 }),
    ]
}

fn wires() -> Vec<Wire> {
    let stream = stream();
    let entries = stream.missed(Seen { epoch: 7, entry: 0 }).unwrap();
    let entry = |at: usize| entries.get(at).unwrap().clone();
    let (connection, gone, subscribers) = (ConnectionId(1, 2), true, 5);
    let members = vec![Announced {
        connection,
        client: "ana".into(),
        data: Bytes::from_static(b"d"),
        confirmed: true,
    }];
    let mut all: Vec<Wire> = asks()
        .into_iter()
        .map(|ask| Wire::Request {
            request: 11,
            ask,
            again: true,
        })
        .collect();
    let answers = answers().into_iter();
    all.extend(answers.map(|answer| Wire::Answer {
        request: 11,
        answer,
    }));
    all.extend([
        Wire::NotHome,
        Wire::Interest { subscribers },
        Wire::Left {
            connection,
            gone,
            subscribers,
        },
        Wire::Announce {
            subscribers,
            members,
            seen: Some(stream.seen()),
        },
        Wire::Caught {
            seen: stream.seen(),
            entries: entries.clone(),
            lost: true,
        },
        Wire::Who,
        Wire::Broadcast {
            epoch: 8,
            logged: entry(0),
        },
        Wire::Count(12),
        Wire::Copy {
            image: Box::new(stream.image()),
            handover: true,
        },
        Wire::Replicate {
            epoch: 8,
            logged: entry(1),
        },
        Wire::Copied(stream.seen()),
        Wire::NeedCopy,
        Wire::Claim { revision: 13 },
        Wire::Nothing,
        Wire::Told(Told {
            occupied: true,
            leaving: vec!["ben".into()],
        }),
        Wire::ReplicateBatch { epoch: 8, entries },
        Wire::Anybody,
    ]);
    all
}

#[test]
fn the_bytes_of_every_message_are_frozen() {
    let key = ChannelKey::channel(AppId(7), "room");
    let mut text = String::new();
    for wire in wires() {
        let frame = crate::peers::frame::encode_channel(&key, &wire).unwrap();
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str(&hex);
        text.push('\n');
    }
    let golden = include_str!("protocol_golden.txt");
    assert_eq!(
        text, golden,
        "the bytes that other versions understand have changed"
    );
}
