//! Times as people write them: `90s`, `1h`, `30d`, `1h 30m`. A bare number is milliseconds, as in `/v1`.

/// Reads a time; the result is in milliseconds.
///
/// # Errors
/// A sentence that shows how it is written.
pub fn millis(text: &str) -> Result<u64, String> {
    if let Ok(bare) = text.parse() {
        return Ok(bare);
    }
    let read = humantime::parse_duration(&spelled(text)?).map_err(|error| {
        format!("{error}; write it like 90s, 15m, 1h or 30d (a bare number is milliseconds)")
    })?;
    u64::try_from(read.as_millis()).map_err(|_huge| "that is longer than can be said".to_owned())
}

/// With months as their reader spells them. `M` is refused: one key beside it is a minute, and whoever is kept out for
/// a month then would not be let in again.
fn spelled(text: &str) -> Result<String, String> {
    let mut spelled = String::new();
    for part in text.split_inclusive(|c: char| c.is_ascii_digit() || c.is_whitespace()) {
        let end = part.trim_end_matches(|c: char| c.is_ascii_digit() || c.is_whitespace());
        let rest = part.get(end.len()..).unwrap_or_default();
        match end {
            "M" => {
                return Err(format!(
                    "in `{text}`, `M` can be read in two ways: write `m` for minutes or `mo` for months"
                ));
            }
            "mo" => spelled += "months",
            unit => spelled += unit,
        }
        spelled += rest;
    }
    Ok(spelled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_write_them() {
        assert_eq!(millis("250"), Ok(250));
        assert_eq!(millis("90s"), Ok(90_000));
        assert_eq!(millis("1h 30m"), Ok(5_400_000));
        assert_eq!(millis("30d"), Ok(30 * 24 * 3_600_000));
        assert!(millis("soon").is_err_and(|error| error.contains("1h")));
        assert!(millis("999999999999y").is_err());
        for unclear in ["1M", "2M 3s", "1h5M", "1 M"] {
            let said = millis(unclear).err().unwrap_or_default();
            assert!(
                said.contains("`m` for minutes or `mo` for months"),
                "{unclear}: {said}"
            );
        }
        let month = millis("1month");
        assert!(month.is_ok() && millis("1mo") == month && millis("1 mo") == month);
        assert_eq!(millis("1mo 5m"), month.map(|month| month + 300_000));
        assert_eq!(millis("5m"), Ok(300_000));
    }
}
