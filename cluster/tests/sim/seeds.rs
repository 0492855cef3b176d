//! Many seeds, one process each, as many at a time as there are cores.

use super::world::World;
use super::{chance, story};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SEED: &str = "GATECAST_SEED";
/// How many seeds the normal test run plays.
const SEEDS: u64 = 200;
/// Real time that one seed may take. It takes half a second on an idle machine; this is for stories that hang.
const LIMIT: Duration = Duration::from_secs(300);
/// Seeds that are played twice, the second time on a machine that has other things to do.
const TOLD_TWICE: u64 = 8;
const DISTURBED: &str = "GATECAST_DISTURBED";

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Plays one seed in this process and prints what came of it.
fn play(seed: u64) -> bool {
    let panics = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&panics);
    std::panic::set_hook(Box::new(move |panic| {
        let trace = match std::env::var("GATECAST_TRACE").is_ok() {
            true => std::backtrace::Backtrace::force_capture().to_string(),
            false => String::new(),
        };
        noted.lock().unwrap().push(format!("{panic}\n{trace}"));
    }));
    // A thread of its own: chance enters it only through the seed.
    let played = std::thread::spawn(move || {
        chance::seed(seed);
        let runtime = chance::runtime();
        let story = Arc::new(Mutex::new(None));
        let world_of = Arc::clone(&story);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async {
                let size = chance::pick(&[3, 3, 3, 5]);
                let learners = chance::pick(&[0, 1, 1, 2]);
                let world = Arc::new(World::new(size, learners));
                *world_of.lock().unwrap() = Some(Arc::clone(&world));
                story::play(world).await
            })
        }));
        let told = story.lock().unwrap().take().map(|world| world.story());
        runtime.shutdown_background();
        (outcome.ok(), told.unwrap_or_default())
    })
    .join();
    let _ = std::panic::take_hook();
    let (outcome, told) = played.unwrap_or((None, String::new()));
    let panics = panics.lock().unwrap();
    match outcome {
        Some(outcome) if panics.is_empty() => {
            let acts: Vec<_> = outcome
                .acts
                .iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect();
            println!(
                "\nseed {seed} digest {:016x} calls {} healed_ms {} acts {}",
                outcome.digest,
                outcome.calls,
                outcome.healed.as_millis(),
                acts.join(",")
            );
            if std::env::var("GATECAST_STORY").is_ok() {
                println!("{told}");
            }
            true
        }
        _ => {
            println!("\nseed {seed} BROKEN\n{}\n{told}", panics.join("\n"));
            false
        }
    }
}

/// What [`seeds_keep_the_promises`] starts for each seed.
#[test]
#[ignore = "started by seeds_keep_the_promises, one process per seed"]
fn child() {
    let over = Arc::new(AtomicBool::new(false));
    let busy: Vec<_> = (0..number(DISTURBED).unwrap_or(0))
        .map(|_| Arc::clone(&over))
        .map(|over| std::thread::spawn(move || disturb(&over)))
        .collect();
    let good = play(number(SEED).expect("a seed"));
    over.store(true, Ordering::SeqCst);
    for thread in busy {
        thread.join().unwrap();
    }
    assert!(good);
}

/// Takes the processor away from the simulation at moments that no seed knows.
fn disturb(over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) {
        let until = Instant::now() + Duration::from_millis(7);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        std::thread::sleep(Duration::from_micros(300));
    }
}

/// Plays a seed in a process of its own, beside so many other busy threads.
fn start(seed: u64, disturbed: u64) -> (bool, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["sim::seeds::child", "--exact", "--ignored", "--nocapture"])
        .env(SEED, seed.to_string())
        .env(DISTURBED, disturbed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let out = child.stdout.take().unwrap();
    let reading = std::thread::spawn(move || std::io::read_to_string(out).unwrap_or_default());
    let began = Instant::now();
    let good = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.success();
        }
        if began.elapsed() > LIMIT {
            let _ = child.kill();
            let _ = child.wait();
            let text = reading.join().unwrap();
            return (
                false,
                format!("seed {seed} BROKEN: not done after {LIMIT:?}\n{text}"),
            );
        }
        std::thread::sleep(Duration::from_millis(3));
    };
    (good, reading.join().unwrap())
}

#[test]
fn seeds_keep_the_promises() {
    let (first, count) = match number(SEED) {
        Some(seed) => (seed, 1),
        None => (
            number("GATECAST_FIRST_SEED").unwrap_or(1),
            number("GATECAST_SEEDS").unwrap_or(SEEDS),
        ),
    };
    let next = AtomicU64::new(first);
    let broken = Mutex::new(Vec::new());
    let acts: Mutex<BTreeMap<String, u64>> = Mutex::default();
    let calls = AtomicU64::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= first + count || broken.lock().unwrap().len() >= 3 {
                        return;
                    }
                    let (good, text) = start(seed, 0);
                    if !good {
                        broken.lock().unwrap().push((seed, text));
                        continue;
                    }
                    let Some(line) = text.lines().find(|line| line.contains("acts ")) else {
                        continue;
                    };
                    let word = line.split(' ').skip_while(|word| *word != "calls").nth(1);
                    calls.fetch_add(
                        word.and_then(|w| w.parse().ok()).unwrap_or(0),
                        Ordering::SeqCst,
                    );
                    let mut acts = acts.lock().unwrap();
                    for act in line
                        .split_once("acts ")
                        .map_or("", |(_, acts)| acts)
                        .split(',')
                    {
                        if let Some((name, times)) = act.split_once('=') {
                            *acts.entry(name.to_owned()).or_default() +=
                                times.parse::<u64>().unwrap_or(0);
                        }
                    }
                }
            });
        }
    });
    let acts = acts.into_inner().unwrap();
    println!(
        "{count} seeds in {:.1} s: {} calls judged, {acts:?}",
        began.elapsed().as_secs_f64(),
        calls.into_inner()
    );
    let broken = broken.into_inner().unwrap();
    for (seed, text) in &broken {
        eprintln!(
            "{text}\nplay it again: GATECAST_SEED={seed} cargo test -p gatecast-cluster --lib sim::seeds::seeds -- --nocapture"
        );
    }
    let seeds: Vec<_> = broken.iter().map(|(seed, _)| seed).collect();
    assert!(broken.is_empty(), "broken promises under seeds {seeds:?}");
    // A simulation in which nothing happens proves nothing.
    if count >= 100 {
        for act in [
            "revokes",
            "revokes with a fenced node",
            "deliveries",
            "power cuts",
            "pauses",
        ] {
            assert!(
                acts.get(act).copied().unwrap_or(0) > 20,
                "too little of: {act}"
            );
        }
    }
}

/// Whatever runs beside the simulation (a thread, real time, an address) makes some seed differ from itself.
#[test]
fn a_seed_always_tells_the_same_story() {
    let digest = |text: &str| {
        let line = text.lines().find(|line| line.contains("digest "));
        line.map(|line| line.split(" acts ").next().unwrap_or_default().to_owned())
    };
    let next = AtomicU64::new(1);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed > TOLD_TWICE {
                        return;
                    }
                    let (first, second) = (start(seed, 0).1, start(seed, 1).1);
                    assert!(digest(&first).is_some(), "{first}");
                    assert_eq!(digest(&first), digest(&second));
                }
            });
        }
    });
}
