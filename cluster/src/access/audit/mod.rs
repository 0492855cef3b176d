//! The audit: who changed what, as a chain of records inside the replicated state, the same on every node.
//!
//! In reading order: `record` (one record and its text), `chain` (what a hash covers), `words` and `draft` (what a
//! command is called and names),
//! `verify` (what an auditor does with a row of records).
//!
//! **Must never know:** a secret or the text of a token: what somebody could use is named by its fingerprint.
//! **Why inside the state:** a file beside it would be each node's own word. Here a node whose records differ has come
//! apart from the others, as it would by a grant that differs, and a snapshot carries them to whoever joins.
//! **Why bounded:** every record is in memory and in every snapshot. What is dropped leaves the hashes that the next
//! records point back to, so that what is kept can still be followed to the last hash.

mod chain;
mod draft;
mod record;
mod verify;
mod words;

pub(super) use chain::Links;
pub use chain::{AuditHash, skip_of};
pub(super) use draft::Draft;
pub use record::AuditRecord;
pub use verify::{AuditFault, AuditVerifier, ProofStep, ShownRecord, proven_head, way_up};
pub(super) use words::draft;

use super::{Millis, Rejection};
use imbl::Vector;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Records that one change drops at most.
const DROPPED_BY_CHANGE: usize = 4;
/// Records that one tick drops at most.
const DROPPED_BY_TICK: usize = 1024;
/// What a record weighs in memory beside its text.
const RECORD_BYTES: u64 = 128;

/// How much of the audit is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRetention {
    /// Records at most.
    pub records: u64,
    /// Bytes at most, all records together.
    pub bytes: u64,
    /// Nothing older than this; none = however old.
    pub age_ms: Option<Millis>,
}

impl AuditRetention {
    /// Records that may be asked for.
    pub const MAX_RECORDS: u64 = 1_000_000;
    /// Bytes that may be asked for: they are in the memory of every node and in every snapshot.
    pub const MAX_BYTES: u64 = 256 << 20;

    /// What nobody has to set.
    pub const DEFAULT: Self = Self {
        records: 10_000,
        bytes: 8 << 20,
        age_ms: None,
    };

    /// Whether it is within bounds.
    pub(super) fn check(self) -> Result<(), Rejection> {
        let invalid = |why: &str| Err(Rejection::Invalid(why.into()));
        if !(1..=Self::MAX_RECORDS).contains(&self.records) {
            return invalid("the audit keeps from 1 to 1000000 records");
        }
        if !(1..=Self::MAX_BYTES).contains(&self.bytes) {
            return invalid("the audit keeps from 1 byte to 256 MiB");
        }
        match self.age_ms {
            Some(0) => invalid("the audit keeps records for more than no time"),
            Some(_) | None => Ok(()),
        }
    }
}

impl Default for AuditRetention {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A record that is kept.
#[derive(Debug)]
struct Kept {
    hash: AuditHash,
    time_ms: Millis,
    text: Box<[u8]>,
}

impl Kept {
    fn bytes(&self) -> u64 {
        RECORD_BYTES + self.text.len() as u64
    }
}

/// The records that are kept, and the chain that they end.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// How much is kept.
    retention: AuditRetention,
    /// What the next record points back to.
    head: Arc<Links>,
    /// What the first record that is kept points back to.
    anchor: Arc<Links>,
    kept: Vector<Arc<Kept>>,
    bytes: u64,
}

/// The part of it that is written once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AuditHead {
    retention: AuditRetention,
    head: Vec<(u64, [u8; 32])>,
    anchor: Vec<(u64, [u8; 32])>,
}

impl Audit {
    /// How much is kept.
    #[must_use]
    pub fn retention(&self) -> AuditRetention {
        self.retention
    }

    /// The number of the last record; 0 = there is none.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.head.last_index()
    }

    /// The number of the first record that is kept; one more than the last if none is.
    #[must_use]
    pub fn first_index(&self) -> u64 {
        self.anchor.last_index().saturating_add(1)
    }

    /// The hash of the last record, which stands for all.
    #[must_use]
    pub fn head(&self) -> AuditHash {
        self.head.last()
    }

    /// The hash of a record that is kept, or that what is kept points back to.
    #[must_use]
    pub fn hash_at(&self, index: u64) -> Option<AuditHash> {
        match self.kept_at(index) {
            Some(kept) => Some(kept.hash),
            None => self.anchor.get(index),
        }
    }

    /// How many records are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether no record is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// What the records that are kept take up.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A record that is kept.
    #[must_use]
    pub fn get(&self, index: u64) -> Option<ShownRecord> {
        let kept = self.kept_at(index)?;
        Some(ShownRecord {
            record: AuditRecord::read(&kept.text)?,
            previous: self.hash_at(index.checked_sub(1)?)?,
            skipped_to: self.hash_at(skip_of(index))?,
            hash: kept.hash,
        })
    }

    /// The way from a record to the last hash; none = it is not kept.
    #[must_use]
    pub fn proof(&self, index: u64) -> Option<(ShownRecord, Vec<ProofStep>)> {
        let shown = self.get(index)?;
        let step = |(at, skips): (u64, bool)| {
            let other = if skips {
                at.checked_sub(1)?
            } else {
                skip_of(at)
            };
            Some(ProofStep {
                index: at,
                text: AuditHash::of_text(&self.kept_at(at)?.text),
                other: self.hash_at(other)?,
                skips,
            })
        };
        let way: Option<Vec<_>> = way_up(index, self.last_index())
            .into_iter()
            .map(step)
            .collect();
        Some((shown, way?))
    }

    /// When the oldest record is to be dropped for its age.
    pub(super) fn next_end(&self) -> Option<Millis> {
        let oldest = self.kept.front()?;
        Some(oldest.time_ms.saturating_add(self.retention.age_ms?))
    }

    /// Puts a record at the end, and drops a few that are too many.
    pub(super) fn append(&mut self, mut record: AuditRecord) {
        record.index = self.last_index().saturating_add(1);
        let now_ms = record.time_ms;
        self.put(now_ms, record.text().into());
        self.drop_old(now_ms, DROPPED_BY_CHANGE);
    }

    /// How much is kept from here on; what is too much goes a few records at a time.
    pub(super) fn keep(&mut self, retention: AuditRetention) {
        self.retention = retention;
    }

    /// Time has gone on.
    pub(super) fn tick(&mut self, now_ms: Millis) {
        self.drop_old(now_ms, DROPPED_BY_TICK);
    }

    fn kept_at(&self, index: u64) -> Option<&Arc<Kept>> {
        let at = index.checked_sub(self.first_index())?;
        self.kept.get(usize::try_from(at).ok()?)
    }

    fn put(&mut self, time_ms: Millis, text: Box<[u8]>) {
        let (previous, earlier) = self.head.before_next();
        let hash = AuditHash::of_link(previous, earlier, AuditHash::of_text(&text));
        Arc::make_mut(&mut self.head).push(hash);
        let kept = Kept {
            hash,
            time_ms,
            text,
        };
        self.bytes = self.bytes.saturating_add(kept.bytes());
        self.kept.push_back(Arc::new(kept));
    }

    fn drop_old(&mut self, now_ms: Millis, most: usize) {
        for _ in 0..most {
            let too_many = self.kept.len() as u64 > self.retention.records
                || (self.bytes > self.retention.bytes && self.kept.len() > 1);
            let too_old = self.next_end().is_some_and(|end| end <= now_ms);
            if !too_many && !too_old {
                return;
            }
            let Some(oldest) = self.kept.pop_front() else {
                return;
            };
            self.bytes = self.bytes.saturating_sub(oldest.bytes());
            Arc::make_mut(&mut self.anchor).push(oldest.hash);
        }
    }
}

/// As a snapshot has it: hashes of records are not written, they follow from what is.
impl Audit {
    /// What is written once; none = nothing was ever recorded or set.
    pub(super) fn written(&self) -> Option<AuditHead> {
        let untouched = self.last_index() == 0 && self.retention == AuditRetention::DEFAULT;
        (!untouched).then(|| AuditHead {
            retention: self.retention,
            head: self.head.pairs().collect(),
            anchor: self.anchor.pairs().collect(),
        })
    }

    /// The texts of the records that are kept.
    pub(super) fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.kept.iter().map(|kept| &*kept.text)
    }

    /// Begins with what was written once; none = it is damaged.
    pub(super) fn opened(written: AuditHead) -> Option<(Self, Links)> {
        let anchor = Arc::new(Links::from_pairs(written.anchor)?);
        let audit = Self {
            retention: written.retention,
            head: Arc::clone(&anchor),
            anchor,
            ..Self::default()
        };
        Some((audit, Links::from_pairs(written.head)?))
    }

    /// Takes the next record back in; false = it is no record, or not this one.
    pub(super) fn reopen(&mut self, text: Vec<u8>) -> bool {
        let Some(record) = AuditRecord::read(&text) else {
            return false;
        };
        if record.index != self.last_index().saturating_add(1) {
            return false;
        }
        self.put(record.time_ms, text.into());
        true
    }

    /// Whether the chain that was taken back in ends as it was written.
    pub(super) fn ends_as(&self, written: &Links) -> bool {
        *self.head == *written
    }
}
