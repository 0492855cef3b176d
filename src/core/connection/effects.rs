//! Access effects on one connection: what is judged again, what is cut, and when a margin is over. Pure.

use super::io::Output;
use super::reached::{Named, is_among, is_old_enough, reached};
use super::state::State;
use crate::core::authority::{Authority, Cut, Effect, Principal, Scope, State as Access, Subject};
use crate::core::session::Event;

impl<A: Clone> State<A> {
    /// Carries out one access effect of the log entry that led to `after`. `Some` = the connection has to end
    /// for it, now.
    pub fn enforce(
        &mut self,
        effect: &Effect,
        after: &Access,
        authority: &Authority,
        out: &mut Vec<Output<A>>,
    ) -> Option<Cut> {
        let principal = self.principal.as_deref()?;
        match effect {
            Effect::Recheck { app, scope } if *app == principal.app => {
                if !in_scope(principal, scope) {
                    return None;
                }
                match scope {
                    // It may come back, and takes what is left then.
                    Scope::Copies(_) => return Some(Cut::Disconnected),
                    Scope::Provider(_) if authority.objection_on(after, principal).is_some() => {
                        return Some(unvouched(after, authority));
                    }
                    Scope::Provider(_) | Scope::App | Scope::Subject(_) | Scope::Affected(_) => {}
                }
                self.recheck_on(after, authority, out);
                None
            }
            Effect::Cut { app, target, cut } if *app == principal.app => {
                self.cut(Named::One(target), *cut, after, authority, out)
            }
            Effect::CutAll { app, whom, cut } if *app == principal.app => {
                self.cut(Named::All(whom), *cut, after, authority, out)
            }
            Effect::Recheck { .. }
            | Effect::Cut { .. }
            | Effect::CutAll { .. }
            | Effect::AppChanged(_)
            | Effect::MembersChanged => None,
        }
    }

    /// Whether a cut ends the connection now; later, where it says so.
    fn cut(
        &mut self,
        named: Named<'_>,
        cut: Cut,
        after: &Access,
        authority: &Authority,
        out: &mut Vec<Output<A>>,
    ) -> Option<Cut> {
        let principal = self.principal.as_deref()?;
        let counts = authority.spoken_names_count(after, principal.app);
        if !(reached(principal, named, &cut) || counts && self.is_hers(named, &cut)) {
            if counts {
                self.send_away(named, &cut, out);
            }
            // The credential of a single subscription may be what was named.
            self.recheck_on(after, authority, out);
            return None;
        }
        let now_ms = authority.now().cluster_ms;
        match cut {
            Cut::Revoked { applies_ms, .. } if applies_ms > now_ms => {
                self.cuts.push((applies_ms, cut));
                out.push(Output::Tell(Event::Expiring { at_ms: applies_ms }));
                None
            }
            Cut::Revoked { .. } | Cut::Disconnected | Cut::Blocked | Cut::Disabled => Some(cut),
        }
    }

    /// Asks again what has run out. `Some` = a revocation's margin is over and still reaches the principal.
    pub fn expire(&mut self, authority: &Authority, out: &mut Vec<Output<A>>) -> Option<Cut> {
        let now_ms = authority.now().cluster_ms;
        let due = self.cuts.iter().position(|(at, _)| *at <= now_ms);
        let cut = due.map(|at| self.cuts.swap_remove(at).1);
        if let (Some(cut), Some(principal)) = (cut, self.principal()) {
            let mut others = self.subscribed_for();
            if authority.objection(principal).is_some()
                || others.any(|other| authority.objection_to(principal.app, other).is_some())
            {
                return Some(cut);
            }
        }
        self.recheck(authority, out);
        None
    }

    /// Whether the connection is, on any channel, the user's whom a cut names, by word that is old enough.
    fn is_hers(&self, named: Named<'_>, cut: &Cut) -> bool {
        let mut others = self.subscribed_for();
        others.any(|other| named.user(&other.user) && is_old_enough(other.issued, cut))
    }
}

/// What ends the connection of whoever a provider no longer vouches for: a new token may let it in again.
fn unvouched(after: &Access, authority: &Authority) -> Cut {
    let now_ms = authority.now().cluster_ms;
    Cut::Revoked {
        issued_before_ms: now_ms.saturating_add(1),
        revision: after.revision,
        applies_ms: now_ms,
    }
}

/// Whether a change of rights may concern this principal.
fn in_scope(principal: &Principal, scope: &Scope) -> bool {
    match scope {
        Scope::App | Scope::Subject(Subject::Everyone) => true,
        Scope::Subject(Subject::User(user)) => principal.user.as_ref() == Some(user),
        Scope::Subject(Subject::Token(token)) => principal.token.as_ref() == Some(token),
        // A key is also the ceiling of every proof it has signed, and those hang on single subscriptions.
        Scope::Subject(Subject::Key(_)) => true,
        // Who is in a group is named by the machine.
        Scope::Subject(Subject::Group(_)) => false,
        Scope::Affected(whom) => is_among(principal, whom),
        Scope::Copies(token) => principal.copied_from() == Some(token),
        Scope::Provider(provider) => {
            let proof = principal.proof.as_ref();
            let by = proof.and_then(|proof| proof.vouched.as_deref());
            by.is_some_and(|by| by.provider == *provider)
        }
    }
}
