//! Which of this thread's connections speak for whom: so that a grant to one user does not walk them all.
//!
//! **Must never know:** connections, effects' meaning. Pure.

use crate::core::authority::{AppId, Effect, Principal, Scope, Subject, Target, Text};
use std::collections::{BTreeSet, HashMap, HashSet};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    User(Text),
    Token(Text),
    RevocationKey(Text),
}

/// Slots by app, and by the names in their principals. Keys are not indexed: an effect on a key is rare and
/// may concern any proof in the app, so it asks all of the app.
#[derive(Debug, Default)]
pub(super) struct Index {
    apps: HashMap<AppId, HashSet<u32>>,
    names: HashMap<(AppId, Name), BTreeSet<u32>>,
}

impl Index {
    /// Enters a slot under everything its principal can be named by.
    pub(super) fn enter(&mut self, slot: u32, principal: &Principal) {
        self.apps.entry(principal.app).or_default().insert(slot);
        for name in names(principal) {
            let slots = self.names.entry((principal.app, name)).or_default();
            slots.insert(slot);
        }
    }

    /// Takes it out again; `principal` must be the one entered.
    pub(super) fn leave(&mut self, slot: u32, principal: &Principal) {
        if let Some(slots) = self.apps.get_mut(&principal.app) {
            slots.remove(&slot);
            if slots.is_empty() {
                self.apps.remove(&principal.app);
            }
        }
        for name in names(principal) {
            let key = (principal.app, name);
            if let Some(slots) = self.names.get_mut(&key) {
                slots.remove(&slot);
                if slots.is_empty() {
                    self.names.remove(&key);
                }
            }
        }
    }

    /// Number of connections of an app.
    pub(super) fn of_app(&self, app: AppId) -> usize {
        self.apps.get(&app).map_or(0, HashSet::len)
    }

    /// Adds the slots that an effect may concern.
    pub(super) fn concerned(&self, effect: &Effect, out: &mut BTreeSet<u32>) {
        let (app, name) = match effect {
            Effect::Recheck { app, scope } => match scope {
                Scope::Subject(Subject::User(user)) => (app, Some(Name::User(user.clone()))),
                Scope::Subject(Subject::Token(token)) | Scope::Copies(token) => {
                    (app, Some(Name::Token(token.clone())))
                }
                Scope::App | Scope::Subject(Subject::Everyone | Subject::Key(_)) => (app, None),
            },
            Effect::Cut { app, target, .. } => match target {
                Target::User(user) => (app, Some(Name::User(user.clone()))),
                Target::Token(token) => (app, Some(Name::Token(token.clone()))),
                Target::RevocationKey(key) => (app, Some(Name::RevocationKey(key.clone()))),
                Target::Channel(_) | Target::Key(_) | Target::App => (app, None),
            },
            Effect::AppChanged(_) | Effect::MembersChanged => return,
        };
        match name {
            Some(name) => out.extend(self.names.get(&(*app, name)).into_iter().flatten()),
            None => out.extend(self.apps.get(app).into_iter().flatten()),
        }
    }
}

fn names(principal: &Principal) -> impl Iterator<Item = Name> {
    let user = principal.user.clone().map(Name::User);
    let token = principal.token.clone().map(Name::Token);
    let key = principal.revocation_key.clone().map(Name::RevocationKey);
    [user, token, key].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_on_copies_concerns_the_tokens_connections() {
        let mut index = Index::default();
        for (slot, token) in [(1, "one"), (2, "one"), (3, "other")] {
            let mut principal = Principal::anonymous(AppId(1), None, 1);
            principal.token = Some(token.into());
            index.enter(slot, &principal);
        }
        let concerned = |scope| {
            let mut out = BTreeSet::new();
            let app = AppId(1);
            index.concerned(&Effect::Recheck { app, scope }, &mut out);
            out
        };
        let token = |token: &str| Subject::Token(token.into());
        assert_eq!(concerned(Scope::Copies("one".into())), [1, 2].into());
        assert_eq!(concerned(Scope::Subject(token("other"))), [3].into());
        assert_eq!(concerned(Scope::Copies("none".into())), [].into());
    }
}
