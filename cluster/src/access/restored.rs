//! What a state from a backup may still say when a new cluster begins with it.
//!
//! A backup knows nothing of what was revoked after it was made. So everything that somebody out there may still
//! hold is void: every credential that states a time of issue up to now, every issued token, every right stored
//! for a token. What app servers say about users, keys and apps is as the backup has it.
//!
//! Pure.
//! **Why a revocation of the whole app and not a rule of its own:** it is stored, explained and forgotten like any
//! other, and no decision has to know what a restore is.

use super::apply::void_everything;
use super::audit::Draft;
use super::{AppId, GrantKey, Millis, Reply, State, Subject, Text};

/// The state that the new cluster begins with, one revision later. `accept_tokens` leaves credentials standing:
/// what was revoked after the backup works again.
#[must_use]
pub fn restored(mut state: State, now_ms: Millis, accept_tokens: bool) -> State {
    state.revision += 1;
    state.time_ms = state.time_ms.max(now_ms);
    let begun = Draft::by("cluster", "cluster restore").record(&state, &Reply::Done, &[]);
    state.audit.append(begun);
    // The former nodes are gone; should one of their numbers start again, it is another start.
    for member in state.members.values().cloned().collect::<Vec<_>>() {
        state.departed.insert(member.node, member.epoch);
        state.members.remove(&member.node);
    }
    if accept_tokens {
        return state;
    }
    let held: Vec<GrantKey> = state
        .grants
        .keys()
        .filter(|key| matches!(key.subject, Subject::Token(_)))
        .cloned()
        .collect();
    for key in &held {
        state.drop_grant(key);
    }
    let issued: Vec<(AppId, Text)> = state.tokens.keys().cloned().collect();
    for (app, token) in &issued {
        state.drop_token(*app, token);
    }
    for app in state.apps.keys().copied().collect::<Vec<_>>() {
        void_everything(&mut state, app);
    }
    state
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::super::{
        AppSpec, Capability, Command, Decision, GrantEntry, GrantMode, Issued, Issuer, KeySpec,
        MemberCommand, NodeId, Operations, Pattern, Principal, Question, Reason, Resource, Rule,
        Secret, Stamp, Target, Voucher, apply, decide, restore, snapshot,
    };
    use super::*;

    const APP: AppId = AppId(1);

    fn grant(subject: Subject) -> Command {
        Command::SetGrants {
            app: APP,
            issuer: Issuer::Operator,
            subject,
            mode: GrantMode::Merge,
            entries: vec![GrantEntry {
                resource: Resource::Channel,
                pattern: Pattern::Exact("room".into()),
                operations: Operations::SUBSCRIBE,
                ttl_ms: None,
            }],
        }
    }

    fn before() -> State {
        let mut state = State::default();
        let commands = [
            Command::CreateApp(AppSpec {
                id: APP,
                name: "a".into(),
                protocols: Vec::new(),
                open: Vec::new(),
                settings: Default::default(),
                aliases: Vec::new(),
                keys: vec![KeySpec {
                    id: "k".into(),
                    app: APP,
                    name: "k".into(),
                    secret: Secret("secret".into()),
                    capability: Capability::full(),
                    revocable_tokens: true,
                }],
            }),
            Command::Member(MemberCommand::Up {
                node: NodeId(1),
                peer_addr: "a:1".into(),
                public_url: "".into(),
                reads_version: 1,
            }),
            grant(Subject::User("ana".into())),
            grant(Subject::Token("t".into())),
        ];
        for (index, command) in (1..).zip(&commands) {
            apply(
                &mut state,
                command,
                Stamp {
                    index,
                    time_ms: 1_000,
                },
            );
        }
        state
    }

    fn ask(state: &State, user: Option<&str>, token: Option<&str>, issued: Issued) -> Decision {
        let principal = Principal {
            user: user.map(Into::into),
            token: token.map(Into::into),
            issued,
            vouched_by: user.map(|_| Voucher::Held("k".into())),
            ..Principal::anonymous(APP, None, 0)
        };
        decide(
            state,
            &Question {
                principal: &principal,
                proof: None,
                speaks_for: None,
                resource: Resource::Channel,
                name: "room",
                operations: Operations::SUBSCRIBE,
                // Nothing counts before its time of issue.
                now_ms: match issued {
                    Issued::At(at_ms) => state.time_ms.max(at_ms),
                    Issued::Seen(_) => state.time_ms,
                },
            },
        )
    }

    #[test]
    fn nothing_issued_before_the_restore_passes_and_what_is_issued_after_does() {
        let state = restored(before(), 50_000, false);
        let state = restore(&snapshot(&state)).unwrap();
        for at in [0, 900, 49_999, 50_000] {
            let Decision::Deny(Reason::Revoked { target, .. }) =
                ask(&state, Some("ana"), None, Issued::At(at))
            else {
                panic!("a credential of {at} passed");
            };
            assert_eq!(target, Target::App);
        }
        let after = ask(&state, Some("ana"), None, Issued::At(50_001));
        assert!(matches!(after, Decision::Allow(Rule::Grant { .. })));
        // A token string is known to whoever had it, so the right stored for it is gone.
        let held = ask(&state, None, Some("t"), Issued::Seen(state.revision));
        assert!(matches!(held, Decision::Deny(Reason::NotGranted(_))));
    }

    #[test]
    fn members_are_gone_but_not_their_epochs_and_time_and_revision_only_rise() {
        let state = restored(before(), 5, false);
        assert!(state.members.is_empty());
        assert_eq!(state.departed.get(&NodeId(1)), Some(&1));
        assert_eq!((state.revision, state.time_ms), (5, 1_000));
    }

    #[test]
    fn tokens_stand_only_when_that_is_said_aloud() {
        let state = restored(before(), 50_000, true);
        let held = ask(&state, None, Some("t"), Issued::Seen(0));
        assert!(matches!(held, Decision::Allow(_)));
        let old = ask(&state, Some("ana"), None, Issued::At(900));
        assert!(matches!(old, Decision::Allow(_)));
    }
}
