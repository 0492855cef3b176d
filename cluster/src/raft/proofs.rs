//! How late a proof of freshness can have begun, told by those who had to help with it.
//!
//! A proof is a lease round: it begins at `t0`, and the leader that answers it has, after `t0`, sent a request
//! to every other voter and heard from so many that they are a majority together with itself. Call whoever is in
//! that majority a helper. Every voter keeps when a leader's request last *arrived* (and a leader when it last
//! began to ask), before the engine judges it; so `t0` is earlier than what each helper keeps.
//!
//! Let N lead now. Which proofs came through leaders before N? A voter that answers N has taken N's vote and helps
//! none of those any more, so what it keeps of them is final. Take the majority of the voters with the earliest
//! such instants: every majority shares a voter with it. So each proof through a leader before N, finished or
//! still on its way, began before the latest instant in that majority. A voter that has not answered might have
//! helped until now; it counts as later than everyone.
//!
//! Instants, not acknowledgements: one that is noted too late loses a race against the vote, one that is noted
//! for a request which is then refused only makes the bound later.
//!
//! Pure.

use super::engine::LeaderId;
use tokio::time::Instant;

/// When leaders last asked this node for its help. One that has just started may have helped until then.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeaderContacts {
    leader: LeaderId,
    /// For `leader`, the latest one seen.
    last: Instant,
    /// For any leader before it.
    before: Instant,
}

impl LeaderContacts {
    /// Of a process that starts at `start`: nothing it did earlier is remembered.
    pub(super) fn new(start: Instant) -> Self {
        Self {
            leader: LeaderId::default(),
            last: start,
            before: start,
        }
    }

    /// `leader` asks at `now`.
    pub(super) fn note(&mut self, leader: LeaderId, now: Instant) {
        if leader > self.leader {
            self.before = self.before.max(self.last);
            (self.leader, self.last) = (leader, now);
        } else if leader == self.leader {
            self.last = self.last.max(now);
        } else {
            self.before = self.before.max(now);
        }
    }

    /// The latest instant at which a leader before `leader` asked, or a later one.
    pub(super) fn before(&self, leader: LeaderId) -> Instant {
        if leader == self.leader {
            return self.before;
        }
        self.before.max(self.last)
    }
}

/// No proof through an earlier leader began after this; none if fewer than a majority of the `voters` are known.
/// `helped` holds one instant for each voter that answered.
pub(super) fn latest(mut helped: Vec<Instant>, voters: usize) -> Option<Instant> {
    helped.sort_unstable();
    helped.get(voters / 2).copied()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn at(base: Instant, ms: u64) -> Instant {
        base + Duration::from_millis(ms)
    }

    #[test]
    fn the_dead_leader_counts_as_the_latest() {
        let base = Instant::now();
        let of = |ms: &[u64], voters| latest(ms.iter().map(|ms| at(base, *ms)).collect(), voters);
        assert_eq!(of(&[40, 70], 3), Some(at(base, 70)), "both who are left");
        assert_eq!(of(&[40], 3), None, "one of three knows too little");
        assert_eq!(of(&[90, 40, 50, 60], 5), Some(at(base, 60)), "four of five");
        assert_eq!(of(&[90, 40, 50], 5), Some(at(base, 90)), "three of five");
        assert_eq!(of(&[90, 40], 5), None);
        assert_eq!(of(&[40, 50], 4), None, "half is no majority");
        assert_eq!(of(&[40], 1), Some(at(base, 40)), "alone");
    }

    #[test]
    fn a_later_leader_moves_nothing_that_an_earlier_one_left() {
        let base = Instant::now();
        let mut helped = LeaderContacts::new(base);
        let leader = |term| LeaderId::new(term, 1);
        helped.note(leader(1), at(base, 10));
        helped.note(leader(2), at(base, 20));
        helped.note(leader(2), at(base, 30));
        assert_eq!(helped.before(leader(2)), at(base, 10));
        assert_eq!(helped.before(leader(3)), at(base, 30));
        helped.note(leader(1), at(base, 40));
        assert_eq!(helped.before(leader(2)), at(base, 40), "out of order");
        assert_eq!(
            LeaderContacts::new(base).before(leader(9)),
            base,
            "from the start"
        );
    }

    /// One voter of the model: what it has promised, when it helped, what it says of that.
    #[derive(Clone)]
    struct Voter {
        vote: LeaderId,
        helped: LeaderContacts,
    }

    proptest! {
        /// Leaders come and go, messages arrive late and in any order, voters restart, some never answer: no
        /// proof that is finished at any time began after the bound.
        #[test]
        fn no_proof_begins_after_the_bound(
            voters in 1..=7_usize,
            // Who asks for help (its term), when it began, and who gets the request how much later, if at all.
            rounds in prop::collection::vec(
                (1..6_u64, 0..500_u64, prop::collection::vec(prop::option::of(0..200_u64), 7)), 1..20),
            // When each voter votes for the last leader (its term is 5), and when it restarts, if ever.
            votes in prop::collection::vec(300..700_u64, 7),
            restarts in prop::collection::vec(prop::option::weighted(0.2, 0..700_u64), 7),
            answers in prop::collection::vec(prop::bool::weighted(0.8), 7),
        ) {
            let base = Instant::now();
            let last = LeaderId::new(5, 0);
            // Whatever happens, in the order of time: a vote, a restart, a request that arrives.
            let mut events: Vec<(u64, usize, Option<usize>, bool)> = Vec::new();
            for voter in 0..voters {
                events.push((votes[voter], voter, None, false));
                if let Some(restart) = restarts[voter] {
                    events.push((restart, voter, None, true));
                }
            }
            for (round, (_, began, delays)) in rounds.iter().enumerate() {
                for (voter, delay) in delays.iter().enumerate().take(voters) {
                    if let Some(delay) = delay {
                        events.push((began + delay, voter, Some(round), false));
                    }
                }
            }
            events.sort_unstable();
            let new = Voter { vote: LeaderId::default(), helped: LeaderContacts::new(base) };
            let mut all = vec![new; voters];
            let mut helpers = vec![0; rounds.len()];
            for (now, voter, round, restarts) in events {
                let it = &mut all[voter];
                match round {
                    None if restarts => it.helped = LeaderContacts::new(at(base, now)),
                    None => it.vote = it.vote.max(last),
                    Some(round) => {
                        let leader = LeaderId::new(rounds[round].0, 0);
                        it.helped.note(leader, at(base, now));
                        if leader >= it.vote {
                            it.vote = leader;
                            helpers[round] += 1;
                        }
                    }
                }
            }
            let told = all.iter().zip(&answers).filter(|(_, answers)| **answers);
            let told: Vec<_> = told.map(|(voter, _)| voter.helped.before(last)).collect();
            if let Some(bound) = latest(told, voters) {
                for ((term, began, _), helpers) in rounds.iter().zip(helpers) {
                    let proof = *term < 5 && helpers * 2 > voters;
                    prop_assert!(!proof || at(base, *began) <= bound);
                }
            }
        }
    }
}
