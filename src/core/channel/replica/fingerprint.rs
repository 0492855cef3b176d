//! What a node has in a channel, as a number: two nodes compare very many channels by few of them.
//!
//! **Why exclusive or over entries:** one that comes or goes changes the number by itself, so that a full presence set costs
//! no more than an empty one.

use crate::core::ids::{ConnectionId, Text};
use crate::core::nodes::mix;
use bytes::Bytes;

fn fold(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Of one presence entry.
pub(super) fn entry(connection: ConnectionId, client: &Text, data: &Bytes) -> u64 {
    let start = mix(connection.0) ^ mix(connection.1).rotate_left(17);
    mix(fold(mix(fold(start, client.as_bytes())), data))
}

/// Of a node's subscribers and of the exclusive or over its entries; 0 when it has neither.
pub(super) fn interest(subscribers: u64, entries: u64) -> u64 {
    match (subscribers, entries) {
        (0, 0) => 0,
        (subscribers, entries) => mix(subscribers ^ mix(entries)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_differs_shows() {
        let one = |connection, client: &str, data: &'static str| {
            entry(
                ConnectionId(1, connection),
                &client.into(),
                &Bytes::from_static(data.as_bytes()),
            )
        };
        let all = [
            one(1, "a", ""),
            one(2, "a", ""),
            one(1, "b", ""),
            one(1, "a", "x"),
        ];
        let mut seen = all.to_vec();
        seen.extend([
            interest(1, 0),
            interest(2, 0),
            interest(0, all[0]),
            interest(1, all[0]),
        ]);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 8);
        assert_eq!(interest(0, all[0] ^ all[0]), 0);
    }
}
