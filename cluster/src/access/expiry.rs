//! What ends when: one ordered index over every record that has an end.
//!
//! **Must never know:** what ending means for a record (that is `apply::sweep`). **Why not timers:** the
//! machine has no clock; the next command's stamp is what time is. Decisions judge an end by the time they
//! are asked at, so that a record which has ended but is still kept allows nothing.

use super::records::{GrantKey, Subject, Target};
use super::{AppId, Millis, State, Text};
use imbl::OrdMap;

/// A record that has an end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Expiring {
    /// A stored grant, by its key.
    Grant(GrantKey),
    /// An issued token.
    Token(AppId, Text),
    /// A revocation that may be forgotten.
    Revocation(AppId, Target),
    /// A block of a subject.
    Block(AppId, Subject),
    /// A nonce that may be forgotten.
    Nonce((AppId, Text, Text)),
    /// A rotated key.
    Key(Text),
}

/// When the next record ends; a [`super::Command::Tick`] at or after that time removes it. None = nothing
/// that is kept has an end.
#[must_use]
pub fn next_expiry(state: &State) -> Option<Millis> {
    let record = state.expiry.get_min().map(|(end, _)| *end);
    [record, state.audit.next_end()].into_iter().flatten().min()
}

/// Rebuilds the derived indexes from the records: after a restore.
pub(super) fn rebuild(state: &mut State) {
    let grants = state
        .grants
        .iter()
        .filter_map(|(key, grant)| Some((grant.expires_ms?, Expiring::Grant(key.clone()))));
    let tokens = state.tokens.iter().filter_map(|((app, id), token)| {
        Some((token.expires_ms?, Expiring::Token(*app, id.clone())))
    });
    let revocations = state
        .revocations
        .iter()
        .filter_map(|((app, target), record)| {
            Some((
                record.forget_ms?,
                Expiring::Revocation(*app, target.clone()),
            ))
        });
    let blocks = state.blocks.iter().filter_map(|((app, subject), block)| {
        Some((block.until_ms?, Expiring::Block(*app, subject.clone())))
    });
    let nonces = state
        .nonces
        .iter()
        .map(|(nonce, until)| (*until, Expiring::Nonce(nonce.clone())));
    let keys = state
        .keys
        .values()
        .filter(|key| key.enabled)
        .filter_map(|key| Some((key.expires_ms?, Expiring::Key(key.id.clone()))));
    state.expiry = grants
        .chain(tokens)
        .chain(revocations)
        .chain(blocks)
        .chain(nonces)
        .chain(keys)
        .collect();
    let mut wild: OrdMap<_, u32> = OrdMap::new();
    for key in state.grants.keys().filter(|key| !key.pattern.is_exact()) {
        *wild
            .entry((key.app, key.subject.clone(), key.resource))
            .or_default() += 1;
    }
    state.wild = wild;
    state.audiences = OrdMap::new();
    for ((app, id), provider) in &state.providers {
        for audience in &provider.audiences {
            let named = (provider.iss.clone(), audience.clone());
            state.audiences.insert(named, (*app, id.clone()));
        }
    }
    state.app_keys = state
        .keys
        .values()
        .map(|key| (key.app, key.id.clone()))
        .collect();
}
