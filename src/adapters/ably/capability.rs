//! Capabilities as the protocol writes them: JSON of resources and operations; their intersection and canonical form.
//!
//! What is enforced is the core's [`Capability`] made here.
//! **Why intersect the texts and not the core's rights:** a token says back what it may do in the protocol's own words.
//! Some of them (push, annotations) the core keeps as bits that nothing asks for.

use super::codes::Fault;
use crate::core::authority::{Capability, Operations, Pattern, Resource, Right};
use std::collections::{BTreeMap, BTreeSet};

/// Most bytes of a capability text.
pub(super) const MAX_BYTES: usize = 16 << 10;

/// Every operation there is, with what it means to the core.
const OPERATIONS: [(&str, Operations); 19] = [
    ("annotation-publish", Operations::ANNOTATION_PUBLISH),
    ("annotation-subscribe", Operations::ANNOTATION_SUBSCRIBE),
    ("channel-metadata", Operations::METADATA),
    ("history", Operations::HISTORY),
    ("message-delete-any", Operations::MESSAGE_DELETE_ANY),
    ("message-delete-own", Operations::MESSAGE_DELETE_OWN),
    ("message-update-any", Operations::MESSAGE_UPDATE_ANY),
    ("message-update-own", Operations::MESSAGE_UPDATE_OWN),
    ("object-publish", Operations::OBJECT_PUBLISH),
    ("object-subscribe", Operations::OBJECT_SUBSCRIBE),
    (
        "presence",
        Operations::PRESENCE.or(Operations::PRESENCE_READ),
    ),
    ("privileged-headers", Operations::PRIVILEGED_HEADERS),
    ("publish", Operations::PUBLISH),
    ("push-admin", Operations::PUSH_ADMIN),
    ("push-subscribe", Operations::PUSH_SUBSCRIBE),
    ("stats", Operations::STATS),
    (
        "subscribe",
        Operations::SUBSCRIBE.or(Operations::PRESENCE_READ),
    ),
    ("*", Operations::CLIENT),
    // Not to be asked for: keys made elsewhere may have it alone.
    ("presence-read", Operations::PRESENCE_READ),
];
const ALL: &str = "*";
const EVERYTHING: &str = "[*]*";

type Names = BTreeSet<&'static str>;

/// A capability in the protocol's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted(BTreeMap<String, Names>);

impl Wanted {
    /// Reads a capability.
    ///
    /// # Errors
    /// 40000 for anything but resources with lists of known operations, `*` standing alone.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let bad = |what: &str| Fault::bad(format!("invalid capability: {what}"));
        if text.len() > MAX_BYTES {
            return Err(bad("too long"));
        }
        let lines: BTreeMap<String, Vec<String>> = serde_json::from_str(text)
            .map_err(|_| bad("not an object of resources with lists of operations"))?;
        if lines.is_empty() {
            return Err(bad("empty"));
        }
        let mut wanted = BTreeMap::new();
        for (resource, operations) in lines {
            if resource.is_empty() {
                return Err(bad("a resource is empty"));
            }
            let mut names = Names::new();
            for operation in &operations {
                let known = OPERATIONS.iter().find(|(name, _)| name == operation);
                let (name, _) = known.ok_or_else(|| bad(&unknown(operation)))?;
                names.insert(*name);
            }
            if names.is_empty() {
                return Err(bad("a resource has no operations"));
            }
            if names.contains(ALL) && operations.len() > 1 {
                return Err(bad("`*` stands alone"));
            }
            wanted.insert(resource, names);
        }
        Ok(Self(wanted))
    }

    /// What a key may do, as far as it can be said in these words.
    pub(super) fn of_key(key: &Capability) -> Self {
        let mut lines = BTreeMap::new();
        for (pattern, names) in lines_of(key) {
            if let Some(resource) = resource_of(pattern) {
                add(&mut lines, resource, &names);
            }
        }
        Self(lines)
    }

    /// The part of it that lies within a key's capability: for each pair of resources the narrower one with the
    /// operations of both.
    ///
    /// # Errors
    /// 40160 when nothing does.
    pub(super) fn within(&self, key: &Capability) -> Result<Self, Fault> {
        let mut lines = BTreeMap::new();
        for (pattern, has) in lines_of(key) {
            let own = resource_of(pattern);
            for (resource, asked) in &self.0 {
                let wanted = pattern_of(resource);
                let both = common(asked, &has);
                let covered = pattern.covers(&wanted);
                if let Some(own) = &own
                    && wanted.covers(pattern)
                    && (!covered || own.len() < resource.len())
                {
                    add(&mut lines, own.clone(), &both);
                } else if covered {
                    add(&mut lines, resource.clone(), &both);
                }
            }
        }
        match lines.is_empty() {
            true => Err(Fault::new(
                40160,
                401,
                "the requested capability is not within the key's",
            )),
            false => Ok(Self(lines)),
        }
    }

    /// What the core enforces.
    pub(super) fn rights(&self) -> Capability {
        let right = |(resource, names): (&String, &Names)| Right {
            resource: Resource::Channel,
            pattern: pattern_of(resource),
            operations: operations(names),
        };
        Capability {
            rights: self.0.iter().map(right).collect(),
        }
    }
}

impl std::fmt::Display for Wanted {
    /// The canonical text: no blanks, resources and operations sorted.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&serde_json::to_string(&self.0).unwrap_or_default())
    }
}

/// What is said of a word that is no operation: all that are.
fn unknown(word: &str) -> String {
    let known: Vec<_> = OPERATIONS.iter().map(|(name, _)| *name).collect();
    // As long as the longest word there is, and a little more: an error is no echo.
    let word: String = word.chars().take(32).collect();
    format!(
        "unknown operation `{word}`; there are: {}",
        known.join(", ")
    )
}

fn add(lines: &mut BTreeMap<String, Names>, resource: String, names: &Names) {
    if names.is_empty() {
        return;
    }
    let line = lines.entry(resource).or_default();
    line.extend(names);
    if line.contains(ALL) {
        *line = [ALL].into();
    }
}

fn common(asked: &Names, has: &Names) -> Names {
    if has.contains(ALL) {
        return asked.clone();
    }
    if asked.contains(ALL) {
        return has.clone();
    }
    asked.intersection(has).copied().collect()
}

fn operations(names: &Names) -> Operations {
    let bits = OPERATIONS.iter().filter(|(name, _)| names.contains(name));
    bits.fold(Operations::NONE, |all, (_, bits)| all | *bits)
}

fn names(operations: Operations) -> Names {
    if operations.contains(Operations::CLIENT) {
        return [ALL].into();
    }
    let said = |(name, bits): &&(&'static str, Operations)| match *name {
        // Reading the presence set comes with either, and is a word of its own only for keys made elsewhere.
        "presence" => operations.contains(Operations::PRESENCE),
        "subscribe" => operations.contains(Operations::SUBSCRIBE),
        ALL | "presence-read" => false,
        _word => operations.contains(*bits),
    };
    OPERATIONS
        .iter()
        .filter(said)
        .map(|(name, _)| *name)
        .collect()
}

fn lines_of(key: &Capability) -> impl Iterator<Item = (&Pattern, Names)> {
    let channels = key
        .rights
        .iter()
        .filter(|right| right.resource == Resource::Channel);
    channels.map(|right| (&right.pattern, names(right.operations)))
}

/// How the protocol writes a pattern; `None` for kinds it does not have.
fn resource_of(pattern: &Pattern) -> Option<String> {
    match pattern {
        Pattern::All => Some(EVERYTHING.to_owned()),
        Pattern::Exact(text) | Pattern::Segments(text) => Some(text.to_string()),
        Pattern::Prefix(_) | Pattern::Levels(_) | Pattern::Regex(_) | Pattern::Except(_) => None,
    }
}

/// What a resource means: `[*]*` every name, a `*` segment a wildcard, anything else itself.
fn pattern_of(resource: &str) -> Pattern {
    if resource == EVERYTHING {
        return Pattern::All;
    }
    let name = resource.strip_prefix("[*]").unwrap_or(resource);
    // A qualifier of another kind names no channel that exists here: the text stands for itself.
    let wild = !name.starts_with('[') && name.split(':').any(|segment| segment == "*");
    match wild {
        true => Pattern::Segments(name.into()),
        false => Pattern::Exact(name.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn key(text: &str) -> Capability {
        Wanted::parse(text).unwrap().rights()
    }

    fn within(asked: &str, key_text: &str) -> Result<String, u32> {
        let wanted = Wanted::parse(asked).unwrap();
        let within = wanted.within(&key(key_text));
        within
            .map(|one| one.to_string())
            .map_err(|fault| fault.code)
    }

    #[test]
    fn documented_intersections() {
        let ns = r#"{"ns:*":["publish","subscribe","presence"]}"#;
        let one = r#"{"ns:u1":["subscribe"]}"#;
        assert_eq!(within(one, ns), Ok(one.into()));
        let notif = r#"{"notif":["history","subscribe"]}"#;
        assert_eq!(within(r#"{"notif":["*"]}"#, notif), Ok(notif.into()));
        assert_eq!(within(r#"{"*":["*"]}"#, notif), Ok(notif.into()));
        let everything = r#"{"[*]*":["*"]}"#;
        assert_eq!(within(everything, everything), Ok(everything.into()));
        assert_eq!(
            within(r#"{"*":["*"]}"#, everything),
            Ok(r#"{"*":["*"]}"#.into())
        );
        assert_eq!(
            within(everything, r#"{"*":["*"]}"#),
            Ok(r#"{"*":["*"]}"#.into())
        );
        assert_eq!(within(r#"{"x":["*"]}"#, notif), Err(40160));
        assert_eq!(within(r#"{"notif":["publish"]}"#, notif), Err(40160));
    }

    #[test]
    fn the_text_is_canonical() {
        let asked = r#"{ "b" : ["subscribe", "publish"], "a:*" : ["*"] }"#;
        let canonical = r#"{"a:*":["*"],"b":["publish","subscribe"]}"#;
        assert_eq!(within(asked, r#"{"[*]*":["*"]}"#), Ok(canonical.into()));
        let full = Wanted::of_key(&Capability::full()).to_string();
        assert_eq!(full, r#"{"[*]*":["*"]}"#);
    }

    #[test]
    fn every_word_of_the_protocol_is_kept_in_a_key() {
        let words: Vec<_> = OPERATIONS
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| !matches!(*name, ALL | "presence-read"))
            .collect();
        for word in &words {
            let text = format!(r#"{{"a":["{word}"]}}"#);
            assert_eq!(Wanted::of_key(&key(&text)).to_string(), text);
        }
        let some = r#"{"a":["annotation-publish","push-subscribe","subscribe"]}"#;
        let asked = r#"{"a":["message-update-any","push-subscribe","subscribe"]}"#;
        let both = r#"{"a":["push-subscribe","subscribe"]}"#;
        assert_eq!(within(asked, some), Ok(both.into()));
        assert_eq!(within(r#"{"a":["*"]}"#, some), Ok(some.into()));
        let unknown = Wanted::parse(r#"{"a":["fly"]}"#).unwrap_err().message;
        assert!(unknown.contains("`fly`"), "{unknown}");
        for word in words {
            assert!(unknown.contains(word), "{unknown}");
        }
    }

    #[test]
    fn resources_match_by_segments() {
        let cases = [
            ("*", "a:b", true),
            ("[*]*", "a", true),
            ("ns:*", "ns:a:b", true),
            ("ns:*", "ns", false),
            ("a:*:c", "a:b:c", true),
            ("a:*:c", "a:b:b:c", false),
            ("foo*", "foobar", false),
            ("foo*", "foo*", true),
            ("[meta]*", "a", false),
        ];
        for (resource, name, matches) in cases {
            assert_eq!(
                pattern_of(resource).matches(name),
                matches,
                "{resource} {name}"
            );
        }
    }

    #[test]
    fn bad_ones_are_refused() {
        for text in [
            "",
            "[]",
            "{}",
            "{\"a\":[]}",
            "{\"a\":[\"fly\"]}",
            "{\"a\":[\"*\",\"publish\"]}",
            "{\"a\":\"*\"}",
            "{\"\":[\"*\"]}",
            "null",
        ] {
            assert_eq!(Wanted::parse(text).unwrap_err().code, 40000, "{text}");
        }
    }

    #[test]
    fn operations_are_the_union_of_matching_lines() {
        let capability = key(r#"{"a:*":["publish"],"a:b":["history"]}"#);
        let both = Operations::PUBLISH | Operations::HISTORY;
        assert_eq!(capability.operations_on(Resource::Channel, "a:b"), both);
    }
}
