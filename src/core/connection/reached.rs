//! Whom a cut names, and whether somebody's credential is old enough to be cut by it. Pure.
//!
//! **Why apart from carrying it out:** connections of every kind ask it, and what they keep of others does as well.

use crate::core::authority::{
    Affected, Cut, Issued, Pattern, Principal, Proof, Resource, Target, Text,
};

/// Whom a cut names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Named<'a> {
    /// A target by itself.
    One(&'a Target),
    /// Everybody whom a change of a user group reaches.
    All(&'a Affected),
}

impl Named<'_> {
    /// Whether this user is named.
    pub(super) fn user(self, user: &Text) -> bool {
        match self {
            Self::One(target) => matches!(target, Target::User(named) if named == user),
            Self::All(whom) => whom.has_user(user),
        }
    }
}

/// Whether a change of a user group reaches this principal: as a user, or by what its token claims.
pub(super) fn is_among(principal: &Principal, whom: &Affected) -> bool {
    let user = principal.user.as_ref();
    user.is_some_and(|user| whom.has_user(user)) || whom.has_claim(principal.claimed())
}

/// Whether a cut ends this principal's connection: it is named, and its credential is old enough.
pub(crate) fn reached(principal: &Principal, named: Named<'_>, cut: &Cut) -> bool {
    let own = Some(principal.issued);
    let proof = principal.proof.as_ref();
    let target = match named {
        Named::One(target) => target,
        Named::All(whom) => {
            return is_among(principal, whom) && is_old_enough(principal.issued, cut);
        }
    };
    let issued = match target {
        Target::App => own,
        Target::User(user) => own.filter(|_| principal.user.as_ref() == Some(user)),
        Target::Token(token) => own.filter(|_| principal.token.as_ref() == Some(token)),
        Target::RevocationKey(key) => {
            own.filter(|_| principal.revocation_key.as_ref() == Some(key))
        }
        Target::Key(key) if principal.keys().any(|own| own == key) => own,
        Target::Key(key) => proof
            .filter(|proof| proof.key == *key)
            .map(|proof| proof.issued),
        // Its members are named one by one.
        Target::Group(_) => None,
        Target::Channel(name) => proof
            .filter(|proof| names_exactly(proof, name))
            .map(|proof| proof.issued),
    };
    issued.is_some_and(|issued| is_old_enough(issued, cut))
}

/// Whether a cut reaches what was issued then.
pub(super) fn is_old_enough(issued: Issued, cut: &Cut) -> bool {
    match (issued, cut) {
        (
            Issued::At(at),
            Cut::Revoked {
                issued_before_ms, ..
            },
        ) => at < *issued_before_ms,
        (Issued::Seen(seen), Cut::Revoked { revision, .. }) => seen < *revision,
        (_, Cut::Disconnected | Cut::Blocked | Cut::Disabled) => true,
    }
}

fn names_exactly(proof: &Proof, name: &Text) -> bool {
    proof.capability.rights.iter().any(|right| {
        right.resource == Resource::Channel
            && matches!(&right.pattern, Pattern::Exact(own) | Pattern::Segments(own) if own == name)
    })
}
