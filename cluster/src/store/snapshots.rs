//! Snapshots: chunks of 64 KiB under a new generation, made valid by one last record.
//!
//! **Why generations:** at any moment of a crash exactly one snapshot is named by `cur`, whole and checked;
//! half-written ones are swept at the next write or start.

use super::{Store, StoreError, record};

/// Bytes of one chunk. sled keeps values above 128 KiB in files that it never syncs.
const CHUNK: usize = 64 * 1024;
const CURRENT: &[u8] = b"cur";
/// Generation, chunks, bytes: what `cur` says before the caller's own description.
const HEADER_BYTES: usize = 24;

/// The caller's description of a snapshot, and the snapshot.
type AboutAndBytes = (Vec<u8>, Vec<u8>);

struct Current {
    generation: u64,
    chunks: u64,
    length: u64,
    about: Vec<u8>,
}

impl Store {
    /// Replaces the snapshot, durably: after return it is the current one, before a crash the old one is.
    /// Blocks. `about` is the caller's description of it.
    pub(crate) fn write_snapshot(&self, about: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let generation = self.current()?.map_or(1, |current| current.generation + 1);
        self.sweep_snapshots(None, Some(generation))?;
        let mut chunks = 0u64;
        for chunk in bytes.chunks(CHUNK) {
            let key = key(generation, chunks);
            self.snap.insert(key, record::seal(&key, chunk))?;
            chunks += 1;
        }
        self.durable()?;
        let mut body = Vec::with_capacity(HEADER_BYTES + about.len());
        for number in [generation, chunks, bytes.len() as u64] {
            body.extend_from_slice(&number.to_be_bytes());
        }
        body.extend_from_slice(about);
        self.snap.insert(CURRENT, record::seal(CURRENT, &body))?;
        self.durable()?;
        self.sweep_snapshots(Some(generation), None)
    }

    /// The current snapshot: the caller's description and its bytes.
    pub(crate) fn read_snapshot(&self) -> Result<Option<AboutAndBytes>, StoreError> {
        let Some(current) = self.current()? else {
            return Ok(None);
        };
        let mut bytes = Vec::with_capacity(usize::try_from(current.length).unwrap_or(0));
        for chunk in 0..current.chunks {
            let key = key(current.generation, chunk);
            let stored = self.snap.get(key)?.ok_or_else(|| {
                StoreError::Damaged(format!("chunk {chunk} of the snapshot is missing"))
            })?;
            bytes.extend_from_slice(record::open("snap", &key, &stored)?);
        }
        if bytes.len() as u64 != current.length {
            return Err(StoreError::Damaged("the snapshot is cut short".into()));
        }
        Ok(Some((current.about, bytes)))
    }

    /// Checks the current snapshot and removes what a crash left of others.
    pub(super) fn check_snapshots(&self) -> Result<(), StoreError> {
        self.read_snapshot()?;
        let generation = self.current()?.map(|current| current.generation);
        self.sweep_snapshots(generation, None)
    }

    fn current(&self) -> Result<Option<Current>, StoreError> {
        let Some(stored) = self.snap.get(CURRENT)? else {
            return Ok(None);
        };
        let body = record::open("snap", CURRENT, &stored)?;
        let mut numbers = [0u64; 3];
        let (head, about) = body
            .split_at_checked(HEADER_BYTES)
            .ok_or_else(|| StoreError::damaged("snap", CURRENT, "it is cut short"))?;
        for (number, bytes) in numbers.iter_mut().zip(head.as_chunks::<8>().0) {
            *number = u64::from_be_bytes(*bytes);
        }
        let [generation, chunks, length] = numbers;
        Ok(Some(Current {
            generation,
            chunks,
            length,
            about: about.to_vec(),
        }))
    }

    /// Removes chunks of every generation but `keep`, or only those of `only`.
    fn sweep_snapshots(&self, keep: Option<u64>, only: Option<u64>) -> Result<(), StoreError> {
        for entry in self.snap.iter() {
            let (entry, _) = entry?;
            let Some(generation) = entry.first_chunk::<8>().map(|g| u64::from_be_bytes(*g)) else {
                continue;
            };
            if only.map_or(keep != Some(generation), |only| only == generation) {
                self.snap.remove(entry)?;
            }
        }
        Ok(())
    }

    fn durable(&self) -> Result<(), StoreError> {
        self.sync_now().map_err(|error| {
            StoreError::Damaged(format!("a snapshot could not be made durable: {error}"))
        })
    }
}

fn key(generation: u64, chunk: u64) -> [u8; 16] {
    let mut key = [0; 16];
    let (high, low) = key.split_at_mut(8);
    high.copy_from_slice(&generation.to_be_bytes());
    low.copy_from_slice(&chunk.to_be_bytes());
    key
}
