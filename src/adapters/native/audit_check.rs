//! Checking an export of the audit line by line, or records as they come: is it all there, in order, and as it was recorded?
//!
//! **Must never know:** a node: whoever checks a file needs nobody's word but the hash that he kept.
//! **Why a line has to be byte for byte as it is written:** JSON allows a name twice, and two readers may take another one.

use super::audit_line;
use crate::core::access::{AuditHash, AuditVerifier, ShownRecord, proven_head};
use serde_json::{Value, json};

/// Follows records, and ends with what was found.
#[derive(Debug, Default)]
pub struct Checker {
    verifier: AuditVerifier,
    kept: Option<KeptHead>,
    /// Where the first record of all begins that is said to be there, and the last: `(first, last, hash)`.
    said: Option<(u64, u64, AuditHash)>,
    /// What the proofs lead to.
    proven: Option<AuditHash>,
    records: u64,
}

/// A hash that somebody has kept elsewhere.
#[derive(Debug)]
struct KeptHead {
    /// Of this record; none = of the last.
    index: Option<u64>,
    hash: AuditHash,
    seen: bool,
}

impl Checker {
    /// `head` is a hash that was kept elsewhere: that of the last record, or `INDEX:HASH` of one that has to be there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn new(head: Option<&str>) -> Result<Self, String> {
        let Some(text) = head else {
            return Ok(Self::default());
        };
        let (index, hash) = match text.split_once(':') {
            None => (None, text),
            Some((index, hash)) => (Some(index), hash),
        };
        let wrong = || "a head is 64 hexadecimal digits, or INDEX:HASH".to_owned();
        let index = index.map(str::parse).transpose().map_err(|_| wrong())?;
        let hash = AuditHash::read(hash).ok_or_else(wrong)?;
        Ok(Self {
            kept: Some(KeptHead {
                index,
                hash,
                seen: false,
            }),
            ..Self::default()
        })
    }

    /// The next line of a file; `written` says how a value is written into one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn line(&mut self, text: &str, written: impl Fn(&Value) -> String) -> Result<(), String> {
        if self.said.is_some() {
            return Err("something stands behind the line with the head".into());
        }
        let line: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if written(&line) != text {
            return Err("the line is not as an export writes it".into());
        }
        if let Some(head) = line.get("head") {
            let number = |name: &str| head.get(name).and_then(Value::as_u64);
            let hash = head.get("hash").and_then(Value::as_str);
            let hash = hash.and_then(AuditHash::read);
            let (Some(first), Some(last), Some(hash)) = (number("first"), number("index"), hash)
            else {
                return Err("the line with the head cannot be read".into());
            };
            if line != head_line(first, last, &hash.to_string()) {
                return Err("the line with the head says more than the head".into());
            }
            self.said = Some((first, last, hash));
            return Ok(());
        }
        match line.get("way") {
            None => self.record(&line),
            Some(way) => self.proof(&line, way),
        }
    }

    /// The next record.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn record(&mut self, line: &Value) -> Result<(), String> {
        let shown = audit_line::read(line)?;
        self.verifier
            .add(&shown)
            .map_err(|fault| fault.to_string())?;
        self.records += 1;
        let Some(kept) = &mut self.kept else {
            return Ok(());
        };
        let index = shown.record.index;
        let meant = [
            (index, shown.hash),
            (index.saturating_sub(1), shown.previous),
        ];
        for (at, hash) in meant {
            if kept.index == Some(at) {
                kept.seen = true;
                if kept.hash != hash {
                    return Err(format!(
                        "record {at} is another than the one whose hash was kept: it has {hash}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn proof(&mut self, line: &Value, way: &Value) -> Result<(), String> {
        let shown: ShownRecord = audit_line::read(line)?;
        let index = shown.record.index;
        if shown.computed() != shown.hash {
            return Err(format!(
                "record {index} was altered: its hash is not that of what it says"
            ));
        }
        let head = proven_head(&shown, &audit_line::read_way(way)?);
        if self.proven.is_some_and(|before| before != head) {
            return Err(format!(
                "record {index} leads to another head than those before it"
            ));
        }
        self.records += 1;
        self.proven = Some(head);
        Ok(())
    }

    /// All lines were there.
    ///
    /// # Errors
    /// When the end is not what it should be.
    pub fn end(self) -> Result<Value, String> {
        if self.said.is_none() && self.kept.is_none() {
            return Err(
                "the line with the head is missing: whether the end was cut off cannot be told"
                    .into(),
            );
        }
        match self.proven {
            Some(head) => self.proofs_end(head),
            None => self.row_ends(),
        }
    }

    fn proofs_end(self, head: AuditHash) -> Result<Value, String> {
        let said = self.said.map(|(_, _, hash)| hash);
        let kept = self.kept.as_ref().map(|kept| kept.hash);
        match [said, kept]
            .into_iter()
            .flatten()
            .find(|hash| *hash != head)
        {
            None => Ok(json!({ "proven": self.records, "head": head.to_string() })),
            Some(other) => Err(format!("the way leads to {head}, and not to {other}")),
        }
    }

    fn row_ends(self) -> Result<Value, String> {
        let span = self.verifier.span();
        let head = self.verifier.head();
        if let Some((first, last, hash)) = self.said {
            let begins = span.map_or(last.saturating_add(1), |(first, _)| first);
            if begins > first {
                return Err(format!("records {first} to {} are missing", begins - 1));
            }
            if begins < first {
                return Err(format!(
                    "it begins with record {begins}, and should with {first}"
                ));
            }
            if span.is_some() {
                let ends = self.verifier.ends_with(Some(last), hash);
                ends.map_err(|fault| fault.to_string())?;
            }
        }
        match self.kept {
            Some(KeptHead {
                index: None, hash, ..
            }) => {
                let ends = self.verifier.ends_with(None, hash);
                ends.map_err(|fault| fault.to_string())?;
            }
            Some(KeptHead {
                index: Some(index),
                seen: false,
                ..
            }) => return Err(format!("record {index}, whose hash was kept, is not in it")),
            Some(_) | None => {}
        }
        Ok(json!({
            "records": self.records,
            "first": span.map(|(first, _)| first),
            "last": span.map(|(_, last)| last),
            "head": head.to_string(),
        }))
    }
}

/// The last line of an export: between which records it is, and the hash of the last.
#[must_use]
pub fn head_line(first: u64, last: u64, hash: &str) -> Value {
    json!({ "head": { "first": first, "index": last, "hash": hash } })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::core::access::AuditRecord;

    /// An export of so many records, and where the last hash was after each.
    fn export(count: u64) -> (Vec<String>, Vec<AuditHash>) {
        let mut heads = vec![AuditHash::NONE];
        let mut lines = Vec::new();
        for index in 1..=count {
            let mut one = ShownRecord {
                record: AuditRecord {
                    index,
                    actor: "operator".into(),
                    kind: format!("kind {index}"),
                    ..AuditRecord::default()
                },
                previous: heads[index as usize - 1],
                skipped_to: heads[crate::core::access::skip_of(index) as usize],
                hash: AuditHash::NONE,
            };
            one.hash = one.computed();
            heads.push(one.hash);
            lines.push(audit_line::shown(&one).to_string());
        }
        let hash = heads[count as usize].to_string();
        lines.push(head_line(1, count, &hash).to_string());
        (lines, heads)
    }

    fn check(lines: &[String], head: Option<&str>) -> Result<Value, String> {
        let mut checker = Checker::new(head)?;
        for line in lines {
            checker.line(line, Value::to_string)?;
        }
        checker.end()
    }

    #[test]
    fn a_whole_export_is_whole_and_every_byte_of_it_counts() {
        let (lines, heads) = export(5);
        assert_eq!(check(&lines, None).unwrap()["records"], 5);
        for (at, line) in lines.iter().enumerate() {
            for byte in 0..line.len() {
                let mut bad = line.clone().into_bytes();
                bad[byte] ^= 1;
                let mut lines = lines.clone();
                lines[at] = String::from_utf8(bad).unwrap();
                assert!(check(&lines, None).is_err(), "{}", lines[at]);
            }
        }
        let twice = lines[0].replace("\"kind\":", "\"kind\":\"all is well\",\"kind\":");
        let mut bad = lines.clone();
        bad[0] = twice;
        assert!(check(&bad, None).is_err());
        assert!(check(&lines, Some(&heads[5].to_string())).is_ok());
    }

    #[test]
    fn what_was_removed_moved_or_cut_off_is_named() {
        let (lines, heads) = export(6);
        let without = |at: usize| {
            let mut lines = lines.clone();
            lines.remove(at);
            check(&lines, None).unwrap_err()
        };
        assert_eq!(without(0), "records 1 to 1 are missing");
        assert_eq!(without(2), "records 3 to 3 are missing");
        assert!(without(5).contains("record 6 should be the last"));
        assert!(without(6).contains("the line with the head is missing"));
        let mut moved = lines.clone();
        moved.swap(1, 2);
        assert_eq!(
            check(&moved, None).unwrap_err(),
            "records 2 to 2 are missing"
        );
        moved.swap(1, 2);
        moved.insert(2, lines[1].clone());
        assert!(
            check(&moved, None)
                .unwrap_err()
                .contains("moved or repeated")
        );
        let mut more = lines.clone();
        more.push(lines[0].clone());
        assert!(check(&more, None).unwrap_err().contains("behind"));
        // A shorter export with a head of its own is found by whoever kept a later one.
        let (short, _) = export(4);
        assert!(check(&short, None).is_ok());
        let kept = format!("6:{}", heads[6]);
        assert!(
            check(&short, Some(&kept))
                .unwrap_err()
                .contains("not in it")
        );
        assert!(check(&short, Some(&heads[6].to_string())).is_err());
        // And a longer one is still the same up to what was kept.
        let kept = format!("4:{}", heads[4]);
        assert!(check(&lines, Some(&kept)).is_ok());
        let other = format!("4:{}", heads[5]);
        assert!(
            check(&lines, Some(&other))
                .unwrap_err()
                .contains("record 4 is another")
        );
        assert!(check(&lines, Some("no hash")).is_err());
    }
}
