//! Room on the disk: noticed before it runs out, because a database that meets a full disk cannot go on.
//!
//! **Must never know:** who stops writing because of it.

use std::path::{Path, PathBuf};

/// How much room there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskSpace {
    /// Enough.
    #[default]
    Enough,
    /// Below the reserve: no changes are taken from clients.
    Short,
    /// Below half the reserve: no entries are taken from the leader either.
    Full,
}

/// Looks at the file system of one directory.
#[derive(Clone, Debug)]
pub(crate) struct Space {
    path: PathBuf,
    reserve: u64,
}

impl Space {
    /// Of the file system that holds `path`, with so many bytes to be kept free; 0 = never short.
    pub(crate) fn new(path: &Path, reserve: u64) -> Self {
        Self {
            path: path.to_owned(),
            reserve,
        }
    }

    /// Blocks for one system call. What cannot be asked is taken for enough: the sync would fail then.
    pub(crate) fn look(&self, before: DiskSpace) -> DiskSpace {
        if self.reserve == 0 {
            return DiskSpace::Enough;
        }
        match fs2::available_space(&self.path) {
            Ok(free) => judge(free, self.reserve, before),
            Err(error) => {
                tracing::warn!(%error, "the free space of the disk is not known");
                DiskSpace::Enough
            }
        }
    }
}

/// Coming back takes a quarter more than leaving, so that it does not flutter.
fn judge(free: u64, reserve: u64, before: DiskSpace) -> DiskSpace {
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
    use super::*;

    #[test]
    fn short_before_full_and_back_only_with_a_margin() {
        let judge = |free, before| judge(free, 100, before);
        assert_eq!(judge(100, DiskSpace::Enough), DiskSpace::Enough);
        assert_eq!(judge(99, DiskSpace::Enough), DiskSpace::Short);
        assert_eq!(judge(49, DiskSpace::Short), DiskSpace::Full);
        assert_eq!(judge(110, DiskSpace::Full), DiskSpace::Short);
        assert_eq!(judge(125, DiskSpace::Short), DiskSpace::Enough);
    }
}
