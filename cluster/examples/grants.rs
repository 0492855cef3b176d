//! Durable grants per second through three nodes in one process, at 1, 64 and 256 concurrent callers, and
//! the time to the first write after the leader is gone.
//!
//! `cargo run --release -p gatecast-cluster --example grants [seconds per step]`
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

#[path = "../tests/harness/mod.rs"]
mod harness;

use harness::{Nodes, grant, request};
use std::time::{Duration, Instant};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let seconds = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(3);
    let nodes = Nodes::form(3, |_| ()).await;
    for callers in [1usize, 64, 256] {
        let end = Instant::now() + Duration::from_secs(seconds);
        let began = Instant::now();
        let tasks = (0..callers).map(|caller| {
            let cluster = nodes.up[&(caller as u64 % 3 + 1)].clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                while Instant::now() < end {
                    let at = Instant::now();
                    let user = format!("{caller}-{}", took.len());
                    cluster
                        .propose(request(), grant(&user, "room"))
                        .await
                        .unwrap();
                    took.push(at.elapsed());
                }
                took
            })
        });
        let mut took = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            took.extend(task.await.unwrap());
        }
        took.sort();
        println!(
            "{callers:>4} callers over 3 nodes: {:>7.0} durable grants/s, p50 {:.2} ms, p99 {:.2} ms",
            took.len() as f64 / began.elapsed().as_secs_f64(),
            took[took.len() / 2].as_secs_f64() * 1e3,
            took[took.len() * 99 / 100].as_secs_f64() * 1e3,
        );
    }
    failover(nodes).await;
}

async fn failover(mut nodes: Nodes) {
    let mut took = Vec::new();
    for round in 0..5 {
        let lost = nodes.leader().await;
        nodes.stop(lost).await;
        let began = Instant::now();
        let through = nodes.up.values().next().unwrap().clone();
        harness::write(&through, &format!("failover {round}")).await;
        took.push(began.elapsed().as_millis());
        nodes.start(lost);
        nodes.ready().await;
    }
    println!("first write after the leader was stopped: {took:?} ms");
    nodes.shutdown().await;
}
