//! How long the loss of a leader holds up a revoke, and that what is reported as fenced serves nothing.
//!
//! **Must never know:** how a fence is found. **Why beside the stories:** in those, something else is broken most
//! of the time, so that they judge truth but no times.

use super::world::{Running, World, serving};
use super::{chance, story};
use crate::access::{Command, NodeId};
use crate::{BarrierMode, Cluster, Freshness, RequestId};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// How many losses are played.
const LOSSES: u64 = 60;
/// What is promised beyond the lease.
const BEYOND: Duration = Duration::from_secs(1);

/// Plays one loss in a thread whose chance follows from the seed.
fn play(seed: u64) {
    let played = std::thread::spawn(move || {
        chance::seed(seed);
        let runtime = chance::runtime();
        runtime.block_on(lose_a_leader());
        runtime.shutdown_background();
    });
    assert!(played.join().is_ok(), "seed {seed}");
}

/// Out of reach, or gone, in one of three ways.
fn lose(world: &World, node: u64, gone: &Running) {
    match chance::below(3) {
        0 => world.kill(node),
        1 => gone.life.freeze(),
        _ => {
            for other in (1..=world.count()).filter(|other| *other != node) {
                world.wire.block(node, other);
                world.wire.block(other, node);
            }
        }
    }
}

/// Notes for ever who leads among these, as they say themselves.
async fn note_leaders(of: Vec<Cluster>, seen: Arc<Mutex<BTreeSet<NodeId>>>) {
    loop {
        let leads = |one: &Cluster| {
            let status = one.status();
            status.leader.filter(|leader| *leader == status.node)
        };
        seen.lock().unwrap().extend(of.iter().filter_map(leads));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn lose_a_leader() {
    let world = Arc::new(World::new(
        chance::pick(&[3, 5]),
        chance::pick(&[0, 0, 1, 4]),
    ));
    story::form(&world).await;
    // Somewhere between two renewals, and now and then after an earlier change of leader.
    for turn in 0..=chance::below(2) {
        tokio::time::sleep(chance::millis(1000, 4000)).await;
        let leader = world.leader().expect("a leader");
        // Or one that only follows: it is waited for, and fenced, as anybody.
        let dead = match world.learners > 0 && chance::per_mille(300) {
            true => world.size + 1 + chance::below(world.learners),
            false => leader,
        };
        let through = 1 + leader % world.size;
        let (gone, asked) = (world.node(dead).unwrap(), world.node(through).unwrap());
        // Somebody who has not helped for a while says little about when the others did.
        if dead == leader && chance::per_mille(500) {
            let idle = 1 + (leader + chance::below(world.size - 1)) % world.size;
            // Those that only follow must not speak for the voters, however many they are and however long idle.
            for idle in (world.size + 1..=world.count()).chain([idle]) {
                world.wire.block(leader, idle);
                world.wire.block(idle, leader);
            }
            tokio::time::sleep(chance::millis(400, 2000)).await;
        }
        let Freshness::Fresh(age) = gone.cluster.freshness() else {
            panic!("a node of a healthy cluster is fresh");
        };
        let lost = Instant::now();
        lose(&world, dead, &gone);
        let left = world.all().into_iter().filter(|(node, _)| *node != dead);
        let left = left.map(|(_, one)| one.cluster).collect();
        let leaders = Arc::default();
        let noting = tokio::spawn(note_leaders(left, Arc::clone(&leaders)));
        let lease = asked.cluster.lease();
        let revoke = asked.cluster.clone();
        let life = Arc::clone(&asked.life);
        let work = life.spawn(async move {
            let asked = RequestId(u128::from(turn) + 1);
            let committed = revoke.propose(asked, Command::Tick).await;
            let revision = committed.expect("a majority is there").revision;
            revoke.barrier(revision, BarrierMode::All).await
        });
        let report = work.await.expect("the node lives");
        let took = lost.elapsed();
        assert_eq!(report.fenced, [NodeId(dead)], "{report:?}");
        assert_eq!(
            report.enforced.len() as u64,
            world.count() - 1,
            "{report:?}"
        );
        noting.abort();
        // Two that were elected at once: the first may have helped to prove something until the second led.
        let elections = leaders.lock().unwrap().len();
        let bound = lease + BEYOND * u32::try_from(elections).unwrap();
        assert!(took <= bound, "{took:?} after the loss, {elections} led");
        assert!(took >= lease - age, "it served until {:?}", lease - age);
        gone.life.thaw();
        assert!(!serving(&gone.cluster), "fenced, and serving all the same");
        world.heal().await;
    }
}

#[test]
fn a_revoke_outlasts_the_lost_leaders_lease_by_less_than_a_second() {
    (1..=LOSSES).for_each(play);
}
