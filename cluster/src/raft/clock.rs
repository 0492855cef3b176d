//! Which time it is, by more than one wall clock.
//!
//! Cluster time is carried by monotonic clocks and only ever moved *forward* by wall clocks, and then only as far
//! as a majority of the voters' wall clocks has got. One wrong clock, the leader's included, can therefore neither
//! end anything early nor keep anything alive; a clock that is set back moves nothing.
//!
//! Pure.
//! **Why not the leader's clock with a speed limit:** after the whole cluster was down for an hour the time has to move
//! by an hour at once, or everything would live an hour longer; only agreement tells that from one clock that is an
//! hour fast.

use crate::access::Millis;

/// How far a node's wall clock may be off before it says so.
pub(crate) const ALARM_MS: u64 = 500;
/// How far before it leaves service.
pub(crate) const WRONG_MS: u64 = 5_000;

/// The latest time that a majority of `voters` clocks has reached; none if fewer are known.
pub(crate) fn reached(walls: &mut [Millis], voters: usize) -> Option<Millis> {
    walls.sort_unstable_by(|one, other| other.cmp(one));
    walls.get(voters / 2).copied()
}

/// How far this node's clock is ahead (behind: negative) of what is right: the middle one of three or more
/// clocks, itself included. Of two that agree, the other; of two that do not, which cannot tell who is wrong, cluster
/// time, and where that is not known to be current, nothing. One alone is right.
pub(crate) fn deviation(own: Millis, others: &[Millis], cluster_ms: Option<Millis>) -> Option<i64> {
    let right = match others {
        [] => own,
        [other] if own.abs_diff(*other) <= ALARM_MS => *other,
        [_] => cluster_ms?,
        _more => {
            let mut all: Vec<Millis> = others.iter().copied().chain([own]).collect();
            all.sort_unstable();
            all.get(all.len() / 2).copied().unwrap_or(own)
        }
    };
    Some(i64::try_from(i128::from(own) - i128::from(right)).unwrap_or(i64::MAX))
}

/// The stamp of the next entry.
pub(crate) fn stamp(carried_ms: Millis, reached: Option<Millis>, last_ms: Millis) -> Millis {
    carried_ms.max(reached.unwrap_or(0)).max(last_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn one_clock_moves_nothing_and_a_majority_moves_everything() {
        let now = 100 * HOUR;
        let jump = |mut walls: Vec<u64>| reached(&mut walls, 3);
        assert_eq!(
            jump(vec![now + HOUR, now, now + 1]),
            Some(now + 1),
            "one fast"
        );
        assert_eq!(jump(vec![now - HOUR, now, now + 1]), Some(now), "one slow");
        assert_eq!(
            jump(vec![now + HOUR, now]),
            Some(now),
            "one fast, one silent"
        );
        assert_eq!(jump(vec![now + HOUR]), None, "nobody agrees");
        assert_eq!(jump(vec![now + HOUR, now + HOUR, now]), Some(now + HOUR));
        assert_eq!(reached(&mut [now], 1), Some(now), "alone");
        assert_eq!(
            reached(&mut [now + HOUR, now], 2),
            Some(now),
            "two: the earlier"
        );
    }

    #[test]
    fn stamps_never_go_back_and_run_on_without_any_wall_clock() {
        assert_eq!(stamp(1_000, Some(900), 950), 1_000);
        assert_eq!(stamp(1_000, Some(2_000), 950), 2_000);
        assert_eq!(stamp(1_000, None, 1_200), 1_200);
    }

    #[test]
    fn the_odd_one_out_knows_that_it_is_wrong() {
        let now = 100 * HOUR;
        let hour = HOUR as i64;
        let three = |own, others: &[u64]| deviation(own, others, None);
        assert_eq!(three(now + HOUR, &[now, now + 3]), Some(hour - 3));
        assert_eq!(three(now, &[now + HOUR, now + 3]), Some(-3));
        assert_eq!(
            deviation(now - HOUR, &[now], Some(now + 5)),
            Some(-hour - 5)
        );
        assert_eq!(deviation(now, &[now - HOUR], Some(now + 5)), Some(-5));
        assert_eq!(three(now, &[]), Some(0));
    }

    #[test]
    fn two_clocks_that_agree_are_right_however_far_behind_the_log_is() {
        let now = 100 * HOUR;
        for behind in [None, Some(now - HOUR), Some(now + HOUR)] {
            assert_eq!(deviation(now, &[now + 3], behind), Some(-3));
        }
        assert_eq!(
            deviation(now, &[now + HOUR], None),
            None,
            "nobody can tell yet"
        );
    }
}
