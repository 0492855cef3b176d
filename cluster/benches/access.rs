//! Figures of the access machine: bytes per grant, time per decision, snapshot, restore, apply.
//!
//! `cargo bench -p gatecast-cluster --bench access [-- GRANTS]` (default 1,000,000). Plain timing: the
//! figures are orders of magnitude to hold promises by, not comparisons of two builds. Times are those that
//! the thread was on a processor, where the kernel tells them, so that a busy machine does not count.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]
#![allow(clippy::indexing_slicing)]

mod stopwatch;

use gatecast_cluster::access::*;
use std::collections::BTreeMap;
use std::hint::black_box;
use stopwatch::Cpu;

const APP: AppId = AppId(1);
const BATCH: usize = 64;

fn main() {
    if let Some(count) = std::env::var("ACCESS_BENCH_MEMORY")
        .ok()
        .map(|text| text.parse().unwrap())
    {
        // A process of its own, so that nothing that was freed before is used again.
        let before = resident();
        let state = build(count, Some(3_600_000));
        let each = resident().saturating_sub(before) as f64 / count as f64;
        println!("memory with an expiry on each: {each:.0} bytes per grant");
        drop(state);
        return;
    }
    let full = std::env::args()
        .filter_map(|word| word.parse::<usize>().ok())
        .next_back()
        .unwrap_or(1_000_000);
    println!("{:>9} grants: time per decision", "");
    for count in [1_000, 10_000, 100_000, full] {
        let before = resident();
        let started = Cpu::now();
        let state = build(count, None);
        let took = started.elapsed();
        let grew = resident().saturating_sub(before);
        println!("{count:>9}: {}", decisions(&state, count));
        if count == full {
            let each = grew as f64 / count as f64;
            let rate = count as f64 / took.as_secs_f64();
            println!("memory: {each:.0} bytes per grant ({} MiB)", grew >> 20);
            println!("apply: {rate:.0} grants/s, in log entries of {BATCH} commands");
            bulk(&state);
            views(&state);
        }
    }
    expiry(build(full, Some(3_600_000)));
    let this = std::env::current_exe().unwrap();
    let child = std::process::Command::new(this)
        .env("ACCESS_BENCH_MEMORY", full.to_string())
        .status();
    assert!(child.unwrap().success());
}

fn first(capability: Capability) -> Command {
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
            capability,
            revocable_tokens: true,
        }],
    })
}

/// Ten channels for each user, given by a key, as an app server would.
fn grant(at: usize, ttl_ms: Option<Millis>) -> Command {
    Command::SetGrants {
        app: APP,
        issuer: Issuer::Key("key".into()),
        subject: Subject::User(format!("user-{:07}", at / 10).into()),
        mode: GrantMode::Merge,
        entries: vec![GrantEntry {
            resource: Resource::Channel,
            pattern: Pattern::Exact(format!("private-room-{:07}", at).into()),
            operations: Operations::SUBSCRIBE | Operations::PUBLISH,
            ttl_ms,
        }],
    }
}

fn build(count: usize, ttl_ms: Option<Millis>) -> State {
    let mut state = State::default();
    let stamp = Stamp {
        index: 1,
        time_ms: 1_000,
    };
    apply(&mut state, &first(Capability::full()), stamp);
    let mut at = 0;
    let mut index = 1;
    while at < count {
        let ops = (at..(at + BATCH).min(count)).map(|at| Op {
            request: at as u128,
            command: grant(at, ttl_ms),
        });
        let batch = Batch {
            time_ms: 1_000 + index,
            ops: ops.collect(),
        };
        index += 1;
        at += BATCH;
        black_box(apply_batch(&mut state, &batch, index));
    }
    assert_eq!(state.grants.len(), count);
    state
}

/// Yes and no, over users in an order that no cache foresees.
fn decisions(state: &State, count: usize) -> String {
    let users: Vec<(Principal, String)> = (0..20_000usize)
        .map(|at| {
            let grant = at.wrapping_mul(7_919_993) % count;
            let mut who = Principal::anonymous(APP, None, state.revision);
            who.vouched_by = Some(Voucher::Held("key".into()));
            who.user = Some(format!("user-{:07}", grant / 10).into());
            (who, format!("private-room-{grant:07}"))
        })
        .collect();
    let ask = |name: fn(&str) -> &str, expect: bool| {
        let started = Cpu::now();
        for _ in 0..5 {
            for (principal, channel) in &users {
                let question = Question {
                    principal,
                    proof: None,
                    speaks_for: None,
                    resource: Resource::Channel,
                    name: name(channel),
                    operations: Operations::SUBSCRIBE,
                    now_ms: 2_000,
                };
                let yes = matches!(black_box(decide(state, &question)), Decision::Allow(_));
                assert_eq!(yes, expect);
            }
        }
        started.elapsed().as_nanos() / (5 * users.len() as u128)
    };
    format!(
        "{} ns for a yes, {} ns for a no",
        ask(|name| name, true),
        ask(|_| "nowhere", false)
    )
}

fn bulk(state: &State) {
    let started = Cpu::now();
    let bytes = snapshot(state);
    println!(
        "snapshot: {} ms, {} MiB ({} bytes per grant)",
        started.elapsed().as_millis(),
        bytes.len() >> 20,
        bytes.len() / state.grants.len()
    );
    let started = Cpu::now();
    let again = restore(&bytes).unwrap();
    println!("restore: {} ms", started.elapsed().as_millis());
    let started = Cpu::now();
    assert_eq!(fingerprint(&again), fingerprint(state));
    println!("fingerprint: {} ms", started.elapsed().as_millis() / 2);
}

/// Applying while somebody holds a view of every entry: the price of structural sharing.
fn views(state: &State) {
    let mut state = state.clone();
    let started = Cpu::now();
    let rounds = 20_000;
    let mut view = state.clone();
    for at in 0..rounds {
        let stamp = Stamp {
            index: state.revision + 1,
            time_ms: state.time_ms,
        };
        apply(&mut state, &grant(at * 37, None), stamp);
        view = state.clone();
    }
    black_box(&view);
    let each = started.elapsed().as_nanos() / rounds as u128;
    println!("apply with a new view after each: {each} ns per grant");
}

fn expiry(mut state: State) {
    let total = state.grants.len();
    let started = Cpu::now();
    let mut ticks = 0;
    let mut worst = 0;
    while !state.grants.is_empty() {
        let stamp = Stamp {
            index: state.revision + 1,
            time_ms: 10_000_000,
        };
        let tick = Cpu::now();
        black_box(apply(&mut state, &Command::Tick, stamp));
        worst = worst.max(tick.elapsed().as_micros());
        ticks += 1;
    }
    println!(
        "expiry of {total}: {ticks} ticks, {} ms in all, longest tick {worst} µs",
        started.elapsed().as_millis()
    );
}

/// Resident bytes of this process, from the kernel; 0 where it does not say.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
