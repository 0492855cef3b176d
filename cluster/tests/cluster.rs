//! Three nodes over real TCP: they form, write, forward, restart, lose a leader, grow and shrink.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod harness;

use gatecast_cluster::Freshness;
use harness::{Nodes, has, write};

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
        nodes.stop(node).await;
        nodes.start(node);
        harness::within(20, nodes.up[&node].ready()).await;
        write(&nodes.up[&node], &format!("after restart of {node}")).await;
    }
    nodes.agree().await;
    nodes.shutdown().await;
}
