//! A record of the audit as JSON and back: what `/v1/audit` answers, an export holds and `audit verify` reads.
//!
//! **Why pairs are arrays and not objects:** their order is hashed, and a name may stand twice.

use crate::core::access::{AppId, AuditHash, AuditRecord, ProofStep, ShownRecord};
use serde_json::{Map, Value, json};

/// What it says, without hashes.
#[must_use]
pub fn record(record: &AuditRecord) -> Value {
    json!({
        "index": record.index,
        "revision": record.revision,
        "time_ms": record.time_ms,
        "actor": record.actor,
        "app": record.app.map(|app| app.to_string()),
        "kind": record.kind,
        "touched": record.touched,
        "narrowed": record.narrowed,
        "reason": record.reason,
        "subjects": record.subjects,
        "effects": record.effects,
    })
}

/// All of it: what it says, the two hashes that it points back to, and its own.
#[must_use]
pub fn shown(one: &ShownRecord) -> Value {
    let mut line = record(&one.record);
    if let Some(fields) = line.as_object_mut() {
        fields.insert("prev_hash".into(), one.previous.to_string().into());
        fields.insert("skip_hash".into(), one.skipped_to.to_string().into());
        fields.insert("hash".into(), one.hash.to_string().into());
    }
    line
}

/// The way from a record to the last hash.
#[must_use]
pub fn way(steps: &[ProofStep]) -> Value {
    let step = |step: &ProofStep| {
        json!({
            "index": step.index,
            "text_hash": step.text.to_string(),
            "other_hash": step.other.to_string(),
            "skips": step.skips,
        })
    };
    steps.iter().map(step).collect()
}

/// Reads what [`shown`] wrote. A field that is missing, wrong or one too many is named: it could be what was altered.
///
/// # Errors
/// What is wrong with the line.
pub fn read(line: &Value) -> Result<ShownRecord, String> {
    let fields = line.as_object().ok_or("it is no JSON object")?;
    let mut fields = Fields(fields, Vec::new());
    let one = ShownRecord {
        record: AuditRecord {
            index: fields.number("index")?,
            revision: fields.number("revision")?,
            time_ms: fields.number("time_ms")?,
            actor: fields.text("actor")?,
            app: fields.app()?,
            kind: fields.text("kind")?,
            touched: fields.number("touched")?,
            narrowed: fields.switch("narrowed")?,
            reason: fields.text_or_null("reason")?,
            subjects: fields.pairs("subjects")?,
            effects: fields.pairs("effects")?,
        },
        previous: fields.hash("prev_hash")?,
        skipped_to: fields.hash("skip_hash")?,
        hash: fields.hash("hash")?,
    };
    fields.done(&["way"])?;
    Ok(one)
}

/// Reads what [`way`] wrote.
///
/// # Errors
/// What is wrong with it.
pub fn read_way(steps: &Value) -> Result<Vec<ProofStep>, String> {
    let steps = steps.as_array().ok_or("`way` is no list")?;
    let step = |step: &Value| {
        let fields = step.as_object().ok_or("a step is no JSON object")?;
        let mut fields = Fields(fields, Vec::new());
        let step = ProofStep {
            index: fields.number("index")?,
            text: fields.hash("text_hash")?,
            other: fields.hash("other_hash")?,
            skips: fields.switch("skips")?,
        };
        fields.done(&[])?;
        Ok(step)
    };
    steps.iter().map(step).collect()
}

/// The fields of an object, and which of them were asked for.
struct Fields<'a>(&'a Map<String, Value>, Vec<&'static str>);

impl<'a> Fields<'a> {
    fn get<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<T, String> {
        self.1.push(name);
        let found = self.0.get(name).and_then(read);
        found.ok_or_else(|| format!("`{name}` is missing or is not what it should be"))
    }

    fn number(&mut self, name: &'static str) -> Result<u64, String> {
        self.get(name, Value::as_u64)
    }

    fn switch(&mut self, name: &'static str) -> Result<bool, String> {
        self.get(name, Value::as_bool)
    }

    fn text(&mut self, name: &'static str) -> Result<String, String> {
        self.get(name, |value| value.as_str().map(str::to_owned))
    }

    fn hash(&mut self, name: &'static str) -> Result<AuditHash, String> {
        self.get(name, |value| value.as_str().and_then(AuditHash::read))
    }

    fn text_or_null(&mut self, name: &'static str) -> Result<Option<String>, String> {
        self.get(name, |value| match value {
            Value::Null => Some(None),
            // An empty reason is none, and would be hashed as none: only one of the two is ever written.
            Value::String(text) if !text.is_empty() => Some(Some(text.clone())),
            Value::String(_)
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => None,
        })
    }

    fn app(&mut self) -> Result<Option<AppId>, String> {
        let Some(text) = self.text_or_null("app")? else {
            return Ok(None);
        };
        let number: Option<u64> = text.parse().ok();
        match number.filter(|number| number.to_string() == text) {
            Some(number) => Ok(Some(AppId(number))),
            None => Err("`app` is no app id".into()),
        }
    }

    fn pairs(&mut self, name: &'static str) -> Result<Vec<(String, String)>, String> {
        self.get(name, |value| {
            let pair = |pair: &Value| match pair.as_array().map(Vec::as_slice) {
                Some([name, value]) => Some((name.as_str()?.into(), value.as_str()?.into())),
                Some(_) | None => None,
            };
            value.as_array()?.iter().map(pair).collect()
        })
    }

    /// Nothing else is there: what is not hashed could say anything.
    fn done(self, beside: &[&str]) -> Result<(), String> {
        let mut names = self.0.keys();
        let known = |name: &str| self.1.contains(&name) || beside.contains(&name);
        match names.find(|name| !known(name)) {
            None => Ok(()),
            Some(name) => Err(format!("`{name}` is no part of a record")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn one() -> ShownRecord {
        let mut one = ShownRecord {
            record: AuditRecord {
                index: 1,
                revision: 9,
                time_ms: 1_000,
                actor: "key k".into(),
                app: Some(AppId(u64::MAX)),
                kind: "revoke".into(),
                touched: 2,
                narrowed: true,
                reason: Some("left".into()),
                subjects: vec![("user".into(), "ana".into())],
                effects: vec![("cut user".into(), "ana".into())],
            },
            previous: AuditHash::NONE,
            skipped_to: AuditHash::NONE,
            hash: AuditHash::NONE,
        };
        one.hash = one.computed();
        one
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let bare = ShownRecord {
            record: AuditRecord {
                app: None,
                reason: None,
                ..one().record
            },
            ..one()
        };
        for one in [one(), bare] {
            let text = shown(&one).to_string();
            let line: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(read(&line), Ok(one));
        }
    }

    #[test]
    fn every_field_is_hashed_and_no_other_is_let_in() {
        let line = shown(&one());
        for name in line.as_object().unwrap().keys() {
            let mut without = line.clone();
            without.as_object_mut().unwrap().remove(name);
            assert!(read(&without).is_err(), "without {name}");
            let mut other = line.clone();
            other[name] = match &line[name] {
                Value::Number(number) => (number.as_u64().unwrap() + 1).into(),
                Value::Bool(is) => (!is).into(),
                Value::String(text) if text.len() == 64 => "1".repeat(64).into(),
                Value::String(text) if name == "app" => text[1..].into(),
                Value::String(text) => format!("{text}x").into(),
                Value::Null | Value::Array(_) | Value::Object(_) => json!([["user", "bob"]]),
            };
            let found = read(&other).is_ok_and(|one| one.computed() == one.hash);
            assert!(!found, "{name}");
        }
        let mut more = line.clone();
        more["note"] = "all is well".into();
        assert!(read(&more).is_err());
        for (name, bad) in [
            ("app", json!("07")),
            ("reason", json!("")),
            ("index", json!(-1)),
        ] {
            let mut line = line.clone();
            line[name] = bad;
            assert!(read(&line).is_err(), "{name}");
        }
    }

    #[test]
    fn a_way_is_read_as_it_was_written() {
        let steps = [ProofStep {
            index: 2,
            text: one().hash,
            other: AuditHash::NONE,
            skips: true,
        }];
        assert_eq!(read_way(&way(&steps)), Ok(steps.to_vec()));
        assert!(read_way(&json!([{}])).is_err() && read_way(&json!(1)).is_err());
    }
}
