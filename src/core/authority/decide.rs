//! Deciding: one question to the access machine becomes a [`Pass`] with the time it has to be asked again.
//!
//! **Why expiry is taken conservatively:** an operation may be allowed by several rules and the machine names one; the
//! pass ends with the earliest thing that may end it, and is simply asked again then.

use crate::core::limits::{PRESENCE_IS_USER, Setting};
use std::time::Duration;

use super::facade::Authority;
use super::newer::UNCONFIRMED;
use super::pass::{AccessQuery, Pass, earliest};
use crate::core::access::{
    AppId, Decision, Millis, Operations, Principal, Proof, Question, Reason, Resource, Rule,
    SpokenFor, State, Text,
};
use crate::core::error::Refusal;
use gatecast_cluster::access::check_spoken_for;

/// Whether a newer view of the access state could turn this refusal into a yes.
fn may_change(reason: &Reason) -> bool {
    match reason {
        Reason::NoSuchApp(_)
        | Reason::AppDisabled
        | Reason::NoSuchKey(_)
        | Reason::KeyDisabled(_)
        | Reason::Blocked { .. }
        | Reason::BeyondKey(_)
        | Reason::NotVouched(_)
        | Reason::NotGranted(_) => true,
        Reason::Expired { .. } | Reason::Revoked { .. } | Reason::NotYet { .. } => false,
    }
}

/// How far ahead of the cluster's clock a credential's time of issue may lie: it is waited for, because app servers'
/// clocks are not exact. What is further ahead is refused.
pub const MAX_AHEAD_MS: Millis = 5_000;
/// How often what is waited for is waited for again, because cluster time was put back.
const MAX_WAITS: u32 = 8;

/// What is told when the lease is over.
const NOT_SERVING: Refusal = Refusal::Unavailable("this node may not serve now");

impl Authority {
    /// An app's value of a limit; its default for an app that is not known.
    #[must_use]
    pub fn limit(&self, app: AppId, limit: &Setting) -> u64 {
        let view = self.view();
        view.apps
            .get(&app)
            .map_or(limit.default, |app| limit.of(app))
    }

    /// Decides on the current view, without waiting. For sessions and for re-asking.
    ///
    /// # Errors
    /// The reason of the refusal.
    pub fn decide(
        &self,
        principal: &Principal,
        proof: Option<&Proof>,
        ask: AccessQuery<'_>,
    ) -> Result<Pass, Reason> {
        self.decide_on(&self.view(), principal, proof, ask)
    }

    /// As [`Self::decide`], on this state and at the present time.
    ///
    /// # Errors
    /// The reason of the refusal.
    pub fn decide_on(
        &self,
        state: &State,
        principal: &Principal,
        proof: Option<&Proof>,
        ask: AccessQuery<'_>,
    ) -> Result<Pass, Reason> {
        let now_ms = self.now().cluster_ms;
        let standing = standing_until(state, principal, proof, now_ms);
        let speaks_for = ask
            .speaks_for
            .filter(|_| spoken_names_count(state, principal.app));
        let rule = |operations| {
            let question = Question {
                principal,
                proof,
                speaks_for,
                resource: ask.resource,
                name: ask.name,
                operations,
                now_ms,
            };
            match self.decide_until(state, &question) {
                (Decision::Allow(rule), until) => {
                    Ok(earliest(until, rule_until(&rule, principal, proof, now_ms)))
                }
                (Decision::Deny(reason), _) => Err(reason),
            }
        };
        let mut until_ms = earliest(standing, rule(ask.needs)?);
        let mut operations = ask.needs;
        // One rule is named per answer, so several operations are asked one by one for the time they end.
        if ask.needs.0.count_ones() > 1 {
            for bit in bits(ask.needs) {
                until_ms = earliest(until_ms, rule(bit)?);
            }
        }
        for bit in bits(ask.wants) {
            if operations.contains(bit) {
                continue;
            }
            if let Ok(end) = rule(bit) {
                operations = operations | bit;
                until_ms = earliest(until_ms, end);
            }
        }
        Ok(Pass {
            operations,
            until_ms,
            revision: state.revision,
        })
    }

    /// As [`Self::decide`], but a refusal is final only on a fresh view: a node that may be behind catches up
    /// first (one shared, rate-limited read index). Refuses with `Unavailable` while this node may not serve.
    ///
    /// # Errors
    /// [`Refusal::Denied`] with the reason, or [`Refusal::Unavailable`].
    pub async fn authorize(
        &self,
        principal: &Principal,
        proof: Option<&Proof>,
        ask: AccessQuery<'_>,
    ) -> Result<Pass, Refusal> {
        let answers = self.authorize_all(principal, proof, &[ask]).await?;
        let answer = answers.into_iter().next().ok_or(UNCONFIRMED)?;
        answer.map_err(Refusal::Denied)
    }

    /// As [`Self::authorize`] for many names, in their order: however many are refused, the node catches up once.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`]; what is refused of single names is in the answer.
    pub async fn authorize_all(
        &self,
        principal: &Principal,
        proof: Option<&Proof>,
        asks: &[AccessQuery<'_>],
    ) -> Result<Vec<Result<Pass, Reason>>, Refusal> {
        let decide =
            |view: &State, ask: &AccessQuery<'_>| self.decide_on(view, principal, proof, *ask);
        self.finally(asks, decide).await
    }

    /// Answers that are final: what a newer view could lift is asked again after one round, and a credential that is
    /// about to be issued once it is.
    async fn finally<Q, T>(
        &self,
        questions: &[Q],
        decide: impl Fn(&State, &Q) -> Result<T, Reason>,
    ) -> Result<Vec<Result<T, Reason>>, Refusal> {
        if !self.serving() {
            return Err(NOT_SERVING);
        }
        let view = self.view();
        let mut answers: Vec<_> = questions.iter().map(|one| decide(&view, one)).collect();
        let again = |answers: &mut Vec<Result<T, Reason>>, lifts: &dyn Fn(&Reason) -> bool| {
            let view = self.view();
            for (answer, question) in answers.iter_mut().zip(questions) {
                if answer.as_ref().is_err_and(lifts) {
                    *answer = decide(&view, question);
                }
            }
        };
        let early = answers
            .iter()
            .filter_map(|one| self.waits_for(one.as_ref().err()?));
        if let Some(at_ms) = early.max() {
            self.reach(at_ms).await;
            again(&mut answers, &|reason| {
                matches!(reason, Reason::NotYet { .. })
            });
        }
        if answers
            .iter()
            .any(|one| one.as_ref().is_err_and(may_change))
        {
            self.catch_up().await.map_err(|_| UNCONFIRMED)?;
            again(&mut answers, &may_change);
        }
        // Asked last: a view counts only if this node may serve by it still.
        match self.serving() {
            true => Ok(answers),
            false => Err(NOT_SERVING),
        }
    }

    /// Those of these names on which the principal may do `needs`: for listings. However many are refused, the view
    /// is brought up to date once.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn visible(
        &self,
        principal: &Principal,
        (resource, needs): (Resource, Operations),
        names: Vec<Text>,
    ) -> Result<Vec<Text>, Refusal> {
        let decide = |name: &Text| {
            let ask = AccessQuery {
                resource,
                name,
                needs,
                wants: Operations::NONE,
                speaks_for: None,
            };
            self.decide(principal, None, ask)
        };
        let unsure = |name: &Text| decide(name).is_err_and(|reason| may_change(&reason));
        if names.iter().any(unsure) {
            self.catch_up().await.map_err(|_| UNCONFIRMED)?;
        }
        let seen = names
            .into_iter()
            .filter(|name| decide(name).is_ok())
            .collect();
        match self.serving() {
            true => Ok(seen),
            false => Err(NOT_SERVING),
        }
    }

    /// The time after which this refusal may be another, if it is near.
    fn waits_for(&self, reason: &Reason) -> Option<Millis> {
        let Reason::NotYet { at_ms } = reason else {
            return None;
        };
        let latest = self.now().cluster_ms.saturating_add(MAX_AHEAD_MS);
        (*at_ms <= latest).then_some(*at_ms)
    }

    /// Waits until cluster time has reached this. It may be put back a little meanwhile, as this node hears of the
    /// others' clocks, so that one wait of the whole difference can end a moment too early.
    pub async fn reach(&self, at_ms: Millis) {
        for _ in 0..=MAX_WAITS {
            let left = at_ms.saturating_sub(self.now().cluster_ms);
            if left == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(left)).await;
        }
    }

    /// The answer that needs no waiting: a yes, a no that nothing can change, or that this node may not serve.
    /// `None` = [`Self::authorize`] has to wait first.
    #[must_use]
    pub fn final_answer<T>(&self, decision: Result<T, Reason>) -> Option<Result<T, Refusal>> {
        if !self.serving() {
            return Some(Err(NOT_SERVING));
        }
        match decision {
            Ok(pass) => Some(Ok(pass)),
            Err(reason) if may_change(&reason) || self.waits_for(&reason).is_some() => None,
            Err(reason) => Some(Err(Refusal::Denied(reason))),
        }
    }

    /// Whether the principal may be taken on now, without waiting; `None` as with [`Self::final_answer`].
    #[must_use]
    pub fn admits(&self, principal: &Principal) -> Option<Result<(), Refusal>> {
        self.final_answer(self.objection(principal).map_or(Ok(()), Err))
    }

    /// As [`Self::admits`], waiting before a refusal that a newer view or a moment could change.
    ///
    /// # Errors
    /// [`Refusal::Denied`] with the reason, or [`Refusal::Unavailable`].
    pub async fn admit(&self, principal: &Principal) -> Result<(), Refusal> {
        let decide = |_: &State, who: &&Principal| self.objection(who).map_or(Ok(()), Err);
        let answers = self.finally(&[principal], decide).await?;
        let answer = answers.into_iter().next().ok_or(UNCONFIRMED)?;
        answer.map_err(Refusal::Denied)
    }

    /// Whether that state's app takes the names that connections speak for on single channels for users.
    #[must_use]
    pub fn spoken_names_count(&self, state: &State, app: AppId) -> bool {
        spoken_names_count(state, app)
    }

    /// Why nobody may speak for her any more by what was said then, if the app takes such names for users.
    #[must_use]
    pub fn objection_to(&self, app: AppId, other: &SpokenFor) -> Option<Reason> {
        let view = self.view();
        if !spoken_names_count(&view, app) {
            return None;
        }
        check_spoken_for(&view, app, other, self.now().cluster_ms)
    }
}

/// Whether the app takes the names that connections speak for on single channels for users.
fn spoken_names_count(state: &State, app: AppId) -> bool {
    let app = state.apps.get(&app);
    app.is_some_and(|app| PRESENCE_IS_USER.on(app))
}

fn bits(operations: Operations) -> impl Iterator<Item = Operations> {
    Operations::NAMES
        .into_iter()
        .map(|(_, bit)| bit)
        .filter(move |bit| operations.contains(*bit))
}

/// When the identity itself ends: its own expiry, and the ends of the keys it hangs on. What has ended already
/// cannot be why it was allowed.
fn standing_until(
    state: &State,
    principal: &Principal,
    proof: Option<&Proof>,
    now_ms: Millis,
) -> Option<Millis> {
    let proof_keys = [principal.proof.as_ref(), proof];
    let keys = proof_keys.into_iter().flatten().map(|proof| &proof.key);
    principal
        .keys()
        .chain(keys)
        .filter_map(|id| state.keys.get(id).and_then(|key| key.expires_ms))
        .chain(principal.expires_ms)
        .filter(|end| *end > now_ms)
        .min()
}

/// When the rule that allowed it ends.
fn rule_until(
    rule: &Rule,
    principal: &Principal,
    proof: Option<&Proof>,
    now_ms: Millis,
) -> Option<Millis> {
    match rule {
        Rule::Open(_) => None,
        Rule::Grant { expires_ms, .. } => *expires_ms,
        Rule::Proof { .. } => {
            let proofs = [principal.proof.as_ref(), proof].into_iter().flatten();
            let ends = proofs.filter_map(|proof| proof.expires_ms);
            ends.filter(|end| *end > now_ms).min()
        }
    }
}
