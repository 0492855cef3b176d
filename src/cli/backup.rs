//! `backup create|verify|restore` and `cluster recover`: files and folders on this machine.
//!
//! **Must never know:** what is inside: the wiring checks and restores. **Why a file is verified before it gets its
//! name:** a backup that was cut off must not be mistaken for one on the day that it is needed.

use super::arguments::{BackupCommand, Recover, Remote};
use super::{Exit, Failure, client, files, output};
use crate::server::backup::{self, Restore};
use crate::server::recover;
use std::fs;
use std::io::{self, ErrorKind, Read as _, Seek as _};
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
    output::print(&said).map(drop)
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
    output::print(&said.map_err(failed)?).map(drop)
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, error.to_string())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| failed(format!("{}: {error}", path.display())))
}

fn create(remote: &Remote, path: &Path) -> Result<String, Failure> {
    if !files::is_free(path) {
        return Err(taken(path));
    }
    let partial = files::beside(path, ".partial");
    let made = fill(remote, &partial, path);
    if made.is_err() {
        // What is half of a backup is of no use to anybody, and holds secrets.
        let _ = fs::remove_file(&partial);
    }
    made
}

fn taken(path: &Path) -> Failure {
    let message = format!("{} exists already", path.display());
    Failure::new(Exit::Conflict, message)
}

fn fill(remote: &Remote, partial: &Path, path: &Path) -> Result<String, Failure> {
    let told = |error: io::Error| failed(format!("{}: {error}", path.display()));
    // Only its owner may read it: it holds every secret of every app.
    let mut file = files::fresh(partial, files::OWNERS).map_err(told)?;
    client::fetch(remote, "/v1/cluster/backup", &mut file)?;
    file.sync_all().map_err(told)?;
    // This file, not whatever may have its name by now.
    let mut whole = Vec::new();
    file.rewind().map_err(told)?;
    file.read_to_end(&mut whole).map_err(told)?;
    let said = backup::verify(&whole).map_err(failed)?;
    let named = files::give_name(partial, path);
    named.map_err(|error| match error.kind() == ErrorKind::AlreadyExists {
        true => taken(path),
        false => told(error),
    })?;
    Ok(said)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    /// A server that sends this for a backup, and whether anybody but its owner could have read it then.
    fn asked(
        stands: impl FnOnce(&Path, &Path),
    ) -> (Failure, std::path::PathBuf, tempfile::TempDir) {
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let (path, partial) = (folder.path().join("b"), folder.path().join("b.partial"));
        stands(&path, &partial);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = partial.clone();
        let serving = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let _head = socket.read(&mut [0; 4096]);
            let about = fs::symlink_metadata(seen).unwrap();
            assert!(about.is_file() && about.permissions().mode() & 0o777 == 0o600);
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret");
        });
        let failure = create(&Remote::at(url, String::new()), &path).unwrap_err();
        serving.join().unwrap();
        assert!(files::is_free(&partial), "what is half of a backup goes");
        (failure, path, folder)
    }

    #[test]
    fn what_stood_in_the_place_of_a_backup_gets_none_of_it() {
        let (failure, path, _folder) = asked(|_, partial| {
            fs::write(partial, "x").unwrap();
            fs::set_permissions(partial, fs::Permissions::from_mode(0o666)).unwrap();
        });
        assert!(files::is_free(&path), "{}", failure.message);
        let (_, path, folder) = asked(|path, partial| {
            let victim = path.with_file_name("victim");
            fs::write(&victim, "theirs").unwrap();
            symlink(victim, partial).unwrap();
        });
        let victim = fs::read_to_string(folder.path().join("victim"));
        assert!(files::is_free(&path) && victim.unwrap() == "theirs");
    }

    #[test]
    fn a_link_that_leads_nowhere_has_the_name_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b");
        symlink(folder.path().join("elsewhere"), &path).unwrap();
        let nobody = Remote::at("http://127.0.0.1:1".into(), String::new());
        assert_eq!(create(&nobody, &path).unwrap_err().exit, Exit::Conflict);
    }
}
