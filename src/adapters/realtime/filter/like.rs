//! `like`: whether a text has the parts of a pattern in their order, in one walk over the text.
//!
//! **Why not a retry at every place, nor regular expressions:** both cost the text times the pattern, and strangers
//! write both. Here what was found is never looked at again: a part between two `%` is best taken where it first ends.

use std::cell::Cell;

/// Longest part between two `%` that has a `_`, characters: one bit of a word for each.
const LOOSE: usize = 64;

/// How many bytes of text may still be looked at.
#[derive(Debug)]
pub(super) struct Meter(Cell<Option<usize>>);

impl Meter {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Cell::new(Some(bytes)))
    }

    /// Whether there was no more than that to look at.
    pub(super) fn sufficed(&self) -> bool {
        self.0.get().is_some()
    }

    /// Takes so many; whether they were there.
    pub(super) fn spend(&self, bytes: usize) -> bool {
        let left = self.0.get().and_then(|left| left.checked_sub(bytes));
        self.0.set(left);
        left.is_some()
    }
}

/// A pattern: `%` stands for any text, `_` for one character.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Pattern {
    /// What the text begins with.
    head: String,
    /// What follows in this order, anywhere.
    middle: Vec<Part>,
    /// What it ends with; none where no `%` is, and the head is all of it.
    tail: Option<String>,
}

/// What stands between two `%`.
#[derive(Clone, Debug, PartialEq)]
enum Part {
    Plain(String),
    Loose {
        /// The places of each character, sorted by character.
        places: Vec<(char, u64)>,
        /// The places of the `_`s.
        any: u64,
        /// The last place.
        last: u64,
    },
}

impl Pattern {
    /// Reads a pattern; none where a part with a `_` is too long to be looked for.
    pub(super) fn new(text: &str) -> Option<Self> {
        let mut parts = text.split('%');
        let head = parts.next().unwrap_or_default().to_owned();
        let tail = parts.next_back().map(str::to_owned);
        let middle = parts.filter(|part| !part.is_empty()).map(Part::new);
        Some(Self {
            head,
            middle: middle.collect::<Option<_>>()?,
            tail,
        })
    }

    /// Whether a text is like it.
    pub(super) fn fits(&self, text: &str, meter: &Meter) -> bool {
        let Some(mut rest) = begun(text, &self.head, meter) else {
            return false;
        };
        for part in &self.middle {
            match part.behind(rest, meter) {
                Some(behind) => rest = behind,
                None => return false,
            }
        }
        match &self.tail {
            None => rest.is_empty(),
            Some(tail) => ends(rest, tail, meter),
        }
    }
}

fn alike(wanted: char, char: char) -> bool {
    wanted == '_' || wanted == char
}

/// What follows the head.
fn begun<'t>(text: &'t str, head: &str, meter: &Meter) -> Option<&'t str> {
    let mut chars = text.chars();
    let alike = head
        .chars()
        .all(|wanted| chars.next().is_some_and(|char| alike(wanted, char)));
    (meter.spend(head.len()) && alike).then_some(chars.as_str())
}

fn ends(text: &str, tail: &str, meter: &Meter) -> bool {
    let mut chars = text.chars().rev();
    let mut wanted = tail.chars().rev();
    let alike = wanted.all(|wanted| chars.next().is_some_and(|char| alike(wanted, char)));
    meter.spend(tail.len()) && alike
}

impl Part {
    fn new(text: &str) -> Option<Self> {
        if !text.contains('_') {
            return Some(Self::Plain(text.to_owned()));
        }
        let (mut places, mut any, mut place) = (Vec::<(char, u64)>::new(), 0, 1_u64);
        let mut last = place;
        for (at, char) in text.chars().enumerate() {
            if at == LOOSE {
                return None;
            }
            match places.binary_search_by_key(&char, |(one, _)| *one) {
                _ if char == '_' => any |= place,
                Ok(found) => {
                    if let Some((_, of)) = places.get_mut(found) {
                        *of |= place;
                    }
                }
                Err(at) => places.insert(at, (char, place)),
            }
            last = place;
            place = place.wrapping_shl(1);
        }
        Some(Self::Loose { places, any, last })
    }

    /// What follows where it first ends.
    fn behind<'t>(&self, text: &'t str, meter: &Meter) -> Option<&'t str> {
        let behind = match self {
            Self::Plain(part) => text.find(&**part).map(|at| at + part.len()),
            Self::Loose { places, any, last } => {
                // A bit for every place up to which the text just read is like the part.
                let mut alike = 0_u64;
                let end = text.char_indices().find(|(_, char)| {
                    let here = places.binary_search_by_key(char, |(one, _)| *one);
                    let here = here.ok().and_then(|at| places.get(at));
                    alike = (alike << 1 | 1) & (any | here.map_or(0, |(_, of)| *of));
                    alike & last != 0
                });
                end.map(|(at, char)| at + char.len_utf8())
            }
        };
        match meter.spend(behind.unwrap_or(text.len())) {
            true => text.get(behind?..),
            false => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const PLENTY: usize = 1 << 20;

    fn fits(text: &str, pattern: &str) -> bool {
        let meter = Meter::new(PLENTY);
        Pattern::new(pattern).unwrap().fits(text, &meter)
    }

    /// The same by definition, for short texts.
    fn defined(text: &[char], pattern: &[char]) -> bool {
        match (text, pattern) {
            ([], []) => true,
            (text, ['%', behind @ ..]) => {
                (0..=text.len()).any(|at| defined(text.get(at..).unwrap_or_default(), behind))
            }
            ([char, text @ ..], [wanted, pattern @ ..]) => {
                alike(*wanted, *char) && defined(text, pattern)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_text_is_like_a_pattern_as_defined(text in "[abé]{0,12}", pattern in "[abé_%]{0,10}") {
            let (chars, wanted): (Vec<_>, Vec<_>) = (text.chars().collect(), pattern.chars().collect());
            prop_assert_eq!(fits(&text, &pattern), defined(&chars, &wanted));
        }
    }

    #[test]
    fn every_byte_of_a_text_is_looked_at_once() {
        let text = "a".repeat(60_000);
        let (plain, loose) = ("a".repeat(950), format!("{}_a", "a".repeat(62)));
        for pattern in [
            format!("%{plain}b"),
            format!("%{plain}b%"),
            format!("%{loose}b"),
            format!("%{}b%", "_".repeat(63)),
            "%a".repeat(500),
            "%a_a".repeat(250),
            format!("{}b%", "%a%_".repeat(200)),
        ] {
            let meter = Meter::new(PLENTY);
            let _ = Pattern::new(&pattern).unwrap().fits(&text, &meter);
            let spent = PLENTY - meter.0.get().unwrap();
            // Its ends are compared beside that.
            assert!(spent <= text.len() + pattern.len(), "{pattern}: {spent}");
        }
    }

    #[test]
    fn what_is_not_there_to_spend_is_not_looked_at() {
        let meter = Meter::new(5);
        assert!(!Pattern::new("%b%").unwrap().fits("aaaaab", &meter));
        assert!(!meter.sufficed());
    }

    #[test]
    fn a_part_that_is_looked_for_loosely_has_a_bound() {
        assert!(Pattern::new(&format!("%{}a%", "_".repeat(63))).is_some());
        assert!(Pattern::new(&format!("%{}a%", "_".repeat(64))).is_none());
        // The ends are not looked for.
        let ends = format!("{0}%a%{0}", "_".repeat(100));
        assert!(fits(&"a".repeat(201), &ends) && !fits(&"a".repeat(200), &ends));
    }
}
