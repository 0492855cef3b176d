//! The copy of a stream that a node keeps without being home: the backup's, and a former home's until its list is sure
//! to be the same as everybody's.

use super::io::Limits;
use super::stream::{Entry, LogPosition, Stream};
use crate::core::clock::Now;

/// How long a copy is kept by a node that is neither home nor backup (its list may be behind), ms.
pub(super) const COPY_KEPT_MS: u64 = 10_000;

/// A copy of the stream.
#[derive(Debug)]
pub(super) struct BackupCopy {
    pub(super) stream: Stream,
    /// When it is dropped, mono ms; never while this node is the backup.
    pub(super) until: Option<u64>,
}

impl BackupCopy {
    /// One that is kept as long as this node is the backup, or about to be home.
    pub(super) fn kept(stream: Stream) -> Self {
        let until = None;
        Self { stream, until }
    }

    /// One of a node that is not the backup.
    pub(super) fn for_a_while(stream: Stream, now: Now) -> Self {
        let until = Some(now.mono_ms + COPY_KEPT_MS);
        Self { stream, until }
    }

    /// The node is the backup now, or is not any more.
    pub(super) fn set_backup(&mut self, backup: bool, now: Now) {
        self.until = match backup {
            true => None,
            false => self.until.or(Some(now.mono_ms + COPY_KEPT_MS)),
        };
    }

    pub(super) fn is_over(&self, now: Now) -> bool {
        self.until.is_some_and(|at| now.mono_ms >= at)
    }

    /// Repeats what the home logged; where the copy is then. `None` when entries are missing in between.
    pub(super) fn repeat(
        &mut self,
        epoch: u64,
        entries: impl IntoIterator<Item = Entry>,
        limits: Limits,
        now: Now,
    ) -> Option<LogPosition> {
        let mut entries = entries.into_iter();
        let stream = &mut self.stream;
        let whole = entries.all(|entry| stream.repeat(epoch, entry, limits.bounds, now));
        whole.then(|| stream.log_position())
    }
}
