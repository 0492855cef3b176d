//! Room on the disk: noticed before it runs out, because a database that meets a full disk cannot go on.
//!
//! A file of a quarter of the reserve lies beside the database. When less than half of the reserve is free it is
//! given up, so that the little that must be written even then (votes) still finds room.
//!
//! **Why asked before every write and not now and then:** a disk can be filled within a second, and after one failed
//! write this node is out.

use fs2::FileExt as _;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

/// How much room there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskSpace {
    /// There is enough room.
    #[default]
    Enough,
    /// Below the reserve: no changes are taken from clients.
    Short,
    /// Below half the reserve: no entries are taken from the leader either.
    Full,
}

/// Looks at the file system of one directory.
#[derive(Debug, Default)]
pub(crate) struct Space {
    path: PathBuf,
    reserve: u64,
    seen: AtomicU8,
    /// One change of the ballast at a time.
    ballast: Mutex<()>,
}

impl Space {
    /// Of the file system that holds `path`, with so many bytes to be kept free; 0 = never short.
    pub(crate) fn new(path: &Path, reserve: u64) -> Self {
        Self {
            path: path.to_owned(),
            reserve,
            ..Self::default()
        }
    }

    /// What was seen last.
    pub(crate) fn seen(&self) -> DiskSpace {
        match self.seen.load(Ordering::Acquire) {
            0 => DiskSpace::Enough,
            1 => DiskSpace::Short,
            _more => DiskSpace::Full,
        }
    }

    /// Asks the file system: one system call. What cannot be asked is taken for enough: the sync would fail then.
    pub(crate) fn look(&self) -> DiskSpace {
        self.measure().0
    }

    /// As [`Self::look`], and lays the ballast down when there is plenty of room. Blocks while it is allocated.
    pub(crate) fn tend(&self) -> DiskSpace {
        let (now, free) = self.measure();
        if now == DiskSpace::Enough
            && free >= self.reserve.saturating_add(self.reserve / 2)
            && let Err(error) = self.lay_down()
        {
            tracing::warn!(%error, "no ballast could be laid down beside the database");
        }
        now
    }

    fn measure(&self) -> (DiskSpace, u64) {
        if self.reserve == 0 {
            return (DiskSpace::Enough, 0);
        }
        let before = self.seen();
        let (now, free) = match fs2::available_space(&self.path) {
            Ok(free) => (classify(free, self.reserve, before), free),
            Err(error) => {
                tracing::warn!(%error, "the free space of the disk is not known");
                (DiskSpace::Enough, 0)
            }
        };
        if now != before {
            tracing::warn!(
                ?before,
                ?now,
                free,
                "the room on this node's disk has changed"
            );
            self.seen.store(now as u8, Ordering::Release);
        }
        if now == DiskSpace::Full && before != now {
            let _one = self.ballast.lock();
            // Not there: it was given up before, or there never was room for it.
            let _ = std::fs::remove_file(self.ballast_path());
        }
        (now, free)
    }

    fn ballast_path(&self) -> PathBuf {
        self.path.join("ballast")
    }

    fn lay_down(&self) -> io::Result<()> {
        let Ok(_one) = self.ballast.try_lock() else {
            return Ok(());
        };
        let path = self.ballast_path();
        if path.exists() {
            return Ok(());
        }
        let laid = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|file| file.allocate(self.reserve / 4));
        if laid.is_err() {
            let _ = std::fs::remove_file(&path);
        }
        laid
    }
}

/// Coming back takes a quarter more than leaving, so that it does not flutter.
fn classify(free: u64, reserve: u64, before: DiskSpace) -> DiskSpace {
    let back = match before {
        DiskSpace::Enough => reserve,
        DiskSpace::Short | DiskSpace::Full => reserve.saturating_add(reserve / 4),
    };
    if free < reserve / 2 {
        DiskSpace::Full
    } else if free < back {
        DiskSpace::Short
    } else {
        DiskSpace::Enough
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn short_before_full_and_back_only_with_a_margin() {
        let classify = |free, before| classify(free, 100, before);
        assert_eq!(classify(100, DiskSpace::Enough), DiskSpace::Enough);
        assert_eq!(classify(99, DiskSpace::Enough), DiskSpace::Short);
        assert_eq!(classify(49, DiskSpace::Short), DiskSpace::Full);
        assert_eq!(classify(110, DiskSpace::Full), DiskSpace::Short);
        assert_eq!(classify(125, DiskSpace::Short), DiskSpace::Enough);
    }

    #[test]
    fn the_ballast_is_given_up_when_the_disk_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let free = fs2::available_space(dir.path()).unwrap();
        let ballast = dir.path().join("ballast");
        let roomy = Space::new(dir.path(), free / 1024);
        assert_eq!(roomy.tend(), DiskSpace::Enough);
        assert_eq!(std::fs::metadata(&ballast).unwrap().len(), free / 1024 / 4);
        let full = Space::new(dir.path(), free * 4);
        assert_eq!(
            (full.seen(), full.look()),
            (DiskSpace::Enough, DiskSpace::Full)
        );
        assert_eq!(full.seen(), DiskSpace::Full);
        assert!(!ballast.exists());
        assert_eq!(full.tend(), DiskSpace::Full);
        assert!(!ballast.exists(), "not as long as it is full");
    }
}
