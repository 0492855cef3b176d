//! What packages want beside the binary: completions, manual pages, and what was built.
//!
//! **Why made from the command line's own description:** a page that somebody has to remember is a page that lies.

use super::arguments::Cli;
use super::{Exit, Failure, files};
use clap::CommandFactory as _;
use clap_complete::Shell;
use clap_mangen::Man;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// The completions of one shell.
#[must_use]
pub fn completion(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "gatecast", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Writes a page for every command into a folder. Anybody may read them, whoever installs them.
///
/// # Errors
/// When one cannot be written.
pub fn pages(folder: &Path) -> Result<(), Failure> {
    let failed = |path: &Path, error: std::io::Error| {
        Failure::new(Exit::Failed, format!("{}: {error}", path.display()))
    };
    make(folder).map_err(|error| failed(folder, error))?;
    // As its writer names them: with the names of all commands above.
    let mut all = Cli::command().disable_help_subcommand(true);
    all.build();
    let mut waiting = vec![all];
    while let Some(command) = waiting.pop() {
        waiting.extend(
            command
                .get_subcommands()
                .filter(|one| !one.is_hide_set())
                .cloned(),
        );
        let man = Man::new(command);
        let path = folder.join(man.get_filename());
        let mut page = Vec::new();
        man.render(&mut page)
            .map_err(|error| failed(&path, error))?;
        files::replace(&path, files::ANYBODYS, &page).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// Makes the folder if it is not there, for anybody to look into.
fn make(folder: &Path) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent().filter(|above| *above != Path::new("")) {
        make(above)?;
    }
    std::fs::create_dir(folder)?;
    // The process makes what it makes for itself alone.
    std::fs::set_permissions(folder, Permissions::from_mode(0o755))
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
    fn pages_are_for_anybody_and_follow_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let (into, victim) = (
            folder.path().join("share/man1"),
            folder.path().join("victim"),
        );
        std::fs::write(&victim, "theirs").unwrap();
        pages(&into).unwrap();
        let page = into.join("gatecast-user-block.1");
        std::fs::remove_file(&page).unwrap();
        std::os::unix::fs::symlink(&victim, &page).unwrap();
        // As the whole program does, which makes what it makes for itself alone.
        crate::server::process::own_files_only();
        let elsewhere = folder.path().join("other/man1");
        for into in [&into, &elsewhere] {
            pages(into).unwrap();
            for (path, wanted) in [
                (into.join("gatecast-user-block.1"), 0o644),
                (into.clone(), 0o755),
            ] {
                let about = std::fs::symlink_metadata(path).unwrap();
                assert!(!about.is_symlink());
                assert_eq!(about.permissions().mode() & 0o777, wanted);
            }
        }
        assert_eq!(std::fs::read_to_string(victim).unwrap(), "theirs");
    }

    #[test]
    fn the_version_says_what_was_built() {
        use crate::cli::arguments::VERSION;
        assert!(VERSION.starts_with(env!("CARGO_PKG_VERSION")) && VERSION.ends_with(')'));
    }
}
