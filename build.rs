//! Has the linker place what every message runs side by side (`link/hot.ld`, written by `scripts/layout`).
//!
//! A message passes some 150 small functions of a program of 15 MB. Scattered, each wake-up of a sleeping core fetches
//! them from 130 pages; side by side, from half as many. Both of Linux's usual linkers take the list; what it names
//! and the program no longer has is passed over, so a stale list costs speed and nothing else. `GATECAST_LAYOUT=off`
//! leaves it out, for a linker that does not know `INSERT` (mold).

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    say_what_is_built();
    println!("cargo:rerun-if-changed=link/hot.ld");
    println!("cargo:rerun-if-env-changed=GATECAST_LAYOUT");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    if is("CARGO_CFG_TARGET_OS", "linux")
        && is("PROFILE", "release")
        && !is("GATECAST_LAYOUT", "off")
    {
        let root = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{root}/link/hot.ld");
    }
}

/// `gatecast version`: the profile, and of release builds the commit, where it is known (a package's sources have none).
/// Of others it is not asked for: each commit would build them anew.
fn say_what_is_built() {
    println!("cargo:rerun-if-env-changed=GATECAST_COMMIT");
    let of = |name: &str| env::var(name).unwrap_or_default();
    let git = || {
        let log = Path::new(".git/logs/HEAD");
        (of("PROFILE") == "release" && log.exists()).then_some(())?;
        println!("cargo:rerun-if-changed={}", log.display());
        let asked = ["rev-parse", "--short=12", "HEAD"];
        let said = Command::new("git").args(asked).output().ok()?;
        let text = String::from_utf8(said.stdout).ok();
        let text = text.filter(|_| said.status.success())?;
        Some(format!("commit {}", text.trim()))
    };
    let commit = env::var("GATECAST_COMMIT").ok().or_else(git);
    let commit = commit.unwrap_or_else(|| "commit not recorded".to_owned());
    println!("cargo:rustc-env=GATECAST_COMMIT={commit}");
    println!(
        "cargo:rustc-env=GATECAST_BUILD={} {}",
        of("PROFILE"),
        of("TARGET")
    );
}
