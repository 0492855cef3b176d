//! A 64-bit figure of the whole state, to compare nodes by.

use super::checksum::Sum;
use super::{State, snapshot};

/// The figure. Equal states have equal figures; it walks the whole state, so it is for tests and checks.
#[must_use]
pub fn fingerprint(state: &State) -> u64 {
    let mut sum = Sum::default();
    snapshot::frames(state, &mut |frame| sum.add(frame));
    sum.0
}
