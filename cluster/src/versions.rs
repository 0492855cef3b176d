//! Which version of their common vocabulary nodes speak: what is in a log entry, and what peers ask each other.
//!
//! Every build speaks a range. Each hello carries it, and each start writes its upper end into the member list. The
//! leader raises the agreed version to what all members speak; from then on nodes speak that version, and who does
//! not is turned away when it connects. It never falls, because entries of that version may be in the log.
//!
//! Between raising it and hearing of it, and between nodes that have agreed on nothing yet, versions differ; that
//! is harmless, because every node reads its whole range.
//!
//! Pure but for one number.
//! **Why the hello carries the agreed version too:** a node with an empty disk has no log to read it in.

use std::sync::atomic::{AtomicU16, Ordering};

/// A range of versions, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The oldest version of the range.
    pub lowest: u16,
    /// The newest version of the range.
    pub highest: u16,
}

impl Versions {
    /// What this build speaks.
    pub const OURS: Self = Self {
        lowest: 1,
        highest: 1,
    };

    /// Whether this version can be read.
    pub(crate) fn contains(self, version: u16) -> bool {
        (self.lowest..=self.highest).contains(&version)
    }

    /// Why a node of this build may not take part where `agreed` is spoken; 0 = nothing is agreed on.
    pub(crate) fn refuses(self, agreed: u16) -> Option<&'static str> {
        if agreed > self.highest {
            Some(VersionMismatch::TooOld.text())
        } else if agreed != 0 && agreed < self.lowest {
            Some(VersionMismatch::TooNew.text())
        } else {
            None
        }
    }
}

impl Default for Versions {
    fn default() -> Self {
        Self::OURS
    }
}

/// How somebody else's range does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionMismatch {
    /// It ends below what is spoken.
    TooOld,
    /// It begins above.
    TooNew,
}

impl VersionMismatch {
    /// For the people whose node it is.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::TooOld => {
                "this node's build is older than what the cluster has agreed to speak: install the release that its other nodes run"
            }
            Self::TooNew => {
                "this node's build no longer speaks what the cluster has agreed on: first bring every node to a release between its own and this one"
            }
        }
    }
}

/// This node's range, and what its cluster has agreed on.
#[derive(Debug)]
pub(crate) struct NegotiatedVersion {
    ours: Versions,
    /// The highest heard of; 0 = nothing.
    agreed: AtomicU16,
}

impl NegotiatedVersion {
    /// Nothing agreed yet.
    pub(crate) fn new(ours: Versions) -> Self {
        Self {
            ours,
            agreed: AtomicU16::new(0),
        }
    }

    /// This build's range.
    pub(crate) fn ours(&self) -> Versions {
        self.ours
    }

    /// What has been agreed on; 0 = nothing.
    pub(crate) fn agreed(&self) -> u16 {
        self.agreed.load(Ordering::Acquire)
    }

    /// A member, or this node's own log, says that `version` is agreed.
    pub(crate) fn agree(&self, version: u16) {
        self.agreed.fetch_max(version, Ordering::AcqRel);
    }

    /// What this node writes.
    pub(crate) fn written(&self) -> u16 {
        self.agreed().clamp(self.ours.lowest, self.ours.highest)
    }

    /// Whether a node that speaks `theirs` can be talked to.
    pub(crate) fn admits(&self, theirs: Versions) -> Result<(), VersionMismatch> {
        let (low, high) = match self.agreed() {
            // Everybody writes its lowest then, so all must begin with the same.
            0 if theirs.lowest < self.ours.lowest => return Err(VersionMismatch::TooOld),
            0 => (self.ours.lowest, self.ours.lowest),
            agreed => (agreed, agreed),
        };
        if theirs.highest < low {
            Err(VersionMismatch::TooOld)
        } else if theirs.lowest > high {
            Err(VersionMismatch::TooNew)
        } else {
            Ok(())
        }
    }
}

/// What a leader may raise the agreed version to: the lowest that a member reads, once all of them have said.
pub(crate) fn raised(agreed: u16, read: impl IntoIterator<Item = Option<u16>>) -> Option<u16> {
    let mut lowest = None;
    for reads in read {
        let reads = reads?;
        lowest = Some(lowest.map_or(reads, |lowest: u16| lowest.min(reads)));
    }
    lowest.filter(|lowest| *lowest > agreed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(lowest: u16, highest: u16) -> Versions {
        Versions { lowest, highest }
    }

    #[test]
    fn who_does_not_speak_what_is_agreed_stays_out() {
        let spoken = NegotiatedVersion::new(range(2, 4));
        assert_eq!(spoken.admits(range(2, 2)), Ok(()));
        assert_eq!(
            spoken.admits(range(1, 4)),
            Err(VersionMismatch::TooOld),
            "would write 1"
        );
        assert_eq!(
            spoken.admits(range(3, 4)),
            Err(VersionMismatch::TooNew),
            "would write 3"
        );
        assert_eq!(spoken.written(), 2);
        spoken.agree(3);
        spoken.agree(2);
        assert_eq!((spoken.agreed(), spoken.written()), (3, 3), "never falls");
        assert_eq!(spoken.admits(range(1, 3)), Ok(()));
        assert_eq!(spoken.admits(range(1, 2)), Err(VersionMismatch::TooOld));
        assert_eq!(spoken.admits(range(4, 5)), Err(VersionMismatch::TooNew));
    }

    #[test]
    fn it_is_raised_to_what_everybody_reads_and_not_before_everybody_has_said() {
        assert_eq!(raised(0, [Some(1), Some(1)]), Some(1));
        assert_eq!(raised(1, [Some(2), Some(3)]), Some(2));
        assert_eq!(raised(1, [Some(2), Some(1)]), None);
        assert_eq!(raised(1, [Some(2), None]), None, "one has not said");
        assert_eq!(raised(3, [Some(2)]), None, "never falls");
        assert_eq!(raised(0, []), None);
    }
}
