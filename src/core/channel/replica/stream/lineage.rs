//! How two copies of a channel's stream are compared: which one goes on from which.
//!
//! **Why not by what is longer:** a home that stood still goes on stamping until it knows that it is none, and what it stamped
//! is nobody's. Epochs say what goes on from what, and up to where a copy is everybody's is for its keeper to know.

use super::Stream;
use crate::core::ids::Timetoken;

impl Stream {
    /// Whether this is what became of `earlier`, whose entries up to `known` are everybody's.
    #[must_use]
    pub fn goes_on_from(&self, earlier: &Self, known: u64) -> bool {
        if self.epoch != earlier.epoch {
            let cut = self.cuts.iter().find(|one| one.epoch == earlier.epoch);
            return cut.is_some_and(|one| one.entry >= known);
        }
        let same = || match (
            self.journal.stamp_of(known),
            earlier.journal.stamp_of(known),
        ) {
            (Some(here), Some(there)) => here == there,
            (Some(_) | None, None) | (None, Some(_)) => true,
        };
        self.entry >= known && same()
    }

    /// Whether it has everything that stands in the other: up to there the two are one, or this one goes on from it.
    #[must_use]
    pub fn begins_with(&self, other: &Self) -> bool {
        let (own, others) = (&self.journal, &other.journal);
        let last = others.stamp_of(other.entry);
        let same = last.is_some() && own.stamp_of(other.entry) == last;
        self.entry >= other.entry && (same || other.entry == 0)
    }

    /// Whether it is of the same epoch.
    #[must_use]
    pub fn is_of_the_epoch_of(&self, other: &Self) -> bool {
        self.epoch == other.epoch
    }

    /// Whether something was decided in it after everything in `earlier` up to `known`.
    #[must_use]
    pub fn is_later_than(&self, earlier: &Self, known: u64) -> bool {
        let (last, before) = (self.logged_at(self.entry), earlier.logged_at(known));
        let later = known < earlier.entry || self.timetoken > earlier.timetoken;
        last > before || last == before && later
    }

    /// When the last entry up to `known` was logged; 0 for none, and for one that is not kept any more.
    fn logged_at(&self, known: u64) -> Timetoken {
        let last = known.min(self.entry);
        let kept = self.journal.stamp_of(last);
        kept.unwrap_or(match last > 0 && last == self.entry {
            true => self.timetoken,
            false => 0,
        })
    }

    /// Whether it is of this epoch, or goes on from it.
    #[must_use]
    pub fn knows(&self, epoch: u64) -> bool {
        epoch == self.epoch || self.cuts.iter().any(|one| one.epoch == epoch)
    }
}
