//! Checking a row of records that somebody shows, and the way from a record to the last hash.
//!
//! **Must never know:** a state: this is what an auditor does with a file, far from any node.

use super::chain::{AuditHash, Links, skip_of};
use super::record::AuditRecord;

/// A record as it is shown: with the hashes that it points back to, and its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownRecord {
    /// What was recorded.
    pub record: AuditRecord,
    /// The hash of the record before it.
    pub previous: AuditHash,
    /// The hash of the earlier record that it points back to.
    pub skipped_to: AuditHash,
    /// What is said to be its own hash.
    pub hash: AuditHash,
}

impl ShownRecord {
    /// The hash that follows from the rest.
    #[must_use]
    pub fn computed(&self) -> AuditHash {
        let text = AuditHash::of_text(&self.record.text());
        AuditHash::of_link(self.previous, self.skipped_to, text)
    }
}

/// What is wrong with a row of records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditFault {
    /// The hash of a record is not that of what it says.
    #[error("record {0} was altered: its hash is not that of what it says")]
    Altered(u64),
    /// Numbers are left out.
    #[error("records {from} to {to} are missing")]
    Missing {
        /// The first that is missing.
        from: u64,
        /// The last that is missing.
        to: u64,
    },
    /// A number comes that is not above the one before it.
    #[error("record {found} stands where {expected} belongs: records were moved or repeated")]
    Moved {
        /// What belongs there.
        expected: u64,
        /// What stands there.
        found: u64,
    },
    /// A record does not follow from the one before it.
    #[error("record {0} does not follow from the one before it: one of the two was replaced")]
    Unlinked(u64),
    /// The last record is another than it should be.
    #[error("record {index} should be the last and have the hash {expected}, but {found}")]
    Head {
        /// The number of the record that should be the last.
        index: u64,
        /// The hash that it should have.
        expected: AuditHash,
        /// What was found instead.
        found: String,
    },
}

/// Follows a row of records from the first to the last.
#[derive(Clone, Debug, Default)]
pub struct AuditVerifier {
    /// Every hash that was seen and may be pointed back to; before the first record none is known.
    links: Option<Links>,
    /// Records below this were not shown.
    first: u64,
    last: u64,
    hash: AuditHash,
}

impl AuditVerifier {
    /// The next record.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn add(&mut self, shown: &ShownRecord) -> Result<(), AuditFault> {
        let index = shown.record.index;
        if self.first == 0 {
            self.first = index.max(1);
        } else {
            let expected = self.last.saturating_add(1);
            if index > expected {
                let to = index.saturating_sub(1);
                return Err(AuditFault::Missing { from: expected, to });
            }
            if index < expected {
                return Err(AuditFault::Moved {
                    expected,
                    found: index,
                });
            }
        }
        if shown.computed() != shown.hash {
            return Err(AuditFault::Altered(index));
        }
        let follows = index != 0
            && (self.last == 0 || shown.previous == self.hash)
            && self.points_back(index, shown);
        if !follows {
            return Err(AuditFault::Unlinked(index));
        }
        (self.last, self.hash) = (index, shown.hash);
        Ok(())
    }

    /// Whether the earlier hash is the one that was shown, where it was shown.
    fn points_back(&mut self, index: u64, shown: &ShownRecord) -> bool {
        if self.last == 0 && index != 1 {
            // The row begins later: what lies before it is taken as it is said.
            return true;
        }
        if index == 1 {
            self.links = Some(Links::default());
        }
        let Some(links) = &mut self.links else {
            return true;
        };
        let right = links.before_next() == (shown.previous, shown.skipped_to);
        links.push(shown.hash);
        right
    }

    /// The numbers of the first and the last record; none = there were no records.
    #[must_use]
    pub fn span(&self) -> Option<(u64, u64)> {
        (self.last != 0).then_some((self.first, self.last))
    }

    /// The hash of the last record.
    #[must_use]
    pub fn head(&self) -> AuditHash {
        self.hash
    }

    /// The last record should have been this one.
    ///
    /// # Errors
    /// When it is another.
    pub fn ends_with(&self, index: Option<u64>, hash: AuditHash) -> Result<(), AuditFault> {
        let wanted = index.unwrap_or(self.last);
        if self.last == wanted && self.hash == hash {
            return Ok(());
        }
        let found = match self.last == wanted {
            true => format!("it has the hash {}", self.hash),
            false => format!("the last one is {}", self.last),
        };
        Err(AuditFault::Head {
            index: wanted,
            expected: hash,
            found,
        })
    }
}

/// One step of the way from a record to the last hash: a later record, without what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProofStep {
    /// The number of the later record.
    pub index: u64,
    /// What its text hashes to.
    pub text: AuditHash,
    /// The hash that it points back to beside the one that the way comes from.
    pub other: AuditHash,
    /// Whether the way comes from the earlier record that it points back to, and not from the one before it.
    pub skips: bool,
}

/// The numbers of the records between this one and the last, on the shortest way, the next first.
#[must_use]
pub fn way_up(index: u64, last: u64) -> Vec<(u64, bool)> {
    let mut way = Vec::new();
    let mut at = last;
    while at > index {
        let earlier = skip_of(at);
        let skips = earlier >= index && earlier != 0;
        way.push((at, skips));
        at = if skips { earlier } else { at - 1 };
    }
    way.reverse();
    way
}

/// The last hash that follows from a record and the way up from it.
#[must_use]
pub fn proven_head(shown: &ShownRecord, way: &[ProofStep]) -> AuditHash {
    way.iter()
        .fold(shown.computed(), |below, step| match step.skips {
            true => AuditHash::of_link(step.other, below, step.text),
            false => AuditHash::of_link(below, step.other, step.text),
        })
}
