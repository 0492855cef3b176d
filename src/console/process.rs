//! What the system knows of this process, by the names that every exporter uses.
//!
//! **Why read from `/proc` and not by a crate:** it is four short files, and whatever cannot be read is left out.

use super::page::{Labels, Page};
use std::fs::{read_dir, read_to_string};

/// Ticks in a second of the times in `/proc/self/stat`: Linux shows them so whatever the kernel counts in.
const TICKS: f64 = 100.0;

/// Adds all of it to this page.
pub(super) fn show(page: &mut Page) {
    let help = "CPU time that this process has used";
    if let Some((cpu_s, started_s)) = times() {
        page.seconds(("process_cpu_seconds", help), cpu_s);
        let help = "When this process began, seconds since 1970";
        page.gauge(("process_start_time_seconds", help), started_s);
    }
    let mut gauge = |name: &str, help: &str, value: Option<u64>| {
        if let Some(value) = value {
            page.gauges((name, help), [(Labels::new(), value)]);
        }
    };
    let status = read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| Some(field(&status, name)? * 1_024);
    gauge(
        "process_resident_memory_bytes",
        "Memory of this process that is in RAM",
        kib("VmRSS:"),
    );
    gauge(
        "process_virtual_memory_bytes",
        "Address space of this process",
        kib("VmSize:"),
    );
    gauge(
        "process_threads",
        "Threads of this process",
        field(&status, "Threads:"),
    );
    let open = read_dir("/proc/self/fd").map(|all| all.count() as u64);
    gauge(
        "process_open_fds",
        "Files and sockets that are open",
        open.ok(),
    );
    let limits = read_to_string("/proc/self/limits").unwrap_or_default();
    let most = limits.lines().find_map(|line| {
        let rest = line.strip_prefix("Max open files")?;
        rest.split_whitespace().next()?.parse().ok()
    });
    gauge(
        "process_max_fds",
        "Files and sockets that may be open",
        most,
    );
}

/// The number behind this name.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// CPU time used, and the start, both in seconds.
fn times() -> Option<(f64, f64)> {
    let stat = read_to_string("/proc/self/stat").ok()?;
    // The program's name stands in parentheses and may hold anything.
    let rest: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| rest.get(at)?.parse::<f64>().ok();
    let boot = read_to_string("/proc/stat").ok()?;
    let boot_s = field(&boot, "btime")?.to_string().parse::<f64>().ok()?;
    let used = ticks(11)? + ticks(12)?;
    Some((used / TICKS, boot_s + ticks(19)? / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_something_and_began_before_now() {
        let (cpu_s, started_s) = times().unwrap_or_default();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now_s = now.map_or(0.0, |since| since.as_secs_f64());
        assert!(cpu_s >= 0.0 && started_s > 1e9 && started_s <= now_s + 2.0);
        assert_eq!(field("VmRSS:\t  12 kB\n", "VmRSS:"), Some(12));
        assert_eq!(field("VmRSS: 12", "VmSize:"), None);
    }
}
