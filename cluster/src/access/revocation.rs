//! What one revocation reaches, and how a second one of the same target joins it.
//!
//! **Why a margin never gives back:** a revocation with a renewal margin may follow one that already bites; overwriting
//! would let the old credentials work again until the margin ends.

use super::records::Revocation;
use super::{Issued, Limits, Millis, Revision};

impl Revocation {
    /// A revocation written now, joined with the one of the same target that stood before it.
    pub(super) fn joined(self, before: Option<&Self>, now_ms: Millis) -> Self {
        let Some(before) = before else { return self };
        let standing = match before.applies_ms <= now_ms {
            true => Some((before.issued_before_ms, before.revision)),
            false => before.standing,
        };
        let applies_ms = match before.applies_ms <= now_ms {
            true => self.applies_ms,
            // Two margins run: the earlier end holds for both.
            false => self.applies_ms.min(before.applies_ms),
        };
        Self {
            issued_before_ms: self.issued_before_ms.max(before.issued_before_ms),
            applies_ms,
            forget_ms: match (self.forget_ms, before.forget_ms) {
                (Some(a), Some(b)) => Some(a.max(b)),
                (None, _) | (_, None) => None,
            },
            revision: self.revision.max(before.revision),
            standing: standing.filter(|_| applies_ms > now_ms),
        }
    }

    /// What is void at `now`: (issued before, seen before).
    fn bites(&self, now_ms: Millis) -> Option<(Millis, Revision)> {
        match self.applies_ms <= now_ms {
            true => Some((self.issued_before_ms, self.revision)),
            false => self.standing,
        }
    }

    /// Whether a credential of the target is void at `now`.
    #[must_use]
    pub fn voids(&self, issued: Issued, now_ms: Millis) -> bool {
        self.bites(now_ms)
            .is_some_and(|before| reached(issued, before))
    }

    /// When a credential that still stands at `now` will be void, if it is reached at all.
    #[must_use]
    pub fn will_void(&self, issued: Issued, now_ms: Millis) -> Option<Millis> {
        let later = self.applies_ms > now_ms;
        (later && reached(issued, (self.issued_before_ms, self.revision)))
            .then_some(self.applies_ms)
    }

    /// Whether a stored grant written at that revision is void at `now`. Commands of one entry were
    /// proposed at the same time, so a grant of the same revision counts as made before.
    #[must_use]
    pub fn voids_grant(&self, written: Revision, now_ms: Millis) -> bool {
        self.bites(now_ms)
            .is_some_and(|(_, revision)| written <= revision)
    }
}

fn reached(issued: Issued, (issued_before_ms, revision): (Millis, Revision)) -> bool {
    match issued {
        Issued::At(issued_ms) => issued_ms < issued_before_ms,
        Issued::Seen(seen) => seen < revision,
    }
}

impl Issued {
    /// The latest time at which a credential of this issue can still be honoured.
    #[must_use]
    pub fn latest_end(self) -> Option<Millis> {
        match self {
            Self::At(issued_ms) => Some(issued_ms.saturating_add(Limits::CREDENTIAL_MS)),
            Self::Seen(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocation(issued_before_ms: Millis, applies_ms: Millis, revision: Revision) -> Revocation {
        Revocation {
            issued_before_ms,
            applies_ms,
            forget_ms: Some(applies_ms + 1000),
            revision,
            standing: None,
        }
    }

    #[test]
    fn a_margin_does_not_give_back_what_was_taken() {
        let first = revocation(100, 100, 1);
        let second = revocation(200, 230, 2).joined(Some(&first), 200);
        assert!(second.voids(Issued::At(99), 210) && second.voids(Issued::Seen(0), 210));
        assert!(!second.voids(Issued::At(150), 210) && second.voids(Issued::At(150), 230));
        assert_eq!(second.will_void(Issued::At(150), 210), Some(230));
        let third = revocation(220, 400, 3).joined(Some(&second), 220);
        assert!(third.voids(Issued::At(99), 221) && third.voids(Issued::At(210), 230));
    }

    #[test]
    fn an_earlier_issued_before_takes_nothing_back() {
        let first = revocation(100, 100, 1);
        let second = revocation(50, 200, 2).joined(Some(&first), 200);
        assert!(second.voids(Issued::At(99), 200) && !second.voids(Issued::At(100), 200));
    }
}
