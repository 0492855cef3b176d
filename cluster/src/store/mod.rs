//! The store: four trees in one embedded database, and the one thread that makes them durable.
//!
//! | tree | key | body |
//! |---|---|---|
//! | `meta` | a name | whatever the engine keeps under it |
//! | `log` | index, u64 BE | one Raft entry |
//! | `snap` | generation, chunk: two u64 BE | up to 64 KiB of a snapshot; `cur` names the valid generation |
//!
//! The applied state has no tree of its own: snapshot plus log is the one durable truth, and the state in
//! memory is rebuilt from it. Every record carries a version and a checksum.
//!
//! **Must never know:** openraft, what an entry or a snapshot contains. **Only this room names `sled`.**

mod mark;
mod open;
mod private;
mod record;
mod snapshots;
mod space;
mod swap;
mod sync;
mod tree;

pub use space::DiskSpace;
pub(crate) use space::Space;
pub(crate) use swap::Swap;
pub(crate) use sync::{Disk, Done, SyncQueue};

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use tree::Tree;

/// Largest body of a log record. sled keeps bigger values in separate files that it never syncs.
pub(crate) const MAX_LOG_RECORD: usize = 60 * 1024;

/// Why the store refuses.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The database does not open.
    #[error(
        "the store in {path} does not open: {text}. It was left as it is. Restore this node by adding a fresh one under a new id and removing this one"
    )]
    Open {
        /// The file or folder.
        path: PathBuf,
        /// What the storage engine said.
        text: String,
    },
    /// A record or the order of records is damaged.
    #[error(
        "the store is damaged: {0}. Nothing was changed. Add a fresh node under a new id and remove this one; do not delete the data and start again under the same id"
    )]
    Damaged(String),
    /// The directory belongs to somebody else.
    #[error("{0}")]
    Foreign(String),
    /// The operating system refused.
    #[error("{path}: {text}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        text: String,
    },
    /// The database refused a read or write.
    #[error("the storage engine failed: {0}")]
    Engine(#[from] sled::Error),
    /// A record is larger than may be stored.
    #[error("a record of {0} bytes is too large")]
    TooLarge(usize),
}

impl StoreError {
    fn io(path: &Path, error: &std::io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            text: error.to_string(),
        }
    }

    fn damaged(tree: &str, key: &[u8], what: &str) -> Self {
        let name = match <[u8; 8]>::try_from(key) {
            Ok(index) => u64::from_be_bytes(index).to_string(),
            Err(_) => String::from_utf8_lossy(key).into_owned(),
        };
        Self::Damaged(format!("record {name} of tree {tree}: {what}"))
    }
}

/// An open store. Reads and writes reach memory at once; [`Store::sync`] makes them durable.
#[derive(Debug)]
pub(crate) struct Store {
    meta: Tree,
    log: Tree,
    snap: Tree,
    queue: SyncQueue,
    space: Arc<Space>,
}

impl Store {
    /// Opens or creates the store below `dir`, which becomes its owner's alone, and checks every record. The thread
    /// ends after the store is dropped; join it before opening the same directory again.
    pub(crate) fn open(dir: &Path) -> Result<(Self, JoinHandle<()>), StoreError> {
        private::prepare(dir)?;
        swap::finish(dir)?;
        let disk = open::open(dir)?;
        // What the database has just made has the modes of the process's umask.
        private::close_files(dir)?;
        let db = disk.db.clone();
        let (queue, thread) =
            SyncQueue::start(disk).map_err(|error| StoreError::io(dir, &error))?;
        let store = Self::with(&db, queue)?;
        store.check()?;
        Ok((store, thread))
    }

    fn with(db: &sled::Db, queue: SyncQueue) -> Result<Self, StoreError> {
        Ok(Self {
            meta: Tree::Sled(db.open_tree("meta")?),
            log: Tree::Sled(db.open_tree("log")?),
            snap: Tree::Sled(db.open_tree("snap")?),
            queue,
            space: Arc::default(),
        })
    }

    /// Over a simulated disk.
    #[cfg(test)]
    pub(crate) fn over(disk: &crate::sim::disk::Disk) -> Result<Self, StoreError> {
        let store = Self {
            meta: Tree::Memory(disk.tree(0)),
            log: Tree::Memory(disk.tree(1)),
            snap: Tree::Memory(disk.tree(2)),
            queue: disk.queue(),
            space: Arc::default(),
        };
        store.check()?;
        Ok(store)
    }

    /// Looks before every write whether so many bytes are still free on the disk of `dir`.
    pub(crate) fn keep_free(&mut self, dir: &Path, reserve: u64) {
        self.space = Arc::new(Space::new(dir, reserve));
    }

    /// The room on its disk.
    pub(crate) fn space(&self) -> Arc<Space> {
        Arc::clone(&self.space)
    }

    /// Calls `done` when everything written before is durable.
    pub(crate) fn sync(&self, done: Done) {
        self.queue.sync(done);
    }

    /// Waits, blocking, until everything written before is durable.
    pub(crate) fn sync_now(&self) -> std::io::Result<()> {
        #[cfg(test)]
        if let Tree::Memory(tree) = &self.meta {
            tree.sync_now();
            return Ok(());
        }
        let (tx, rx) = std::sync::mpsc::channel();
        self.sync(Box::new(move |result| {
            let _ = tx.send(result);
        }));
        rx.recv()
            .unwrap_or_else(|_| Err(std::io::Error::other("the store is closed")))
    }

    /// Reads a named value.
    pub(crate) fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self.meta.get(name)? {
            None => Ok(None),
            Some(bytes) => Ok(Some(
                record::open("meta", name.as_bytes(), &bytes)?.to_vec(),
            )),
        }
    }

    /// Writes a named value. Not durable before the next sync.
    pub(crate) fn put_meta(&self, name: &str, body: &[u8]) -> Result<(), StoreError> {
        self.space.look();
        self.meta
            .insert(name, record::seal(name.as_bytes(), body))?;
        Ok(())
    }

    /// Appends log records, all or none. Not durable before the next sync.
    pub(crate) fn append(&self, records: &[(u64, Vec<u8>)]) -> Result<(), StoreError> {
        let mut batch = Vec::with_capacity(records.len());
        for (index, body) in records {
            if body.len() > MAX_LOG_RECORD {
                return Err(StoreError::TooLarge(body.len()));
            }
            let key = index.to_be_bytes();
            batch.push((key.to_vec(), Some(record::seal(&key, body))));
        }
        self.space.look();
        self.log.write(batch)
    }

    /// Reads log records in order, until `bytes` of bodies are reached (at least one record).
    pub(crate) fn read(
        &self,
        range: RangeInclusive<u64>,
        bytes: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let mut records = Vec::new();
        let mut left = bytes;
        let keys = range.start().to_be_bytes()..=range.end().to_be_bytes();
        for item in self.log.range(keys) {
            let (key, value) = item?;
            let body = record::open("log", &key, &value)?;
            if body.len() > left && !records.is_empty() {
                break;
            }
            left = left.saturating_sub(body.len());
            records.push((index_of(&key)?, body.to_vec()));
        }
        Ok(records)
    }

    /// The last log record.
    pub(crate) fn last(&self) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        match self.log.last()? {
            None => Ok(None),
            Some((key, value)) => Ok(Some((
                index_of(&key)?,
                record::open("log", &key, &value)?.to_vec(),
            ))),
        }
    }

    /// Removes log records from `index` on.
    pub(crate) fn truncate(&self, index: u64) -> Result<(), StoreError> {
        self.remove(index..=u64::MAX)
    }

    /// Removes log records up to `index`, after noting in `meta` that they are gone. Needs no sync: the
    /// database recovers a prefix of its writes, so a purge never survives the snapshot it relies on.
    pub(crate) fn purge(&self, index: u64, name: &str, note: &[u8]) -> Result<(), StoreError> {
        self.put_meta(name, note)?;
        self.remove(0..=index)
    }

    fn remove(&self, range: RangeInclusive<u64>) -> Result<(), StoreError> {
        let keys = range.start().to_be_bytes()..=range.end().to_be_bytes();
        let mut batch = Vec::new();
        // Newest first would leave a hole-free log at any point; one batch is atomic anyway.
        for item in self.log.range(keys) {
            batch.push((item?.0.to_vec(), None));
        }
        self.log.write(batch)
    }

    /// Reads every record once, so that damage is found at the start and not when it is needed.
    fn check(&self) -> Result<(), StoreError> {
        for item in self.meta.iter() {
            let (key, value) = item?;
            record::open("meta", &key, &value)?;
        }
        let mut before: Option<u64> = None;
        for item in self.log.iter() {
            let (key, value) = item?;
            record::open("log", &key, &value)?;
            let index = index_of(&key)?;
            if let Some(before) = before
                && index != before + 1
            {
                return Err(StoreError::Damaged(format!(
                    "log records {} to {} are missing",
                    before + 1,
                    index - 1
                )));
            }
            before = Some(index);
        }
        self.check_snapshots()
    }
}

fn index_of(key: &[u8]) -> Result<u64, StoreError> {
    <[u8; 8]>::try_from(key)
        .map(u64::from_be_bytes)
        .map_err(|_| StoreError::damaged("log", key, "its key is not an index"))
}

#[cfg(test)]
mod tests;
