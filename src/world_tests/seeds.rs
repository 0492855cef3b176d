//! Many seeds, and what must be met by some of them.

use super::judges::{Broken, Promise};
use super::world::World;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many seeds the ordinary tests play.
const SEEDS: u64 = 200;

/// What some seed has to meet: without it, nothing is said of it.
const SOMETIMES: &[&str] = &[
    "a claim is given up",
    "a claim ends at home",
    "a home steps down",
    "a home is lost between acknowledging and telling",
    "a node is lost while a copy is under way",
    "a node starts under a list that names its former start",
    "a node leaves in order",
    "an announcement is lost",
    "a digest finds what was lost",
    "a channel drops what is too much for it",
    "a channel stands still, and its node does not",
    "a connection stands still, and its node does not",
    "one direction of one link stands still",
    "effects of the log stand still",
    "sockets are not written for a while",
    "the clocks of two nodes differ",
    "what was acknowledged is lost with all that held it",
    "a silent node is waited out",
    "a node joins while messages flow",
    "a node is taken out while messages flow",
    "who leads has a full disk",
    "a snapshot stands for entries",
    "a client is refused, and gives up",
    "a message is got through a wildcard",
    "a message is got in an inbox",
    "what is published as one stands as one",
    "what was not acknowledged comes again",
    "a right is taken or given while a channel moves",
    "a stream is lost with home and backup",
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What came of a seed.
struct Played {
    broken: Vec<Broken>,
    reached: BTreeMap<&'static str, u64>,
    fingerprint: u64,
    trace: Vec<String>,
    acknowledged: usize,
    got: usize,
}

fn play(seed: u64, traced: bool) -> Played {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let _clock = runtime.enter();
    let mut world = World::peopled(seed);
    world.history.trace = traced.then(Vec::new);
    world.play();
    let broken = world.judge_all();
    let history = &mut world.history;
    let sights = history.sights.values().flatten();
    let got = sights.filter(|(_, one)| {
        matches!(
            one,
            super::history::Sight::Seen(super::client::Seen::Got(_))
        )
    });
    Played {
        got: got.count(),
        acknowledged: history
            .asked
            .iter()
            .filter(|one| one.is_acknowledged())
            .count(),
        broken,
        reached: std::mem::take(&mut history.reached),
        fingerprint: history.fingerprint(),
        trace: history.trace.take().unwrap_or_default(),
    }
}

/// The same, with a panic told as what is broken.
fn played(seed: u64, traced: bool) -> Played {
    let caught = std::panic::catch_unwind(|| play(seed, traced));
    caught.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map_or("a panic", String::as_str);
        Played {
            broken: vec![(Promise::Comes, text.to_owned())],
            reached: BTreeMap::new(),
            fingerprint: 0,
            trace: Vec::new(),
            acknowledged: 0,
            got: 0,
        }
    })
}

#[test]
fn every_seed_keeps_the_promises() {
    let one = number("GATECAST_WORLD_SEED");
    let (first, count) = match one {
        Some(seed) => (seed, 1),
        None => (
            number("GATECAST_FIRST_SEED").unwrap_or(1),
            number("GATECAST_SEEDS").unwrap_or(SEEDS),
        ),
    };
    let next = AtomicU64::new(first);
    let broken: Mutex<BTreeMap<u64, Vec<Broken>>> = Mutex::default();
    let reached: Mutex<BTreeMap<&'static str, u64>> = Mutex::default();
    let sums: Mutex<(usize, usize)> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let played = played(seed, one.is_some());
                    for line in &played.trace {
                        println!("{line}");
                    }
                    let mut sums = sums.lock().unwrap();
                    *sums = (sums.0 + played.acknowledged, sums.1 + played.got);
                    for (what, times) in played.reached {
                        *reached.lock().unwrap().entry(what).or_default() += times;
                    }
                    if !played.broken.is_empty() {
                        broken.lock().unwrap().insert(seed, played.broken);
                    }
                }
            });
        }
    });
    let (broken, reached) = (broken.into_inner().unwrap(), reached.into_inner().unwrap());
    let (acknowledged, got) = sums.into_inner().unwrap();
    println!("{count} seeds: {acknowledged} messages acknowledged, {got} received; {reached:?}");
    for (seed, what) in &broken {
        println!("seed {seed}:");
        what.iter()
            .take(40)
            .for_each(|(promise, line)| println!("  {promise:?}: {line}"));
    }
    let seeds: Vec<u64> = broken.keys().copied().collect();
    assert!(
        seeds.is_empty(),
        "{} seeds are broken: {seeds:?}; again: GATECAST_WORLD_SEED={} cargo test --lib world_tests::seeds::every -- --nocapture",
        seeds.len(),
        seeds.first().copied().unwrap_or_default(),
    );
    if count >= SEEDS {
        for what in SOMETIMES {
            assert!(reached.contains_key(what), "no seed met this: {what}");
        }
    }
}

#[test]
fn a_seed_always_tells_the_same_story() {
    for seed in 1..=4 {
        assert_eq!(
            play(seed, false).fingerprint,
            play(seed, false).fingerprint,
            "{seed}"
        );
    }
}
