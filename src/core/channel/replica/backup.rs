//! The copy of a stream that a node keeps without being home: the backup's, and a former home's until its list is sure
//! to be the same as everybody's.
//!
//! **Why a copy knows from where it may have been overtaken:** in one epoch there is one stream. A node that was counted
//! out, one that is the backup no more and a home that stepped down have all of it up to an entry and cannot know what the
//! others decided behind that. Should such a copy go on, it goes on from there in an epoch that is no continuation, so
//! that nobody takes the two for one, and everybody is told that something may be missing.

use super::io::Limits;
use super::stream::{Entry, LogPosition, Stream};
use crate::core::clock::Now;
use crate::core::ids::NodeId;
use crate::core::lifecycle::EventId;

/// How long a copy is kept by a node that is neither home nor backup (its list may be behind), ms.
pub(super) const COPY_KEPT_MS: u64 = 10_000;

/// A copy of the stream.
#[derive(Debug)]
pub(super) struct BackupCopy {
    pub(super) stream: Stream,
    /// When it is dropped, mono ms; never while this node is the backup.
    pub(super) until: Option<u64>,
    /// Another copy may have gone on behind this entry.
    overtaken: Option<u64>,
    /// The node that this one, as the former home, has handed it to. As far as that one is asked, nobody has overtaken it.
    pub(super) handed_to: Option<NodeId>,
}

impl BackupCopy {
    /// One that is kept as long as this node is the backup, or about to be home.
    pub(super) fn kept(stream: Stream) -> Self {
        Self {
            stream,
            until: None,
            overtaken: None,
            handed_to: None,
        }
    }

    /// One of a node that is not the backup by its list.
    pub(super) fn for_a_while(stream: Stream, now: Now) -> Self {
        Self {
            until: Some(now.mono_ms + COPY_KEPT_MS),
            ..Self::kept(stream)
        }
    }

    /// A former home's: others may go on behind the last entry that its backup had acknowledged.
    pub(super) fn of_former_home(stream: Stream, acknowledged: u64, now: Now) -> Self {
        Self {
            overtaken: Some(acknowledged),
            ..Self::for_a_while(stream, now)
        }
    }

    /// The node is the backup now, or is not any more: then another one is, and this copy is not heard of again.
    pub(super) fn set_backup(&mut self, backup: bool, now: Now) {
        if backup {
            self.until = None;
        } else {
            self.until.get_or_insert(now.mono_ms + COPY_KEPT_MS);
            self.mark_overtaken();
        }
    }

    /// From here on others may go on without it.
    pub(super) fn mark_overtaken(&mut self) {
        let entry = self.stream.log_position().entry;
        self.overtaken.get_or_insert(entry);
    }

    pub(super) fn is_over(&self, now: Now) -> bool {
        self.until.is_some_and(|at| now.mono_ms >= at)
    }

    /// The home has had word that these were taken care of.
    pub(super) fn settle(&mut self, ids: &[EventId]) {
        if let Some(log) = &mut self.stream.lifecycle {
            let _known = log.settle(ids);
        }
    }

    /// Whether `later`, the stream of `home`, is what became of this one, or says by its epoch that it is not. A home that
    /// was handed this one and shows another has not taken it yet.
    pub(super) fn goes_on_in(&self, later: &Stream, home: NodeId) -> bool {
        let known = self.known();
        let says_so = self.handed_to != Some(home) && !later.is_of_the_epoch_of(&self.stream);
        says_so || later.goes_on_from(&self.stream, known)
    }

    /// Whether one goes on from an epoch of the other: then whoever was home last has the better one.
    pub(super) fn is_related_to(&self, other: &Stream) -> bool {
        let (own, others) = (self.stream.log_position(), other.log_position());
        other.knows(own.epoch) || self.stream.knows(others.epoch)
    }

    /// The last entry that is everybody's. Behind it, what was stamped here may be later than all that counts: a home that
    /// stood still goes on stamping until it knows that it is none.
    fn known(&self) -> u64 {
        let last = self.stream.log_position().entry;
        self.overtaken.map_or(last, |entry| last.min(entry))
    }

    /// Whether what another node hands over is worth more than this.
    pub(super) fn is_outdated_by(&self, other: &Stream, from: NodeId) -> bool {
        other.is_later_than(&self.stream, self.known()) && self.goes_on_in(other, from)
    }

    /// Whether this is what whoever was home since has gone on to, if the two have nothing in common.
    pub(super) fn was_overtaken_by(&self, other: &Stream) -> bool {
        self.is_overtaken() && other.is_later_than(&self.stream, self.known())
    }

    /// Nobody who may have gone on has decided anything else: all of it counts.
    pub(super) fn trust(&mut self) {
        self.overtaken = None;
    }

    /// Repeats what the home logged; where the copy is then. `None` when entries are missing in between: what is here is good
    /// up to there, and nothing behind it is shown by the home in this epoch.
    pub(super) fn repeat(
        &mut self,
        epoch: u64,
        entries: impl IntoIterator<Item = Entry>,
        limits: Limits,
        now: Now,
    ) -> Option<LogPosition> {
        let mut entries = entries.into_iter();
        let stream = &mut self.stream;
        let whole = self.overtaken.is_none()
            && entries.all(|entry| stream.repeat(epoch, entry, limits.bounds, now));
        whole.then(|| stream.log_position())
    }

    /// Whether others may have gone on without it.
    pub(super) fn is_overtaken(&self) -> bool {
        self.overtaken.is_some()
    }

    /// The stream to go on with. `fresh` is an epoch that nobody has used.
    pub(super) fn into_stream(mut self, fresh: u64) -> Stream {
        if let Some(entry) = self.overtaken {
            self.stream.fork(entry, fresh);
        }
        self.stream
    }

    /// The same for a new home that asks for it.
    pub(super) fn stream_for(&self, home: NodeId, fresh: u64) -> Stream {
        let mut stream = self.stream.clone();
        if let Some(entry) = self.overtaken
            && self.handed_to != Some(home)
        {
            stream.fork(entry, fresh);
        }
        stream
    }
}
