//! Removing what has ended, a bounded number at a time, oldest end first.
//!
//! **Why this is not what ends a right:** a decision judges every end by the time it is asked at; sweeping frees the
//! memory and tells the shards.

use super::super::expiry::Expiring;
use super::super::{ApiKey, AppId, Effect, Scope, State, Subject};
use super::{everyone, keys};

/// Removes up to `budget` records that have ended.
pub(super) fn sweep(state: &mut State, budget: usize, effects: &mut Vec<Effect>) {
    for _ in 0..budget {
        let Some(oldest) = state.expiry.get_min() else {
            return;
        };
        if oldest.0 > state.time_ms {
            return;
        }
        let entry = oldest.clone();
        // Removed here as well, so that the sweep moves on whatever the record says.
        state.expiry.remove(&entry);
        end(state, entry.1, effects);
    }
}

fn end(state: &mut State, what: Expiring, effects: &mut Vec<Effect>) {
    match what {
        Expiring::Grant(key) => {
            state.drop_grant(&key);
            effects.push(ended(key.app, &key.subject));
        }
        Expiring::Token(app, id) => {
            state.drop_token(app, &id);
            effects.push(ended(app, &Subject::Token(id)));
        }
        Expiring::Revocation(app, target) => state.drop_revocation(app, &target),
        Expiring::Block(app, subject) => {
            state.drop_block(app, &subject);
            effects.push(ended(app, &subject));
        }
        Expiring::Nonce(nonce) => state.drop_nonce(&nonce),
        Expiring::Key(id) => {
            let Some(key) = state.keys.get(&id) else {
                return;
            };
            let (app, key) = (key.app, ApiKey::clone(key));
            state.put_key(ApiKey {
                enabled: false,
                revision: state.revision,
                ..key
            });
            effects.push(Effect::AppChanged(app));
            effects.push(keys::cut(app, &id));
            effects.push(everyone(app));
        }
    }
}

/// What has ended was judged by its end all along, so that nobody is waited for: members of a group are not gathered,
/// however many end at once.
fn ended(app: AppId, subject: &Subject) -> Effect {
    let scope = match subject {
        Subject::Everyone | Subject::Group(_) => Scope::App,
        one @ (Subject::User(_) | Subject::Token(_) | Subject::Key(_)) => {
            Scope::Subject(one.clone())
        }
    };
    Effect::Recheck { app, scope }
}
