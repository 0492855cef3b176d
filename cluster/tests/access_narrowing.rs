//! What takes something away says so: whoever asked for it waits for the other nodes by that word alone.
//!
//! **Why a test of its own:** the reply is the only thing that decides whether a write is fenced. A command that takes
//! a right and says `Done` is a revoke that returns while a lagging node still serves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod access_random;

use access_random::{GROUPS, NAMES, USERS, app_of, full_key, log, model, play, principal};
use gatecast_cluster::access::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

const RESOURCES: [Resource; 3] = [Resource::Channel, Resource::Group, Resource::User];
/// Rights are compared now and at these times from now: a shortened life is a loss as well.
const LATER: [Millis; 4] = [0, 500, 2_000, 50_000];

type Rights = BTreeMap<(usize, Resource, &'static str, Millis), Operations>;

fn rights(state: &State, principals: &[Principal], now_ms: Millis) -> Rights {
    let mut all = Rights::new();
    for (at, principal) in principals.iter().enumerate() {
        for (resource, name) in RESOURCES.iter().flat_map(|r| NAMES.map(|name| (*r, name))) {
            for later in LATER {
                let question = Question {
                    principal,
                    proof: None,
                    speaks_for: None,
                    resource,
                    name,
                    operations: Operations::ALL,
                    now_ms: now_ms + later,
                };
                all.insert((at, resource, name, later), allowed(state, &question));
            }
        }
    }
    all
}

/// Channels of each group.
fn groups(state: &State) -> BTreeMap<(AppId, Text), Vec<Text>> {
    let groups = state.groups.iter();
    groups
        .map(|(place, channels)| (place.clone(), channels.iter().cloned().collect()))
        .collect()
}

fn lost(before: &State, after: &State, principals: &[Principal], now_ms: Millis) -> Option<String> {
    let rights_after = rights(after, principals, now_ms);
    for (place, had) in rights(before, principals, now_ms) {
        let has = rights_after[&place];
        if !has.contains(had) {
            let who = &principals[place.0];
            return Some(format!("{place:?}: {had:?} became {has:?} for {who:?}"));
        }
    }
    let groups_after = groups(after);
    for (place, channels) in groups(before) {
        let left = groups_after.get(&place).map_or(&[][..], Vec::as_slice);
        if let Some(channel) = channels.iter().find(|channel| !left.contains(channel)) {
            return Some(format!("{channel} left {place:?}"));
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn whoever_may_do_less_afterwards_is_told_of_in_the_reply(
        log in log(),
        commands in vec(prop_oneof![
            access_random::user_group_command(),
            access_random::command(),
        ], 1..12),
        principals in vec(principal(), 1..10),
    ) {
        let mut state = State::default();
        play(&mut state, &log, 1);
        for (index, command) in (1_000..).zip(&commands) {
            let stamp = Stamp { index, time_ms: state.time_ms };
            // What has ended by itself is swept first, so that only the command is looked at.
            for _ in 0..20 {
                apply(&mut state, &Command::Tick, stamp);
            }
            let before = state.clone();
            let outcome = apply(&mut state, command, stamp);
            if matches!(outcome.reply, Reply::Narrowed(_)) {
                continue;
            }
            let lost = lost(&before, &state, &principals, state.time_ms);
            prop_assert_eq!(lost, None, "{:?} came to {:?}", command, outcome.reply);
            let cut = outcome.effects.iter().find(|effect| matches!(effect, Effect::Cut { .. } | Effect::CutAll { .. }));
            prop_assert_eq!(cut, None, "{:?} came to {:?}", command, outcome.reply);
        }
    }
}

/// Whether an effect makes the connections of this principal look at themselves.
fn concerns(effect: &Effect, principal: &Principal) -> bool {
    match effect {
        Effect::Recheck { app, scope } if *app == principal.app => match scope {
            Scope::App | Scope::Subject(Subject::Everyone | Subject::Key(_)) => true,
            Scope::Subject(Subject::User(user)) => principal.user.as_ref() == Some(user),
            Scope::Subject(Subject::Token(token)) | Scope::Copies(token) => {
                principal.token.as_ref() == Some(token)
            }
            // The machine names who is in a group: a connection does not know it.
            Scope::Subject(Subject::Group(_)) => false,
            Scope::Provider(_) => principal
                .proof
                .as_ref()
                .is_some_and(|p| p.vouched.is_some()),
            Scope::Affected(whom) => names(whom, principal),
        },
        Effect::Cut { app, target, .. } if *app == principal.app => match target {
            Target::User(user) => principal.user.as_ref() == Some(user),
            Target::Token(token) => principal.token.as_ref() == Some(token),
            Target::RevocationKey(key) => principal.revocation_key.as_ref() == Some(key),
            Target::Channel(_) | Target::Key(_) | Target::App => true,
            Target::Group(_) => false,
        },
        Effect::CutAll { app, whom, .. } if *app == principal.app => names(whom, principal),
        Effect::Recheck { .. }
        | Effect::Cut { .. }
        | Effect::CutAll { .. }
        | Effect::AppChanged(_)
        | Effect::MembersChanged => false,
    }
}

fn names(whom: &Affected, principal: &Principal) -> bool {
    let user = principal.user.as_ref();
    user.is_some_and(|user| whom.has_user(user)) || whom.has_claim(principal.claimed())
}

/// The groups of every user, by walking.
fn walked(state: &State) -> BTreeMap<&'static str, Vec<Text>> {
    let all = USERS.map(|user| {
        let mut next = model::direct(state, AppId(1), &GroupMember::User(user.into()));
        (user, model::walk(state, AppId(1), &mut next))
    });
    all.into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn whoever_lost_something_is_named_by_an_effect(
        log in log(),
        commands in vec(prop_oneof![
            access_random::user_group_command(),
            access_random::command(),
        ], 1..12),
        principals in vec(principal(), 1..10),
    ) {
        let mut state = State::default();
        play(&mut state, &log, 1);
        for (index, command) in (1_000..).zip(&commands) {
            let stamp = Stamp { index, time_ms: state.time_ms };
            for _ in 0..20 {
                apply(&mut state, &Command::Tick, stamp);
            }
            let before = state.clone();
            let outcome = apply(&mut state, command, stamp);
            for principal in &principals {
                let one = std::slice::from_ref(principal);
                // Rights that a shortened life takes later are judged by their ends.
                let had = rights(&before, one, state.time_ms);
                let has = rights(&state, one, state.time_ms);
                let less = had.iter().any(|(at, had)| at.3 == 0 && !has[at].contains(*had));
                let named = outcome.effects.iter().any(|effect| concerns(effect, principal));
                prop_assert!(named || !less, "{command:?}: {principal:?} {:?}", outcome.effects);
            }
            if let Command::SetUserGroup(change) = command {
                prop_assert_eq!(model_named(&before, &state), named_users(change.app, &outcome));
                prop_assert_eq!(model_claims(&before, &state), named_claims(change.app, &outcome));
            }
        }
    }

    #[test]
    fn groups_are_those_that_can_be_walked_to(log in log(), commands in vec(access_random::user_group_command(), 1..30)) {
        let mut state = State::default();
        play(&mut state, &log, 1);
        for (index, command) in (1_000..).zip(&commands) {
            let stamp = Stamp { index, time_ms: state.time_ms };
            apply(&mut state, command, stamp);
        }
        let resumed = restore(&snapshot(&state)).unwrap();
        for state in [&state, &resumed] {
            for (user, walked) in walked(state) {
                let user: Text = user.into();
                let mut all = state.groups_of_user(AppId(1), Some(&user), &[]);
                all.sort();
                prop_assert_eq!(all, walked.iter().collect::<Vec<_>>());
                for group in &walked {
                    let way = state.way_to_group(AppId(1), Some(&user), &[], group).unwrap();
                    prop_assert!(way.len() <= Limits::GROUP_DEPTH && way.last() == Some(group));
                }
            }
        }
        let groups = |state: &State| {
            let all = state.user_groups_from(AppId(1), Text::default());
            all.map(|(name, group)| (name.clone(), group.clone())).collect::<Vec<_>>()
        };
        prop_assert_eq!(groups(&state), groups(&resumed));
    }
}

/// Users whose groups are others than before.
fn model_named(before: &State, after: &State) -> Vec<Text> {
    let (had, has) = (walked(before), walked(after));
    let changed = USERS.into_iter().filter(|user| had[user] != has[user]);
    changed.map(Into::into).collect()
}

/// Groups that lead elsewhere than before: whoever claims one has lost or gained by it.
fn model_claims(before: &State, after: &State) -> Vec<Text> {
    let leads = |state: &State, group: &str| {
        let mut next = vec![group.into()];
        model::walk(state, AppId(1), &mut next)
    };
    let changed = GROUPS
        .into_iter()
        .filter(|group| leads(before, group) != leads(after, group));
    changed.map(Into::into).collect()
}

fn named_users(app: AppId, outcome: &Outcome) -> Vec<Text> {
    named(app, outcome, |whom| &whom.users)
}

fn named_claims(app: AppId, outcome: &Outcome) -> Vec<Text> {
    named(app, outcome, |whom| &whom.groups)
}

fn named(app: AppId, outcome: &Outcome, of: fn(&Affected) -> &[Text]) -> Vec<Text> {
    let named = outcome.effects.iter().filter_map(|effect| match effect {
        Effect::Recheck {
            app: of,
            scope: Scope::Affected(whom),
        }
        | Effect::CutAll { app: of, whom, .. } => (*of == app && app == AppId(1)).then_some(whom),
        Effect::Recheck { .. }
        | Effect::Cut { .. }
        | Effect::AppChanged(_)
        | Effect::MembersChanged => None,
    });
    let mut all: Vec<Text> = named.flat_map(|whom| of(whom).to_vec()).collect();
    all.sort();
    all.dedup();
    all
}

/// An app with a key, and what `after` comes to in it.
fn reply(before: &[Command], after: Command) -> Reply {
    let mut state = State::default();
    let app = app_of(vec![full_key()]);
    let all = [app].into_iter().chain(before.to_vec());
    let mut last = Reply::Done;
    for (index, command) in (1..).zip(all.chain([after])) {
        last = apply(&mut state, &command, Stamp { index, time_ms: 10 }).reply;
    }
    last
}

fn grants(mode: GrantMode, entries: &[(&str, Operations)]) -> Command {
    let entry = |(name, operations): &(&str, Operations)| GrantEntry {
        resource: Resource::Channel,
        pattern: Pattern::Exact((*name).into()),
        operations: *operations,
        ttl_ms: None,
    };
    Command::SetGrants {
        app: AppId(1),
        issuer: Issuer::Operator,
        subject: Subject::User("ana".into()),
        mode,
        entries: entries.iter().map(entry).collect(),
    }
}

#[test]
fn a_ceiling_is_narrowing_also_when_it_is_there_already() {
    let (merge, replace) = (GrantMode::Merge, GrantMode::Replace);
    let (read, none) = (Operations::SUBSCRIBE, Operations::NONE);
    // The first of them may not have reached every node yet when the second is answered.
    assert_eq!(
        reply(&[], grants(merge, &[("a", none)])),
        Reply::Narrowed(0)
    );
    let given = grants(replace, &[("a", read)]);
    assert_eq!(reply(&[], given.clone()), Reply::Changed(1));
    assert_eq!(
        reply(std::slice::from_ref(&given), given.clone()),
        Reply::Narrowed(1)
    );
    let group = Command::SetGroup(GroupChange {
        app: AppId(1),
        issuer: Issuer::Operator,
        group: "g".into(),
        add: Vec::new(),
        remove: vec!["c".into()],
        clear: false,
    });
    assert_eq!(reply(&[], group), Reply::Narrowed(0));
    let ana = || vec![GroupMember::User("ana".into())];
    let members = |add, remove| {
        Command::SetUserGroup(UserGroupChange {
            app: AppId(1),
            issuer: Issuer::Operator,
            group: "eng".into(),
            add,
            remove,
        })
    };
    let put = members(ana(), Vec::new());
    let taken = members(Vec::new(), ana());
    assert_eq!(reply(&[], put.clone()), Reply::Changed(1));
    assert_eq!(reply(&[put], taken.clone()), Reply::Narrowed(1));
    assert_eq!(reply(&[], taken), Reply::Narrowed(0));
    let key = Command::UpdateKey {
        key: "k1".into(),
        change: KeyChange {
            capability: Some(Capability::full()),
            ..KeyChange::default()
        },
    };
    assert_eq!(reply(&[], key), Reply::Narrowed(1));
}

#[test]
fn what_only_gives_is_not_narrowing() {
    let (merge, read) = (GrantMode::Merge, Operations::SUBSCRIBE);
    let given = grants(merge, &[("a", read)]);
    let more = grants(merge, &[("a", read | Operations::PUBLISH), ("b", read)]);
    assert_eq!(reply(&[], given.clone()), Reply::Changed(1));
    assert_eq!(reply(&[given], more), Reply::Changed(2));
    let renamed = Command::UpdateApp {
        app: AppId(1),
        change: AppChange {
            name: Some("new".into()),
            enabled: Some(true),
            ..AppChange::default()
        },
    };
    assert_eq!(reply(&[], renamed), Reply::Done);
}

#[test]
fn a_copy_of_a_tokens_rights_outlives_a_renewal_and_nothing_else() {
    let line = |operations| GrantEntry {
        resource: Resource::Channel,
        pattern: Pattern::Exact("a".into()),
        operations,
        ttl_ms: None,
    };
    let set = |mode, entries| Command::SetGrants {
        app: AppId(1),
        issuer: Issuer::Operator,
        subject: Subject::Token("tok".into()),
        mode,
        entries,
    };
    let both = Operations::SUBSCRIBE | Operations::PUBLISH;
    let less = || vec![line(Operations::SUBSCRIBE)];
    let delete = Command::DeleteGrants {
        app: AppId(1),
        issuer: Issuer::Operator,
        subject: Subject::Token("tok".into()),
        names: Vec::new(),
    };
    for (command, reaches) in [
        (set(GrantMode::Renew, less()), false),
        (set(GrantMode::Renew, Vec::new()), false),
        (set(GrantMode::Merge, vec![line(both)]), false),
        (set(GrantMode::Merge, less()), true),
        (set(GrantMode::Merge, vec![line(Operations::NONE)]), true),
        (set(GrantMode::Replace, less()), true),
        (set(GrantMode::Replace, Vec::new()), true),
        (delete, true),
    ] {
        let mut state = State::default();
        let stamp = |index| Stamp { index, time_ms: 10 };
        apply(&mut state, &app_of(Vec::new()), stamp(1));
        apply(
            &mut state,
            &set(GrantMode::Renew, vec![line(both)]),
            stamp(2),
        );
        let outcome = apply(&mut state, &command, stamp(3));
        let copies = |effect: &Effect| matches!(effect, Effect::Recheck { scope: Scope::Copies(token), .. } if **token == *"tok");
        assert_eq!(outcome.effects.iter().any(copies), reaches, "{command:?}");
        let more =
            matches!(&command, Command::SetGrants { entries, .. } if *entries == [line(both)]);
        assert_eq!(
            matches!(outcome.reply, Reply::Narrowed(_)),
            !more,
            "{command:?}"
        );
    }
}
