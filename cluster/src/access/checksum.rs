//! A running sum over byte strings, for fingerprints of the state and for snapshots.
//!
//! **Why not cryptographic:** it finds nodes that have come apart and damage on a disk; nobody attacks it, and it has
//! to run over a hundred megabytes in a blink.

/// A running sum over byte strings; where one string ends and the next begins matters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum(pub(super) u64);

impl Default for Sum {
    fn default() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }
}

impl Sum {
    /// Adds a byte string.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        let mut last = [0u8; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        self.mix(u64::from_le_bytes(last));
        self.mix(bytes.len() as u64);
    }

    fn mix(&mut self, word: u64) {
        let folded = (self.0 ^ word).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        self.0 = folded ^ folded.rotate_right(32);
    }
}
