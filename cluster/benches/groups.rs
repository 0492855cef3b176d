//! Figures of user groups: bytes per user, time per decision, and what a change of the largest group costs.
//!
//! `cargo bench -p gatecast-cluster --bench groups [-- USERS GROUPS]` (default 1,000,000 in 10,000: each user in one group,
//! each group in one of a hundred, each of those in one of twenty). Plain timing by the
//! thread's processor time, as in `access`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod stopwatch;

use gatecast_cluster::access::*;
use std::collections::BTreeMap;
use std::hint::black_box;
use stopwatch::Cpu;

const APP: AppId = AppId(1);
const BATCH: usize = 500;

fn main() {
    let mut sizes = std::env::args().filter_map(|word| word.parse::<usize>().ok());
    let users = sizes.next().unwrap_or(1_000_000);
    let groups = sizes.next().unwrap_or(10_000);
    let mut state = State::default();
    run(&mut state, &first());
    for at in 0..groups {
        let name = format!("group-{at:05}");
        nest(&mut state, &format!("division-{:03}", at % 100), &name);
    }
    for at in 0..100 {
        let name = format!("division-{at:03}");
        nest(&mut state, &format!("company-{}", at % 20), &name);
    }
    for (group, channel) in [
        ("group-00007", "own"),
        ("division-007", "division"),
        ("company-7", "company"),
    ] {
        run(&mut state, &grant(group, channel));
    }
    let before = resident();
    let started = Cpu::now();
    fill(&mut state, users, groups);
    let took = started.elapsed();
    let grew = resident().saturating_sub(before);
    println!(
        "{users} users in {groups} groups: {} bytes per user ({} MiB), {:.1} µs to put one in",
        grew / users as u64,
        grew >> 20,
        took.as_secs_f64() * 1e6 / users as f64
    );
    println!(
        "yes by the user's own group: {}",
        decisions(&state, groups, "own", true)
    );
    println!(
        "yes by the outermost of three: {}",
        decisions(&state, groups, "company", true)
    );
    println!(
        "no, all three asked: {}",
        decisions(&state, groups, "nowhere", false)
    );
    without(&state);
    whole(&state);
    moves(state, users);
}

fn run(state: &mut State, command: &Command) -> Outcome {
    let stamp = Stamp {
        index: state.revision + 1,
        time_ms: 1_000,
    };
    let outcome = apply(state, command, stamp);
    assert!(
        !matches!(outcome.reply, Reply::Rejected(_)),
        "{:?}",
        outcome.reply
    );
    outcome
}

fn first() -> Command {
    Command::CreateApp(AppSpec {
        id: APP,
        name: "bench".into(),
        protocols: Vec::new(),
        open: Vec::new(),
        settings: BTreeMap::new(),
        aliases: Vec::new(),
        keys: vec![KeySpec {
            id: "key".into(),
            app: APP,
            name: "".into(),
            secret: Secret("secret".into()),
            capability: Capability::full(),
            revocable_tokens: true,
        }],
    })
}

fn members(group: &str, add: Vec<GroupMember>, remove: Vec<GroupMember>) -> Command {
    Command::SetUserGroup(UserGroupChange {
        app: APP,
        issuer: Issuer::Operator,
        group: group.into(),
        add,
        remove,
    })
}

fn nest(state: &mut State, outer: &str, inner: &str) {
    let inner = GroupMember::Group(inner.into());
    run(state, &members(outer, vec![inner], Vec::new()));
}

fn grant(group: &str, channel: &str) -> Command {
    Command::SetGrants {
        app: APP,
        issuer: Issuer::Operator,
        subject: Subject::Group(group.into()),
        mode: GrantMode::Merge,
        entries: vec![GrantEntry {
            resource: Resource::Channel,
            pattern: Pattern::Exact(channel.into()),
            operations: Operations::SUBSCRIBE,
            ttl_ms: None,
        }],
    }
}

fn user(at: usize) -> Text {
    format!("user-{at:07}").into()
}

/// User `at` is in group `at % groups`.
fn fill(state: &mut State, users: usize, groups: usize) {
    for group in 0..groups {
        let all: Vec<GroupMember> = (group..users)
            .step_by(groups)
            .map(|at| GroupMember::User(user(at)))
            .collect();
        for part in all.chunks(BATCH) {
            run(
                state,
                &members(&format!("group-{group:05}"), part.to_vec(), Vec::new()),
            );
        }
    }
}

/// Members of `group-00007`, in an order that no cache foresees.
fn decisions(state: &State, groups: usize, channel: &str, expect: bool) -> String {
    let all: Vec<Principal> = (0..100)
        .map(|at: usize| {
            let mut who = Principal::anonymous(APP, None, state.revision);
            who.vouched_by = Some(Voucher::Held("key".into()));
            who.user = Some(user(7 + groups * (at * 37 % 100)));
            who
        })
        .collect();
    timed(state, &all, channel, expect)
}

fn timed(state: &State, all: &[Principal], channel: &str, expect: bool) -> String {
    let rounds = 200_000 / all.len();
    let started = Cpu::now();
    for _ in 0..rounds {
        for principal in all {
            let question = Question {
                principal,
                proof: None,
                speaks_for: None,
                resource: Resource::Channel,
                name: channel,
                operations: Operations::SUBSCRIBE,
                now_ms: 2_000,
            };
            let yes = matches!(black_box(decide(state, &question)), Decision::Allow(_));
            assert_eq!(yes, expect);
        }
    }
    let each = started.elapsed().as_nanos() / (rounds * all.len()) as u128;
    format!("{each} ns")
}

/// What all of this costs whoever is in no group.
fn without(state: &State) {
    let mut who = Principal::anonymous(APP, None, state.revision);
    who.vouched_by = Some(Voucher::Held("key".into()));
    who.user = Some("nobody".into());
    println!(
        "no, for who is in no group: {}",
        timed(state, &[who], "nowhere", false)
    );
}

fn whole(state: &State) {
    let started = Cpu::now();
    let bytes = snapshot(state);
    println!(
        "snapshot: {} ms, {} MiB",
        started.elapsed().as_millis(),
        bytes.len() >> 20
    );
    let started = Cpu::now();
    let again = restore(&bytes).unwrap();
    println!("restore: {} ms", started.elapsed().as_millis());
    assert_eq!(fingerprint(&again), fingerprint(state));
}

/// A company is a twentieth of all users: what it is to take a division out, and a single member.
fn moves(mut state: State, users: usize) {
    let rounds = 1_000;
    let mut view = state.clone();
    let started = Cpu::now();
    for at in 0..rounds {
        let one = GroupMember::User(user(at));
        let outcome = run(
            &mut state,
            &members(&format!("group-{at:05}"), Vec::new(), vec![one]),
        );
        assert_eq!(named(&outcome), 1);
        view = state.clone();
    }
    black_box(&view);
    let each = started.elapsed().as_nanos() / rounds as u128;
    println!("one member out, with a new view after each: {each} ns");
    let inner = GroupMember::Group("division-007".into());
    let started = Cpu::now();
    let outcome = run(&mut state, &members("company-7", Vec::new(), vec![inner]));
    println!(
        "a group with {} users out: {} ms, {} named",
        users / 100,
        started.elapsed().as_millis(),
        named(&outcome)
    );
    let revoke = Command::Revoke {
        app: APP,
        issuer: Issuer::Operator,
        target: Target::Group("company-3".into()),
        issued_before_ms: None,
        margin_ms: 0,
    };
    let started = Cpu::now();
    let outcome = run(&mut state, &revoke);
    println!(
        "a group with {} users revoked: {} ms, {} named",
        users / 20,
        started.elapsed().as_millis(),
        named(&outcome)
    );
}

fn named(outcome: &Outcome) -> usize {
    let users = outcome.effects.iter().map(|effect| match effect {
        Effect::Recheck {
            scope: Scope::Affected(whom),
            ..
        }
        | Effect::CutAll { whom, .. } => whom.users.len(),
        Effect::Recheck { .. }
        | Effect::Cut { .. }
        | Effect::AppChanged(_)
        | Effect::MembersChanged => 0,
    });
    users.max().unwrap_or(0)
}

/// Resident bytes of this process, from the kernel; 0 where it does not say.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
