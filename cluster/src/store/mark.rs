//! The high-water mark: a small file beside the database that says how many syncs were acknowledged.
//!
//! The database recovers a *prefix* of its writes and calls that whole, so a file that was cut short comes back as
//! a clean, older store: acknowledged entries, votes and snapshots would be forgotten in silence. Every sync
//! therefore writes its number into the database before, and into this file after; a database that holds less than
//! the file says has lost what this node had promised.
//!
//! **Why the file is not synced with every write:** that would double the cost of each. It survives the end of the
//! process at once and a power cut after a tenth of a second; it is written only after the database is durable, so it
//! never claims too much.

use super::StoreError;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Two slots, written in turn: one of them is whole at any moment of a crash.
const SLOT: u64 = 512;
const BYTES: usize = 20;
const MAGIC: &[u8; 8] = b"gc-mark1";

/// The open file.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
}

impl Mark {
    /// Opens or creates the file and compares it with the number in the database (none: it has none yet).
    pub(super) fn open(dir: &Path, stored: Option<u64>) -> Result<Self, StoreError> {
        let path = dir.join("mark");
        let io = |error: io::Error| StoreError::io(&path, &error);
        let exists = path.exists();
        if !exists && stored.is_some() {
            return Err(StoreError::Damaged(
                "the mark of what this node had acknowledged is missing".into(),
            ));
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        let mark = Self { file };
        if !exists {
            mark.write(0).map_err(io)?;
            mark.file.sync_all().map_err(io)?;
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)?;
            return Ok(mark);
        }
        let acknowledged = mark.read().map_err(io)?.ok_or_else(|| {
            StoreError::Damaged("the mark of what this node had acknowledged cannot be read".into())
        })?;
        let held = stored.unwrap_or(0);
        match held < acknowledged {
            true => Err(StoreError::Damaged(format!(
                "it ends at sync {held}, but this node had acknowledged sync {acknowledged}"
            ))),
            false => Ok(mark),
        }
    }

    /// Notes that this sync is durable.
    pub(super) fn write(&self, number: u64) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&number.to_be_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
        self.file.write_all_at(&bytes, SLOT * (number % 2))
    }

    /// Makes the file itself survive a power cut.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// The highest number in a whole slot.
    fn read(&self) -> io::Result<Option<u64>> {
        let mut highest = None;
        for slot in 0..2 {
            let mut bytes = [0; BYTES];
            match self.file.read_exact_at(&mut bytes, SLOT * slot) {
                Ok(()) => highest = highest.max(number(&bytes)),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(error),
            }
        }
        Ok(highest)
    }
}

fn number(bytes: &[u8; BYTES]) -> Option<u64> {
    let (said, sum) = bytes.split_last_chunk::<4>()?;
    let number = said.strip_prefix(MAGIC.as_slice())?;
    let whole = crc32fast::hash(said) == u32::from_be_bytes(*sum);
    let number = <[u8; 8]>::try_from(number).ok()?;
    whole.then_some(u64::from_be_bytes(number))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_store_behind_its_mark_is_refused_and_a_torn_slot_is_not_taken_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let mark = Mark::open(dir.path(), None).unwrap();
        for number in 1..=5 {
            mark.write(number).unwrap();
        }
        assert!(Mark::open(dir.path(), Some(5)).is_ok());
        assert!(
            Mark::open(dir.path(), Some(6)).is_ok(),
            "a crash before the mark"
        );
        for held in [None, Some(0), Some(4)] {
            let error = Mark::open(dir.path(), held).unwrap_err().to_string();
            assert!(error.contains("acknowledged sync 5"), "{error}");
        }
        // The slot of 5 is torn: 4 is still known.
        mark.file.write_all_at(b"x", SLOT + 9).unwrap();
        assert!(Mark::open(dir.path(), Some(4)).is_ok());
        assert!(Mark::open(dir.path(), Some(3)).is_err());
        mark.file.set_len(0).unwrap();
        assert!(Mark::open(dir.path(), Some(9)).is_err(), "unreadable");
        std::fs::remove_file(dir.path().join("mark")).unwrap();
        assert!(Mark::open(dir.path(), Some(9)).is_err(), "missing");
    }
}
