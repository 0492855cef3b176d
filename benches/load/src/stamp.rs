//! What a message carries so that its arrival can be judged: when it was due, who sent it, which one it is.
//!
//! **Must never know:** how it travels. Plain digits behind a marker: they pass every dialect's JSON
//! unescaped and are found again without parsing it.

use memchr::memmem;
use std::fmt::Write;

const MARK: &[u8] = b"~T";
const DUE: usize = 16;
const LANE: usize = 4;
const NUMBER: usize = 8;

/// Bytes of a stamp as text; a payload is at least this long.
pub const LENGTH: usize = MARK.len() + DUE + LANE + NUMBER;

/// One message's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Nanoseconds from the run's beginning to the moment the message was due to be sent.
    pub due: u64,
    /// The publisher, 0 to 9999. Messages of one lane are sent one after the other.
    pub lane: u16,
    /// Its number within the lane, from 0.
    pub number: u32,
}

impl Stamp {
    /// A payload of `size` bytes (at least `LENGTH`).
    #[must_use]
    pub fn payload(self, size: usize) -> String {
        let mut text = String::with_capacity(size.max(LENGTH));
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "~T{:0DUE$}{:0LANE$}{:0NUMBER$}",
            self.due, self.lane, self.number
        );
        text.extend(std::iter::repeat_n('x', size.saturating_sub(LENGTH)));
        text
    }

    /// The first stamp in `text`.
    #[must_use]
    pub fn find(text: &[u8]) -> Option<Self> {
        let from = memmem::find(text, MARK)? + MARK.len();
        let (due, rest) = text.get(from..)?.split_at_checked(DUE)?;
        let (lane, rest) = rest.split_at_checked(LANE)?;
        let (number, _) = rest.split_at_checked(NUMBER)?;
        Some(Self {
            due: digits(due)?,
            lane: u16::try_from(digits(lane)?).ok()?,
            number: u32::try_from(digits(number)?).ok()?,
        })
    }
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0u64, |n, d| {
        d.is_ascii_digit().then(|| n * 10 + u64::from(d - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_found_again() {
        let stamp = Stamp {
            due: 1_234_567_890,
            lane: 499,
            number: 12_345_678,
        };
        for size in [0, LENGTH, 200] {
            let payload = stamp.payload(size);
            assert_eq!(payload.len(), size.max(LENGTH));
            let frame = format!(r#"{{"event":"m","data":"{payload}"}}"#);
            assert_eq!(Stamp::find(frame.as_bytes()), Some(stamp));
        }
    }

    #[test]
    fn broken_stamps_are_none() {
        let payload = Stamp {
            due: 1,
            lane: 2,
            number: 3,
        }
        .payload(LENGTH);
        for cut in 0..payload.len() {
            assert_eq!(
                Stamp::find(payload.as_bytes().get(..cut).unwrap_or_default()),
                None
            );
        }
        assert_eq!(Stamp::find(payload.replace('3', "?").as_bytes()), None);
        assert_eq!(Stamp::find(b"nothing here"), None);
    }
}
