#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::core::authority::fixture::{allowing, judge};
use crate::core::authority::{
    AppId, Capability, Effect, Issued, Pattern, Resource, Right, Scope, Subject, Target,
};
use crate::core::connection::presence_entry::NewPresenceEntry;
use crate::core::ids::Position;
use crate::core::message::Occupancy;
use crate::core::session::{DeliveryMode, NewMember, Start};

const APP: AppId = AppId(1);

fn access(operations: Operations, until: u16) -> Access {
    let mut access = allowing(operations, 0);
    access.version = until;
    access
}

fn authority(operations: Operations) -> Authority {
    Authority::fixed_by(access(operations, 0), 100, judge)
}

fn principal() -> Box<Principal> {
    Box::new(Principal::anonymous(APP, Some("key".into()), 5))
}

fn room() -> Arc<ChannelKey> {
    ChannelKey::channel(APP, "room")
}

fn request(member: bool) -> Subscribe {
    Subscribe {
        channel: room(),
        needs: Operations::SUBSCRIBE,
        wants: Operations::PUBLISH | Operations::PRESENCE,
        proof: None,
        start: Start::Now,
        member: member.then(|| NewMember {
            client: "ana".into(),
            data: "".into(),
        }),
        speaks_for: None,
        with_members: false,
        delivery: DeliveryMode::Shared,
        echo: true,
        tag: 9,
    }
}

fn subscribed() -> Subscribed {
    Subscribed {
        channel: room(),
        tag: 9,
        granted: Operations::NONE,
        position: Position::default(),
        backlog: Vec::new(),
        continuous: true,
        members: None,
        occupancy: Occupancy::default(),
    }
}

/// A state that is joining the room at address 77.
fn joining(authority: &Authority, member: bool) -> State<u32> {
    let mut state = State::default();
    state.identify(principal(), authority, &mut Vec::new());
    let request = request(member);
    let pass = authority
        .decide(&principal(), None, ask_for(&request))
        .unwrap();
    state.joining(&request, pass, 77);
    state
}

fn ask_for(request: &Subscribe) -> AccessQuery<'_> {
    ask(&request.channel, request.needs, request.wants)
}

fn standing(authority: &Authority, member: bool) -> State<u32> {
    let mut state = joining(authority, member);
    let standing = state.subscribed(&mut subscribed(), &mut Vec::new());
    assert_eq!(standing, SubscribeOutcome::Stands { leave: false });
    state
}

/// What the state has its actor do, in one line each.
fn told(outputs: &[Output<u32>]) -> Vec<String> {
    let line = |output: &Output<u32>| match output {
        Output::Tell(Event::RightsChanged {
            granted, refusal, ..
        }) => format!("changed {:?} {}", granted.names(), refusal.is_some()),
        Output::Tell(Event::Unsubscribed { refusal, .. }) => {
            format!("unsubscribed {}", refusal.is_none())
        }
        Output::Tell(other) => format!("{other:?}"),
        Output::Detach { drop, .. } => format!("detach {drop}"),
        Output::Leave(at) => format!("leave {at}"),
        Output::LeavePresence(_, at, _, client) => format!("leave presence {at} {client}"),
    };
    outputs.iter().map(line).collect()
}

#[test]
fn a_subscription_is_counted_once_and_limited() {
    let authority = authority(Operations::ALL);
    let state = joining(&authority, false);
    assert_eq!(
        state.may_subscribe(&room(), 10),
        Err(Refusal::AlreadySubscribed)
    );
    let other = ChannelKey::channel(APP, "other");
    assert!(matches!(
        state.may_subscribe(&other, 1),
        Err(Refusal::Limit { max: 1, .. })
    ));
    assert_eq!(state.may_subscribe(&other, 2), Ok(()));
}

#[test]
fn the_held_pass_serves_only_what_stands_and_is_allowed() {
    let authority = authority(Operations::SUBSCRIBE | Operations::PUBLISH);
    let now = authority.now();
    let joining = joining(&authority, false);
    assert!(joining.held(&room(), Operations::PUBLISH, now).is_none());
    let state = standing(&authority, false);
    let (address, _) = state.held(&room(), Operations::PUBLISH, now).unwrap();
    assert_eq!(*address, 77);
    assert!(state.held(&room(), Operations::HISTORY, now).is_none());
}

#[test]
fn leaving_before_it_stands_is_answered_after_it_stands() {
    let authority = authority(Operations::ALL);
    let mut state = joining(&authority, false);
    let mut outputs = Vec::new();
    state.unsubscribe(&room(), &mut outputs);
    assert!(outputs.is_empty());
    let standing = state.subscribed(&mut subscribed(), &mut outputs);
    assert_eq!(standing, SubscribeOutcome::Stands { leave: true });
    state.unsubscribe(&room(), &mut outputs);
    assert_eq!(
        told(&outputs),
        ["detach false", "leave 77", "unsubscribed true"]
    );
    state.unsubscribe(&room(), &mut outputs);
    assert_eq!(told(&outputs).last().unwrap(), "unsubscribed false");
}

#[test]
fn a_right_lost_on_the_way_never_stands() {
    let authority = authority(Operations::ALL);
    let mut state = joining(&authority, false);
    authority.set_fixed(access(Operations::NONE, 0), 100, true);
    let mut outputs = Vec::new();
    state.recheck(&authority, &mut outputs);
    assert!(outputs.is_empty(), "the channel has not answered yet");
    let standing = state.subscribed(&mut subscribed(), &mut outputs);
    assert!(matches!(
        standing,
        SubscribeOutcome::Lost(Refusal::Denied(_))
    ));
    assert_eq!(told(&outputs), ["leave 77"]);
    assert_eq!(state.subscriptions(), 0);
}

#[test]
fn narrowing_is_told_and_losing_ends_the_subscription_before_it_is_told() {
    let authority = authority(Operations::SUBSCRIBE | Operations::PUBLISH);
    let mut state = standing(&authority, false);
    let mut outputs = Vec::new();
    state.recheck(&authority, &mut outputs);
    assert!(outputs.is_empty(), "nothing changed");

    authority.set_fixed(access(Operations::SUBSCRIBE, 0), 100, true);
    state.recheck(&authority, &mut outputs);
    assert_eq!(told(&outputs), [r#"changed ["subscribe"] false"#]);
    assert!(
        state
            .held(&room(), Operations::PUBLISH, authority.now())
            .is_none()
    );

    outputs.clear();
    authority.set_fixed(access(Operations::PUBLISH, 0), 100, true);
    state.recheck(&authority, &mut outputs);
    assert_eq!(
        told(&outputs),
        ["detach true", "leave 77", r#"changed ["publish"] true"#]
    );
    assert!(!state.stands(&room()));
}

#[test]
fn a_lost_presence_right_takes_the_member_out_and_keeps_the_subscription() {
    let authority = authority(Operations::SUBSCRIBE | Operations::PRESENCE);
    let mut state = standing(&authority, true);
    authority.set_fixed(access(Operations::SUBSCRIBE, 0), 100, true);
    let mut outputs = Vec::new();
    state.recheck(&authority, &mut outputs);
    assert_eq!(
        told(&outputs),
        ["leave presence 77 ana", r#"changed ["subscribe"] false"#]
    );
    assert!(state.stands(&room()));
}

/// Ana enters, at address 5.
fn enter_presence(state: &mut State<u32>, key: &Arc<ChannelKey>, pass: Pass) {
    let entry = NewPresenceEntry {
        key,
        client: &"ana".into(),
        proof: None,
        speaks_for: None,
        pass,
    };
    state.enter_presence(entry, 5);
}

#[test]
fn an_attendance_ends_with_its_right_and_is_left_at_the_end() {
    let authority = authority(Operations::PRESENCE);
    let mut state = State::default();
    state.identify(principal(), &authority, &mut Vec::new());
    let key = room();
    let ask = ask(&key, Operations::PRESENCE, Operations::NONE);
    let pass = authority.decide(&principal(), None, ask).unwrap();
    enter_presence(&mut state, &key, pass);
    assert_eq!(state.entries(), 1);
    authority.set_fixed(access(Operations::NONE, 0), 100, true);
    let mut outputs = Vec::new();
    state.recheck(&authority, &mut outputs);
    assert_eq!(told(&outputs), ["leave presence 5 ana"]);
    assert!(state.end().is_empty());
}

#[test]
fn a_pass_is_asked_again_when_it_ends() {
    let authority = authority(Operations::ALL);
    authority.set_fixed(access(Operations::ALL, 500), 100, true);
    let mut state = standing(&authority, false);
    assert_eq!(state.next_expiry(authority.now()), Some(500));
    let mut outputs = Vec::new();
    // Renewed before it ended.
    authority.set_fixed(access(Operations::ALL, 900), 500, true);
    assert_eq!(state.expire(&authority, &mut outputs), None);
    assert!(outputs.is_empty());
    assert_eq!(state.next_expiry(authority.now()), Some(900));
    // Not renewed.
    authority.set_fixed(access(Operations::NONE, 0), 900, true);
    assert_eq!(state.expire(&authority, &mut outputs), None);
    assert_eq!(
        told(&outputs),
        ["detach true", "leave 77", "changed [] true"]
    );
}

fn revoked(issued_before_ms: u64, revision: u64, applies_ms: u64) -> Cut {
    Cut::Revoked {
        issued_before_ms,
        revision,
        applies_ms,
    }
}

#[test]
fn a_cut_reaches_what_it_names_and_what_is_old_enough() {
    let mut one = principal();
    one.user = Some("ana".into());
    one.token = Some("t".into());
    one.revocation_key = Some("r".into());
    one.issued = Issued::Seen(5);
    one.proof = Some(Proof {
        key: "signer".into(),
        issued: Issued::At(1_000),
        expires_ms: None,
        vouched: None,
        capability: Capability {
            rights: vec![Right {
                resource: Resource::Channel,
                pattern: Pattern::Exact("room".into()),
                operations: Operations::ALL,
            }],
        },
    });
    let reached = |target: Target, cut: Cut| {
        use super::super::reached::{Named, reached};
        reached(&one, Named::One(&target), &cut)
    };
    let named = [
        Target::App,
        Target::User("ana".into()),
        Target::Token("t".into()),
        Target::RevocationKey("r".into()),
        Target::Key("key".into()),
    ];
    for target in named {
        assert!(reached(target.clone(), revoked(0, 6, 0)), "{target:?}");
        assert!(!reached(target.clone(), revoked(9_999, 5, 0)), "{target:?}");
        assert!(reached(target.clone(), Cut::Blocked), "{target:?}");
    }
    // What a proof brings is as old as the proof.
    for target in [Target::Key("signer".into()), Target::Channel("room".into())] {
        assert!(reached(target.clone(), revoked(1_001, 0, 0)), "{target:?}");
        assert!(
            !reached(target.clone(), revoked(1_000, 99, 0)),
            "{target:?}"
        );
    }
    for target in [
        Target::User("bob".into()),
        Target::Token("u".into()),
        Target::Channel("roo".into()),
        Target::Key("other".into()),
        Target::RevocationKey("q".into()),
    ] {
        assert!(!reached(target.clone(), Cut::Disabled), "{target:?}");
    }
}

#[test]
fn effects_of_another_app_and_of_others_change_nothing() {
    let authority = authority(Operations::ALL);
    let mut state = standing(&authority, false);
    let none = allowing(Operations::NONE, 1);
    let mut outputs = Vec::new();
    let elsewhere = [
        Effect::Cut {
            app: AppId(2),
            target: Target::App,
            cut: Cut::Disabled,
        },
        Effect::Recheck {
            app: AppId(2),
            scope: Scope::App,
        },
        Effect::Recheck {
            app: APP,
            scope: Scope::Subject(Subject::User("bob".into())),
        },
        Effect::MembersChanged,
        Effect::AppChanged(APP),
    ];
    for effect in elsewhere {
        assert_eq!(
            state.enforce(&effect, &none, &authority, &mut outputs),
            None
        );
        assert!(outputs.is_empty(), "{effect:?}");
    }
    let here = Effect::Recheck {
        app: APP,
        scope: Scope::App,
    };
    assert_eq!(state.enforce(&here, &none, &authority, &mut outputs), None);
    assert_eq!(told(&outputs).len(), 3);
}

#[test]
fn whoever_holds_a_copy_of_a_tokens_rights_goes_when_something_of_them_is_taken() {
    let authority = authority(Operations::ALL);
    let all = allowing(Operations::ALL, 1);
    let copies = |token: &str| Effect::Recheck {
        app: APP,
        scope: Scope::Copies(token.into()),
    };
    let cut = |issued: Option<Issued>, effect: &Effect| {
        let mut state: State<u32> = State::default();
        let mut principal = principal();
        principal.token = Some("tok".into());
        principal.proof = issued.map(|issued| Proof {
            key: "k".into(),
            issued,
            expires_ms: None,
            capability: Capability::full(),
            vouched: None,
        });
        state.identify(principal, &authority, &mut Vec::new());
        state.enforce(effect, &all, &authority, &mut Vec::new())
    };
    let copy = Some(Issued::Seen(1));
    assert_eq!(cut(copy, &copies("tok")), Some(Cut::Disconnected));
    assert_eq!(cut(copy, &copies("other")), None);
    // What it carries is its own, or it has nothing of its own and is judged anew.
    assert_eq!(cut(Some(Issued::At(1)), &copies("tok")), None);
    assert_eq!(cut(None, &copies("tok")), None);
}

/// An authority whose view, since this log entry, allows everything; serving or not.
fn at(authority: &Authority, revision: u64, serving: bool) {
    authority.set_fixed(allowing(Operations::ALL, revision), 100, serving);
}

/// What it takes to enforce a log entry that leaves these operations.
fn enforced(
    state: &mut State<u32>,
    authority: &Authority,
    revision: u64,
    left: Operations,
) -> Vec<String> {
    let recheck = Effect::Recheck {
        app: APP,
        scope: Scope::App,
    };
    let mut outputs = Vec::new();
    let cut = state.enforce(&recheck, &allowing(left, revision), authority, &mut outputs);
    assert_eq!(cut, None);
    told(&outputs)
}

#[test]
fn what_was_taken_and_given_back_while_the_node_was_away_is_lost() {
    let authority = authority(Operations::ALL);
    at(&authority, 4, true);
    let mut state = standing(&authority, false);
    // Both entries are in the view before the first is carried out.
    at(&authority, 6, false);
    let mut outputs = Vec::new();
    // Its own timer looks at that view meanwhile: that settles nothing.
    assert_eq!(state.expire(&authority, &mut outputs), None);
    assert!(outputs.is_empty());
    let lost = enforced(&mut state, &authority, 5, Operations::NONE);
    assert_eq!(lost, ["detach true", "leave 77", "changed [] true"]);
    let given = enforced(&mut state, &authority, 6, Operations::ALL);
    assert!(given.is_empty(), "she has to ask again");
}

#[test]
fn an_older_entry_does_not_take_what_a_newer_one_has_allowed() {
    let authority = authority(Operations::ALL);
    at(&authority, 6, true);
    let mut state = standing(&authority, false);
    assert!(enforced(&mut state, &authority, 5, Operations::NONE).is_empty());
    // The same for what was judged again when she identified herself anew, which only a serving node lets her do.
    at(&authority, 8, true);
    state.identify(principal(), &authority, &mut Vec::new());
    assert!(enforced(&mut state, &authority, 7, Operations::NONE).is_empty());
    assert!(state.stands(&room()));
    assert_eq!(
        enforced(&mut state, &authority, 9, Operations::NONE).len(),
        3
    );
}

#[test]
fn an_attendance_is_judged_in_the_order_of_the_log_too() {
    let authority = authority(Operations::ALL);
    at(&authority, 4, true);
    let mut state = State::default();
    state.identify(principal(), &authority, &mut Vec::new());
    let key = room();
    let ask = ask(&key, Operations::PRESENCE, Operations::NONE);
    let pass = authority.decide(&principal(), None, ask).unwrap();
    enter_presence(&mut state, &key, pass);
    at(&authority, 6, false);
    let on_its_own = enforced(&mut state, &authority, 4, Operations::NONE);
    assert!(on_its_own.is_empty(), "it was entered on that state");
    let taken = enforced(&mut state, &authority, 5, Operations::NONE);
    assert_eq!(taken, ["leave presence 5 ana"]);
}

#[test]
fn a_margin_is_waited_for() {
    let authority = authority(Operations::ALL);
    let mut state = standing(&authority, false);
    let cut = Effect::Cut {
        app: APP,
        target: Target::App,
        cut: revoked(0, 9, 400),
    };
    let after = allowing(Operations::ALL, 9);
    let cut = state.enforce(&cut, &after, &authority, &mut Vec::new());
    assert_eq!(cut, None);
    assert_eq!(state.next_expiry(authority.now()), Some(400));
}
