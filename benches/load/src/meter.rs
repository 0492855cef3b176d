//! CPU time and memory of the server's process tree, from `/proc`.
//!
//! **Must never know:** what the server did in that time. Wall-clock rates depend on what else the machine
//! does; CPU time per unit of work hardly does, so it is what servers are compared by.

use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fs;
use std::time::Instant;

/// `getconf CLK_TCK` on every Linux there is.
const TICKS_PER_SECOND: f64 = 100.0;

/// The clocks at one moment.
pub struct Meter {
    at: Instant,
    roots: Vec<u32>,
    server: Clock,
    own: Clock,
}

#[derive(Default)]
struct Clock {
    /// User and system seconds, in ticks of 10 ms; threads that ended are in it.
    user: f64,
    system: f64,
    /// Nanoseconds on a core, exact, by living thread.
    threads: HashMap<u32, u64>,
}

/// CPU seconds between two clocks.
struct Spent {
    user: f64,
    system: f64,
    total: f64,
}

impl Meter {
    /// Reads the clocks of the processes `roots` and their descendants.
    #[must_use]
    pub fn start(roots: &[u32]) -> Self {
        Self {
            at: Instant::now(),
            roots: roots.to_vec(),
            server: Clock::read(roots),
            own: Clock::read(&[std::process::id()]),
        }
    }

    /// What the servers spent since, in all and per one of `units` (named `unit`), and how busy they were.
    #[must_use]
    pub fn spent(&self, units: u64, unit: &str) -> Map<String, Value> {
        let wall = self.at.elapsed().as_secs_f64();
        let server = self.server.until(&Clock::read(&self.roots));
        let own = self.own.until(&Clock::read(&[std::process::id()]));
        let each = |seconds: f64| json!(rounded(seconds * 1e6 / units.max(1) as f64));
        Map::from_iter([
            (format!("server_us_per_{unit}"), each(server.total)),
            (format!("server_user_us_per_{unit}"), each(server.user)),
            (format!("server_system_us_per_{unit}"), each(server.system)),
            (
                "server_cpu_percent".to_owned(),
                json!(rounded(100.0 * server.total / wall)),
            ),
            (
                "generator_cpu_percent".to_owned(),
                json!(rounded(100.0 * own.total / wall)),
            ),
        ])
    }
}

/// Three decimals are more than any of these figures are worth.
#[must_use]
pub fn rounded(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}

impl Clock {
    fn read(roots: &[u32]) -> Self {
        let mut clock = Self::default();
        for pid in tree(roots) {
            let ticks = |at: usize| -> f64 {
                stat(pid)
                    .and_then(|f| f.get(at)?.parse::<f64>().ok())
                    .unwrap_or(0.0)
            };
            clock.user += ticks(11) / TICKS_PER_SECOND;
            clock.system += ticks(12) / TICKS_PER_SECOND;
            for thread in numbered(&format!("/proc/{pid}/task")) {
                let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat"));
                let text = text.unwrap_or_default();
                if let Some(ns) = text.split(' ').next().and_then(|ns| ns.parse().ok()) {
                    clock.threads.insert(thread, ns);
                }
            }
        }
        clock
    }

    fn until(&self, later: &Self) -> Spent {
        let (user, system) = (later.user - self.user, later.system - self.system);
        let since = |(thread, ns): (&u32, &u64)| {
            ns.saturating_sub(self.threads.get(thread).copied().unwrap_or(0))
        };
        let exact = later.threads.iter().map(since).sum::<u64>() as f64 / 1e9;
        let ticked = user + system;
        // Where the exact clock misses more than rounding can explain, a thread has ended meanwhile.
        let total = if (exact - ticked).abs() <= 0.05 {
            exact
        } else {
            ticked
        };
        Spent {
            user,
            system,
            total,
        }
    }
}

/// Resident memory of the processes `roots` and their descendants, in KiB.
#[must_use]
pub fn resident_kib(roots: &[u32]) -> u64 {
    let resident = |pid: u32| -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse().ok()
    };
    tree(roots).into_iter().filter_map(resident).sum()
}

fn tree(roots: &[u32]) -> Vec<u32> {
    let parent = |pid: u32| stat(pid).and_then(|fields| fields.get(1)?.parse::<u32>().ok());
    let parents: Vec<_> = numbered("/proc")
        .into_iter()
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let mut all = roots.to_vec();
    let mut at = 0;
    while let Some(&one) = all.get(at) {
        all.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == one)
                .map(|(pid, _)| *pid),
        );
        at += 1;
    }
    all
}

/// The entries of a folder that are numbers.
fn numbered(folder: &str) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The fields of `/proc/PID/stat` from the third on (the second may hold spaces).
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burnt_time_is_seen() {
        let meter = Meter::start(&[std::process::id()]);
        let begin = Instant::now();
        let mut x = 1u64;
        while begin.elapsed().as_millis() < 200 {
            x = std::hint::black_box(x.wrapping_mul(31));
        }
        let spent = meter.spent(1, "try");
        let us = spent
            .get("server_us_per_try")
            .and_then(Value::as_f64)
            .unwrap_or(0.0);
        // The thread may have been preempted; it cannot have spent much more than there was.
        assert!((20_000.0..2_000_000.0).contains(&us), "{us}");
    }

    #[test]
    fn a_tree_holds_its_root_and_memory() {
        let own = std::process::id();
        assert!(tree(&[own]).contains(&own));
        assert!(resident_kib(&[own]) > 100);
    }
}
