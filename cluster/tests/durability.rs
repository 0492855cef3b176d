//! A process that is killed while it writes loses nothing that it acknowledged.
//!
//! The test runs itself again as a child: a one-node cluster that writes numbered grants from several callers
//! and prints each number once it is acknowledged. The parent kills it at a random moment and starts the next
//! one on the same directory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

mod harness;

use gatecast_cluster::access::NodeId;
use gatecast_cluster::{Cluster, ClusterConfig, FirstStart, PeerSecret};
use harness::{free_addr, grant, has, request, within};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const DIR: &str = "GATECAST_DURABILITY_DIR";
const ROUND: &str = "GATECAST_DURABILITY_ROUND";
const ROUNDS: u64 = 6;
const CALLERS: u64 = 8;

fn open(dir: &Path) -> Cluster {
    let addr = free_addr();
    let mut config = ClusterConfig::new(
        NodeId(1),
        dir.to_owned(),
        addr,
        PeerSecret("s".into()),
        FirstStart::Form(vec![(NodeId(1), addr.to_string().into())]),
    );
    config.snapshot_after = 300;
    config.keep_entries = 32;
    Cluster::start(config).unwrap()
}

/// The child: writes until it is killed.
#[tokio::test]
async fn child() {
    let (Ok(dir), Ok(round)) = (std::env::var(DIR), std::env::var(ROUND)) else {
        return;
    };
    let cluster = open(Path::new(&dir));
    cluster.ready().await;
    let callers = (0..CALLERS).map(|caller| {
        let (cluster, round) = (cluster.clone(), round.clone());
        tokio::spawn(async move {
            for n in 0u64.. {
                let user = format!("{round}-{caller}-{n}");
                cluster
                    .propose(request(), grant(&user, "room"))
                    .await
                    .unwrap();
                let mut out = std::io::stdout().lock();
                writeln!(out, "acknowledged {user}").unwrap();
                out.flush().unwrap();
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    {
        let cluster = open(dir.path());
        within(10, cluster.ready()).await;
        cluster.propose(request(), harness::app()).await.unwrap();
        cluster.shutdown().await;
    }
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture"])
            .env(DIR, dir.path())
            .env(ROUND, round.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Killed after a number of acknowledgements that differs from round to round; what was printed
        // before the pipe broke counts as well.
        let enough = 100 + (request().0 % 400) as usize;
        let mut seen = 0;
        for line in lines.map_while(Result::ok) {
            if let Some((_, user)) = line.split_once("acknowledged ") {
                acknowledged.push(user.to_owned());
                seen += 1;
            }
            if seen == enough {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= enough, "the child ended by itself after {seen}");
    }
    let cluster = open(dir.path());
    within(10, cluster.ready()).await;
    let missing: Vec<_> = acknowledged
        .iter()
        .filter(|user| !has(&cluster, user))
        .collect();
    assert!(
        missing.is_empty(),
        "{} of {} lost: {missing:?}",
        missing.len(),
        acknowledged.len()
    );
    println!(
        "{} acknowledged writes survived {ROUNDS} kills",
        acknowledged.len()
    );
    let _ = tokio::time::timeout(Duration::from_secs(10), cluster.shutdown()).await;
}
