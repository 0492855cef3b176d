//! openraft's own conformance suite on our storage, and what it cannot ask: what a power cut leaves.
#![allow(clippy::unwrap_used)]

use super::applier::{Applied, Applier};
use super::engine::{Engine, StorageError, Vote};
use super::log::LogStore;
use super::view::View;
use crate::sim::disk::Disk;
use crate::store::Store;
use openraft::storage::RaftLogStorage as _;
use openraft::testing::{StoreBuilder, Suite};
use std::sync::Arc;

struct Fresh;

impl StoreBuilder<Engine, LogStore, Applier, tempfile::TempDir> for Fresh {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, Applier), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(dir.path()).unwrap();
        let store = Arc::new(store);
        let view = Arc::new(View::new());
        let applier = Applier::open(Arc::clone(&store), view, Arc::new(Applied::default()), 1000);
        Ok((dir, LogStore::new(store), applier.unwrap()))
    }
}

#[test]
fn the_store_passes_the_conformance_suite() {
    Suite::test_all(Fresh).unwrap();
}

/// The log on a disk from which everything unsynced has just been lost.
fn after_a_power_cut(disk: &Disk) -> LogStore {
    disk.cut_keeping(0);
    LogStore::new(Arc::new(Store::over(disk).unwrap()))
}

#[tokio::test(start_paused = true)]
async fn a_vote_that_was_answered_survives_a_power_cut() {
    let disk = Disk::default();
    let mut log = LogStore::new(Arc::new(Store::over(&disk).unwrap()));
    for term in 1..6 {
        // Otherwise a node could vote twice in one term, and two could lead in it.
        let vote = Vote::new(term, term % 3);
        log.save_vote(&vote).await.unwrap();
        log = after_a_power_cut(&disk);
        assert_eq!(log.read_vote().await.unwrap(), Some(vote));
    }
}
