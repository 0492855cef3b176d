//! Channel modes: what an attachment is for, as flag bits, and the core's operations behind them.

use crate::core::authority::Operations;

pub(super) const PRESENCE: u64 = 1 << 16;
pub(super) const PUBLISH: u64 = 1 << 17;
pub(super) const SUBSCRIBE: u64 = 1 << 18;
pub(super) const PRESENCE_SUBSCRIBE: u64 = 1 << 19;
const ANNOTATION_PUBLISH: u64 = 1 << 21;
const ANNOTATION_SUBSCRIBE: u64 = 1 << 22;
const OBJECT_SUBSCRIBE: u64 = 1 << 24;
const OBJECT_PUBLISH: u64 = 1 << 25;
/// What is meant when nothing is said.
pub(super) const DEFAULT: u64 =
    PRESENCE | PUBLISH | SUBSCRIBE | PRESENCE_SUBSCRIBE | ANNOTATION_PUBLISH;
const ALL: u64 = DEFAULT | ANNOTATION_SUBSCRIBE | OBJECT_SUBSCRIBE | OBJECT_PUBLISH;

/// The modes named by a request: its `modes` parameter, else its flags, else the default.
/// `None` = a mode nobody knows.
pub(super) fn asked(param: Option<&str>, flags: u64) -> Option<u64> {
    let Some(param) = param else {
        return Some(match flags & ALL {
            0 => DEFAULT,
            modes => modes,
        });
    };
    let bit = |name: &str| {
        Some(match name.trim().to_ascii_lowercase().as_str() {
            "presence" => PRESENCE,
            "publish" => PUBLISH,
            "subscribe" => SUBSCRIBE,
            "presence_subscribe" => PRESENCE_SUBSCRIBE,
            "annotation_publish" => ANNOTATION_PUBLISH,
            "annotation_subscribe" => ANNOTATION_SUBSCRIBE,
            "object_subscribe" => OBJECT_SUBSCRIBE,
            "object_publish" => OBJECT_PUBLISH,
            _unknown => return None,
        })
    };
    param
        .split(',')
        .try_fold(0, |all, name| Some(all | bit(name)?))
}

/// What is left of the modes asked for with these operations.
pub(super) fn granted(asked: u64, operations: Operations) -> u64 {
    let has = |needs: Operations, bit: u64| match operations.contains(needs) {
        true => bit,
        false => 0,
    };
    let subscribe = has(Operations::SUBSCRIBE, SUBSCRIBE);
    let read = Operations::SUBSCRIBE | Operations::PRESENCE_READ;
    let may = subscribe
        | has(read, PRESENCE_SUBSCRIBE)
        // Annotations themselves are refused; the mode is part of what every full key is told.
        | has(Operations::PUBLISH, PUBLISH | ANNOTATION_PUBLISH)
        | has(Operations::PRESENCE, PRESENCE);
    asked & may
}

/// Combinations of operations that an attachment may stand on, best first.
pub(super) fn candidate_rights(asked: u64) -> impl Iterator<Item = Operations> {
    let all = [
        (
            SUBSCRIBE | PRESENCE_SUBSCRIBE,
            Operations::SUBSCRIBE | Operations::PRESENCE_READ,
        ),
        (SUBSCRIBE, Operations::SUBSCRIBE),
        (
            PRESENCE_SUBSCRIBE,
            Operations::SUBSCRIBE | Operations::PRESENCE_READ,
        ),
        (PUBLISH, Operations::PUBLISH),
        (PRESENCE, Operations::PRESENCE),
        (ANNOTATION_PUBLISH, Operations::PUBLISH),
        (OBJECT_SUBSCRIBE, Operations::SUBSCRIBE),
        (ANNOTATION_SUBSCRIBE, Operations::SUBSCRIBE),
        (OBJECT_PUBLISH, Operations::PUBLISH),
    ];
    let fits = move |(modes, _): &(u64, Operations)| asked & modes == *modes;
    all.into_iter()
        .filter(fits)
        .map(|(_, operations)| operations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_the_documented_default() {
        assert_eq!(granted(DEFAULT, Operations::CLIENT), 3_080_192);
        assert_eq!(asked(None, 0), Some(DEFAULT));
        assert_eq!(
            asked(Some("subscribe,publish"), PRESENCE),
            Some(SUBSCRIBE | PUBLISH)
        );
        assert_eq!(asked(Some("fly"), 0), None);
        let only = granted(DEFAULT, Operations::SUBSCRIBE | Operations::PRESENCE_READ);
        assert_eq!(only, SUBSCRIBE | PRESENCE_SUBSCRIBE);
    }
}
