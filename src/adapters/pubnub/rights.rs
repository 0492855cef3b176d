//! PubNub's flags and masks, and what they are in the access plane's words.
//!
//! **Why read is four operations:** PubNub's one flag opens receiving, being counted, seeing who is there and the past.

use crate::core::authority::{Operations, Pattern, PatternError, PatternText, Resource};

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

/// What one expression may cost at worst, bytes: its program, and what searching keeps beside it.
pub(super) const EXPRESSION_BYTES: usize = 2 * PatternText::SMALL_BYTES;

/// A token's expression, compiled when a name is first asked about; none = it can never be. Groups are written with a
/// leading `:` there and without one here.
pub(super) fn expression(resource: Resource, text: &str) -> Option<Pattern> {
    let text = match resource {
        Resource::Group => match text.strip_prefix("^:") {
            Some(rest) => format!("^{rest}"),
            None => text.strip_prefix(':').unwrap_or(text).to_owned(),
        },
        Resource::Channel | Resource::User => text.to_owned(),
    };
    PatternText::small(&ascii(&text)).map(Pattern::Regex)
}

/// Whether an expression can be used.
///
/// # Errors
/// Why not.
pub(super) fn check(text: &str) -> Result<(), PatternError> {
    let too_long = PatternError::Length;
    match expression(Resource::Channel, text).ok_or(too_long)? {
        Pattern::Regex(expression) => expression.check(),
        Pattern::All
        | Pattern::Exact(_)
        | Pattern::Prefix(_)
        | Pattern::Segments(_)
        | Pattern::Levels(_)
        | Pattern::Except(_) => Ok(()),
    }
}

/// The expression as RE2 reads it, in this library's words: `\w`, `\d`, `\s` and `\b` are of ASCII there, and in a class
/// brackets and doubled signs mean themselves. Else `^user-\w+$` would open what nobody was given.
fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    // Inside a class, and whether anything has been in it: a bracket that comes first is one of its letters.
    let mut class: Option<bool> = None;
    while let Some(letter) = letters.next() {
        if letter == '\\' {
            let escaped = letters.next().unwrap_or('\\');
            escape(escaped, class.is_some(), &mut out);
            class = class.map(|_| true);
            continue;
        }
        match (class, letter) {
            (None, '[') => {
                out.push('[');
                if letters.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                class = Some(false);
                continue;
            }
            (Some(true), ']') => {
                out.push(']');
                class = None;
                continue;
            }
            (Some(_), '[') if letters.peek() == Some(&':') => {
                // A named class, up to its end.
                out.push('[');
                for inner in letters.by_ref() {
                    out.push(inner);
                    if inner == ']' {
                        break;
                    }
                }
            }
            (Some(_), '[' | ']' | '&' | '~') => {
                out.push('\\');
                out.push(letter);
            }
            _ => out.push(letter),
        }
        class = class.map(|_| true);
    }
    out
}

fn escape(letter: char, in_class: bool, out: &mut String) {
    let members = match letter.to_ascii_lowercase() {
        'w' => "0-9A-Za-z_",
        'd' => "0-9",
        's' => r"\t\n\f\r\x20",
        'b' if letter == 'b' && !in_class => return out.push_str(r"(?-u:\b)"),
        _other => {
            out.push('\\');
            return out.push(letter);
        }
    };
    match (in_class, letter.is_ascii_uppercase()) {
        (true, false) => out.push_str(members),
        (_, true) => out.extend(["[^", members, "]"]),
        (false, false) => out.extend(["[", members, "]"]),
    }
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

    fn finds(resource: Resource, text: &str, name: &str) -> bool {
        expression(resource, text).unwrap().matches(name)
    }

    #[test]
    fn expressions_search_and_groups_lose_their_colon() {
        let group = r"^:channel_group-\S*$";
        assert!(finds(Resource::Group, group, "channel_group-1"));
        assert!(!finds(Resource::Group, group, "x"));
        assert!(finds(Resource::Channel, "room-", "my-room-1"));
        assert!(finds(Resource::Channel, "/", "a/b"));
        assert!(check("!<[^>]+>++(").is_err() && check(&"x".repeat(2_000)).is_err());
        assert!(check(r"^user-\w{1,64}$").is_ok());
    }

    #[test]
    fn an_expression_of_a_token_is_smaller_than_a_stored_one() {
        let text = format!("^[ab]{{{}}}$", 3_000);
        assert!(
            PatternText::new(&text).is_ok(),
            "one that is stored may be that large"
        );
        assert!(check(&text).is_err());
        assert!(!finds(Resource::Channel, &text, &"a".repeat(3_000)));
    }

    #[test]
    fn classes_are_those_of_re2() {
        for (text, yes, no) in [
            (r"^user-\w+$", "user-e_1", "user-é"),
            (r"^user-\w+$", "user-Z", "user-ю"),
            (r"^n\d$", "n3", "n٣"),
            (r"^[\w-]+$", "a-b", "a-é"),
            (r"^[^\d]$", "x", "3"),
            (r"^[^\w]$", "é", "x"),
            (r"^[\D]$", "٣", "3"),
            (r"^\W$", "é", "a"),
            (r"^a\sb$", "a b", "a\u{a0}b"),
            (r"^\S$", "\u{a0}", " "),
            (r"\\d", r"\d", "3"),
            (r"^[]a]$", "]", "b"),
            (r"^[^]a]$", "b", "]"),
            (r"^[[a]$", "[", "b"),
            (r"^[a&&b]$", "&", "c"),
            (r"^[[:alpha:]_]$", "_", ":"),
            (r"^\pL$", "é", "1"),
            (r"^x\.y$", "x.y", "xzy"),
            (r"a\b", "aé", "ab"),
        ] {
            assert!(finds(Resource::Channel, text, yes), "{text} {yes}");
            assert!(!finds(Resource::Channel, text, no), "{text} {no}");
        }
    }
}
