//! Which of this thread's connections speak for whom: so that a grant to one user does not walk them all.
//!
//! Pure.

use super::speaks_for::SpeaksForChange;
use crate::core::authority::{Affected, AppId, Effect, Principal, Scope, Subject, Target, Text};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Name {
    User(Text),
    Token(Text),
    RevocationKey(Text),
    /// Of a user group that its token claims.
    Claim(Text),
}

/// Slots by app, and by the names in their principals. Keys are not indexed: an effect on a key is rare and
/// may concern any proof in the app, so it asks all of the app.
#[derive(Debug, Default)]
pub(super) struct Index {
    apps: HashMap<AppId, HashSet<u32>>,
    names: HashMap<(AppId, Name), BTreeSet<u32>>,
    /// Who is spoken for, by how many subscriptions and entries of which slots.
    spoken: HashMap<(AppId, Text), BTreeMap<u32, u32>>,
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

    /// A slot begins or ceases to speak for somebody on one more channel.
    pub(super) fn speaks_for_changed(&mut self, slot: u32, one: SpeaksForChange) {
        let key = (one.app, one.user);
        if one.begins {
            let times = self.spoken.entry(key).or_default().entry(slot).or_default();
            *times = times.saturating_add(1);
            return;
        }
        let Some(slots) = self.spoken.get_mut(&key) else {
            return;
        };
        let left = slots.get(&slot).map_or(0, |times| times.saturating_sub(1));
        match left {
            0 => slots.remove(&slot),
            left => slots.insert(slot, left),
        };
        if slots.is_empty() {
            self.spoken.remove(&key);
        }
    }

    /// Whether nobody is in it.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.apps.is_empty() && self.names.is_empty() && self.spoken.is_empty()
    }

    /// Number of connections of an app.
    pub(super) fn of_app(&self, app: AppId) -> usize {
        self.apps.get(&app).map_or(0, HashSet::len)
    }

    /// Adds the slots that an effect may concern.
    pub(super) fn concerned(&self, effect: &Effect, out: &mut BTreeSet<u32>) {
        let (app, name) = match effect {
            Effect::Recheck {
                app,
                scope: Scope::Affected(whom),
            } => return self.affected(*app, whom, out),
            Effect::CutAll { app, whom, .. } => {
                self.spoken_among(*app, whom, out);
                return self.affected(*app, whom, out);
            }
            Effect::Recheck { app, scope } => match scope {
                Scope::Subject(Subject::User(user)) => (app, Some(Name::User(user.clone()))),
                Scope::Subject(Subject::Token(token)) | Scope::Copies(token) => {
                    (app, Some(Name::Token(token.clone())))
                }
                // Nor are providers: that one changes is rare as well.
                Scope::App
                | Scope::Provider(_)
                | Scope::Affected(_)
                | Scope::Subject(Subject::Everyone | Subject::Key(_) | Subject::Group(_)) => {
                    (app, None)
                }
            },
            Effect::Cut { app, target, .. } => match target {
                Target::User(user) => (app, Some(Name::User(user.clone()))),
                Target::Token(token) => (app, Some(Name::Token(token.clone()))),
                Target::RevocationKey(key) => (app, Some(Name::RevocationKey(key.clone()))),
                Target::Channel(_) | Target::Key(_) | Target::Group(_) | Target::App => (app, None),
            },
            Effect::AppChanged(_) | Effect::MembersChanged => return,
        };
        if let Effect::Cut {
            target: Target::User(user),
            ..
        } = effect
        {
            let spoken = self.spoken.get(&(*app, user.clone()));
            out.extend(spoken.into_iter().flat_map(BTreeMap::keys));
        }
        match name {
            Some(name) => out.extend(self.names.get(&(*app, name)).into_iter().flatten()),
            None => out.extend(self.apps.get(app).into_iter().flatten()),
        }
    }

    /// Those among so many users: where the app has fewer connections than are named, they are all asked.
    fn affected(&self, app: AppId, whom: &Affected, out: &mut BTreeSet<u32>) {
        if whom.users.len() > self.of_app(app) {
            out.extend(self.apps.get(&app).into_iter().flatten());
            return;
        }
        let users = whom.users.iter().cloned().map(Name::User);
        let claims = whom.groups.iter().cloned().map(Name::Claim);
        for name in users.chain(claims) {
            out.extend(self.names.get(&(app, name)).into_iter().flatten());
        }
    }

    fn spoken_among(&self, app: AppId, whom: &Affected, out: &mut BTreeSet<u32>) {
        if self.spoken.is_empty() {
            return;
        }
        for user in whom.users.iter() {
            let slots = self.spoken.get(&(app, user.clone()));
            out.extend(slots.into_iter().flat_map(BTreeMap::keys));
        }
    }
}

fn names(principal: &Principal) -> impl Iterator<Item = Name> {
    let user = principal.user.clone().map(Name::User);
    let token = principal.token.clone().map(Name::Token);
    let key = principal.revocation_key.clone().map(Name::RevocationKey);
    let claims = principal.claimed().iter().cloned().map(Name::Claim);
    [user, token, key].into_iter().flatten().chain(claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_a_change_of_a_group_names_is_found_by_user_and_by_claim() {
        let mut index = Index::default();
        let app = AppId(1);
        for (slot, user, claims) in [(1, "ana", None), (2, "bob", Some("eng")), (3, "col", None)] {
            let mut principal = Principal::anonymous(app, None, 1);
            principal.user = Some(user.into());
            principal.proof = claims.map(crate::core::authority::fixture::claiming);
            index.enter(slot, &principal);
        }
        index.speaks_for_changed(
            3,
            SpeaksForChange {
                app,
                user: "ana".into(),
                begins: true,
            },
        );
        let concerned = |effect| {
            let mut out = BTreeSet::new();
            index.concerned(&effect, &mut out);
            out
        };
        let whom = Affected {
            users: ["ana".into()].into(),
            groups: ["eng".into()].into(),
        };
        let scope = Scope::Affected(whom.clone());
        assert_eq!(concerned(Effect::Recheck { app, scope }), [1, 2].into());
        let cut = crate::core::authority::Cut::Blocked;
        // Who speaks for a user is cut off with her.
        assert_eq!(
            concerned(Effect::CutAll { app, whom, cut }),
            [1, 2, 3].into()
        );
    }

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
