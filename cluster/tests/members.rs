//! Operators' hands: who follows and who votes, which changes are refused, whose a data folder is, and what is left
//! when a majority is lost for good.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod harness;

use gatecast_cluster::access::{AppId, Command, Issuer, NodeId, Subject, Target};
use gatecast_cluster::{
    BarrierMode, Cluster, FirstStart, Freshness, JoinError, NodeChange, RecoverTarget, WallClock,
    examine_folder, recover_folder,
};
use harness::{Nodes, eventually, free_addr, has, request, within, write};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

async fn change(cluster: &Cluster, change: NodeChange) -> Result<(), JoinError> {
    within(40, cluster.change_nodes(change, false)).await
}

fn promote(node: u64) -> NodeChange {
    NodeChange::Promote { node: NodeId(node) }
}

fn demote(node: u64) -> NodeChange {
    NodeChange::Demote { node: NodeId(node) }
}

fn remove(node: u64) -> NodeChange {
    NodeChange::Remove { node: NodeId(node) }
}

/// Why it was refused, for people.
fn refusal(outcome: Result<(), JoinError>) -> String {
    match outcome {
        Err(JoinError::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn three_that_join_and_vanish_leave_the_cluster_writing() {
    let mut nodes = Nodes::form(3, |_| ()).await;
    for node in [21, 22, 23] {
        nodes.join(node, &[1]).await;
    }
    // They are members as any other: they hold a lease, take writes, and the barrier hears them.
    let revision = write(&nodes.up[&22], "through one that follows").await;
    let report = within(5, nodes.up[&2].barrier(revision, BarrierMode::All)).await;
    assert_eq!(report.enforced, [1, 2, 3, 21, 22, 23].map(NodeId));
    nodes.agree().await;
    assert!(matches!(nodes.up[&21].freshness(), Freshness::Fresh(_)));
    assert_eq!(nodes.voters(1), [1, 2, 3]);
    for node in [21, 22, 23] {
        nodes.stop(node).await;
        std::fs::remove_dir_all(nodes.dir.path().join(node.to_string())).unwrap();
    }
    // A majority of six would be four.
    let revision = write(&nodes.up[&1], "after they have gone").await;
    let report = within(8, nodes.up[&1].barrier(revision, BarrierMode::All)).await;
    assert_eq!(report.enforced, [1, 2, 3].map(NodeId));
    assert_eq!(report.fenced, [21, 22, 23].map(NodeId));
    for cluster in nodes.up.values() {
        assert!(matches!(cluster.freshness(), Freshness::Fresh(_)));
    }
    let why = refusal(change(&nodes.up[&2], promote(22)).await);
    assert!(why.contains("node 22 does not answer"), "{why}");
    for node in [21, 22, 23] {
        change(&nodes.up[&3], remove(node)).await.unwrap();
    }
    // A node that follows learns of the last removal a moment after the leader has answered.
    eventually("the nodes that are left", || {
        (nodes.up[&3].status().nodes.len() == 3).then_some(())
    })
    .await;
    nodes.shutdown().await;
}

#[tokio::test]
async fn no_change_leaves_voters_without_a_majority_that_answers() {
    let mut nodes = Nodes::form(3, |_| ()).await;
    let one = nodes.up[&1].clone();
    // A number that never was.
    for wanted in [remove(9), promote(9), demote(9)] {
        let answer = change(&one, wanted).await;
        let Err(JoinError::NotFound(why)) = answer else {
            panic!("{answer:?}");
        };
        assert!(why.contains("never was"), "{why}");
    }
    let drained = one.drain_node(NodeId(9)).await;
    assert!(
        matches!(drained, Err(JoinError::NotFound(_))),
        "{drained:?}"
    );

    nodes.join(4, &[1]).await;
    nodes.stop(3).await;
    // Two of the three that would be left answer; one of two does not make a majority.
    let why = refusal(change(&one, remove(2)).await);
    assert!(why.contains("node 3 cannot be reached"), "{why}");
    assert!(
        why.contains("Start or remove node 3") && why.contains("--force"),
        "{why}"
    );
    refusal(change(&one, demote(2)).await);
    assert_eq!(nodes.voters(1), [1, 2, 3], "nothing was changed");
    write(&one, "it goes on").await;
    // One down of four is borne.
    change(&one, promote(4)).await.unwrap();
    change(&one, remove(3)).await.unwrap();
    assert_eq!(nodes.voters(1), [1, 2, 4]);
    assert_eq!(change(&one, remove(3)).await, Ok(()), "again is harmless");
    let gone = change(&one, promote(3)).await;
    assert!(matches!(gone, Err(JoinError::NotFound(_))), "{gone:?}");

    // Down to one; the rest follow.
    change(&one, demote(4)).await.unwrap();
    change(&one, demote(2)).await.unwrap();
    let why = refusal(change(&nodes.up[&2], demote(1)).await);
    assert!(why.contains("last voter"), "{why}");
    let why = refusal(change(&nodes.up[&2], remove(1)).await);
    assert!(why.contains("last voter"), "{why}");
    assert!(refusal(change(&one, remove(1)).await).contains("ask another one"));
    nodes.stop(4).await;
    refusal(change(&one, promote(4)).await);
    // The one that leads gives way to one that has only followed.
    change(&one, promote(2)).await.unwrap();
    change(&one, demote(1)).await.unwrap();
    write(&nodes.up[&2], "the other leads").await;
    eventually("node 1 follows", || (nodes.voters(1) == [2]).then_some(())).await;
    write(&one, "through the one that follows").await;
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_change_without_a_quorum_says_so_in_words_of_ours() {
    let mut nodes = Nodes::form(3, |_| ()).await;
    let leader = nodes.leader().await;
    let others: Vec<u64> = (1..=3).filter(|node| *node != leader).collect();
    for node in &others {
        nodes.stop(*node).await;
    }
    let answer = change(&nodes.up[&leader], remove(others[0])).await;
    let Err(JoinError::NoQuorum(why)) = answer else {
        panic!("{answer:?}");
    };
    assert!(why.contains("Nothing was changed"), "{why}");
    assert!(!why.contains("LogId") && !why.contains("Some("), "{why}");
    nodes.shutdown().await;
}

#[tokio::test]
async fn clocks_of_nodes_that_follow_drive_nobody_out_of_service() {
    let mut nodes = Nodes::form(3, |_| ()).await;
    let off = Arc::new(AtomicI64::new(3_600_000));
    for node in [21, 22, 23] {
        nodes.addrs.insert(node, free_addr());
        let mut config = nodes.config(node);
        config.first_start = FirstStart::Join(vec![nodes.addrs[&1].to_string().into()]);
        let shift = Arc::clone(&off);
        config.wall_clock = WallClock::new(move || {
            WallClock::default()
                .now_ms()
                .saturating_add_signed(shift.load(Ordering::SeqCst))
        });
        nodes.up.insert(node, Cluster::start(config).unwrap());
    }
    for node in [21, 22, 23] {
        eventually("it notices its own clock", || {
            nodes.up[&node].status().clock_is_wrong.then_some(())
        })
        .await;
    }
    for node in 1..=3 {
        assert!(!nodes.up[&node].status().clock_is_wrong, "node {node}");
        assert!(matches!(nodes.up[&node].freshness(), Freshness::Fresh(_)));
    }
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_folder_of_another_cluster_does_not_start_and_one_of_this_cluster_does() {
    // An island: node 1 was once started alone.
    let mut nodes = Nodes::form(1, |_| ()).await;
    nodes.stop(1).await;
    let island = nodes.addrs.clone();
    nodes.addrs.extend([(2, free_addr()), (3, free_addr())]);
    let why = Cluster::start(nodes.config(1)).unwrap_err().to_string();
    assert!(why.contains(&format!("1={} alone", island[&1])), "{why}");
    assert!(why.contains(&format!("2={}", nodes.addrs[&2])), "{why}");
    let mut joins = nodes.config(1);
    joins.first_start = FirstStart::Join(vec!["127.0.0.1:1".into()]);
    let why = Cluster::start(joins).unwrap_err().to_string();
    assert!(why.contains("to join a cluster through"), "{why}");
    // It is its own still.
    let mut alone = nodes.config(1);
    alone.first_start = FirstStart::Form(vec![(NodeId(1), island[&1].to_string().into())]);
    let alone = Cluster::start(alone).unwrap();
    within(20, alone.ready()).await;
    alone.shutdown().await;

    // Members have changed since the list was written: 4 came, 3 went.
    let mut nodes = Nodes::form(3, |_| ()).await;
    let first = nodes.addrs.clone();
    nodes.join_voting(4, &[1]).await;
    change(&nodes.up[&1], remove(3)).await.unwrap();
    nodes.up.remove(&3).unwrap().shutdown().await;
    let everyone = std::mem::replace(&mut nodes.addrs, first);
    nodes.stop(1).await;
    nodes.start(1);
    nodes.addrs = everyone;
    nodes.stop(2).await;
    nodes.start(2);
    nodes.stop(4).await;
    nodes.start(4);
    nodes.ready().await;
    nodes.shutdown().await;
}

#[tokio::test]
async fn one_folder_that_is_left_begins_a_new_cluster_in_which_nothing_revoked_comes_back() {
    let mut nodes = Nodes::form(3, |_| ()).await;
    for user in ["ana", "bo"] {
        write(&nodes.up[&1], user).await;
    }
    let revoke = Command::Revoke {
        app: AppId(1),
        issuer: Issuer::Operator,
        target: Target::User("bo".into()),
        issued_before_ms: None,
        margin_ms: 0,
    };
    let taken = Command::DeleteGrants {
        app: AppId(1),
        issuer: Issuer::Operator,
        subject: Subject::User("bo".into()),
        names: Vec::new(),
    };
    for command in [taken, revoke] {
        nodes.up[&1].propose(request(), command).await.unwrap();
    }
    nodes.agree().await;
    let former = nodes.up[&1].status().cluster;
    let revision = nodes.up[&1].view().revision;
    let dir = nodes.dir.path().join("2");
    let target = RecoverTarget {
        data_dir: dir.clone(),
        peer_addr: None,
        now_ms: WallClock::default().now_ms(),
        accept_tokens: false,
    };
    let used = recover_folder(&target).unwrap_err().to_string();
    assert!(used.contains("in use"), "{used}");
    for node in 1..=3 {
        nodes.stop(node).await;
    }

    let known = examine_folder(&dir).unwrap();
    assert_eq!((known.node, &known.cluster), (NodeId(2), &former));
    assert_eq!(known.nodes, [1, 2, 3].map(NodeId));
    assert_eq!(known.grants, 1);
    assert!(
        known.revision >= revision,
        "nothing that it has is left out"
    );
    let (_, kept) = recover_folder(&target).unwrap();
    assert_eq!(
        examine_folder(&kept).unwrap(),
        known,
        "the old one is whole"
    );
    let now = examine_folder(&dir).unwrap();
    assert_ne!(now.cluster, former, "another cluster");
    assert_eq!(now.nodes, [NodeId(2)]);

    // It does not take the old list for its own.
    let why = Cluster::start(nodes.config(2)).unwrap_err().to_string();
    assert!(why.contains("alone"), "{why}");
    let mut config = nodes.config(2);
    config.first_start = FirstStart::Form(vec![(NodeId(2), nodes.addrs[&2].to_string().into())]);
    let first = Cluster::start(config).unwrap();
    // The others of the former cluster live after all: they are turned away and say why.
    let mut old = Vec::new();
    for node in [1, 3] {
        old.push(Cluster::start(nodes.config(node)).unwrap());
    }
    within(20, first.ready()).await;
    for old in old {
        let why = within(10, old.failed()).await;
        assert!(why.contains("another cluster"), "{why}");
        old.shutdown().await;
    }
    nodes.up.insert(2, first);
    for node in [11, 13] {
        nodes.join_voting(node, &[2]).await;
    }
    nodes.agree().await;
    for node in [2, 11, 13] {
        assert!(has(&nodes.up[&node], "ana") && !has(&nodes.up[&node], "bo"));
        let view = nodes.up[&node].view();
        assert!(
            view.revocations
                .contains_key(&(AppId(1), Target::User("bo".into())))
        );
        let floor = &view.revocations[&(AppId(1), Target::App)];
        assert!(
            floor.issued_before_ms > known.time_ms,
            "older tokens are void"
        );
        assert_eq!(nodes.voters(node), [2, 11, 13]);
    }
    nodes.stop(2).await;
    write(&nodes.up[&11], "without the first").await;
    nodes.shutdown().await;
}

#[tokio::test]
async fn every_node_tells_how_far_each_has_got_and_calls_no_dead_leader_the_leader() {
    // The one that is left follows, or it leads.
    for leads in [false, true] {
        let mut nodes = Nodes::form(3, |_| ()).await;
        let leader = nodes.leader().await;
        let others: Vec<u64> = (1..=3).filter(|node| *node != leader).collect();
        let revision = write(&nodes.up[&others[0]], "x").await;
        for cluster in nodes.up.values() {
            let told = async {
                loop {
                    let seen = cluster.survey().await;
                    let all = |at: u64| seen.nodes.iter().all(|one| one.matched >= Some(at));
                    if seen.nodes.len() == 3 && all(revision) {
                        assert_eq!(
                            (seen.leader, seen.last_leader),
                            (Some(NodeId(leader)), None)
                        );
                        assert!(seen.nodes.iter().all(|one| one.reachable));
                        break;
                    }
                }
            };
            within(10, told).await;
        }
        let (stays, gone) = match leads {
            true => (leader, others),
            false => (others[1], vec![others[0], leader]),
        };
        for node in &gone {
            nodes.stop(*node).await;
        }
        let told = async {
            loop {
                let seen = nodes.up[&stays].survey().await;
                if seen.leader.is_none() {
                    break seen;
                }
            }
        };
        let seen = within(10, told).await;
        assert_eq!(seen.last_leader, Some(NodeId(leader)), "leads: {leads}");
        for one in &seen.nodes {
            assert_eq!(one.reachable, one.node.0 == stays, "{one:?}");
        }
        nodes.shutdown().await;
    }
}
