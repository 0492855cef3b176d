//! The chain itself: what the hash of a record covers, and which earlier hash it points back to.
//!
//! A record's hash covers its text, the hash of the record before it, and that of an earlier one: of the record whose
//! number is this one's without its lowest bit that is set. So the last hash stands for all records, and from it a way of
//! few steps leads to any of them (the square of the number's bits, at most).
//!
//! **Why not a plain chain:** to prove one record of a million would take a million hashes. **Why not a tree beside it:**
//! then there were two figures to keep elsewhere, and two ways to be wrong.

use sha2::{Digest as _, Sha256};

/// What is hashed before everything else, so that no other hash of ours can pass for one of these.
const LINK: &[u8] = b"gatecast audit link 1";

/// A hash of the chain: SHA-256.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditHash(pub [u8; 32]);

impl std::fmt::Debug for AuditHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for AuditHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl AuditHash {
    /// What stands before the first record.
    pub const NONE: Self = Self([0; 32]);

    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let digits: Vec<u32> = text
            .chars()
            .map(|letter| letter.to_digit(16))
            .collect::<Option<_>>()?;
        let (pairs, []) = digits.as_chunks::<2>() else {
            return None;
        };
        let bytes: Vec<u8> = pairs
            .iter()
            .filter_map(|[high, low]| u8::try_from(high * 16 + low).ok())
            .collect();
        <[u8; 32]>::try_from(bytes).ok().map(Self)
    }

    /// Of the text of a record.
    #[must_use]
    pub fn of_text(text: &[u8]) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// Of a record: what its text hashes to, and the two hashes that it points back to.
    #[must_use]
    pub fn of_link(previous: Self, skipped_to: Self, text: Self) -> Self {
        let mut hash = Sha256::new();
        hash.update(LINK);
        hash.update(previous.0);
        hash.update(skipped_to.0);
        hash.update(text.0);
        Self(hash.finalize().into())
    }
}

/// Which earlier record this one points back to beside the one before it; 0 = none, and that hash is all zeros.
#[must_use]
pub fn skip_of(index: u64) -> u64 {
    index & index.wrapping_sub(1)
}

/// The hashes that the next record may point back to: one for each bit that is set in the last record's number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Links(Vec<(u64, AuditHash)>);

impl Links {
    /// Reads them as they were written.
    pub(super) fn from_pairs(pairs: Vec<(u64, [u8; 32])>) -> Option<Self> {
        let links = Self(
            pairs
                .into_iter()
                .map(|(index, hash)| (index, AuditHash(hash)))
                .collect(),
        );
        let mut expected = links.last_index();
        for (index, _) in links.0.iter().rev() {
            if *index != expected || expected == 0 {
                return None;
            }
            expected = skip_of(expected);
        }
        (expected == 0).then_some(links)
    }

    /// In order of their numbers.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (u64, [u8; 32])> {
        self.0.iter().map(|(index, hash)| (*index, hash.0))
    }

    /// The number of the last record; 0 = there was none.
    #[must_use]
    pub(crate) fn last_index(&self) -> u64 {
        self.0.last().map_or(0, |(index, _)| *index)
    }

    /// The hash of the last record.
    #[must_use]
    pub(crate) fn last(&self) -> AuditHash {
        self.0.last().map_or(AuditHash::NONE, |(_, hash)| *hash)
    }

    /// The hash of this record, if it is one of them.
    #[must_use]
    pub(crate) fn get(&self, index: u64) -> Option<AuditHash> {
        if index == 0 {
            return Some(AuditHash::NONE);
        }
        let found = self.0.iter().find(|(at, _)| *at == index);
        found.map(|(_, hash)| *hash)
    }

    /// What the next record points back to: the hash before it, and the earlier one.
    #[must_use]
    pub(crate) fn before_next(&self) -> (AuditHash, AuditHash) {
        let earlier = skip_of(self.last_index().saturating_add(1));
        (self.last(), self.get(earlier).unwrap_or_default())
    }

    /// The next record has this hash.
    pub(crate) fn push(&mut self, hash: AuditHash) {
        let index = self.last_index().saturating_add(1);
        let earlier = skip_of(index);
        self.0.retain(|(at, _)| *at <= earlier);
        self.0.push((index, hash));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hash(index: u64) -> AuditHash {
        AuditHash::of_text(&index.to_be_bytes())
    }

    #[test]
    fn the_hash_that_a_record_points_back_to_is_always_kept() {
        let mut links = Links::default();
        assert_eq!(links.before_next(), (AuditHash::NONE, AuditHash::NONE));
        for index in 1..5_000u64 {
            let (previous, earlier) = links.before_next();
            let expected = |at| match at {
                0 => AuditHash::NONE,
                at => hash(at),
            };
            assert_eq!(previous, expected(index - 1), "{index}");
            assert_eq!(earlier, expected(skip_of(index)), "{index}");
            links.push(hash(index));
            assert_eq!(links.0.len(), index.count_ones() as usize);
            assert_eq!(
                Links::from_pairs(links.pairs().collect()),
                Some(links.clone())
            );
        }
    }

    #[test]
    fn links_that_are_not_a_numbers_bits_are_none() {
        let of = |indexes: &[u64]| {
            Links::from_pairs(indexes.iter().map(|at| (*at, [1; 32])).collect()).is_some()
        };
        assert!(of(&[]) && of(&[1]) && of(&[4, 6, 7]));
        assert!(!of(&[0]) && !of(&[4, 7]) && !of(&[6]) && !of(&[6, 4]) && !of(&[4, 4]));
    }

    #[test]
    fn a_hash_is_read_as_it_is_shown() {
        let some = hash(7);
        assert_eq!(AuditHash::read(&some.to_string()), Some(some));
        let long = format!("{some}00");
        let odd = some.to_string().replace(|c: char| c.is_ascii_digit(), "g");
        for bad in ["", "00", long.as_str(), odd.as_str()] {
            assert_eq!(AuditHash::read(bad), None, "{bad}");
        }
    }
}
