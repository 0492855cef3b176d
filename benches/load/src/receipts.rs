//! One subscriber's proof that it got every message of its publishers once, in their order.
//!
//! **Must never know:** sockets and time. Counting deliveries alone would let a message that came
//! twice hide one that never came.

use crate::stamp::Stamp;

/// What went wrong with deliveries; all zero is the only good result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Sent, and not received when due (or not at all).
    pub lost: u64,
    /// Received again, or after a later one of the same publisher.
    pub repeated: u64,
    /// From a publisher whose channel this subscriber has not joined.
    pub strayed: u64,
}

impl std::ops::AddAssign for Faults {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.strayed += other.strayed;
    }
}

/// The messages one subscriber has received.
#[derive(Default)]
pub struct Receipts {
    first: u16,
    next: Vec<u32>,
    faults: Faults,
}

impl Receipts {
    /// For a subscriber that shall hear the publishers `first` to `first + lanes - 1`.
    #[must_use]
    pub fn new(first: u16, lanes: usize) -> Self {
        Self {
            first,
            next: vec![0; lanes],
            faults: Faults::default(),
        }
    }

    /// Books one arrival.
    pub fn arrived(&mut self, stamp: Stamp) {
        let lane = stamp.lane.checked_sub(self.first);
        let Some(next) = lane.and_then(|lane| self.next.get_mut(usize::from(lane))) else {
            self.faults.strayed += 1;
            return;
        };
        if stamp.number < *next {
            self.faults.repeated += 1;
            return;
        }
        self.faults.lost += u64::from(stamp.number - *next);
        *next = stamp.number + 1;
    }

    /// The faults so far, when lane `i` has sent `sent(i)` messages in all.
    #[must_use]
    pub fn settle(&self, sent: impl Fn(u16) -> u32) -> Faults {
        let mut faults = self.faults;
        for (lane, next) in (self.first..).zip(&self.next) {
            faults.lost += u64::from(sent(lane).saturating_sub(*next));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(arrivals: &[(u16, u32)], sent: u32) -> Faults {
        let mut receipts = Receipts::new(7, 2);
        for &(lane, number) in arrivals {
            receipts.arrived(Stamp {
                due: 0,
                lane,
                number,
            });
        }
        receipts.settle(|_| sent)
    }

    #[test]
    fn all_once_in_order_is_no_fault() {
        assert_eq!(
            after(&[(7, 0), (8, 0), (8, 1), (7, 1)], 2),
            Faults::default()
        );
    }

    #[test]
    fn a_repeat_does_not_hide_a_loss() {
        let faults = after(&[(7, 0), (7, 0), (8, 0), (8, 1)], 2);
        assert_eq!(
            faults,
            Faults {
                lost: 1,
                repeated: 1,
                strayed: 0
            }
        );
    }

    #[test]
    fn gaps_tails_and_strangers_count() {
        let faults = after(&[(7, 2), (8, 0), (6, 0), (9, 0)], 3);
        assert_eq!(
            faults,
            Faults {
                lost: 2 + 2,
                repeated: 0,
                strayed: 2
            }
        );
    }

    #[test]
    fn out_of_order_is_a_fault() {
        assert_ne!(
            after(&[(7, 1), (7, 0), (8, 0), (8, 1)], 2),
            Faults::default()
        );
    }
}
