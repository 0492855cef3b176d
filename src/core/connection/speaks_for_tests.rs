#![allow(clippy::unwrap_used, clippy::panic)]
use super::super::io::{Output, ask};
use super::super::presence_entry::NewPresenceEntry;
use super::super::state::State;
use super::*;
use crate::core::authority::fixture::state_after;
use crate::core::authority::{
    AccessQuery, AppChange, AppSpec, Authority, Capability, Command, Cut, Effect, Issued, Issuer,
    KeySpec, Millis, Operations, Pass, Pattern, Principal, Proof, Reason, Resource, Right, Secret,
    SettingValue, State as Access, Subject, Target,
};
use crate::core::ids::AppId;
use crate::core::limits::PRESENCE_IS_USER;
use crate::core::session::{DeliveryMode, NewMember, Start, Subscribe};
use std::sync::Arc;

const APP: AppId = AppId(1);
/// The revision after [`made`].
const SEEN: u64 = 1;

fn made() -> Command {
    Command::CreateApp(AppSpec {
        id: APP,
        name: "a".into(),
        protocols: Vec::new(),
        open: Vec::new(),
        settings: [].into(),
        aliases: Vec::new(),
        keys: vec![KeySpec {
            id: "k".into(),
            app: APP,
            name: "k".into(),
            secret: Secret("s".into()),
            capability: Capability::full(),
            revocable_tokens: true,
        }],
    })
}

fn switched(on: bool) -> Command {
    let value = Some(SettingValue::Bool(on));
    Command::UpdateApp {
        app: APP,
        change: AppChange {
            settings: [(PRESENCE_IS_USER.name.into(), value)].into(),
            ..AppChange::default()
        },
    }
}

fn blocked(user: &str) -> Command {
    Command::Block {
        app: APP,
        issuer: Issuer::Operator,
        subject: Subject::User(user.into()),
        for_ms: None,
        reason: "".into(),
    }
}

fn revoked(user: &str, margin_ms: Millis) -> Command {
    Command::Revoke {
        app: APP,
        issuer: Issuer::Operator,
        target: Target::User(user.into()),
        issued_before_ms: None,
        margin_ms,
    }
}

/// The state after the app was made and these came.
fn after(more: &[Command]) -> Access {
    let all: Vec<Command> = std::iter::once(made())
        .chain(more.iter().cloned())
        .collect();
    state_after(&all, 100)
}

fn room() -> Arc<ChannelKey> {
    ChannelKey::channel(APP, "presence-room")
}

fn other(user: &str) -> Option<Box<SpokenFor>> {
    let issued = Issued::Seen(SEEN);
    let user = user.into();
    Some(Box::new(SpokenFor { user, issued }))
}

fn signed() -> Proof {
    Proof {
        key: "k".into(),
        issued: Issued::Seen(SEEN),
        expires_ms: None,
        vouched: None,
        capability: Capability {
            rights: vec![Right {
                resource: Resource::Channel,
                pattern: Pattern::Exact("presence-room".into()),
                operations: Operations::SUBSCRIBE | Operations::PRESENCE,
            }],
        },
    }
}

fn principal() -> Principal {
    Principal::anonymous(APP, Some("k".into()), SEEN)
}

fn decided(authority: &Authority, user: &str) -> Result<Pass, Reason> {
    let (key, other) = (room(), other(user));
    let ask = AccessQuery {
        speaks_for: other.as_deref(),
        ..ask(&key, Operations::PRESENCE, Operations::NONE)
    };
    authority.decide(&principal(), Some(&signed()), ask)
}

fn known(state: &mut State<u32>, authority: &Authority) {
    state.identify(principal().into(), authority, &mut Vec::new());
}

/// A connection of nobody's that is in the room as carl, whom the app server's signature names.
fn carls(authority: &Authority) -> State<u32> {
    let mut state = State::default();
    known(&mut state, authority);
    let request = Subscribe {
        channel: room(),
        needs: Operations::PRESENCE,
        wants: Operations::NONE,
        proof: Some(Box::new(signed())),
        start: Start::Now,
        member: Some(NewMember {
            client: "carl".into(),
            data: "".into(),
        }),
        speaks_for: other("carl"),
        with_members: false,
        delivery: DeliveryMode::Shared,
        echo: true,
        tag: 9,
    };
    state.joining(&request, decided(authority, "carl").unwrap(), 7);
    state
}

/// A connection that has entered carl and dora into the room, each by her name.
fn of_many(authority: &Authority) -> State<u32> {
    let mut state = State::default();
    known(&mut state, authority);
    for user in ["carl", "dora"] {
        let entry = NewPresenceEntry {
            key: &room(),
            client: &user.into(),
            proof: Some(Box::new(signed())),
            speaks_for: other(user),
            pass: decided(authority, user).unwrap(),
        };
        state.enter_presence(entry, 5);
    }
    state
}

/// What the connection makes of the last of these: why it ends, and whom it takes out of the room.
fn enforced(state: &mut State<u32>, cut: Cut, access: &Access) -> (Option<Cut>, Vec<String>) {
    let authority = Authority::fixed(access.clone(), 100);
    let effect = Effect::Cut {
        app: APP,
        target: Target::User("carl".into()),
        cut,
    };
    let mut outputs = Vec::new();
    let cut = state.enforce(&effect, access, &authority, &mut outputs);
    let out = outputs.into_iter().filter_map(|output| match output {
        Output::LeavePresence(_, _, _, client) => Some(client.to_string()),
        Output::Tell(_) | Output::Detach { .. } | Output::Leave(_) => None,
    });
    (cut, out.collect())
}

fn cut_of(access: &Access, margin_ms: Millis) -> Cut {
    Cut::Revoked {
        issued_before_ms: 101,
        revision: access.revision,
        applies_ms: 100 + margin_ms,
    }
}

#[test]
fn whom_a_signature_names_is_ended_with_her() {
    let authority = Authority::fixed(after(&[]), 100);
    let ends = |cut: Cut, access: &Access| enforced(&mut carls(&authority), cut, access).0;
    let block = after(&[blocked("carl")]);
    assert_eq!(ends(Cut::Blocked, &block), Some(Cut::Blocked));
    let plain = after(&[]);
    assert_eq!(ends(Cut::Disconnected, &plain), Some(Cut::Disconnected));
    let revoke = after(&[revoked("carl", 0)]);
    let cut = cut_of(&revoke, 0);
    assert_eq!(ends(cut, &revoke), Some(cut));
    // A signature made since the revocation stands.
    let older = Cut::Revoked {
        issued_before_ms: 101,
        revision: SEEN,
        applies_ms: 100,
    };
    assert_eq!(ends(older, &plain), None);
    // Given back already when this node hears of it: the order of the log counts.
    let lifted = Command::Unblock {
        app: APP,
        issuer: Issuer::Operator,
        subject: Subject::User("carl".into()),
    };
    let lifted = after(&[blocked("carl"), lifted]);
    assert_eq!(ends(Cut::Blocked, &lifted), Some(Cut::Blocked));
}

#[test]
fn whoever_is_blocked_is_let_in_by_no_signature() {
    let authority = Authority::fixed(after(&[blocked("carl")]), 100);
    let refused = decided(&authority, "carl");
    assert_eq!(refused, Err(Reason::Blocked { until_ms: None }));
    assert!(decided(&authority, "dora").is_ok());
    let authority = Authority::fixed(after(&[revoked("carl", 0)]), 100);
    let refused = decided(&authority, "carl");
    assert!(
        matches!(refused, Err(Reason::Revoked { .. })),
        "{refused:?}"
    );
}

#[test]
fn an_app_may_take_them_for_different_names() {
    let authority = Authority::fixed(after(&[]), 100);
    let off = after(&[switched(false), blocked("carl")]);
    let mut state = carls(&authority);
    assert_eq!(enforced(&mut state, Cut::Blocked, &off).0, None);
    assert!(decided(&Authority::fixed(off.clone(), 100), "carl").is_ok());
    let mut many = of_many(&authority);
    for cut in [Cut::Blocked, Cut::Disconnected] {
        assert_eq!(
            enforced(&mut many, cut, &off),
            (None, Vec::new()),
            "{cut:?}"
        );
    }
    // Switched on again, it holds for subscriptions from before as well.
    let on = after(&[switched(false), blocked("carl"), switched(true)]);
    let mut outputs = Vec::new();
    state.recheck_on(&on, &Authority::fixed(on.clone(), 100), &mut outputs);
    assert_eq!(
        state.subscriptions(),
        1,
        "it waits for the channel's answer"
    );
    assert_eq!(
        enforced(&mut state, Cut::Blocked, &on).0,
        Some(Cut::Blocked)
    );
}

#[test]
fn a_margin_is_waited_for_and_then_ends_the_connection() {
    let authority = Authority::fixed(after(&[]), 100);
    let mut state = carls(&authority);
    let access = after(&[revoked("carl", 300)]);
    let cut = cut_of(&access, 300);
    assert_eq!(enforced(&mut state, cut, &access).0, None);
    authority.set_fixed(access.clone(), 300, true);
    assert_eq!(state.expire(&authority, &mut Vec::new()), None);
    assert_eq!(state.next_expiry(authority.now()), Some(400));
    authority.set_fixed(access, 400, true);
    assert_eq!(state.expire(&authority, &mut Vec::new()), Some(cut));
}

#[test]
fn of_many_only_the_one_who_is_named_is_taken_out() {
    let authority = Authority::fixed(after(&[]), 100);
    let carl = (None, vec!["carl".to_owned()]);
    let block = after(&[blocked("carl")]);
    let revoke = after(&[revoked("carl", 0)]);
    for (cut, access) in [
        (Cut::Blocked, block),
        (cut_of(&revoke, 0), revoke),
        (Cut::Disconnected, after(&[])),
    ] {
        let mut state = of_many(&authority);
        assert_eq!(enforced(&mut state, cut, &access), carl, "{cut:?}");
        assert_eq!(state.entries(), 1);
    }
}

#[test]
fn the_index_is_told_of_each_name_as_often_as_it_comes_and_goes() {
    let authority = Authority::fixed(after(&[]), 100);
    let count = |spoken: &mut Vec<SpeaksForChange>, begins| {
        let (some, rest): (Vec<_>, Vec<_>) = spoken.drain(..).partition(|one| one.begins == begins);
        assert!(rest.is_empty());
        some.len()
    };
    type End = fn(&mut State<u32>);
    let ends: [End; 6] = [
        |state| drop(state.end()),
        |state| {
            state.refused(&room());
        },
        |state| {
            state.leave_presence(&room(), "carl");
            state.leave_presence(&room(), "dora");
            state.refused(&room());
        },
        |state| {
            state.hand_over_entries();
            state.refused(&room());
        },
        |state| {
            let (block, cut) = (after(&[blocked("carl"), blocked("dora")]), Cut::Blocked);
            enforced(state, cut, &block);
            state.refused(&room());
        },
        |state| {
            enforced(state, Cut::Disconnected, &after(&[]));
            state.leave_presence(&room(), "dora");
            state.refused(&room());
        },
    ];
    for (at, end) in ends.into_iter().enumerate() {
        for make in [carls, of_many] {
            let mut state = make(&authority);
            let begun = count(&mut state.spoken_for, true);
            end(&mut state);
            // A refusal of the room's subscription is none of the entries' business.
            let entries_stay = at == 1 && begun == 2;
            let left = if entries_stay { 0 } else { begun };
            assert_eq!(count(&mut state.spoken_for, false), left, "ending {at}");
        }
    }
}
