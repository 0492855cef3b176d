//! The keys behind a right: the most that the rule which allowed something may allow on another name.
//!
//! **Why asked apart from the decision:** a right to a group of channels is used on channels that nobody has judged;
//! what is put into one has to lie within the key that answers for the right to change it.

use super::facade::Authority;
use super::pass::AccessQuery;
use crate::core::access::{
    Decision, GrantKey, Issuer, Operations, Principal, Resource, Rule, State, Text,
};

impl Authority {
    /// Whether the keys behind the right that `ask` needs may do this to that channel themselves: the key that vouches
    /// for the principal, and the one that issued the credential or wrote the grant that gives the right.
    #[must_use]
    pub fn behind_it_may(
        &self,
        principal: &Principal,
        ask: AccessQuery<'_>,
        (channel, operations): (&str, Operations),
    ) -> bool {
        let view = self.view();
        let may = |key: &Text| {
            let key = view.keys.get(key).filter(|key| key.app == principal.app);
            key.is_some_and(|key| {
                let has = key.capability.operations_on(Resource::Channel, channel);
                has.contains(operations)
            })
        };
        let answers = match self.explain(principal, None, ask) {
            Decision::Deny(_) => false,
            Decision::Allow(Rule::Open(_)) => true,
            Decision::Allow(Rule::Proof { key }) => may(&key),
            Decision::Allow(Rule::Grant {
                subject, pattern, ..
            }) => {
                let place = GrantKey {
                    app: principal.app,
                    subject,
                    resource: ask.resource,
                    pattern,
                };
                match writer(&view, &place) {
                    Some(Issuer::Operator) => true,
                    Some(Issuer::Key(key)) => may(&key),
                    None => false,
                }
            }
        };
        answers && principal.held().is_none_or(may)
    }
}

/// Who answers for a stored grant: who wrote it, or the key that has taken its place.
fn writer(state: &State, place: &GrantKey) -> Option<Issuer> {
    let grant = state.grants.get(place)?;
    Some(match &grant.issuer {
        Issuer::Operator => Issuer::Operator,
        Issuer::Key(key) => Issuer::Key(state.key_successors.get(key).unwrap_or(key).clone()),
    })
}
