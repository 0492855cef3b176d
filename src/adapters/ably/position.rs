//! How connections, positions and serials are printed. Opaque to clients; ours to read back.

use crate::core::ids::{ConnectionId, Position, Timetoken};
use crate::core::message::Receipt;

/// Units of a timetoken in one millisecond.
pub(super) const TICKS_PER_MS: u64 = 10_000;

/// A connection: 16 hexadecimal digits.
pub(super) fn connection(id: ConnectionId) -> String {
    format!("{:08x}{:08x}", id.0, id.1)
}

/// Reads a connection.
pub(super) fn parse_connection(text: &str) -> Option<ConnectionId> {
    let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let (left, right) = (text.len() == 16 && hex).then(|| text.split_at(8))?;
    let half = |part| u64::from_str_radix(part, 16).ok();
    Some(ConnectionId(half(left)?, half(right)?))
}

/// A position as a `channelSerial`.
pub(super) fn channel_serial(position: Position) -> String {
    format!("{:016x}:{:010}", position.epoch, position.seq)
}

/// Reads a `channelSerial`.
pub(super) fn parse_channel_serial(text: &str) -> Option<Position> {
    let (epoch, seq) = text.split_once(':')?;
    Some(Position {
        epoch: u64::from_str_radix(epoch, 16).ok()?,
        seq: seq.parse().ok()?,
    })
}

/// A message's `serial`: sorts as text in the order of the channel.
pub(super) fn serial(timetoken: Timetoken, position: Position) -> String {
    let (ms, ticks) = (timetoken / TICKS_PER_MS, timetoken % TICKS_PER_MS);
    format!("{ms:014}-{ticks:04}@{:016x}:000", position.epoch)
}

/// The `serial` that a publisher is told.
pub(super) fn of_receipt(receipt: &Receipt) -> String {
    serial(receipt.timetoken, receipt.position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_reads_back() {
        let id = ConnectionId(1, (1 << 31) - 1);
        assert_eq!(parse_connection(&connection(id)), Some(id));
        assert_eq!(parse_connection("+0000001+0000001"), None);
        assert_eq!(parse_connection("x"), None);
        let position = Position {
            epoch: u64::MAX,
            seq: 12,
        };
        assert_eq!(
            parse_channel_serial(&channel_serial(position)),
            Some(position)
        );
        assert_eq!(parse_channel_serial("nothing"), None);
        let later = serial(20_001, position);
        assert!(serial(20_000, position) < later && later < serial(30_000, position));
    }
}
