//! Says what is built: the profile, and of release builds the commit, for `gatecast version`.
//!
//! **Why not of every build:** a commit is no change of the sources, and each would build them anew.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=GATECAST_COMMIT");
    let of = |name: &str| env::var(name).unwrap_or_default();
    // A package's sources have no history.
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
