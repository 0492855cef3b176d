//! The little CBOR that tokens are made of: definite lengths, bounded depth.
//!
//! **Why not a library:** a token's keys are byte strings and their order is fixed; written by hand that is a page, and
//! reading stays bounded in depth and size without trusting anyone's defaults.

use serde_json::Value as Json;

/// Deepest nesting that is read.
const DEPTH: u8 = 12;

/// A value in CBOR.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Int(i64),
    Bytes(Vec<u8>),
    Text(String),
    List(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Bool(bool),
    Null,
    Float(f64),
}

impl Value {
    /// A structural key.
    pub(super) fn key(name: &str) -> Self {
        Self::Bytes(name.as_bytes().to_vec())
    }

    /// From JSON, for claims of the granter's own.
    pub(super) fn of_json(json: &Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(on) => Self::Bool(*on),
            Json::Number(number) => number
                .as_i64()
                .map_or_else(|| Self::Float(number.as_f64().unwrap_or(0.0)), Self::Int),
            Json::String(text) => Self::Text(text.clone()),
            Json::Array(list) => Self::List(list.iter().map(Self::of_json).collect()),
            Json::Object(map) => {
                let pairs = map.iter();
                let pairs = pairs.map(|(key, one)| (Self::Text(key.clone()), Self::of_json(one)));
                Self::Map(pairs.collect())
            }
        }
    }

    /// The entry under a structural key, whether it is spelt as bytes or as text.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        let Self::Map(pairs) = self else { return None };
        let its = |key: &Self| match key {
            Self::Bytes(bytes) => bytes == name.as_bytes(),
            Self::Text(text) => text == name,
            Self::Int(_) | Self::List(_) | Self::Map(_) => false,
            Self::Bool(_) | Self::Null | Self::Float(_) => false,
        };
        pairs
            .iter()
            .find(|(key, _)| its(key))
            .map(|(_, value)| value)
    }

    /// A number, if it is one and not negative.
    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Int(number) => u64::try_from(*number).ok(),
            Self::Bytes(_) | Self::Text(_) | Self::List(_) | Self::Map(_) => None,
            Self::Bool(_) | Self::Null | Self::Float(_) => None,
        }
    }

    /// Appends its bytes.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Int(number) => match u64::try_from(*number) {
                Ok(positive) => head(0, positive, out),
                Err(_) => head(1, number.unsigned_abs().saturating_sub(1), out),
            },
            Self::Bytes(bytes) => {
                head(2, length(bytes.len()), out);
                out.extend_from_slice(bytes);
            }
            Self::Text(text) => {
                head(3, length(text.len()), out);
                out.extend_from_slice(text.as_bytes());
            }
            Self::List(list) => {
                head(4, length(list.len()), out);
                list.iter().for_each(|one| one.write(out));
            }
            Self::Map(pairs) => {
                head(5, length(pairs.len()), out);
                for (key, value) in pairs {
                    key.write(out);
                    value.write(out);
                }
            }
            Self::Bool(on) => out.push(if *on { 0xf5 } else { 0xf4 }),
            Self::Null => out.push(0xf6),
            Self::Float(number) => {
                out.push(0xfb);
                out.extend_from_slice(&number.to_be_bytes());
            }
        }
    }

    /// Reads one value that takes up all of the bytes.
    pub(super) fn read(mut bytes: &[u8]) -> Option<Self> {
        let value = value(&mut bytes, DEPTH)?;
        bytes.is_empty().then_some(value)
    }

    /// As JSON, for showing.
    #[cfg(test)]
    pub(super) fn json(&self) -> Json {
        match self {
            Self::Int(number) => (*number).into(),
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into(),
            Self::Text(text) => text.as_str().into(),
            Self::List(list) => list.iter().map(Self::json).collect(),
            Self::Map(pairs) => {
                let text = |key: &Self| key.json().as_str().unwrap_or_default().to_owned();
                let pairs = pairs.iter().map(|(key, one)| (text(key), one.json()));
                Json::Object(pairs.collect())
            }
            Self::Bool(on) => (*on).into(),
            Self::Null => Json::Null,
            Self::Float(number) => (*number).into(),
        }
    }
}

fn length(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn head(major: u8, argument: u64, out: &mut Vec<u8>) {
    let major = major << 5;
    match (
        u8::try_from(argument),
        u16::try_from(argument),
        u32::try_from(argument),
    ) {
        (Ok(small), ..) if small < 24 => out.push(major | small),
        (Ok(byte), ..) => out.extend_from_slice(&[major | 24, byte]),
        (_, Ok(short), _) => {
            out.push(major | 25);
            out.extend_from_slice(&short.to_be_bytes());
        }
        (_, _, Ok(word)) => {
            out.push(major | 26);
            out.extend_from_slice(&word.to_be_bytes());
        }
        (Err(_), Err(_), Err(_)) => {
            out.push(major | 27);
            out.extend_from_slice(&argument.to_be_bytes());
        }
    }
}

fn take<'b>(bytes: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn argument(bytes: &mut &[u8], info: u8) -> Option<u64> {
    let count = match info {
        0..24 => return Some(u64::from(info)),
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        _indefinite_or_reserved => return None,
    };
    let taken = take(bytes, count)?.iter();
    Some(taken.fold(0, |all, byte| all << 8 | u64::from(*byte)))
}

fn value(bytes: &mut &[u8], depth: u8) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let first = *take(bytes, 1)?.first()?;
    let (major, info) = (first >> 5, first & 31);
    if major == 7 {
        return simple(bytes, info);
    }
    let argument = argument(bytes, info)?;
    let count = usize::try_from(argument).ok()?;
    match major {
        0 => i64::try_from(argument).ok().map(Value::Int),
        1 => i64::try_from(argument).ok().map(|n| Value::Int(-1 - n)),
        2 => take(bytes, count).map(|taken| Value::Bytes(taken.to_vec())),
        3 => {
            let text = std::str::from_utf8(take(bytes, count)?).ok()?;
            Some(Value::Text(text.to_owned()))
        }
        // Every element takes a byte at least, so a length beyond what is left is a lie.
        4 if count <= bytes.len() => {
            let list = (0..count).map(|_| value(bytes, depth));
            list.collect::<Option<_>>().map(Value::List)
        }
        5 if count <= bytes.len() => {
            let pairs = (0..count).map(|_| Some((value(bytes, depth)?, value(bytes, depth)?)));
            pairs.collect::<Option<_>>().map(Value::Map)
        }
        _tag_or_lie => None,
    }
}

fn simple(bytes: &mut &[u8], info: u8) -> Option<Value> {
    match info {
        20 | 21 => Some(Value::Bool(info == 21)),
        22 | 23 => Some(Value::Null),
        26 => {
            let four = take(bytes, 4)?.try_into().ok()?;
            Some(Value::Float(f64::from(f32::from_be_bytes(four))))
        }
        27 => {
            let eight = take(bytes, 8)?.try_into().ok()?;
            Some(Value::Float(f64::from_be_bytes(eight)))
        }
        _other => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_read_back_and_lengths_do_not_lie() {
        let json = serde_json::json!({
            "a": [1, -1, 23, 24, 255, 256, 70_000, 5_000_000_000_u64, 1.5, true, null],
            "b": {"c": "x".repeat(300)},
        });
        let mut bytes = Vec::new();
        Value::of_json(&json).write(&mut bytes);
        assert_eq!(Value::read(&bytes).unwrap().json(), json);
        for cut in 0..bytes.len() {
            assert_eq!(Value::read(bytes.get(..cut).unwrap()), None);
        }
        assert_eq!(
            Value::read(&[0x9b, 255, 255, 255, 255, 255, 255, 255, 255]),
            None
        );
        assert_eq!(Value::read(&[0x81; 100]), None);
        assert_eq!(Value::read(&[0x9f, 0xff]), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Value::read(&bytes);
        }
    }
}
