//! A record of the audit, and its text: the bytes that are hashed.
//!
//! The text is a row of netstrings (`LENGTH:BYTES,`): a mark, the number, revision, time in ms, who asked, the app (or
//! nothing), the kind, how many records it touched, `1` if it took something away and `0` if not, the reason (or
//! nothing); then how many subjects, a name and a value for each, and the effects alike.
//!
//! **Why not the codec that the log is written with:** whoever checks an export has no copy of our types. A netstring can
//! be written by ten lines in any language, and there is one way to write it.

use super::super::{AppId, Millis, Revision};

/// What every text begins with; another layout gets another mark.
const MARK: &str = "gatecast audit 1";

/// One change of who may do what, as it was applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its place in the chain, from 1.
    pub index: u64,
    /// The log entry that made it; several records may share one.
    pub revision: Revision,
    /// Cluster time at which it was applied.
    pub time_ms: Millis,
    /// Who asked: `operator`, `cluster`, `key` or `provider` with an id behind a space.
    pub actor: String,
    /// The app it is about; none = all of them.
    pub app: Option<AppId>,
    /// What was done, in two words.
    pub kind: String,
    /// How many stored records it touched.
    pub touched: u64,
    /// Whether somebody may do less than before.
    pub narrowed: bool,
    /// Why, in the words of whoever asked.
    pub reason: Option<String>,
    /// What it names: what a thing is, and its name.
    pub subjects: Vec<(String, String)>,
    /// Whom it reached: what happens to whom, and the name.
    pub effects: Vec<(String, String)>,
}

impl AuditRecord {
    /// The bytes that are hashed.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(256);
        let number = |text: &mut Vec<u8>, value: u64| put(text, value.to_string().as_bytes());
        put(&mut text, MARK.as_bytes());
        number(&mut text, self.index);
        number(&mut text, self.revision);
        number(&mut text, self.time_ms);
        put(&mut text, self.actor.as_bytes());
        let app = self.app.map(|app| app.to_string()).unwrap_or_default();
        put(&mut text, app.as_bytes());
        put(&mut text, self.kind.as_bytes());
        number(&mut text, self.touched);
        put(&mut text, if self.narrowed { b"1" } else { b"0" });
        put(
            &mut text,
            self.reason.as_deref().unwrap_or_default().as_bytes(),
        );
        for pairs in [&self.subjects, &self.effects] {
            number(&mut text, pairs.len() as u64);
            for (name, value) in pairs {
                put(&mut text, name.as_bytes());
                put(&mut text, value.as_bytes());
            }
        }
        text
    }

    /// Reads a text; none = it is not the text of a record.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Self> {
        let mut rest = text;
        let rest = &mut rest;
        if take(rest)? != MARK {
            return None;
        }
        let record = Self {
            index: take_number(rest)?,
            revision: take_number(rest)?,
            time_ms: take_number(rest)?,
            actor: take(rest)?.to_owned(),
            app: match take(rest)? {
                "" => None,
                app => Some(AppId(number(app)?)),
            },
            kind: take(rest)?.to_owned(),
            touched: take_number(rest)?,
            narrowed: match take(rest)? {
                "1" => true,
                "0" => false,
                _other => return None,
            },
            reason: Some(take(rest)?.to_owned()).filter(|reason| !reason.is_empty()),
            subjects: take_pairs(rest)?,
            effects: take_pairs(rest)?,
        };
        rest.is_empty().then_some(record)
    }

    /// Whether it names this user, as its subject or as one whom it reached.
    #[must_use]
    pub fn names_user(&self, user: &str) -> bool {
        let names = |(name, value): &(String, String)| {
            (name == "user" || name.ends_with(" user")) && value == user
        };
        self.subjects.iter().any(names) || self.effects.iter().any(names)
    }
}

fn put(text: &mut Vec<u8>, bytes: &[u8]) {
    text.extend_from_slice(bytes.len().to_string().as_bytes());
    text.push(b':');
    text.extend_from_slice(bytes);
    text.push(b',');
}

/// The next netstring; there is one way to write its length.
fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let colon = rest.iter().take(8).position(|byte| *byte == b':')?;
    let length = number(std::str::from_utf8(rest.get(..colon)?).ok()?)?;
    let begin = colon.checked_add(1)?;
    let end = begin.checked_add(usize::try_from(length).ok()?)?;
    let found = std::str::from_utf8(rest.get(begin..end)?).ok()?;
    if rest.get(end) != Some(&b',') {
        return None;
    }
    *rest = rest.get(end + 1..)?;
    Some(found)
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    number(take(rest)?)
}

/// A number without signs or zeros in front.
fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let shortest = text == "0" || !text.starts_with('0');
    (plain && shortest).then(|| text.parse().ok())?
}

fn take_pairs(rest: &mut &[u8]) -> Option<Vec<(String, String)>> {
    let count = take_number(rest)?;
    // Six bytes are the least that a pair takes.
    if count > rest.len() as u64 / 6 {
        return None;
    }
    let pair = |_| Some((take(rest)?.to_owned(), take(rest)?.to_owned()));
    (0..count).map(pair).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn record() -> AuditRecord {
        AuditRecord {
            index: 3,
            revision: 17,
            time_ms: 1_000,
            actor: "key k1".into(),
            app: Some(AppId(7)),
            kind: "revoke".into(),
            touched: 2,
            narrowed: true,
            reason: Some("left the team".into()),
            subjects: vec![("user".into(), "bär".into())],
            effects: vec![("cut user".into(), "".into())],
        }
    }

    #[test]
    fn a_text_is_what_its_layout_says() {
        let text = String::from_utf8(record().text()).unwrap();
        let expected = "16:gatecast audit 1,1:3,2:17,4:1000,6:key k1,1:7,6:revoke,1:2,1:1,13:left the team,1:1,4:user,4:bär,1:1,8:cut user,0:,";
        assert_eq!(text, expected);
        assert_eq!(AuditRecord::read(text.as_bytes()), Some(record()));
        let bare = AuditRecord {
            app: None,
            reason: None,
            ..record()
        };
        assert_eq!(AuditRecord::read(&bare.text()), Some(bare));
    }

    #[test]
    fn what_is_no_text_is_refused_and_read_never_panics() {
        let text = record().text();
        for end in 0..text.len() {
            assert_eq!(AuditRecord::read(text.get(..end).unwrap()), None, "{end}");
        }
        let whole = String::from_utf8(text).unwrap();
        for (from, to) in [
            ("1:3,", "01:3,"),
            ("1:3,", "2:03,"),
            ("1:3,", "1:+,"),
            ("1:1,4:user", "7:9999999,4:user"),
            ("audit 1", "audit 2"),
        ] {
            let bad = whole.replacen(from, to, 1);
            assert_ne!(bad, whole);
            assert_eq!(AuditRecord::read(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(AuditRecord::read(format!("{whole}0:,").as_bytes()), None);
    }

    #[test]
    fn a_user_is_found_as_subject_and_as_one_who_was_reached() {
        let of = |subjects: &[(&str, &str)], effects: &[(&str, &str)]| {
            let own = |pairs: &[(&str, &str)]| {
                let pair = |(name, value): &(&str, &str)| ((*name).into(), (*value).into());
                pairs.iter().map(pair).collect()
            };
            let record = AuditRecord {
                subjects: own(subjects),
                effects: own(effects),
                ..record()
            };
            record.names_user("ana")
        };
        assert!(of(&[("user", "ana")], &[]) && of(&[], &[("cut user", "ana")]));
        assert!(!of(
            &[("channel", "ana"), ("user", "anb")],
            &[("superuser", "ana")]
        ));
    }
}
