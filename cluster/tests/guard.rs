//! What keeps the promises when clocks, disks and operators do not: three nodes over real TCP.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

mod harness;

use gatecast_cluster::access::{
    AppId, Capability, Command, Issuer, KeySpec, MemberState, Millis, NodeId, Rejection, Reply,
    Secret, Target,
};
use gatecast_cluster::{
    Cluster, DiskSpace, FirstStart, Freshness, NodeChange, ProposeError, RestoreTarget, WallClock,
    restore_backup, verify_backup,
};
use harness::{Nodes, eventually, free_addr, grant, has, request, within, write};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

const HOUR: i64 = 3_600_000;

fn wall_ms() -> Millis {
    WallClock::default().now_ms()
}

/// A wall clock that can be set wrong.
fn clock(off: &Arc<AtomicI64>) -> WallClock {
    let off = Arc::clone(off);
    WallClock::new(move || wall_ms().saturating_add_signed(off.load(Ordering::SeqCst)))
}

async fn three_with_clocks() -> (Nodes, Vec<Arc<AtomicI64>>) {
    let offs: Vec<Arc<AtomicI64>> = (0..3).map(|_| Arc::default()).collect();
    let mut nodes = Nodes::reserve(3, |_| ());
    for node in 1..=3u64 {
        let mut config = nodes.config(node);
        config.wall_clock = clock(&offs[node as usize - 1]);
        nodes.up.insert(node, Cluster::start(config).unwrap());
    }
    nodes.ready().await;
    nodes.up[&1]
        .propose(request(), harness::app())
        .await
        .unwrap();
    (nodes, offs)
}

fn far(ours: Millis, from: Millis) -> u64 {
    ours.abs_diff(from)
}

#[tokio::test]
async fn one_wrong_wall_clock_moves_nothing_and_its_node_leaves_service_until_it_is_right() {
    let (nodes, offs) = three_with_clocks().await;
    assert!(
        far(nodes.up[&1].now_ms(), wall_ms()) < 2_000,
        "cluster time is the time of day"
    );
    for wrong in [HOUR, -HOUR] {
        // The leader's own, which makes the stamps.
        let leader = nodes.leader().await;
        let off = &offs[leader as usize - 1];
        off.store(wrong, Ordering::SeqCst);
        let lone = nodes.up[&leader].clone();
        eventually("it knows", || lone.status().clock_is_wrong.then_some(())).await;
        let before = nodes.up[&1].now_ms();
        for n in 0..5 {
            write(&nodes.up[&leader], &format!("{wrong} {n}")).await;
        }
        let after = nodes.up[&(leader % 3 + 1)].now_ms();
        assert!(after >= before, "time never goes back");
        assert!(
            far(after, wall_ms()) < 2_000,
            "nor ahead: {}",
            after.abs_diff(wall_ms())
        );
        eventually("it leaves service", || {
            matches!(lone.freshness(), Freshness::Stale(_)).then_some(())
        })
        .await;
        for other in nodes.up.iter().filter(|(node, _)| **node != leader) {
            assert!(
                matches!(other.1.freshness(), Freshness::Fresh(_)),
                "the others serve on"
            );
        }
        off.store(0, Ordering::SeqCst);
        eventually("it serves again", || {
            matches!(lone.freshness(), Freshness::Fresh(_)).then_some(())
        })
        .await;
    }
    nodes.shutdown().await;
}

#[tokio::test]
async fn what_a_majority_of_clocks_agrees_on_is_the_time() {
    let (nodes, offs) = three_with_clocks().await;
    for off in &offs[..2] {
        off.store(HOUR, Ordering::SeqCst);
    }
    eventually("time follows", || {
        let view = nodes.up[&3].clone();
        let at = view.now_ms();
        (at > wall_ms() + HOUR as u64 - 5_000).then_some(at)
    })
    .await;
    nodes.shutdown().await;
}

async fn key(nodes: &Nodes) {
    let key = Command::CreateKey(KeySpec {
        id: "k".into(),
        app: AppId(1),
        name: "k".into(),
        secret: Secret("secret of the key".into()),
        capability: Capability::full(),
        revocable_tokens: true,
    });
    nodes.up[&1].propose(request(), key).await.unwrap();
}

fn use_nonce(cluster: &Cluster, nonce: &str) -> Command {
    Command::UseNonce {
        app: AppId(1),
        key: "k".into(),
        nonce: nonce.into(),
        expires_ms: cluster.now_ms() + 120_000,
    }
}

#[tokio::test]
async fn a_nonce_raced_through_three_nodes_is_used_once_also_across_a_leader_change() {
    let mut nodes = Nodes::form(3, |_| ()).await;
    key(&nodes).await;
    let mut used = 0;
    for round in 0..40 {
        let nonce = format!("n{round}");
        let race = nodes.up.values().flat_map(|cluster| {
            let nonce = &nonce;
            (0..2).map(move |_| cluster.propose(request(), use_nonce(cluster, nonce)))
        });
        for outcome in futures_util::future::join_all(race).await {
            match outcome {
                Ok(_) => used += 1,
                Err(error) => assert_eq!(error, ProposeError::Rejected(Rejection::NonceUsed)),
            }
        }
        assert_eq!(used, round + 1, "round {round}");
    }
    // Raced while the leader goes: whatever each is told, at most one is told yes.
    let lost = nodes.leader().await;
    let survivors: Vec<Cluster> = nodes
        .up
        .iter()
        .filter(|(node, _)| **node != lost)
        .map(|(_, one)| one.clone())
        .collect();
    let race: Vec<_> = survivors
        .iter()
        .flat_map(|cluster| (0..4).map(move |_| cluster.clone()))
        .map(|cluster| {
            tokio::spawn(async move {
                cluster
                    .propose(request(), use_nonce(&cluster, "late"))
                    .await
            })
        })
        .collect();
    nodes.stop(lost).await;
    let mut yes = 0;
    for outcome in race {
        yes += u32::from(outcome.await.unwrap().is_ok());
    }
    assert!(yes <= 1, "{yes}");
    let again = survivors[0]
        .propose(request(), use_nonce(&survivors[0], "late"))
        .await;
    assert!(
        again.is_err() || yes == 0,
        "a replay after the change of leader"
    );
    let old = survivors[1]
        .propose(request(), use_nonce(&survivors[1], "n0"))
        .await;
    assert_eq!(old, Err(ProposeError::Rejected(Rejection::NonceUsed)));
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_leader_that_drains_hands_over_without_a_silence_and_serves_its_clients_on() {
    let mut nodes = Nodes::form(3, |_| ()).await;
    eventually("everybody can be led by another", || {
        nodes.up.values().all(|one| one.now_ms() > 0).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let leader = nodes.leader().await;
    let other = nodes.up[&(leader % 3 + 1)].clone();
    // Writes go on meanwhile; the longest one is the gap.
    let writer = {
        let other = other.clone();
        tokio::spawn(async move {
            let (began, mut longest) = (Instant::now(), Duration::ZERO);
            let mut n = 0;
            while began.elapsed() < Duration::from_secs(4) {
                let one = Instant::now();
                write(&other, &format!("during {n}")).await;
                longest = longest.max(one.elapsed());
                n += 1;
            }
            (longest, n)
        })
    };
    let began = Instant::now();
    let leaving = nodes.up[&leader].clone();
    let asked = tokio::spawn({
        let leaving = leaving.clone();
        async move { leaving.asked_to_leave().await }
    });
    within(5, other.drain_node(NodeId(leader))).await.unwrap();
    within(5, asked).await.unwrap();
    eventually("another leads", || {
        other.status().leader.filter(|now| now.0 != leader)
    })
    .await;
    println!("handed over after {:?}", began.elapsed());
    let (longest, writes) = writer.await.unwrap();
    println!("longest of {writes} writes: {longest:?}");
    assert!(longest < Duration::from_millis(1500), "{longest:?}");
    assert_eq!(
        other.view().members[&NodeId(leader)].state,
        MemberState::Draining
    );
    assert!(
        matches!(leaving.freshness(), Freshness::Fresh(_)),
        "it serves on until it is stopped"
    );
    assert_ne!(
        nodes.leader().await,
        leader,
        "and does not take leading back"
    );
    // Started again it is up, and was not asked to leave.
    nodes.stop(leader).await;
    nodes.start(leader);
    nodes.ready().await;
    assert_eq!(
        nodes.up[&leader].view().members[&NodeId(leader)].state,
        MemberState::Up
    );
    let asked = tokio::time::timeout(
        Duration::from_millis(300),
        nodes.up[&leader].asked_to_leave(),
    );
    assert!(asked.await.is_err());
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_rolling_restart_and_a_replacement_under_load_lose_nothing_acknowledged() {
    let mut nodes = Nodes::form(3, |_| ()).await;
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let acknowledged = Arc::new(std::sync::Mutex::new(Vec::new()));
    let handles = Arc::new(std::sync::Mutex::new(nodes.up.clone()));
    let writer = {
        let (acknowledged, handles) = (Arc::clone(&acknowledged), Arc::clone(&handles));
        tokio::spawn(async move {
            let mut n = 0u64;
            while !*stopped.borrow_and_update() {
                let through = {
                    let up = handles.lock().unwrap();
                    up.values().nth(n as usize % up.len()).cloned()
                };
                let user = format!("u{n}");
                let Some(cluster) = through else { continue };
                if cluster
                    .propose(request(), grant(&user, "room"))
                    .await
                    .is_ok()
                {
                    acknowledged.lock().unwrap().push(user);
                }
                n += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
    };
    for node in 1..=3 {
        let before = acknowledged.lock().unwrap().len();
        eventually("load", || {
            (acknowledged.lock().unwrap().len() > before + 60).then_some(())
        })
        .await;
        nodes.up[&node].prepare_shutdown().await;
        handles.lock().unwrap().remove(&node);
        nodes.stop(node).await;
        nodes.start(node);
        within(20, nodes.up[&node].ready()).await;
        handles
            .lock()
            .unwrap()
            .insert(node, nodes.up[&node].clone());
    }
    // Node 2's machine is gone for good: 4 comes, 2 goes.
    nodes.join_voting(4, &[1]).await;
    handles.lock().unwrap().insert(4, nodes.up[&4].clone());
    handles.lock().unwrap().remove(&2);
    within(
        20,
        nodes.up[&1].change_nodes(NodeChange::Remove { node: NodeId(2) }, false),
    )
    .await
    .unwrap();
    let gone = nodes.up.remove(&2).unwrap();
    gone.shutdown().await;
    stop.send(true).unwrap();
    writer.await.unwrap();
    nodes.agree().await;
    let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
    assert!(acknowledged.len() > 200, "{}", acknowledged.len());
    for (node, cluster) in &nodes.up {
        let view = cluster.view();
        let held: std::collections::BTreeSet<String> = view
            .grants
            .keys()
            .map(|key| format!("{:?}", key.subject))
            .collect();
        let lost = acknowledged
            .iter()
            .filter(|user| !held.contains(&format!("User(\"{user}\")")));
        assert_eq!(lost.count(), 0, "at node {node}");
    }
    println!(
        "{} acknowledged writes over four changes",
        acknowledged.len()
    );
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_backup_begins_a_new_cluster_in_which_nothing_issued_before_is_honoured() {
    let mut nodes = Nodes::form(3, |_| ()).await;
    write(&nodes.up[&1], "before").await;
    let backup = within(10, nodes.up[&2].backup()).await.unwrap();
    let info = verify_backup(&backup).unwrap();
    assert_eq!((info.grants, info.apps), (1, 1));
    // After the backup a user is revoked: the backup does not know.
    let revoke = Command::Revoke {
        app: AppId(1),
        issuer: Issuer::Operator,
        target: Target::User("ana".into()),
        issued_before_ms: None,
        margin_ms: 0,
    };
    nodes.up[&1].propose(request(), revoke).await.unwrap();
    let former = nodes.up[&1].status().cluster;
    for node in 1..=3 {
        nodes.stop(node).await;
    }

    let target = RestoreTarget {
        node: NodeId(1),
        data_dir: nodes.dir.path().join("new"),
        peer_addr: nodes.addrs[&1].to_string().into(),
        now_ms: wall_ms(),
        accept_tokens: false,
    };
    let mut torn = backup.clone();
    torn.pop();
    assert!(restore_backup(&torn, &target).is_err());
    restore_backup(&backup, &target).unwrap();
    assert!(
        restore_backup(&backup, &target)
            .unwrap_err()
            .to_string()
            .contains("not empty")
    );
    let mut config = nodes.config(1);
    config.data_dir = target.data_dir.clone();
    config.first_start = FirstStart::Form(vec![(NodeId(1), nodes.addrs[&1].to_string().into())]);
    let first = Cluster::start(config).unwrap();
    within(20, first.ready()).await;
    assert!(has(&first, "before"));
    assert_ne!(first.status().cluster, former, "another cluster");
    let view = first.view();
    let floor = &view.revocations[&(AppId(1), Target::App)];
    assert!(floor.issued_before_ms > info.time_ms && floor.applies_ms <= first.now_ms());
    write(&first, "after").await;
    nodes.up.insert(1, first);
    for node in [12, 13] {
        nodes.join_voting(node, &[1]).await;
    }
    write(&nodes.up[&13], "through a new one").await;
    nodes.agree().await;
    assert!(has(&nodes.up[&12], "before") && has(&nodes.up[&12], "after"));
    // A node of the former cluster is not let in.
    let mut old = nodes.config(2);
    old.peer_listen = free_addr();
    old.data_dir = nodes.dir.path().join("2");
    let old = Cluster::start(old).unwrap();
    let why = tokio::time::timeout(Duration::from_secs(4), old.failed()).await;
    assert!(
        why.is_ok() || matches!(old.freshness(), Freshness::Never),
        "{why:?}"
    );
    within(10, old.shutdown()).await;
    nodes.shutdown().await;
}

#[tokio::test]
async fn a_node_short_of_disk_takes_no_changes_and_leaves_leading_to_one_that_has_room() {
    let mut nodes = Nodes::form(3, |_| ()).await;
    let leader = nodes.leader().await;
    nodes.stop(leader).await;
    // More than any disk has: short from the start.
    let mut config = nodes.config(leader);
    config.disk_reserve = u64::MAX / 8;
    let short = Cluster::start(config).unwrap();
    nodes.up.insert(leader, short.clone());
    let other = nodes.up[&(leader % 3 + 1)].clone();
    eventually("it is noticed", || {
        (short.status().disk != DiskSpace::Enough).then_some(())
    })
    .await;
    let refused = short.propose(request(), grant("x", "room")).await;
    assert_eq!(refused, Err(ProposeError::DiskFull));
    let committed = other.propose(request(), grant("y", "room")).await.unwrap();
    assert!(matches!(committed.reply, Reply::Changed(_)));
    assert_ne!(nodes.leader().await, leader);
    // There is room again.
    nodes.stop(leader).await;
    nodes.start(leader);
    nodes.ready().await;
    write(&nodes.up[&leader], "z").await;
    nodes.agree().await;
    nodes.shutdown().await;
}
