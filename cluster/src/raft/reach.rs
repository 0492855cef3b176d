//! Which peers cannot be reached, and whether this node serves: said when it begins, once a minute while it lasts,
//! and when it ends.
//!
//! **Must never know:** what follows from it; the engine, the lease and the member list find out for themselves.
//! **Why not the engine's own complaints:** it writes one for each attempt, some 90 lines a second for one dead peer,
//! and none of them says since when.

use super::core::Core;
use super::lock;
use crate::access::{MemberState, NodeId};
use crate::contract::Freshness;
use crate::net::Failing;
use crate::seldom::PAUSE;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// How often is looked.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long a peer may be away before it is worth a line: nodes start and stop one after another.
const WARN_AFTER: Duration = Duration::from_secs(3);

/// What is to be said about one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Report {
    /// It has been away for this long; the first word about it, or one of the later ones.
    Away { first: bool, lasted: Duration },
    /// It is back after this long.
    Back(Duration),
}

#[derive(Debug)]
struct Away {
    since: Instant,
    said: Option<Instant>,
    /// It said before that it was going.
    expected: bool,
}

/// Which peers are away, by their names. Pure.
#[derive(Debug)]
pub(super) struct PeerReachability<K>(BTreeMap<K, Away>);

impl<K> Default for PeerReachability<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone> PeerReachability<K> {
    /// Takes what is known now (since when it is away, or that it is not); what is to be said, and whether its going
    /// was expected.
    fn look(
        &mut self,
        peer: &K,
        failing: Option<Instant>,
        leaving: bool,
        now: Instant,
    ) -> (Option<Report>, bool) {
        let Some(since) = failing else {
            let back = self.0.remove(peer);
            let said = back.as_ref().is_some_and(|away| away.said.is_some());
            let lasted = back
                .as_ref()
                .map(|away| now.saturating_duration_since(away.since));
            let expected = back.is_some_and(|away| away.expected);
            return (lasted.filter(|_| said).map(Report::Back), expected);
        };
        let away = self.0.entry(peer.clone()).or_insert(Away {
            since,
            said: None,
            expected: false,
        });
        away.expected |= leaving;
        let lasted = now.saturating_duration_since(away.since);
        let due = match away.said {
            None => lasted >= WARN_AFTER,
            Some(said) => now.saturating_duration_since(said) >= PAUSE,
        };
        let first = away.said.is_none();
        if due {
            away.said = Some(now);
        }
        (due.then_some(Report::Away { first, lasted }), away.expected)
    }

    /// Forgets who is asked about no more.
    fn keep(&mut self, known: impl Fn(&K) -> bool) {
        self.0.retain(|peer, _| known(peer));
    }
}

/// What came of asking addresses to be let in.
#[derive(Debug, Default)]
pub(super) struct JoinAttempts(Mutex<PeerReachability<String>>);

impl JoinAttempts {
    /// Nobody at this address lets this node in, or somebody has.
    pub(super) fn note(&self, addr: &str, error: Option<&io::Error>) {
        let now = Instant::now();
        let mut attempts = lock(&self.0);
        // Kept from the first failure on: each call brings the newest one.
        let since = attempts.0.get(addr).map_or(now, |away| away.since);
        let (report, _) = attempts.look(&addr.to_owned(), error.map(|_| since), false, now);
        if let (Some(Report::Away { lasted, .. }), Some(error)) = (report, error) {
            tracing::warn!(
                addr,
                %error,
                seconds = lasted.as_secs(),
                "joining: the node named by `join` does not let this node in"
            );
        }
    }
}

/// Looks and says, for ever.
pub(super) async fn watch(core: Arc<Core>) {
    let mut reach = PeerReachability::default();
    let mut serving = Serving::default();
    loop {
        core.ticks.next(INTERVAL).await;
        let now = Instant::now();
        let links = core.links.all();
        reach.keep(|node| links.contains_key(node));
        for (node, (addr, state)) in links {
            let leaving = state_of(&core, node) == Some(MemberState::Draining);
            let since = state.failing.as_ref().map(|failing| failing.since);
            let (report, expected) = reach.look(&node, since, leaving, now);
            if let Some(report) = report {
                say(node, &addr, report, state.failing.as_ref(), expected);
            }
        }
        if !core.is_leaving() {
            serving.look(core.lease.freshness(), now);
        }
    }
}

fn state_of(core: &Core, node: u64) -> Option<MemberState> {
    let state = core.view.state();
    state.members.get(&NodeId(node)).map(|member| member.state)
}

fn say(node: u64, addr: &str, report: Report, failing: Option<&Failing>, expected: bool) {
    let why = failing.map_or("", |failing| &*failing.why);
    match report {
        Report::Away { first, lasted } => {
            let seconds = lasted.as_secs();
            let what = if first { "is" } else { "is still" };
            match expected {
                true => tracing::info!(
                    node,
                    addr,
                    seconds,
                    why,
                    "a node that went in order {what} away"
                ),
                false => tracing::warn!(node, addr, seconds, why, "a node {what} unreachable"),
            }
        }
        Report::Back(after) => {
            tracing::info!(
                node,
                addr,
                seconds = after.as_secs(),
                "a node is reachable again"
            );
        }
    }
}

/// Whether this node may serve, as it was seen last.
#[derive(Debug, Default)]
struct Serving {
    stopped: Option<Instant>,
    said: Option<Instant>,
}

impl Serving {
    fn look(&mut self, freshness: Freshness, now: Instant) {
        match freshness {
            // It has never served: `/ready` says why, and so do the lines about its peers.
            Freshness::Never => {}
            Freshness::Fresh(_) => {
                if let Some(stopped) = self.stopped.take() {
                    let seconds = now.saturating_duration_since(stopped).as_secs();
                    self.said = None;
                    tracing::info!(seconds, "this node serves again");
                }
            }
            Freshness::Stale(_) => {
                let stopped = *self.stopped.get_or_insert(now);
                let due = self
                    .said
                    .is_none_or(|said| now.saturating_duration_since(said) >= PAUSE);
                if due {
                    self.said = Some(now);
                    let seconds = now.saturating_duration_since(stopped).as_secs();
                    tracing::warn!(
                        seconds,
                        "this node does not serve: no majority confirms that its view is current"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_away_is_told_when_it_begins_once_a_minute_and_when_it_ends() {
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let mut reach = PeerReachability::default();
        let mut told = Vec::new();
        for second in 0..200 {
            let away = (10..190).contains(&second).then_some(at(10));
            let (report, expected) = reach.look(&2, away, false, at(second));
            assert!(!expected);
            told.extend(report.map(|report| (second, report)));
        }
        let away = |first, seconds| Report::Away {
            first,
            lasted: Duration::from_secs(seconds),
        };
        let wanted = [
            (13, away(true, 3)),
            (73, away(false, 63)),
            (133, away(false, 123)),
            (190, Report::Back(Duration::from_secs(180))),
        ];
        assert_eq!(told, wanted);
        // Shorter than the patience: no word, neither of its going nor of its coming.
        assert_eq!(reach.look(&2, Some(at(200)), false, at(202)).0, None);
        assert_eq!(reach.look(&2, None, false, at(203)).0, None);
        // It had said that it was going.
        reach.look(&2, Some(at(210)), true, at(210));
        let (report, expected) = reach.look(&2, Some(at(210)), false, at(214));
        assert!(report.is_some() && expected);
    }
}
