//! Subscription filters: a condition over a JSON message, in the manner of SQL's `WHERE`.
//!
//! `message.city = 'London' and (message.temperature > 77 or not message.dry)`. Compared are fields of the message,
//! texts in single or double quotes, numbers, `true`, `false`, `null`; with `=  ==  !=  <>  <  <=  >  >=`, `like`
//! (`%`, `_`), `in (…)`, `between … and …`, `is [not] null`; joined by `and`, `or`, `not` and brackets.
//!
//! **Why it is bounded in length and depth:** a client writes it and every message pays for it.

mod like;
mod parse;

pub(super) use parse::parse;

use like::{Meter, Pattern};
use serde_json::Value;

/// Largest message that filters are asked about, bytes; 64 KiB is the most that the other dialects send by default.
const MESSAGE_BYTES: usize = 64 << 10;
/// Most bytes of texts that one filter looks at in one message, however often it comes back to them.
const TEXT_BYTES: usize = 4 * MESSAGE_BYTES;

/// A filter that can be evaluated.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Filter {
    Both(Box<Filter>, Box<Filter>),
    Either(Box<Filter>, Box<Filter>),
    Not(Box<Filter>),
    Compare(Operand, Comparison, Operand),
    Like(Operand, Pattern),
    In(Operand, Vec<Operand>),
    IsNull(Operand),
    /// A value that is a condition by itself.
    Truth(Operand),
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A value in a filter.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    /// A field of the message, by its path.
    Field(Vec<String>),
    /// A constant in the text of the filter.
    Constant(Value),
}

impl Filter {
    /// Whether the message passes; `None` when it is no JSON, or larger than filters look at, and so cannot be asked.
    pub(super) fn passes(&self, message: &[u8]) -> Option<bool> {
        #[cfg(test)]
        tests::ASKED.set(tests::ASKED.get() + 1);
        if message.len() > MESSAGE_BYTES {
            return None;
        }
        let message: Value = serde_json::from_slice(message).ok()?;
        let meter = Meter::new(TEXT_BYTES);
        let passes = self.holds(&message, &meter);
        meter.sufficed().then_some(passes)
    }

    fn holds(&self, message: &Value, meter: &Meter) -> bool {
        let compare = |one: &Value, how: Comparison, other: &Value| {
            let length = |value: &Value| value.as_str().map_or(0, str::len);
            meter.spend(length(one).min(length(other))) && how.holds(one, other)
        };
        match self {
            Self::Both(one, other) => one.holds(message, meter) && other.holds(message, meter),
            Self::Either(one, other) => one.holds(message, meter) || other.holds(message, meter),
            Self::Not(inner) => !inner.holds(message, meter),
            Self::Compare(one, how, other) => {
                compare(one.value(message), *how, other.value(message))
            }
            Self::Like(operand, pattern) => operand
                .value(message)
                .as_str()
                .is_some_and(|text| pattern.fits(text, meter)),
            Self::In(operand, list) => {
                let value = operand.value(message);
                let mut list = list.iter();
                list.any(|one| compare(value, Comparison::Equal, one.value(message)))
            }
            Self::IsNull(operand) => operand.value(message).is_null(),
            Self::Truth(operand) => *operand.value(message) == Value::Bool(true),
        }
    }
}

impl Operand {
    /// Its value in a message; a field that is not there is null.
    fn value<'a>(&'a self, message: &'a Value) -> &'a Value {
        const NULL: &Value = &Value::Null;
        match self {
            Self::Constant(value) => value,
            Self::Field(path) => path.iter().fold(message, |value, name| {
                let by_place = || name.parse().ok().and_then(|at: usize| value.get(at));
                value.get(name).or_else(by_place).unwrap_or(NULL)
            }),
        }
    }
}

impl Comparison {
    /// Values of different kinds are neither equal nor in any order; a null is like nothing, not even a null.
    fn holds(self, one: &Value, other: &Value) -> bool {
        let order = match (one, other) {
            (Value::Number(one), Value::Number(other)) => one.as_f64().partial_cmp(&other.as_f64()),
            (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
            (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
            _ => None,
        };
        let known = !one.is_null() && !other.is_null();
        match (self, order) {
            (Self::Equal, order) => order.is_some_and(std::cmp::Ordering::is_eq),
            (Self::Unequal, order) => known && !order.is_some_and(std::cmp::Ordering::is_eq),
            (Self::Less, Some(order)) => order.is_lt(),
            (Self::LessOrEqual, Some(order)) => order.is_le(),
            (Self::Greater, Some(order)) => order.is_gt(),
            (Self::GreaterOrEqual, Some(order)) => order.is_ge(),
            (Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual, None) => false,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    thread_local! {
        /// How often filters were asked on this thread.
        pub(in crate::adapters::realtime) static ASKED: Cell<u32> = const { Cell::new(0) };
    }

    const LONDON: &str = r#"{"city":"London","temperature":80,"deep":{"list":[1,{"x":"y"}]},"dry":true,"none":null}"#;

    fn passes(filter: &str) -> bool {
        parse(filter).unwrap().passes(LONDON.as_bytes()).unwrap()
    }

    #[test]
    fn conditions_hold_as_written() {
        for yes in [
            "message.city = 'London' and message.temperature > 77",
            "MESSAGE.city='London' AND NOT message.temperature<=77",
            "message.city == \"London\"",
            "message.temperature between 70 and 90",
            "message.city in ('Paris', 'London')",
            "message.city not in ('Paris')",
            "message.city like 'L%d_n'",
            "message.city not like 'P%'",
            "message.none is null and message.city is not null",
            "message.deep.list[0] = 1 and message.deep.list[1].x = 'y'",
            "message['city'] <> 'Paris'",
            "message.dry",
            "message.dry = true or message.missing.far = 1",
            "(message.city = 'Paris' or message.temperature >= 80) and message.dry",
            "message.temperature = 80.0 and message.temperature > -1",
        ] {
            assert!(passes(yes), "{yes}");
        }
        for no in [
            "message.city = 'Paris'",
            "message.city = 80",
            "message.missing = null",
            "message.missing != 'x'",
            "message.missing > 1",
            "message.temperature",
            "message.city like 'ondon'",
            "false",
        ] {
            assert!(!passes(no), "{no}");
        }
    }

    #[test]
    fn what_is_no_json_cannot_be_asked() {
        let filter = parse("message.a = 40").unwrap();
        assert_eq!(filter.passes(b"plain"), None);
        assert_eq!(filter.passes(b"{\"a\":40}"), Some(true));
        assert_eq!(filter.passes(b"{\"a\":\"40\"}"), Some(false));
    }

    #[test]
    fn what_a_filter_looks_at_has_a_bound() {
        let message = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "a".repeat(bytes - 8));
        let once = parse("message.a like '%b'").unwrap();
        assert_eq!(once.passes(message(64 << 10).as_bytes()), Some(false));
        assert_eq!(once.passes(message((64 << 10) + 1).as_bytes()), None);
        let often = ["message.a like '%b%'"; 10].join(" or ");
        let often = parse(&often).unwrap();
        assert_eq!(often.passes(message(60 << 10).as_bytes()), None);
        assert_eq!(often.passes(message(20 << 10).as_bytes()), Some(false));
    }

    #[test]
    fn unknown_syntax_is_refused() {
        let deep = format!("{}true{}", "(".repeat(200), ")".repeat(200));
        let long = format!("message.a = '{}'", "x".repeat(5_000));
        let nots = "not ".repeat(300) + "true";
        let loose = format!("message.a like '%{}a%'", "_".repeat(64));
        for bad in [
            "",
            "message.",
            "message.a =",
            "a = 1",
            "message.a = 1 and",
            "message.a = 'x",
            "message.a ~ 1",
            "message.a = 1 message.b = 2",
            "sum(message.a) > 1",
            "message.a in ()",
            &deep,
            &long,
            &nots,
            &loose,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[ -~é😀]{0,60}", body in "[ -~]{0,40}") {
            if let Ok(filter) = parse(&format!("message.a {text}")) {
                let _ = filter.passes(body.as_bytes());
            }
        }
    }
}
