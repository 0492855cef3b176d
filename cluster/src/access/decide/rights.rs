//! What a standing credential may do to one name: open rules, then its proofs, then stored grants, and of those
//! to an identity no more than the key that vouches for it may do.
//!
//! **Must never know:** whether the credential stands (that was asked before). **Why a tally:** the asked
//! operations may be allowed by several rules together; collecting stops as soon as none is missing.

use super::super::lookup::{PatternRef, Place};
use super::super::records::{Subject, Target};
use super::super::{
    ApiKey, App, AppId, Grant, GrantKey, Issuer, Millis, Operations, Pattern, Proof, Resource,
    State, Text,
};
use super::credential::{channel_margin, earliest, is_channel, proof_stands};
use super::{Decision, Question, Reason, Rule};

/// What is still missing, and what the yes rests on.
pub(super) struct Tally {
    missing: Operations,
    until: Option<Millis>,
    rule: Option<Rule>,
    refused: Option<Reason>,
}

impl Tally {
    pub(super) fn new(wanted: Operations, until: Option<Millis>) -> Self {
        Self {
            missing: wanted,
            until,
            rule: None,
            refused: None,
        }
    }

    pub(super) fn missing(&self) -> Operations {
        self.missing
    }

    /// Counts a rule if it gives something that is still missing.
    fn gain(&mut self, given: Operations, until: Option<Millis>, rule: impl FnOnce() -> Rule) {
        if self.missing.and(given).is_empty() {
            return;
        }
        self.missing = self.missing.without(given);
        self.until = earliest(self.until, until);
        if self.done() {
            self.rule = Some(rule());
        }
    }

    fn done(&self) -> bool {
        self.missing.is_empty()
    }

    fn refuse(&mut self, reason: impl FnOnce() -> Reason) {
        if self.refused.is_none() {
            self.refused = Some(reason());
        }
    }

    pub(super) fn verdict(self, wanted: Operations) -> (Decision, Option<Millis>) {
        match self.rule {
            Some(rule) => (Decision::Allow(rule), self.until),
            None => {
                let missing = if wanted.is_empty() {
                    wanted
                } else {
                    self.missing
                };
                let reason = self.refused.unwrap_or(Reason::NotGranted(missing));
                (Decision::Deny(reason), None)
            }
        }
    }
}

/// Looks at the rules in order until nothing is missing.
pub(super) fn collect(state: &State, question: &Question<'_>, tally: &mut Tally) {
    let principal = question.principal;
    if let (Some(app), Resource::Channel) = (state.apps.get(&principal.app), question.resource) {
        open(app, question.name, tally);
    }
    for carried in [principal.proof.as_ref(), question.proof] {
        match carried {
            Some(carried) if !tally.done() => proof(state, question, carried, tally),
            Some(_) | None => {}
        }
    }
    if tally.done() {
        return;
    }
    granted(state, question, Subject::Everyone, None, tally);
    let held = principal.held();
    let ceiling = match held.and_then(|key| state.key_of(principal.app, key)) {
        Some(key) if !tally.done() => Some(Ceiling::of(key, question)),
        Some(_) | None => None,
    };
    // Of a user somebody has to vouch; a token without a voucher is a text that was granted to as it stands, and
    // each grant is within the key that wrote it.
    let user = held.and(principal.user.clone()).map(Subject::User);
    let token = principal.token.clone().map(Subject::Token);
    let key = held.cloned().map(Subject::Key);
    for subject in [user, token, key] {
        match subject {
            Some(subject) if !tally.done() => {
                granted(state, question, subject, ceiling.as_ref(), tally);
            }
            Some(_) | None => {}
        }
    }
    if held.is_none() || tally.done() {
        return;
    }
    let (app, user, claimed) = (principal.app, principal.user.as_ref(), principal.claimed());
    let mut ask = |group: &Text| {
        if !tally.done() {
            let subject = Subject::Group(group.clone());
            granted(state, question, subject, ceiling.as_ref(), tally);
        }
        tally.done()
    };
    // First those that she is in herself: what is above them is gathered only where they leave something open.
    if !state.nearest(app, user, claimed).any(&mut ask) {
        let beyond = state.groups_beyond(app, user, claimed);
        let _ = beyond.into_iter().any(&mut ask);
    }
}

/// What the key that vouches for an identity may do itself: no grant to that identity reaches further.
struct Ceiling<'a> {
    key: &'a Text,
    may: Operations,
}

impl<'a> Ceiling<'a> {
    fn of(key: &'a ApiKey, question: &Question<'_>) -> Self {
        let may = key
            .capability
            .operations_on(question.resource, question.name);
        Self { key: &key.id, may }
    }
}

/// What the app declares open.
fn open(app: &App, name: &str, tally: &mut Tally) {
    for rule in app.opens() {
        if rule.pattern.matches(name) {
            tally.gain(rule.operations, None, || Rule::Open(rule.pattern.clone()));
        }
    }
}

/// What a credential carries, cut to what the key that issued it may do now.
fn proof(state: &State, question: &Question<'_>, proof: &Proof, tally: &mut Tally) {
    let app = question.principal.app;
    let says = proof
        .capability
        .operations_on(question.resource, question.name);
    if tally.missing.and(says).is_empty() {
        return;
    }
    let until = match proof_stands(state, app, proof, question.now_ms) {
        Ok(until) => until,
        Err(reason) => return tally.refuse(|| reason),
    };
    let Some(key) = state.key_of(app, &proof.key) else {
        return;
    };
    let may = key
        .capability
        .operations_on(question.resource, question.name);
    if !may.contains(tally.missing.and(says)) {
        tally.refuse(|| Reason::BeyondKey(key.id.clone()));
    }
    tally.gain(says.and(may), until, || Rule::Proof {
        key: key.id.clone(),
    });
}

/// One subject's stored grants: the exact name, then its short range of wildcards.
fn granted(
    state: &State,
    question: &Question<'_>,
    subject: Subject,
    ceiling: Option<&Ceiling<'_>>,
    tally: &mut Tally,
) {
    let app = question.principal.app;
    let place = Place {
        app,
        subject: &subject,
        resource: question.resource,
        pattern: PatternRef::Exact(question.name),
    };
    if let Some((key, grant)) = state.grant_at(&place) {
        count(state, question, (key, grant), ceiling, tally);
    }
    let wild = (app, subject, question.resource);
    if tally.done() || !state.wild.contains_key(&wild) {
        return;
    }
    for (key, grant) in state.wildcards_of(app, &wild.1, question.resource) {
        if key.pattern.matches(question.name) {
            count(state, question, (key, grant), ceiling, tally);
            if tally.done() {
                return;
            }
        }
    }
}

fn count(
    state: &State,
    question: &Question<'_>,
    (key, grant): (&GrantKey, &Grant),
    ceiling: Option<&Ceiling<'_>>,
    tally: &mut Tally,
) {
    if tally.missing.and(grant.operations).is_empty() {
        return;
    }
    let held = state.grant_holds(key, grant, question.name, question.now_ms);
    if tally.missing.and(held).is_empty() {
        return;
    }
    let given = match ceiling {
        Some(ceiling) => {
            if !ceiling.may.contains(tally.missing.and(held)) {
                tally.refuse(|| Reason::BeyondKey(ceiling.key.clone()));
            }
            held.and(ceiling.may)
        }
        None => held,
    };
    let until = earliest(grant.expires_ms, margin(state, key, grant, question.now_ms));
    tally.gain(given, until, || Rule::Grant {
        subject: key.subject.clone(),
        pattern: key.pattern.clone(),
        revision: grant.revision,
        expires_ms: grant.expires_ms,
    });
}

/// Ends of a grant that are not its own: of the key that answers for it (rotation overlap), and of a
/// revocation of its channel whose margin runs.
fn margin(state: &State, key: &GrantKey, grant: &Grant, now_ms: Millis) -> Option<Millis> {
    let issuer = match &grant.issuer {
        Issuer::Operator => None,
        Issuer::Key(id) => answering(state, key.app, id),
    };
    let Pattern::Exact(channel) = &key.pattern else {
        return issuer;
    };
    if !is_channel(key.resource) {
        return issuer;
    }
    let place = (key.app, Target::Channel(channel.clone()));
    let revocation = state.revocations.get(&place);
    earliest(issuer, channel_margin(revocation, grant.revision, now_ms))
}

fn answering(state: &State, app: AppId, issuer: &Text) -> Option<Millis> {
    let successor = state.key_successors.get(issuer).unwrap_or(issuer);
    state.key_of(app, successor).and_then(|key| key.expires_ms)
}
