//! Three nodes over real TCP: they form, write, forward, restart, lose a leader, grow and shrink.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

mod harness;

use gatecast_cluster::access::{MemberState, NodeId};
use gatecast_cluster::{
    BarrierMode, Cluster, FirstStart, Freshness, JoinError, NodeChange, ProposeError, Versions,
};
use harness::{Nodes, eventually, grant, has, request, within, write};
use std::time::{Duration, Instant};

#[tokio::test]
async fn three_nodes_form_take_writes_anywhere_and_come_back() {
    let mut nodes = Nodes::form(3, |_| ()).await;
    let mut last = 0;
    for node in 1..=3 {
        let revision = write(&nodes.up[&node], &format!("through {node}")).await;
        assert!(revision > last, "revisions grow");
        last = revision;
    }
    nodes.agree().await;
    for node in 1..=3 {
        assert!(matches!(nodes.up[&node].freshness(), Freshness::Fresh(_)));
        for through in 1..=3 {
            assert!(has(&nodes.up[&node], &format!("through {through}")));
        }
    }
    for node in 1..=3 {
        let epoch = nodes.up[&node].view().members[&NodeId(node)].epoch;
        nodes.stop(node).await;
        nodes.start(node);
        within(20, nodes.up[&node].ready()).await;
        assert!(nodes.up[&node].view().members[&NodeId(node)].epoch > epoch);
        write(&nodes.up[&node], &format!("after restart of {node}")).await;
    }
    nodes.agree().await;
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_lost_leader_is_replaced_and_marked_down_and_the_returned_node_agrees() {
    let mut nodes = Nodes::form(3, |_| ()).await;
    let lost = nodes.leader().await;
    nodes.stop(lost).await;
    let began = Instant::now();
    // Proposed while there is no leader: waits the election out through both others.
    let (a, b) = {
        let mut others = nodes.up.values();
        let (a, b) = (others.next().unwrap(), others.next().unwrap());
        tokio::join!(write(a, "a"), write(b, "b"))
    };
    let elected = began.elapsed();
    assert!(a > 0 && b > 0);
    let survivor = nodes.up.values().next().unwrap().clone();
    eventually("the lost leader is marked down", || {
        let view = survivor.view();
        (view.members[&NodeId(lost)].state == MemberState::Down).then_some(())
    })
    .await;
    let down = began.elapsed();
    println!(
        "first write after {elapsed:?}, down after {down:?}",
        elapsed = elected
    );
    assert!(down < Duration::from_secs(4), "{down:?}");
    assert!(
        matches!(survivor.freshness(), Freshness::Fresh(_)),
        "failover fits into the lease"
    );
    nodes.start(lost);
    nodes.ready().await;
    nodes.agree().await;
    assert!(has(&nodes.up[&lost], "a") && has(&nodes.up[&lost], "b"));
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_request_id_is_applied_once_through_any_node() {
    let nodes = Nodes::form(3, |_| ()).await;
    let id = request();
    let mut revisions = Vec::new();
    for node in 1..=3 {
        let committed = nodes.up[&node]
            .propose(id, grant("once", "room"))
            .await
            .unwrap();
        revisions.push(committed.revision);
    }
    assert!(
        revisions.iter().all(|revision| *revision == revisions[0]),
        "{revisions:?}"
    );
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_barrier_hears_everyone_and_fences_the_silent() {
    let mut nodes = Nodes::form(3, |config| config.lease = Duration::from_millis(2500)).await;
    let mut effects = nodes.up[&3].take_effects().unwrap();
    let cluster = nodes.up[&1].clone();
    let revision = write(&cluster, "x").await;
    let broker = nodes.up[&3].clone();
    let enforcer = tokio::spawn(async move {
        while let Some(batch) = effects.recv().await {
            let closed = u64::from(batch.revision == revision) * 7;
            broker.enforced(batch.revision, closed);
        }
    });
    let report = within(5, cluster.barrier(revision, BarrierMode::All)).await;
    assert_eq!(report.enforced, [NodeId(1), NodeId(2), NodeId(3)]);
    assert_eq!(
        (report.closed, report.fenced.len(), report.pending.len()),
        (7, 0, 0)
    );
    assert_eq!(
        cluster.barrier(revision, BarrierMode::None).await,
        Default::default()
    );

    // A broker that does not enforce loses its lease instead of holding everybody up for ever.
    enforcer.abort();
    let _ = enforcer.await;
    let revision = write(&cluster, "y").await;
    let began = Instant::now();
    let report = within(6, cluster.barrier(revision, BarrierMode::Strict)).await;
    assert_eq!(report.pending, [NodeId(3)]);
    assert!(began.elapsed() > Duration::from_millis(2500));
    assert!(matches!(nodes.up[&3].freshness(), Freshness::Stale(_)));

    nodes.stop(3).await;
    let revision = write(&cluster, "z").await;
    let report = within(6, cluster.barrier(revision, BarrierMode::All)).await;
    assert_eq!(report.enforced, [NodeId(1), NodeId(2)]);
    assert_eq!(report.fenced, [NodeId(3)]);
    nodes.shutdown().await;
}

#[tokio::test]
async fn without_a_majority_the_view_goes_stale_and_proposals_say_what_became_of_them() {
    let mut nodes = Nodes::form(3, |config| {
        config.lease = Duration::from_millis(2500);
        config.propose_timeout = Duration::from_secs(2);
    })
    .await;
    let leader = nodes.leader().await;
    for node in [1, 2, 3]
        .into_iter()
        .filter(|node| *node != leader)
        .collect::<Vec<_>>()
    {
        nodes.stop(node).await;
    }
    let alone = nodes.up[&leader].clone();
    let error = alone
        .propose(request(), grant("lost", "room"))
        .await
        .unwrap_err();
    assert_eq!(
        error,
        ProposeError::OutcomeUnknown,
        "it is in the old leader's log"
    );
    eventually("stale", || {
        matches!(alone.freshness(), Freshness::Stale(_)).then_some(())
    })
    .await;
    assert!(within(5, alone.catch_up()).await.is_err());
    for node in [1, 2, 3].into_iter().filter(|node| *node != leader) {
        nodes.start(node);
    }
    nodes.ready().await;
    eventually("fresh again", || {
        matches!(alone.freshness(), Freshness::Fresh(_)).then_some(())
    })
    .await;
    nodes.agree().await;
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_fourth_node_joins_by_snapshot_and_another_leaves() {
    let mut nodes = Nodes::form(3, |config| {
        config.snapshot_after = 50;
        config.keep_entries = 16;
    })
    .await;
    for n in 0..200 {
        write(&nodes.up[&(n % 3 + 1)], &format!("user {n}")).await;
    }
    nodes.join(4, &[1]).await;
    nodes.agree().await;
    assert!(has(&nodes.up[&4], "user 0"));
    assert_eq!(nodes.voters(4), [1, 2, 3], "it follows, and does not vote");
    let node = NodeId(4);
    within(
        20,
        nodes.up[&2].change_nodes(NodeChange::Promote { node }, false),
    )
    .await
    .unwrap();
    eventually("it votes", || {
        (nodes.voters(4) == [1, 2, 3, 4]).then_some(())
    })
    .await;

    // One that was away comes back by snapshot, too.
    nodes.stop(4).await;
    for n in 200..400 {
        write(&nodes.up[&(n % 3 + 1)], &format!("user {n}")).await;
    }
    nodes.start(4);
    let mut batches = nodes.up[&4].take_effects().unwrap();
    let broker = nodes.up[&4].clone();
    let enforcer = tokio::spawn(async move {
        while let Some(batch) = batches.recv().await {
            assert!(batch.state.revision <= batch.revision, "its own state");
            broker.enforced(batch.revision, 0);
            if batch.skipped {
                return batches;
            }
        }
        panic!("nobody was told that entries were skipped");
    });
    let mut batches = within(20, enforcer).await.unwrap();
    let broker = nodes.up[&4].clone();
    let enforcer = tokio::spawn(async move {
        while let Some(batch) = batches.recv().await {
            assert!(!batch.skipped, "the rest came one by one");
            broker.enforced(batch.revision, 0);
        }
    });
    nodes.ready().await;
    nodes.agree().await;
    enforcer.abort();
    assert!(enforcer.await.unwrap_err().is_cancelled());

    let gone = nodes.leader().await;
    let other = nodes.up.keys().copied().find(|node| *node != gone).unwrap();
    within(
        20,
        nodes.up[&other].change_nodes(NodeChange::Remove { node: NodeId(gone) }, false),
    )
    .await
    .unwrap();
    let removed = nodes.up.remove(&gone).unwrap();
    eventually("the removed node is told", || removed.status().failure).await;
    eventually("the removed node is stale", || {
        (!matches!(removed.freshness(), Freshness::Fresh(_))).then_some(())
    })
    .await;
    removed.shutdown().await;
    write(&nodes.up[&other], "after the removal").await;
    nodes.agree().await;
    assert_eq!(nodes.up[&other].status().nodes.len(), 3);
    let again = nodes.up[&other]
        .change_nodes(
            NodeChange::Add {
                node: NodeId(gone),
                peer_addr: "127.0.0.1:1".into(),
            },
            false,
        )
        .await
        .unwrap_err();
    assert!(matches!(again, JoinError::Refused(_)), "{again:?}");
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_wiped_disk_cannot_come_back_under_its_old_id() {
    let mut nodes = Nodes::form(3, |_| ()).await;
    eventually("the cluster has its id", || {
        let unknown = format!("{:032x}", 0).into();
        nodes
            .up
            .values()
            .all(|c| c.status().cluster != unknown)
            .then_some(())
    })
    .await;
    write(&nodes.up[&1], "kept").await;
    nodes.stop(2).await;
    std::fs::remove_dir_all(nodes.dir.path().join("2")).unwrap();
    nodes.start(2);
    let why = within(10, nodes.up[&2].failed()).await;
    assert!(why.contains("another data directory"), "{why}");
    write(&nodes.up[&1], "still works").await;
    nodes.stop(2).await;
    nodes.shutdown().await;
}

#[tokio::test]
async fn one_node_is_a_cluster_and_its_directory_is_its_own() {
    let mut nodes = Nodes::form(1, |_| ()).await;
    let revision = write(&nodes.up[&1], "alone").await;
    let report = within(5, nodes.up[&1].barrier(revision, BarrierMode::All)).await;
    assert_eq!(report.enforced, [NodeId(1)]);
    nodes.stop(1).await;
    let mut other = nodes.config(1);
    other.node = NodeId(9);
    other.first_start = gatecast_cluster::FirstStart::Form(vec![(NodeId(9), "127.0.0.1:1".into())]);
    let error = gatecast_cluster::Cluster::start(other)
        .unwrap_err()
        .to_string();
    assert!(error.contains("belongs to node 1"), "{error}");
    let mut open = nodes.config(1);
    open.peer_listen.set_ip("0.0.0.0".parse().unwrap());
    let error = gatecast_cluster::Cluster::start(open)
        .unwrap_err()
        .to_string();
    assert!(error.contains("not encrypted"), "{error}");
    nodes.start(1);
    nodes.ready().await;
    assert!(has(&nodes.up[&1], "alone"));
    nodes.shutdown().await;
}

/// As [`Nodes::start`], by another build.
fn start_build(nodes: &mut Nodes, node: u64, lowest: u16, highest: u16) {
    let mut config = nodes.config(node);
    config.speaks = Versions { lowest, highest };
    nodes.up.insert(node, Cluster::start(config).unwrap());
}

async fn agreed(nodes: &Nodes, version: u16) {
    eventually("the version everywhere", || {
        let mut all = nodes.up.values();
        all.all(|c| c.status().version == version).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_rolling_upgrade_raises_the_version_last_and_keeps_older_builds_out() {
    let mut nodes = Nodes::form(3, |config| {
        config.speaks = Versions {
            lowest: 1,
            highest: 2,
        };
    })
    .await;
    agreed(&nodes, 2).await;
    // Two of three run the next release, and all three talk.
    for node in [1, 2] {
        nodes.stop(node).await;
        start_build(&mut nodes, node, 2, 3);
        within(20, nodes.up[&node].ready()).await;
        write(&nodes.up[&node], &format!("by {node}")).await;
        nodes.agree().await;
    }
    // Longer than a leader waits before it raises.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    agreed(&nodes, 2).await;
    // All at once: nobody needs the log to know what to speak.
    for node in [1, 2, 3] {
        nodes.stop(node).await;
    }
    for (node, lowest, highest) in [(1, 2, 3), (2, 2, 3), (3, 1, 2)] {
        start_build(&mut nodes, node, lowest, highest);
    }
    nodes.ready().await;
    agreed(&nodes, 2).await;
    nodes.stop(3).await;
    start_build(&mut nodes, 3, 2, 3);
    nodes.ready().await;
    agreed(&nodes, 3).await;
    nodes.agree().await;

    // The former release is kept out, with the old disk and with an empty one; so is one that skips a release.
    nodes.stop(3).await;
    let mut config = nodes.config(3);
    config.speaks = Versions {
        lowest: 1,
        highest: 2,
    };
    // Before it reads a log that it may not understand.
    let why = Cluster::start(config)
        .expect_err("an old build")
        .to_string();
    assert!(why.contains("install the release"), "{why}");
    for (node, lowest, highest, says) in [
        (4, 1, 2, "install the release"),
        (5, 4, 5, "between its own and this one"),
    ] {
        nodes.addrs.insert(node, harness::free_addr());
        let mut config = nodes.config(node);
        config.speaks = Versions { lowest, highest };
        config.first_start = FirstStart::Join(vec![nodes.addrs[&1].to_string().into()]);
        let cluster = Cluster::start(config).unwrap();
        let why = within(10, cluster.failed()).await;
        assert!(why.contains(says), "{why}");
        cluster.shutdown().await;
    }
    start_build(&mut nodes, 3, 3, 4);
    within(20, nodes.up[&3].ready()).await;
    nodes.agree().await;
    nodes.shutdown().await;
}
