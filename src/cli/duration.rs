//! Times as people write them: `90s`, `1h`, `30d`, `1h 30m`. A bare number is milliseconds, as in `/v1`.

/// Reads a time; the result is in milliseconds.
///
/// # Errors
/// A sentence that shows how it is written.
pub fn millis(text: &str) -> Result<u64, String> {
    if let Ok(bare) = text.parse() {
        return Ok(bare);
    }
    let read = humantime::parse_duration(text).map_err(|error| {
        format!("{error}; write it like 90s, 15m, 1h or 30d (a bare number is milliseconds)")
    })?;
    u64::try_from(read.as_millis()).map_err(|_huge| "that is longer than can be said".to_owned())
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
    }
}
