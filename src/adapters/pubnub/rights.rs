//! PubNub's flags and masks, and what they are in the access plane's words.
//!
//! **Must never know:** whose rights they are.
//! **Why read is four operations:** PubNub's one flag opens receiving, being counted, seeing who is there and the past.

use crate::core::authority::{Operations, Pattern, PatternError, Resource};

/// What reading is.
pub(super) const READ: Operations = Operations::SUBSCRIBE
    .or(Operations::PRESENCE)
    .or(Operations::PRESENCE_READ)
    .or(Operations::HISTORY);

/// A flag: its letter, its bit in a token, what it opens, and what of that is looked at to show it.
struct Flag(char, u64, Operations, Operations);

const FLAGS: [Flag; 8] = [
    Flag('r', 1, READ, Operations::SUBSCRIBE),
    Flag('w', 2, Operations::PUBLISH, Operations::PUBLISH),
    Flag('m', 4, Operations::MANAGE, Operations::MANAGE),
    Flag('d', 8, Operations::DELETE, Operations::DELETE),
    Flag('c', 16, Operations::CREATE, Operations::CREATE),
    Flag('g', 32, Operations::GET, Operations::GET),
    Flag('u', 64, Operations::UPDATE, Operations::UPDATE),
    Flag('j', 128, Operations::JOIN, Operations::JOIN),
];

/// The letters of a v2 grant, in the order it shows them.
pub(super) const LETTERS: [&str; 7] = ["r", "w", "m", "d", "g", "u", "j"];

/// What a v2 grant with these letters opens.
pub(super) fn of_letters(given: impl Fn(&str) -> bool) -> Operations {
    let set = LETTERS.into_iter().filter(|letter| given(letter));
    set.fold(Operations::NONE, |all, letter| all | of_letter(letter))
}

fn of_letter(letter: &str) -> Operations {
    let flag = FLAGS.iter().find(|flag| letter.chars().eq([flag.0]));
    flag.map_or(Operations::NONE, |flag| flag.2)
}

/// Whether these operations show as that letter.
pub(super) fn shows(operations: Operations, letter: &str) -> bool {
    let flag = FLAGS.iter().find(|flag| letter.chars().eq([flag.0]));
    flag.is_some_and(|flag| operations.contains(flag.3))
}

/// What a token's mask opens.
pub(super) fn of_mask(mask: u64) -> Operations {
    let set = FLAGS.iter().filter(|flag| mask & flag.1 != 0);
    set.fold(Operations::NONE, |all, flag| all | flag.2)
}

/// The names a v2 grant means: `a.*` is everything below `a.` at any depth, anything else is itself.
pub(super) fn pattern(name: &str) -> Pattern {
    match name.strip_suffix('*') {
        Some(level)
            if level.len() > 1 && level.ends_with('.') && level.matches('.').count() == 1 =>
        {
            Pattern::Levels(level.into())
        }
        Some(_) | None => Pattern::Exact(name.into()),
    }
}

/// A pattern as PubNub writes it, where it can.
pub(super) fn pattern_name(pattern: &Pattern) -> Option<String> {
    match pattern {
        Pattern::Exact(name) => Some(name.to_string()),
        Pattern::Levels(level) => Some(format!("{level}*")),
        Pattern::All
        | Pattern::Prefix(_)
        | Pattern::Segments(_)
        | Pattern::Regex(_)
        | Pattern::Except(_) => None,
    }
}

/// A token's expression. Groups are written with a leading `:` there and without one here.
pub(super) fn expression(resource: Resource, text: &str) -> Result<Pattern, PatternError> {
    let text = match resource {
        Resource::Group => match text.strip_prefix("^:") {
            Some(rest) => format!("^{rest}"),
            None => text.strip_prefix(':').unwrap_or(text).to_owned(),
        },
        Resource::Channel | Resource::User => text.to_owned(),
    };
    // Kept from being read as `/text/`, which would lose its slashes.
    Pattern::of_kind("regex", &format!("/{text}/"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn letters_and_masks_agree() {
        let read_write = of_letters(|letter| "rw".contains(letter));
        assert_eq!(read_write, of_mask(3));
        assert_eq!(read_write, READ | Operations::PUBLISH);
        let shown: String = LETTERS
            .into_iter()
            .filter(|one| shows(of_mask(239), one))
            .collect();
        assert_eq!(shown, "rwmdguj");
        assert!(!shows(Operations::HISTORY, "r"));
        assert_eq!(of_mask(0), Operations::NONE);
    }

    #[test]
    fn one_wildcard_level_is_a_wildcard_and_more_are_a_name() {
        assert_eq!(pattern("a.*"), Pattern::Levels("a.".into()));
        for literal in ["a.b.*", "*", ".*", "a*", "a.*.b", "a"] {
            assert_eq!(pattern(literal), Pattern::Exact(literal.into()));
        }
        assert_eq!(pattern_name(&pattern("a.*")).unwrap(), "a.*");
    }

    #[test]
    fn expressions_search_and_groups_lose_their_colon() {
        let group = expression(Resource::Group, r"^:channel_group-\S*$").unwrap();
        assert!(group.matches("channel_group-1") && !group.matches("x"));
        assert!(
            expression(Resource::Channel, "room-")
                .unwrap()
                .matches("my-room-1")
        );
        assert!(expression(Resource::Channel, "/").unwrap().matches("a/b"));
        assert!(expression(Resource::Channel, "!<[^>]+>++(").is_err());
    }
}
