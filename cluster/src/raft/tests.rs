//! openraft's own conformance suite on our storage.
#![allow(clippy::unwrap_used)]

use super::applier::{Applied, Applier};
use super::engine::{Engine, StorageError};
use super::log::LogStore;
use super::view::View;
use crate::store::Store;
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
