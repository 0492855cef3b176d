//! What the one who asks for a change may change: an operator everything, a key what it covers.
//!
//! **Why patterns and not names are compared:** a grant on `a:*` is a grant on names that do not exist yet; only a
//! right that covers the whole pattern may give it.

use super::super::{
    ApiKey, AppId, Capability, Issuer, Operations, Pattern, Rejection, Resource, State, Subject,
    Target,
};
use super::Result;

/// A live issuer.
#[derive(Clone, Copy)]
pub(super) enum Authority<'a> {
    Operator,
    Key(&'a ApiKey),
}

/// The issuer as it stands now; a key must be live, and of this app.
pub(super) fn authority<'a>(
    state: &'a State,
    app: AppId,
    issuer: &Issuer,
) -> Result<Authority<'a>> {
    let record = super::app(state, app)?;
    match issuer {
        Issuer::Operator => Ok(Authority::Operator),
        Issuer::Key(id) => {
            let key = state.key_of(app, id).ok_or(Rejection::NoSuchKey)?;
            if !record.enabled {
                return Err(Rejection::BeyondIssuer("the app is disabled".into()));
            }
            if !key.is_live(state.time_ms) {
                return Err(Rejection::BeyondIssuer("the key is disabled".into()));
            }
            Ok(Authority::Key(key))
        }
    }
}

impl Authority<'_> {
    /// As the issuer of a record; shares the key's own text.
    pub(super) fn issuer(&self) -> Issuer {
        match self {
            Self::Operator => Issuer::Operator,
            Self::Key(key) => Issuer::Key(key.id.clone()),
        }
    }

    /// May give these operations on all names of the pattern.
    pub(super) fn may_grant(
        &self,
        resource: Resource,
        pattern: &Pattern,
        operations: Operations,
    ) -> Result<()> {
        self.needs(resource, pattern, operations | Operations::GRANT)
    }

    /// May do this on all names of the pattern itself.
    pub(super) fn may_do(
        &self,
        resource: Resource,
        pattern: &Pattern,
        operations: Operations,
    ) -> Result<()> {
        self.needs(resource, pattern, operations)
    }

    /// May hand on all of this: each right is its own.
    pub(super) fn may_hand_on(&self, given: &Capability) -> Result<()> {
        let mut rights = given.rights.iter();
        rights.try_for_each(|right| self.needs(right.resource, &right.pattern, right.operations))
    }

    /// May take a grant on this pattern away.
    pub(super) fn may_take(&self, resource: Resource, pattern: &Pattern) -> Result<()> {
        self.needs(resource, pattern, Operations::GRANT)
            .or_else(|_| self.needs(resource, pattern, Operations::REVOKE))
    }

    /// May revoke, disconnect or block this target.
    pub(super) fn may_end(&self, state: &State, app: AppId, target: &Target) -> Result<()> {
        let Self::Key(key) = self else { return Ok(()) };
        let everywhere = |operations| self.needs(Resource::Channel, &Pattern::All, operations);
        match target {
            Target::Channel(name) => self.needs(
                Resource::Channel,
                &Pattern::Exact(name.clone()),
                Operations::REVOKE,
            ),
            Target::User(name) => everywhere(Operations::REVOKE).or_else(|_| {
                self.needs(
                    Resource::User,
                    &Pattern::Exact(name.clone()),
                    Operations::REVOKE,
                )
            }),
            // What a key has issued it may also take back.
            Target::Token(id)
                if state
                    .tokens
                    .get(&(app, id.clone()))
                    .is_some_and(|token| token.key == key.id) =>
            {
                Ok(())
            }
            Target::Token(_) | Target::RevocationKey(_) | Target::Group(_) => {
                everywhere(Operations::REVOKE)
            }
            Target::Key(id) if *id == key.id => everywhere(Operations::REVOKE),
            Target::Key(_) | Target::App => everywhere(Operations::ADMIN),
        }
    }

    fn needs(&self, resource: Resource, pattern: &Pattern, operations: Operations) -> Result<()> {
        let Self::Key(key) = self else { return Ok(()) };
        let has = key.capability.operations_over(resource, pattern);
        match has.contains(operations) {
            true => Ok(()),
            false => {
                let lacks = operations.without(has).names().join(",");
                Err(Rejection::BeyondIssuer(
                    format!("{pattern}: {lacks}").into(),
                ))
            }
        }
    }
}

/// The target that ending a subject's connections names.
pub(super) fn target_of(subject: &Subject) -> Target {
    match subject {
        Subject::Everyone => Target::App,
        Subject::User(text) => Target::User(text.clone()),
        Subject::Token(text) => Target::Token(text.clone()),
        Subject::Key(text) => Target::Key(text.clone()),
        Subject::Group(text) => Target::Group(text.clone()),
    }
}
