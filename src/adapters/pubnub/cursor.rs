//! Where a client's stream goes on, as its requests say it.

use super::admit::Ctx;
use super::codes::Fault;
use crate::core::ids::Timetoken;
use serde_json::Value;

/// How far a client is taken back whose place nobody kept, where its cursor spans several channels: nodes' clocks differ a
/// little, so what another channel stamped earlier may have been on its way still. Ticks.
const OVERLAP_TICKS: Timetoken = 200 * 10_000;

/// A place in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    /// 0 = none yet.
    pub(super) timetoken: Timetoken,
}

impl Cursor {
    /// `tt` and `tr`, or both in one as old Ruby clients send them.
    pub(super) fn of(ctx: &Ctx<'_>) -> Result<Self, Fault> {
        if let Some(packed) = ctx.query.given("t") {
            let packed: Value = serde_json::from_str(packed).map_err(|_| bad_cursor())?;
            let number = |key: &str| match packed.get(key) {
                Some(Value::String(text)) => text.parse().ok(),
                Some(value) => value.as_u64(),
                None => None,
            };
            return Ok(Self {
                timetoken: number("t").unwrap_or(0),
            });
        }
        let timetoken = ctx.query.given("tt").map_or(Ok(0), str::parse);
        Ok(Self {
            timetoken: timetoken.map_err(|_| bad_cursor())?,
        })
    }

    /// Where it stands after what was stamped `last`, as the latest of what it is given. In one stream that is its place,
    /// also when it had a later one from its node's clock: what the home stamps next may be earlier than that.
    pub(super) fn after(self, last: Timetoken, several: bool) -> Timetoken {
        match several {
            true => self.timetoken.max(last),
            false => last,
        }
    }

    /// Where to begin for a client whose place was not kept.
    pub(super) fn begin(self, several: bool) -> Timetoken {
        match several {
            true => self.timetoken.saturating_sub(OVERLAP_TICKS),
            false => self.timetoken,
        }
    }
}

fn bad_cursor() -> Fault {
    Fault::bad("Invalid timetoken")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::query::Query;
    use super::*;

    fn read(query: &str) -> Result<Cursor, Fault> {
        let query = Query::parse(query).unwrap();
        Cursor::of(&Ctx {
            method: "GET",
            path: "/",
            query: &query,
            body: bytes::Bytes::new(),
        })
    }

    #[test]
    fn it_is_read_in_every_form() {
        let at = |timetoken| Ok(Cursor { timetoken });
        assert_eq!(read(""), at(0));
        assert_eq!(read("tt=0&tr="), at(0));
        assert_eq!(read("tt=17&tr=12"), at(17));
        assert_eq!(read("t=%7B%22r%22%3A12%2C%22t%22%3A%2217%22%7D"), at(17));
        for bad in ["tt=x", "tt=-1", "t=%7B"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cursor_goes_by_what_the_home_has_stamped() {
        let first = Cursor {
            timetoken: 5_000_000,
        };
        // The clock of the client's node was ahead of what the home stamps.
        assert_eq!(first.after(4_990_000, false), 4_990_000);
        assert_eq!(first.after(5_010_000, false), 5_010_000);
        assert_eq!(first.after(4_990_000, true), 5_000_000);
        assert_eq!(first.after(5_010_000, true), 5_010_000);
    }

    #[test]
    fn a_cursor_over_several_channels_begins_a_little_earlier() {
        let cursor = Cursor {
            timetoken: 5_000_000,
        };
        assert_eq!(cursor.begin(true), 3_000_000);
        assert_eq!(cursor.begin(false), 5_000_000);
    }
}
