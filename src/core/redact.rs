//! What may be shown of a secret to those who are not meant to use it.
//!
//! **Why a part of its hash and not of itself:** a few of its letters would help a guesser; eight digits of a hash are
//! enough to tell two tokens of an app apart, or to find the one that somebody holds.

use sha2::{Digest as _, Sha256};

/// Digits that are shown.
const DIGITS: usize = 8;

/// The first eight hexadecimal digits of the text's SHA-256.
#[must_use]
pub fn fingerprint(secret: &str) -> String {
    let mut digits = hex::encode(Sha256::digest(secret.as_bytes()));
    digits.truncate(DIGITS);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_what_every_tool_computes() {
        assert_eq!(fingerprint("abc"), "ba7816bf");
        assert_ne!(fingerprint("abc"), fingerprint("abd"));
    }
}
