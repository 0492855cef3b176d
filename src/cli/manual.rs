//! What packages want beside the binary: completions, manual pages, and what was built.
//!
//! **Why made from the command line's own description:** a page that somebody has to remember is a page that lies.

use super::arguments::Cli;
use super::{Exit, Failure};
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::path::Path;

/// Version, commit and build.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("GATECAST_COMMIT"),
    ", ",
    env!("GATECAST_BUILD"),
    ")"
);

/// The completions of one shell.
#[must_use]
pub fn completion(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "gatecast", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Writes a page for every command into a folder.
///
/// # Errors
/// When it cannot be written.
pub fn pages(folder: &Path) -> Result<(), Failure> {
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    written.map_err(|error| Failure::new(Exit::Failed, format!("{}: {error}", folder.display())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_shell_completes_every_noun() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = completion(shell);
            for noun in ["grant", "revoke", "cluster", "completion"] {
                assert!(script.contains(noun), "{shell}: {noun}");
            }
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        pages(folder.path()).unwrap();
        for page in ["gatecast.1", "gatecast-grant.1", "gatecast-grant-set.1"] {
            let text = std::fs::read_to_string(folder.path().join(page)).unwrap();
            assert!(text.contains(".SH NAME"), "{page}");
        }
    }

    #[test]
    fn the_version_says_what_was_built() {
        assert!(VERSION.starts_with(env!("CARGO_PKG_VERSION")) && VERSION.ends_with(')'));
    }
}
