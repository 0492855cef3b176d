//! A linearizability checker: Wing and Gong's search with Lowe's memory of configurations.
//!
//! A history is a list of operations, each with the moment it began and, if it is known to have ended, the
//! moment it did. The checker looks for an order that the model allows and in which every operation takes
//! effect between its two moments. An operation that never ended (outcome unknown) may take effect at any
//! later moment or not at all. Keys are independent: check each by itself.
//!
//! **Must never know:** who made the history. Also used on histories of real processes
//! (`examples/linearize.rs`).

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// What operations do, one after the other.
pub trait Model {
    /// The object's state.
    type State: Clone + Eq + Hash + Debug + Default;
    /// An operation with its result.
    type Op: Clone + Debug;
    /// The state after `op`, or nothing if the result cannot be.
    fn step(state: &Self::State, op: &Self::Op) -> Option<Self::State>;
}

/// One operation of a history.
#[derive(Clone, Debug)]
pub struct Call<O> {
    pub op: O,
    /// When it began; any clock that all calls share.
    pub began: u64,
    /// When it ended; nothing = never, as far as anybody knows.
    pub ended: Option<u64>,
}

/// Why a history is not linearizable: the longest order found, and what could not follow it.
#[derive(Clone, Debug)]
pub struct Stuck {
    pub longest: Vec<usize>,
    pub next: Vec<usize>,
}

/// Whether the search was given up.
#[derive(Clone, Debug)]
pub enum Verdict {
    Linearizable,
    Not(Stuck),
    GaveUp,
}

const CONFIGURATIONS: usize = 3_000_000;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Done(Vec<u64>);

impl Done {
    fn has(&self, at: usize) -> bool {
        self.0[at / 64] >> (at % 64) & 1 == 1
    }
    fn set(&mut self, at: usize, to: bool) {
        let bit = 1 << (at % 64);
        match to {
            true => self.0[at / 64] |= bit,
            false => self.0[at / 64] &= !bit,
        }
    }
}

/// Judges one key's history.
pub fn check<M: Model>(history: &[Call<M::Op>]) -> Verdict {
    let mut order: Vec<usize> = (0..history.len()).collect();
    order.sort_by_key(|at| history[*at].began);
    let must = history.iter().filter(|call| call.ended.is_some()).count();
    let mut done = Done(vec![0; history.len().div_ceil(64)]);
    let mut seen: HashSet<(Done, M::State)> = HashSet::new();
    // Each level: the state before, and the candidates that are still to be tried.
    let mut stack: Vec<(M::State, Vec<usize>)> = Vec::new();
    let mut path: Vec<usize> = Vec::new();
    let mut finished = 0;
    let mut state = M::State::default();
    let mut longest = Stuck {
        longest: Vec::new(),
        next: Vec::new(),
    };
    loop {
        if finished == must {
            return Verdict::Linearizable;
        }
        let candidates = candidates(history, &order, &done);
        if path.len() >= longest.longest.len() {
            longest = Stuck {
                longest: path.clone(),
                next: candidates.clone(),
            };
        }
        stack.push((state.clone(), candidates));
        // One step forward; where there is none, back.
        loop {
            let Some((before, left)) = stack.last_mut() else {
                return Verdict::Not(longest);
            };
            let Some(at) = left.pop() else {
                stack.pop();
                if let Some(at) = path.pop() {
                    done.set(at, false);
                    finished -= usize::from(history[at].ended.is_some());
                }
                continue;
            };
            let Some(after) = M::step(before, &history[at].op) else {
                continue;
            };
            done.set(at, true);
            if !seen.insert((done.clone(), after.clone())) {
                done.set(at, false);
                continue;
            }
            if seen.len() > CONFIGURATIONS {
                return Verdict::GaveUp;
            }
            path.push(at);
            finished += usize::from(history[at].ended.is_some());
            state = after;
            break;
        }
    }
}

/// Operations that may come next: those that began before the first end among all that are left.
fn candidates<O>(history: &[Call<O>], order: &[usize], done: &Done) -> Vec<usize> {
    let mut first_end = u64::MAX;
    let mut found = Vec::new();
    for at in order.iter().copied().filter(|at| !done.has(*at)) {
        if history[at].began > first_end {
            break;
        }
        first_end = first_end.min(history[at].ended.unwrap_or(u64::MAX));
        found.push(at);
    }
    // Tried from the end: first what ended first, last what may never have happened.
    found.sort_by_key(|at| std::cmp::Reverse(history[*at].ended.unwrap_or(u64::MAX)));
    found
}

/// The right of one subject: granted, revoked, checked.
///
/// A revoke is two steps: the change itself, and its *return*, which promises that no node allows any more.
/// Between the two any node may still answer by the old truth; so a check may allow while the right stands
/// or while a revoke is on its way. A refusal is always by a fresh view.
#[derive(Debug)]
pub struct Right;

/// What was called and what it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RightOp {
    Grant,
    /// The change of revoke number n.
    Revoke(u16),
    /// The return of revoke number n.
    Returned(u16),
    /// A node served.
    Allowed,
    /// A node refused, for want of the right.
    Refused,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RightState {
    granted: bool,
    /// Revokes that have taken effect and not returned, in order, and whether each took a standing right that
    /// may still be served by the old truth.
    revokes: Vec<(u16, bool)>,
}

impl Model for Right {
    type State = RightState;
    type Op = RightOp;

    fn step(state: &RightState, op: &RightOp) -> Option<RightState> {
        let mut after = state.clone();
        let served = state.granted || state.revokes.iter().any(|(_, took)| *took);
        match op {
            RightOp::Grant => after.granted = true,
            RightOp::Revoke(number) => {
                after.revokes.push((*number, state.granted));
                after.granted = false;
            }
            RightOp::Returned(number) => {
                let at = state.revokes.iter().position(|(n, _)| n == number)?;
                // It promises for everything that took effect before it as well.
                for (_, took) in &mut after.revokes[..=at] {
                    *took = false;
                }
                after.revokes.remove(at);
            }
            RightOp::Allowed if served => {}
            RightOp::Refused if !state.granted => {}
            RightOp::Allowed | RightOp::Refused => return None,
        }
        Some(after)
    }
}

/// The rows of a revoke: the change, and, if it returned, the return.
pub fn revoke(number: u16, began: u64, ended: Option<u64>) -> Vec<Call<RightOp>> {
    let row = |op| Call { op, began, ended };
    let mut rows = vec![row(RightOp::Revoke(number))];
    if ended.is_some() {
        rows.push(row(RightOp::Returned(number)));
    }
    rows
}

/// A use of the right itself: for histories of one right after `Grant` and `Revoke` by text.
/// `line` is `began ended|- what [number]`.
pub fn parse(line: &str) -> Option<Vec<Call<RightOp>>> {
    let mut words = line.split_ascii_whitespace();
    let began = words.next()?.parse().ok()?;
    let ended = match words.next()? {
        "-" => None,
        text => Some(text.parse().ok()?),
    };
    let op = match words.next()? {
        "grant" => RightOp::Grant,
        "allowed" => RightOp::Allowed,
        "refused" => RightOp::Refused,
        "revoke" => return Some(revoke(words.next()?.parse().ok()?, began, ended)),
        _ => return None,
    };
    Some(vec![Call { op, began, ended }])
}
