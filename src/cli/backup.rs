//! `backup create|verify|restore` and `cluster recover`: files and folders on this machine.
//!
//! **Must never know:** what is inside: the wiring checks and restores. **Why a file is verified before it gets its
//! name:** a backup that was cut off must not be mistaken for one on the day that it is needed.

use super::arguments::{BackupCommand, Recover, Remote};
use super::{Exit, Failure, client, output};
use crate::server::backup::{self, Restore};
use crate::server::recover;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Carries one command out.
///
/// # Errors
/// With the exit code that names the kind of failure.
pub fn carry_out(remote: &Remote, command: BackupCommand) -> Result<(), Failure> {
    let said = match command {
        BackupCommand::Create { file } => create(remote, &file)?,
        BackupCommand::Verify { file } => backup::verify(&read(&file)?).map_err(failed)?,
        BackupCommand::Restore {
            file,
            data,
            node,
            peer_addr,
            accept_tokens_issued_before,
        } => backup::restore(
            &read(&file)?,
            Restore {
                data,
                node,
                peer_addr,
                accept_tokens: accept_tokens_issued_before,
            },
        )
        .map_err(failed)?,
    };
    output::print(&said);
    Ok(())
}

/// `cluster recover`.
///
/// # Errors
/// When the folder cannot be recovered from.
pub fn recover(how: Recover) -> Result<(), Failure> {
    let said = match how.dry_run {
        true => recover::examine(&how.data),
        false => recover::recover(
            how.data,
            how.peer_addr.as_deref(),
            how.accept_tokens_issued_before,
        ),
    };
    output::print(&said.map_err(failed)?);
    Ok(())
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, error.to_string())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| failed(format!("{}: {error}", path.display())))
}

fn create(remote: &Remote, path: &Path) -> Result<String, Failure> {
    if path.exists() {
        let message = format!("{} exists already", path.display());
        return Err(Failure::new(Exit::Conflict, message));
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    let made = fill(remote, partial, path);
    if made.is_err() {
        // What is half of a backup is of no use to anybody, and holds secrets.
        let _ = fs::remove_file(partial);
    }
    made
}

fn fill(remote: &Remote, partial: &Path, path: &Path) -> Result<String, Failure> {
    let told = |error: std::io::Error| failed(format!("{}: {error}", path.display()));
    // Only its owner may read it: it holds every secret of every app.
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(partial)
        .map_err(told)?;
    client::fetch(remote, "/v1/cluster/backup", |piece| {
        file.write_all(piece).map_err(told)
    })?;
    file.sync_all().map_err(told)?;
    let said = backup::verify(&read(partial)?).map_err(failed)?;
    fs::rename(partial, path).map_err(told)?;
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))
        .and_then(|folder| folder.sync_all())
        .map_err(told)?;
    Ok(said)
}
