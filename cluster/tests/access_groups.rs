//! Bounds of user groups: what is refused leaves nothing behind, and what takes away is never refused for its size.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod access_random;

use access_random::{app_of, full_key};
use gatecast_cluster::access::*;

const APP: AppId = AppId(1);

fn state() -> State {
    let mut state = State::default();
    let stamp = Stamp {
        index: 1,
        time_ms: 10,
    };
    apply(&mut state, &app_of(vec![full_key()]), stamp);
    state
}

fn user(at: usize) -> GroupMember {
    GroupMember::User(format!("user-{at}").into())
}

fn group(name: &str) -> GroupMember {
    GroupMember::Group(name.into())
}

fn change(state: &mut State, of: &str, add: &[GroupMember], remove: &[GroupMember]) -> Outcome {
    let command = Command::SetUserGroup(UserGroupChange {
        app: APP,
        issuer: Issuer::Operator,
        group: of.into(),
        add: add.to_vec(),
        remove: remove.to_vec(),
    });
    let stamp = Stamp {
        index: state.revision + 1,
        time_ms: 10,
    };
    apply(state, &command, stamp)
}

fn put(state: &mut State, of: &str, member: GroupMember) {
    let reply = change(state, of, &[member], &[]).reply;
    assert_eq!(reply, Reply::Changed(1), "{of}");
}

/// Refused with these words, and nothing is another than before.
fn refuses(state: &mut State, of: &str, member: GroupMember, words: &str) {
    let mut later = state.clone();
    let outcome = change(&mut later, of, &[member], &[]);
    let Reply::Rejected(Rejection::LimitReached(why)) = &outcome.reply else {
        panic!("{outcome:?}");
    };
    assert!(why.contains(words), "{why}");
    assert_eq!(outcome.effects, []);
    later.revision = state.revision;
    assert_eq!(fingerprint(&later), fingerprint(state));
    let groups = |state: &State| -> Vec<(Text, UserGroup)> {
        let all = state.user_groups_from(APP, Text::default());
        all.map(|(name, one)| (name.clone(), one.clone())).collect()
    };
    assert_eq!(groups(&later), groups(state));
}

#[test]
fn a_member_is_in_so_many_groups_and_no_more() {
    let mut state = state();
    for at in 0..Limits::GROUPS_PER_MEMBER {
        put(&mut state, &format!("g{at}"), user(0));
    }
    refuses(&mut state, "one-more", user(0), "take it out of one first");
    put(&mut state, "one-more", user(1));
}

#[test]
fn a_check_never_has_to_ask_for_more_groups_above_one_than_so_many() {
    let mut state = state();
    for at in 0..Limits::GROUPS_ABOVE {
        put(&mut state, &format!("outer{at}"), group("inner"));
    }
    let words = "take it out of one first";
    refuses(&mut state, "one-more", group("inner"), words);
    // Nor may one below it be in more by it.
    refuses(&mut state, "inner", group("innermost"), words);
    let out = change(&mut state, "outer0", &[], &[group("inner")]);
    assert_eq!(out.reply, Reply::Narrowed(1));
    put(&mut state, "inner", group("innermost"));
    refuses(&mut state, "outer0", group("inner"), words);
}

#[test]
fn below_a_group_are_so_many_and_taking_out_is_never_refused() {
    let mut state = state();
    let all: Vec<GroupMember> = (0..Limits::BELOW_GROUP as usize - 1).map(user).collect();
    for part in all.chunks(Limits::GROUP_CHANGES) {
        let reply = change(&mut state, "inner", part, &[]).reply;
        assert_eq!(reply, Reply::Changed(part.len() as u64));
    }
    put(&mut state, "outer", group("inner"));
    assert_eq!(
        state.user_group(APP, &"outer".into()).unwrap().below,
        Limits::BELOW_GROUP
    );
    let words = "grant to everyone, or to several groups";
    refuses(&mut state, "inner", GroupMember::User("more".into()), words);
    refuses(&mut state, "outer", GroupMember::User("more".into()), words);
    put(&mut state, "beside", GroupMember::User("more".into()));
    refuses(&mut state, "outer", group("beside"), words);
    let out = change(&mut state, "outer", &[], &[group("inner")]);
    assert_eq!(out.reply, Reply::Narrowed(1));
    let Effect::Recheck {
        scope: Scope::Affected(whom),
        ..
    } = &out.effects[0]
    else {
        panic!("{:?}", out.effects.len());
    };
    assert_eq!(whom.users.len(), all.len());
    assert!(whom.users.is_sorted());
    assert_eq!(*whom.groups, ["inner".into()]);
    let many = vec![user(0); Limits::GROUP_CHANGES + 1];
    let reply = change(&mut state, "inner", &many, &[]).reply;
    assert!(matches!(reply, Reply::Rejected(Rejection::LimitReached(_))));
}

#[test]
fn a_snapshot_whose_groups_cannot_be_is_refused() {
    let with = |edges: &[(&str, &[&str])]| {
        let mut state = state();
        for (inner, outer) in edges {
            let of = MemberOf {
                groups: outer.iter().map(|name| Text::from(*name)).collect(),
                revision: 1,
            };
            state.memberships.insert((APP, group(inner)), of);
        }
        restore(&snapshot(&state))
    };
    let four: [(&str, &[&str]); 3] = [("a", &["b"]), ("b", &["c"]), ("c", &["d"])];
    assert!(with(&four).is_ok());
    let five: [(&str, &[&str]); 4] = [("a", &["b"]), ("b", &["c"]), ("c", &["d"]), ("d", &["e"])];
    assert!(with(&five).is_err());
    assert!(with(&[("a", &["b"]), ("b", &["a"])]).is_err());
    assert!(with(&[("a", &["a"])]).is_err());
    assert!(with(&[("a", &["c", "b"])]).is_err());
    assert!(with(&[("a", &[])]).is_err());
}
