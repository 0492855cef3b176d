//! Every message between replicas, byte by byte: two versions of a node must understand each other.
#![allow(clippy::unwrap_used)]

use super::super::history::Bounds;
use super::super::lifecycle_log::Decision;
use super::super::stream::{EntryKind, Stream};
use super::*;
use crate::core::clock::Now;
use crate::core::ids::{AppId, ChannelKey, NodeId};
use crate::core::message::{ContentKind, PresenceAction};
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
    stream.start_new_epoch(8);
    stream
}

fn requests() -> Vec<Request> {
    let (connection, client) = (ConnectionId(1, 2), Text::from("ana"));
    let data = Bytes::from_static(b"d");
    let page = HistoryPage {
        after: 1,
        until: 2,
        limit: 3,
        backwards: true,
    };
    vec![
        Request::Publish(Box::new(draft("hi"))),
        Request::Join(JoinRequest {
            connection,
            start: Start::Rewind { count: 4 },
            member: Some((client.clone(), data.clone())),
            with_members: true,
            subscribers: 5,
        }),
        Request::Enter {
            connection,
            client: client.clone(),
            data: data.clone(),
        },
        Request::Leave {
            connection,
            client: client.clone(),
        },
        Request::Occupancy,
        Request::Members,
        Request::History(page),
        Request::LastValue,
        Request::EnsurePresent {
            connection,
            client,
            data,
        },
        Request::Erase { after: 1, until: 2 },
        Request::PresenceLog(page),
        Request::PublishBatch(vec![draft("a"), draft("b")]),
        Request::LeaveHere {
            connection,
            client: "ana".into(),
        },
    ]
}

fn responses() -> Vec<Result<Response, Declined>> {
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
        Ok(Response::Receipt(receipt)),
        Ok(Response::Joined(Box::new(Joined {
            log_position: stream.log_position(),
            position: stream.position(),
            backlog: backlog.clone(),
            members: Some(members.clone()),
            occupancy,
        }))),
        Ok(Response::Done),
        Ok(Response::Occupancy(occupancy)),
        Ok(Response::Members(members)),
        Ok(Response::History(backlog.publications)),
        Ok(Response::LastValue(stream.history.last(NOW))),
        Ok(Response::PresenceLog(stream.presence_log.page(page))),
        Ok(Response::Receipts(vec![receipt])),
        Err(Declined::PresenceClients { max: 6 }),
    ]
}

/// A copy with something of every kind that waits to be settled.
fn lifecycle_copy() -> PeerMessage {
    let mut stream = Stream::new(7);
    stream.lifecycle = Some(LifecycleLog::assuming(true));
    stream.enter(member(), NOW);
    let key = (ConnectionId(1, 2), Text::from("ana"));
    stream.leave(&key, PresenceAction::Leave, NOW);
    for decision in [
        Decision::Left("ana".into()),
        Decision::Vacated,
        Decision::Occupied,
    ] {
        stream.decide(decision, NOW);
    }
    stream.enter(member(), NOW);
    stream.leave(&key, PresenceAction::Leave, NOW);
    PeerMessage::Copy {
        snapshot: Box::new(Stream::new(7).snapshot()),
        lifecycle: stream.lifecycle,
        handover: true,
    }
}

fn messages() -> Vec<PeerMessage> {
    let stream = stream();
    let entries = stream.missed(LogPosition { epoch: 7, entry: 0 }).unwrap();
    let entry = |at: usize| entries.get(at).unwrap().clone();
    let (connection, gone, subscribers) = (ConnectionId(1, 2), true, 5);
    let members = vec![Announced {
        connection,
        client: "ana".into(),
        data: Bytes::from_static(b"d"),
        confirmed: true,
    }];
    let mut all: Vec<PeerMessage> = requests()
        .into_iter()
        .map(|request| {
            PeerMessage::Request(ForwardedRequest {
                id: 11,
                request,
                again: true,
            })
        })
        .collect();
    let responses = responses().into_iter();
    all.extend(responses.map(|response| PeerMessage::Response { id: 11, response }));
    all.extend([
        PeerMessage::NotHome,
        PeerMessage::Interest { subscribers },
        PeerMessage::Left(LeftConnection {
            connection,
            gone,
            subscribers,
        }),
        PeerMessage::Announce(Announcement {
            subscribers,
            members,
            position: Some(stream.log_position()),
        }),
        PeerMessage::CatchUp(CatchUp {
            position: stream.log_position(),
            entries: entries.clone(),
            lost: true,
        }),
        PeerMessage::AnnounceRequest,
        PeerMessage::Broadcast {
            epoch: 8,
            entry: entry(0),
        },
        PeerMessage::Count(12),
        PeerMessage::Snapshot {
            snapshot: Box::new(stream.snapshot()),
            handover: true,
        },
        PeerMessage::Replicate {
            epoch: 8,
            entry: entry(1),
        },
        PeerMessage::ReplicateAck(stream.log_position()),
        PeerMessage::SnapshotRequest,
        PeerMessage::Takeover { revision: 13 },
        PeerMessage::NothingToHandOver,
        PeerMessage::Lifecycle(LifecycleSnapshot {
            occupied: true,
            leaving: vec!["ben".into()],
        }),
        PeerMessage::ReplicateBatch { epoch: 8, entries },
        PeerMessage::AnnounceIfPresent,
        PeerMessage::TakenOut {
            connection,
            client: "ana".into(),
        },
        lifecycle_copy(),
        PeerMessage::Settled(vec![EventId { at: 14, epoch: 15 }]),
        PeerMessage::Replicate {
            epoch: 8,
            entry: Entry {
                number: 3,
                kind: EntryKind::Lifecycle {
                    at: 16,
                    decision: Decision::Left("ben".into()),
                },
            },
        },
    ]);
    all
}

#[test]
fn the_bytes_of_every_message_are_frozen() {
    let key = ChannelKey::channel(AppId(7), "room");
    let mut text = String::new();
    for message in messages() {
        let frame = crate::peers::frame::encode_channel(&key, &message).unwrap();
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
