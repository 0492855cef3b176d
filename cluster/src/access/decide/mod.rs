//! The one decision function: may this principal do this to that name, now, and by which rule?
//!
//! **Must never know:** the clock (now is an argument), connections, dialects.
//!
//! **Why union and no deny rules:** every dialect here is a whitelist; what takes away is a revocation or a
//! block, and those concern the credential, not the channel.
//!
//! Order: app and key alive -> not blocked -> credential issued and not expired -> not revoked -> open rule, else the
//! credential's own proof (cut to its issuing key), else a live grant to everyone, else one to the principal's
//! user, token, key or the groups she is in (cut to the key that vouches for them).

mod credential;
mod rights;

use super::records::{Subject, Target};
use super::{
    AppId, Millis, Operations, Pattern, Principal, Proof, Resource, Revision, SpokenFor, State,
    Text,
};
use serde::Serialize;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who asks, and what vouches for her.
    pub principal: &'a Principal,
    /// A proof for just this channel (a channel signature), beside the principal's own.
    pub proof: Option<&'a Proof>,
    /// For whom else it is asked: she must be neither blocked nor, since it was said, revoked.
    pub speaks_for: Option<&'a SpokenFor>,
    /// On what kind of thing.
    pub resource: Resource,
    /// The name of the resource.
    pub name: &'a str,
    /// To do what; all of them must be allowed (by one rule or several).
    pub operations: Operations,
    /// The moment it is asked for, cluster time ms.
    pub now_ms: Millis,
}

/// The answer, with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Decision {
    /// Yes, by this rule (the last one needed, when several were).
    Allow(Rule),
    /// No, for this reason.
    Deny(Reason),
}

/// The rule that allowed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Rule {
    /// The app declares it open.
    Open(Pattern),
    /// The credential carries it, and the issuing key may.
    Proof {
        /// The issuing key.
        key: Text,
    },
    /// A stored grant.
    Grant {
        /// To whom it was granted.
        subject: Subject,
        /// The names it was granted for.
        pattern: Pattern,
        /// The revision at which it was written.
        revision: Revision,
        /// Until when it counts, cluster time ms; none = for good.
        expires_ms: Option<Millis>,
    },
}

/// Why something is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Reason {
    /// No such app.
    NoSuchApp(AppId),
    /// The app is disabled.
    AppDisabled,
    /// The key is unknown, deleted, or of another app.
    NoSuchKey(Text),
    /// The key is disabled or its overlap has ended.
    KeyDisabled(Text),
    /// A block holds until then (none = until unblocked).
    Blocked {
        /// End of the block.
        until_ms: Option<Millis>,
    },
    /// The credential has expired.
    Expired {
        /// When it did.
        at_ms: Millis,
    },
    /// The credential was revoked.
    Revoked {
        /// What the revocation names.
        target: Target,
        /// When it was written.
        revision: Revision,
    },
    /// The credential, or a grant to its identity, says yes; the key that issued it or vouches for it does not.
    BeyondKey(Text),
    /// Nothing allows these operations.
    NotGranted(Operations),
    /// The credential says that it is issued later than now. Until then it is none: a revocation made now could not
    /// reach it.
    NotYet {
        /// When it says.
        at_ms: Millis,
    },
    /// The identity provider does not vouch for it any more: it is disabled or gone, or the key, algorithm, audience or
    /// ceiling by which it did is no longer its own.
    NotVouched(Text),
}

/// Decides. Reads nothing but its arguments; a few map lookups, no allocation on the way to a yes.
#[must_use]
pub fn decide(state: &State, question: &Question<'_>) -> Decision {
    decide_until(state, question).0
}

/// Decides, and says until when a yes holds by what is known now: the earliest end of the credential, key
/// or grant that it rests on. Ask again then. (Anything else that ends it comes as an effect.)
#[must_use]
pub fn decide_until(state: &State, question: &Question<'_>) -> (Decision, Option<Millis>) {
    let until = match stands(state, question) {
        Ok(until) => until,
        Err(reason) => return (Decision::Deny(reason), None),
    };
    let mut tally = rights::Tally::new(question.operations, until);
    rights::collect(state, question, &mut tally);
    tally.verdict(question.operations)
}

/// Everything that this principal may do to this name, by whatever rules: for answers that list rights.
#[must_use]
pub fn allowed(state: &State, question: &Question<'_>) -> Operations {
    if stands(state, question).is_err() {
        return Operations::NONE;
    }
    let mut tally = rights::Tally::new(question.operations, None);
    rights::collect(state, question, &mut tally);
    question.operations.without(tally.missing())
}

/// Whether the credential stands, and whoever it is shown for besides.
fn stands(state: &State, question: &Question<'_>) -> Result<Option<Millis>, Reason> {
    let (app, now_ms) = (question.principal.app, question.now_ms);
    let own = credential::stands(state, question.principal, now_ms)?;
    match question.speaks_for {
        Some(other) => {
            let hers = credential::spoken_for(state, app, other, now_ms)?;
            Ok(credential::earliest(own, hers))
        }
        None => Ok(own),
    }
}

/// Why nobody may speak for her, or may no longer by what was said then. `None` = somebody may.
#[must_use]
pub fn check_spoken_for(
    state: &State,
    app: AppId,
    other: &SpokenFor,
    now_ms: Millis,
) -> Option<Reason> {
    credential::spoken_for(state, app, other, now_ms).err()
}

/// Only the question whether this credential still stands: app, key, block, expiry, revocation.
/// `None` = it stands. Connections ask it for themselves, whatever they are subscribed to.
#[must_use]
pub fn check_revocation(
    state: &State,
    principal: &Principal,
    proof: Option<&Proof>,
    now_ms: Millis,
) -> Option<Reason> {
    let whole = credential::stands(state, principal, now_ms).err();
    whole.or_else(|| {
        proof.and_then(|proof| credential::proof_stands(state, principal.app, proof, now_ms).err())
    })
}
