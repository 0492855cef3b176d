//! States for tests of everything above: made by the real machine, so that its indexes are in step.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::facade::{Authority, Source};
use crate::core::access::{
    Algorithm, BarrierMode, BarrierReport, Capability, Command, Committed, Decision, Issued,
    Millis, NodeId, Operations, Pattern, Proof, ProposeError, Question, Reason, Rejection, Reply,
    Revision, Rule, State, Subject, Vouched,
};
use arc_swap::ArcSwap;
pub(crate) use gatecast_cluster::access::{Stamp, apply};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What a provider has signed that says its bearer is in this user group.
pub(crate) fn claiming(group: &str) -> Proof {
    Proof {
        key: "key".into(),
        issued: Issued::Seen(1),
        expires_ms: None,
        capability: Capability::default(),
        vouched: Some(Arc::new(Vouched {
            provider: "idp".into(),
            kid: "k1".into(),
            since: 1,
            algorithm: Algorithm::EdDsa,
            audience: "chat".into(),
            groups: [group.into()].into(),
        })),
    }
}

/// A test's own decision function.
pub(crate) type Decide = fn(&State, &Question<'_>) -> Decision;

/// A state that stands still, and how writes to it are answered: none is taken until [`Authority::take_writes`].
#[derive(Debug)]
pub(super) struct Fixed {
    state: ArcSwap<State>,
    now_ms: AtomicU64,
    serving: AtomicBool,
    decide: Option<Decide>,
    writes: Mutex<Option<Taken>>,
}

impl Fixed {
    pub(super) fn view(&self) -> Arc<State> {
        self.state.load_full()
    }

    pub(super) fn now_ms(&self) -> Millis {
        self.now_ms.load(Ordering::Relaxed)
    }

    pub(super) fn serving(&self) -> bool {
        self.serving.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Taken {
    /// Nodes that confirm nothing.
    pending: Vec<NodeId>,
    /// How often somebody waited for the others.
    fences: usize,
    /// What the log has come to, which the view shows only once something is written through this node.
    log: State,
}

impl Authority {
    /// Over a state and a clock that stand still.
    #[must_use]
    pub(crate) fn fixed(state: State, now_ms: Millis) -> Self {
        Self::still(state, now_ms, None)
    }

    /// As [`Self::fixed`], deciding by a function of the test; it takes every credential for standing.
    #[must_use]
    pub(crate) fn fixed_by(state: State, now_ms: Millis, decide: Decide) -> Self {
        Self::still(state, now_ms, Some(decide))
    }

    fn still(state: State, now_ms: Millis, decide: Option<Decide>) -> Self {
        Self::over(Source::Fixed(Box::new(Fixed {
            state: ArcSwap::from_pointee(state),
            now_ms: now_ms.into(),
            serving: true.into(),
            decide,
            writes: Mutex::default(),
        })))
    }

    /// Gives a fixed authority another state, time and right to serve.
    pub(crate) fn set_fixed(&self, state: State, now_ms: Millis, may_serve: bool) {
        let fixed = self.fixture();
        fixed.state.store(Arc::new(state));
        fixed.now_ms.store(now_ms, Ordering::Relaxed);
        fixed.serving.store(may_serve, Ordering::Relaxed);
    }

    /// The decision function of the test, if it brought one.
    pub(super) fn own_rules(&self) -> Option<Decide> {
        match &self.source {
            Source::Cluster(_) => None,
            Source::Fixed(fixed) => fixed.decide,
        }
    }

    /// From here on a fixed authority applies what is written, and these nodes do not confirm it.
    pub(crate) fn take_writes(&self, pending: &[u64]) {
        let taken = Taken {
            pending: pending.iter().copied().map(NodeId).collect(),
            fences: 0,
            log: State::clone(&self.view()),
        };
        *self.fixture().writes.lock().unwrap() = Some(taken);
    }

    /// How often a write waited for the other nodes.
    pub(crate) fn fences(&self) -> usize {
        let writes = self.fixture().writes.lock().unwrap();
        writes.as_ref().map_or(0, |taken| taken.fences)
    }

    /// Something is written through another node; this one has not heard of it yet.
    pub(crate) fn written_elsewhere(&self, command: &Command) {
        let view = self.view();
        self.change_fixed(command).unwrap();
        self.fixture().state.store(view);
    }

    fn fixture(&self) -> &Fixed {
        match &self.source {
            Source::Fixed(fixed) => fixed,
            Source::Cluster(_) => panic!("over a live cluster"),
        }
    }

    pub(super) fn change_fixed(&self, command: &Command) -> Result<Committed, ProposeError> {
        let mut writes = self.fixture().writes.lock().unwrap();
        let Some(taken) = writes.as_mut() else {
            return Err(ProposeError::Stopping);
        };
        let stamp = Stamp {
            index: taken.log.revision + 1,
            time_ms: self.now().cluster_ms,
        };
        let outcome = apply(&mut taken.log, command, stamp);
        if let Reply::Rejected(why) = outcome.reply {
            return Err(ProposeError::Rejected(why));
        }
        self.fixture().state.store(taken.log.clone().into());
        Ok(Committed {
            revision: outcome.revision,
            time_ms: stamp.time_ms,
            reply: outcome.reply,
        })
    }

    pub(super) fn barrier_fixed(&self, mode: BarrierMode) -> BarrierReport {
        let mut writes = self.fixture().writes.lock().unwrap();
        let Some(taken) = writes.as_mut().filter(|_| mode != BarrierMode::None) else {
            return BarrierReport::default();
        };
        taken.fences += 1;
        BarrierReport {
            enforced: vec![NodeId(1)],
            pending: taken.pending.clone(),
            ..BarrierReport::default()
        }
    }
}

/// One rejection of every kind.
pub(crate) fn rejections() -> Vec<Rejection> {
    let text = || "room: revoke".into();
    let all = vec![
        Rejection::NoSuchApp,
        Rejection::NoSuchKey,
        Rejection::NoSuchMember,
        Rejection::NotFound,
        Rejection::Taken(text()),
        Rejection::NonceUsed,
        Rejection::BeyondIssuer(text()),
        Rejection::LimitReached("grants".into()),
        Rejection::Invalid("the key is disabled".into()),
        Rejection::VersionNotEnabled(2),
    ];
    for one in &all {
        // A new kind does not compile until it is here, and then it belongs into the list.
        match one {
            Rejection::NoSuchApp
            | Rejection::NoSuchKey
            | Rejection::NoSuchMember
            | Rejection::NotFound
            | Rejection::Taken(_)
            | Rejection::NonceUsed
            | Rejection::BeyondIssuer(_)
            | Rejection::LimitReached(_)
            | Rejection::Invalid(_)
            | Rejection::VersionNotEnabled(_) => {}
        }
    }
    all
}

/// Fails where a rejection is told in the words that Rust has for programmers.
pub(crate) fn assert_words(rejection: &Rejection, told: &str) {
    let debug = format!("{rejection:?}");
    let name = debug.split('(').next().unwrap_or_default();
    let words = told.split_whitespace().count() > 1;
    assert!(words && !told.contains(name), "{debug}: {told}");
    assert!(!told.contains("\\\""), "{debug}: {told}");
}

/// The state after these commands, none of which may be rejected.
pub(crate) fn state_after(commands: &[Command], time_ms: u64) -> State {
    let mut state = State::default();
    for (index, command) in (1..).zip(commands) {
        let outcome = apply(&mut state, command, Stamp { index, time_ms });
        assert!(
            !matches!(outcome.reply, Reply::Rejected(_)),
            "{command:?}: {:?}",
            outcome.reply
        );
    }
    state
}

/// The state after the log entry of that number, by which [`judge`] allows these operations on everything.
// The state has fields of its own that nobody else may name.
#[allow(clippy::field_reassign_with_default)]
pub(crate) fn allowing(operations: Operations, revision: Revision) -> State {
    let mut state = State::default();
    state.time_ms = operations.0;
    state.revision = revision;
    state
}

/// A [`Decide`]: what is allowed is written in the state's time, as bits; until when in its version, 0 for
/// ever.
pub(crate) fn judge(state: &State, question: &Question<'_>) -> Decision {
    if !Operations(state.time_ms).contains(question.operations) {
        return Decision::Deny(Reason::NotGranted(question.operations));
    }
    Decision::Allow(Rule::Grant {
        subject: Subject::Everyone,
        pattern: Pattern::All,
        revision: 1,
        expires_ms: (state.version != 0).then_some(u64::from(state.version)),
    })
}

/// For a world of several nodes: each part of what a fixed authority stands over by itself.
impl Authority {
    /// The view is another.
    pub(crate) fn set_view(&self, view: Arc<State>) {
        self.fixture().state.store(view);
    }

    /// Cluster time has gone on.
    pub(crate) fn set_now(&self, at_ms: Millis) {
        self.fixture().now_ms.store(at_ms, Ordering::Relaxed);
    }

    /// The lease is there or over.
    pub(crate) fn set_serving(&self, may_serve: bool) {
        self.fixture().serving.store(may_serve, Ordering::Relaxed);
    }
}
