//! openraft's log storage over the store.
//!
//! An append answers from the sync thread, after the `fdatasync` that covers it; a vote and a truncation wait for
//! theirs.

use super::engine::{Engine, LogId, StorageError, Vote};
use crate::codec;
use crate::store::{MAX_LOG_RECORD, Store, StoreError};
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{
    AnyError, Entry, ErrorSubject, ErrorVerb, LogState, OptionalSend, RaftLogReader, StorageIOError,
};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

const VERSION: u8 = 1;
/// Bytes read for one replication request.
const READ_BYTES: usize = 1024 * 1024;
const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";

/// The log of this node. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct LogStore {
    store: Arc<Store>,
}

impl LogStore {
    /// Over an open store.
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// Looks for what openraft would not notice: acknowledged entries that are gone.
    /// `snapshot` is the last index that the current snapshot contains.
    pub(crate) fn check(&self, snapshot: Option<u64>) -> Result<(), StoreError> {
        let first = self
            .store
            .read(0..=u64::MAX, 1)?
            .first()
            .map(|(index, _)| *index);
        let last = self.store.last()?.map(|(index, _)| index);
        let purged: Option<LogId> = self.meta(PURGED)?;
        let committed: Option<LogId> = self.meta::<Option<LogId>>(COMMITTED)?.flatten();
        let end = last.max(purged.map(|id| id.index)).max(snapshot);
        if let Some(purged) = purged
            && first.is_some_and(|first| first > purged.index + 1)
        {
            return Err(StoreError::Damaged(
                "the log does not begin where it was cut".into(),
            ));
        }
        if purged.is_none() && first.is_some_and(|first| first > 0) {
            return Err(StoreError::Damaged(
                "the beginning of the log is missing".into(),
            ));
        }
        if let Some(committed) = committed
            && end.is_none_or(|end| end < committed.index)
        {
            return Err(StoreError::Damaged(format!(
                "the log ends before entry {} which is known to be committed",
                committed.index
            )));
        }
        if end.is_some_and(|end| end > 0) && self.meta::<Vote>(VOTE)?.is_none() {
            return Err(StoreError::Damaged("the vote is missing".into()));
        }
        Ok(())
    }

    fn meta<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        match self.store.meta(name)? {
            None => Ok(None),
            Some(body) => codec::decode(VERSION, &body, MAX_LOG_RECORD as u64)
                .map(Some)
                .map_err(|error| StoreError::Damaged(format!("{name}: {error}"))),
        }
    }

    fn put_meta<T: Serialize>(&self, name: &str, value: &T) -> Result<(), StoreError> {
        self.store.put_meta(name, &encode(value)?)
    }

    async fn durable(&self) -> std::io::Result<()> {
        let (tx, rx) = tokio::sync::oneshot::channel();
        self.store.sync(Box::new(move |result| {
            let _ = tx.send(result);
        }));
        rx.await
            .unwrap_or_else(|_| Err(std::io::Error::other("the store is closed")))
    }
}

/// Makes an empty log that goes on behind `last`: for a store that begins with a snapshot.
pub(super) fn begin_behind(store: &Store, last: LogId, vote: Vote) -> Result<(), StoreError> {
    store.put_meta(PURGED, &encode(&last)?)?;
    store.put_meta(COMMITTED, &encode(&Some(last))?)?;
    store.put_meta(VOTE, &encode(&vote)?)
}

fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    codec::encode(VERSION, value, MAX_LOG_RECORD as u64)
        .map_err(|error| StoreError::Damaged(error.to_string()))
}

/// Every entry from `first` on, in order, a few at a time.
pub(super) fn each(
    store: &Store,
    first: u64,
    mut visit: impl FnMut(Entry<Engine>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut next = first;
    loop {
        let records = store.read(next..=u64::MAX, READ_BYTES)?;
        if records.is_empty() {
            return Ok(());
        }
        for (index, body) in records {
            let entry = codec::decode(VERSION, &body, MAX_LOG_RECORD as u64)
                .map_err(|error| StoreError::Damaged(format!("log record {index}: {error}")))?;
            visit(entry)?;
            next = index + 1;
        }
    }
}

/// An error as openraft wants it; it stops the node.
pub(super) fn fatal(
    subject: ErrorSubject<u64>,
    verb: ErrorVerb,
    error: &(impl std::error::Error + 'static),
) -> StorageError {
    StorageIOError::new(subject, verb, AnyError::new(error)).into()
}

fn logs(verb: ErrorVerb) -> impl Fn(StoreError) -> StorageError {
    move |error| fatal(ErrorSubject::Logs, verb, &error)
}

impl RaftLogReader<Engine> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry<Engine>>, StorageError> {
        self.entries(range, usize::MAX)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry<Engine>>, StorageError> {
        self.entries(start..end, READ_BYTES)
    }
}

impl LogStore {
    fn entries(
        &self,
        range: impl RangeBounds<u64>,
        bytes: usize,
    ) -> Result<Vec<Entry<Engine>>, StorageError> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => Some(*end),
            Bound::Excluded(end) => end.checked_sub(1),
            Bound::Unbounded => Some(u64::MAX),
        };
        let Some(end) = end.filter(|end| *end >= start) else {
            return Ok(Vec::new());
        };
        let read = self
            .store
            .read(start..=end, bytes)
            .map_err(logs(ErrorVerb::Read))?;
        read.iter()
            .map(|(index, body)| decode(*index, body))
            .collect()
    }
}

fn decode(index: u64, body: &[u8]) -> Result<Entry<Engine>, StorageError> {
    codec::decode(VERSION, body, MAX_LOG_RECORD as u64)
        .map_err(|error| fatal(ErrorSubject::LogIndex(index), ErrorVerb::Read, &error))
}

impl RaftLogStorage<Engine> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Engine>, StorageError> {
        let purged = self.meta(PURGED).map_err(logs(ErrorVerb::Read))?;
        let last = match self.store.last().map_err(logs(ErrorVerb::Read))? {
            None => purged,
            Some((index, body)) => Some(decode(index, &body)?.log_id),
        };
        Ok(LogState {
            last_purged_log_id: purged,
            last_log_id: last.max(purged),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let wrong = |error| fatal(ErrorSubject::Vote, ErrorVerb::Write, &error);
        self.put_meta(VOTE, vote).map_err(wrong)?;
        self.durable()
            .await
            .map_err(|error| fatal(ErrorSubject::Vote, ErrorVerb::Write, &error))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        self.meta(VOTE)
            .map_err(|error| fatal(ErrorSubject::Vote, ErrorVerb::Read, &error))
    }

    // A hint that shortens catching up after a restart; it proves nothing and needs no sync.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.put_meta(COMMITTED, &committed)
            .map_err(logs(ErrorVerb::Write))
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self
            .meta::<Option<LogId>>(COMMITTED)
            .map_err(logs(ErrorVerb::Read))?
            .flatten())
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<Engine>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry<Engine>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut records = Vec::new();
        for entry in entries {
            let body = encode(&entry).map_err(logs(ErrorVerb::Write))?;
            records.push((entry.log_id.index, body));
        }
        self.store
            .append(&records)
            .map_err(logs(ErrorVerb::Write))?;
        self.store
            .sync(Box::new(move |result| callback.log_io_completed(result)));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.store
            .truncate(log_id.index)
            .map_err(logs(ErrorVerb::Write))?;
        self.durable()
            .await
            .map_err(|error| fatal(ErrorSubject::Logs, ErrorVerb::Write, &error))
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let note = encode(&log_id).map_err(logs(ErrorVerb::Delete))?;
        self.store
            .purge(log_id.index, PURGED, &note)
            .map_err(logs(ErrorVerb::Delete))
    }
}
