//! Answered requests: a retried proposal applies once and gets its first answer again.
//!
//! **Why bounded by count and age:** a retry comes within seconds; a table that grew with the cluster's life would be
//! its largest.

use super::{Limits, Millis, Reply, Revision};
use imbl::OrdMap;
use serde::{Deserialize, Serialize};

/// What a request came to the first time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// Log index at which it was applied.
    pub revision: Revision,
    /// Cluster time at which it was applied.
    pub time_ms: Millis,
    /// What the command was answered.
    pub reply: Reply,
}

/// The table of answered requests, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    answers: OrdMap<u128, (u64, Answered)>,
    order: OrdMap<u64, u128>,
    next: u64,
}

impl Requests {
    /// What that request came to, if it is still remembered.
    #[must_use]
    pub fn get(&self, request: u128) -> Option<&Answered> {
        self.answers.get(&request).map(|(_, answer)| answer)
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// All, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u128, &Answered)> {
        self.order.values().filter_map(|request| {
            self.answers
                .get(request)
                .map(|(_, answer)| (*request, answer))
        })
    }

    /// Remembers an answer and forgets what is over-old or too many: a few per call, so that no call
    /// takes long.
    pub(super) fn remember(&mut self, request: u128, answer: Answered) {
        let now = answer.time_ms;
        self.append(request, answer);
        for _ in 0..4 {
            let Some((at, oldest)) = self.order.get_min().cloned() else {
                return;
            };
            let over_old = self
                .get(oldest)
                .is_none_or(|answer| answer.time_ms.saturating_add(Limits::REQUEST_MS) < now);
            if !over_old && self.answers.len() <= Limits::REQUESTS {
                return;
            }
            self.order.remove(&at);
            self.answers.remove(&oldest);
        }
    }

    /// Adds one at the young end; an id that is there already stays as it is.
    pub(super) fn append(&mut self, request: u128, answer: Answered) {
        if self.answers.contains_key(&request) {
            return;
        }
        self.answers.insert(request, (self.next, answer));
        self.order.insert(self.next, request);
        self.next += 1;
    }
}
