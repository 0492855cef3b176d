//! The data folder is its owner's alone: it holds every secret of the cluster in clear.
//!
//! **Why not only the process's umask:** a folder that an older release, a package or a backup tool made keeps its
//! modes, and a file system that ignores modes has to be seen, not assumed.

use super::{StoreError, swap};
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// What group and others may do.
const OTHERS: u32 = 0o077;
/// What this store keeps in its folder, beside what [`swap`] does.
const OURS: [&str; 4] = ["sled", "sled-snap-aside", "mark", "ballast"];
/// How deep folders lie in each other: those of the database, in one that a swap has put aside.
const DEPTH: usize = 5;

/// Makes the folder where there is none, takes from others what they may do with it, and tries whether it can be
/// written. Says in the log when it had been open.
pub(super) fn prepare(dir: &Path) -> Result<(), StoreError> {
    let found = match fs::metadata(dir) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return create(dir),
        Err(error) => return Err(StoreError::io(dir, &error)),
    };
    let name = dir.display();
    if !found.is_dir() {
        return Err(StoreError::Foreign(format!(
            "{name} is a file: `data` names the folder of this node's data"
        )));
    }
    let mode = found.permissions().mode() & 0o777;
    let open = close(dir).map_err(|error| exposed(dir, mode, &error))?;
    writable(dir)?;
    let files = close_files(dir)?;
    if open {
        tracing::warn!(
            folder = %name,
            mode = format!("{mode:o}"),
            files,
            "the data folder, which holds every secret, was open to other users: it is now its owner's alone"
        );
    } else if files > 0 {
        tracing::info!(folder = %name, files, "files of the data folder are now their owner's alone");
    }
    Ok(())
}

/// A new folder that is its owner's from the first moment on, whatever the umask.
pub(super) fn create(dir: &Path) -> Result<(), StoreError> {
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| DirBuilder::new().mode(0o700).create(dir))
        .map_err(|error| refused(dir, &error))
}

/// Takes from others what they may do with this store's files. How many were open.
pub(super) fn close_files(dir: &Path) -> Result<usize, StoreError> {
    let mut closed = 0;
    let aside = swap::aside(dir).map_err(|error| StoreError::io(dir, &error))?;
    for path in OURS.iter().map(|name| dir.join(name)).chain(aside) {
        close_below(&path, DEPTH, &mut closed).map_err(|error| exposed(&path, 0, &error))?;
    }
    Ok(closed)
}

fn close_below(path: &Path, depth: usize, closed: &mut usize) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        // The database replaces its own files while it runs.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    // What a link points to is not ours.
    if found.is_symlink() {
        return Ok(());
    }
    *closed += usize::from(close(path)?);
    if !found.is_dir() || depth == 0 {
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        close_below(&entry?.path(), depth - 1, closed)?;
    }
    Ok(())
}

/// Whether others could do anything with it; now they cannot.
fn close(path: &Path) -> io::Result<bool> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & OTHERS == 0 {
        return Ok(false);
    }
    fs::set_permissions(path, Permissions::from_mode(mode & 0o7777 & !OTHERS))?;
    match fs::metadata(path)?.permissions().mode() & OTHERS {
        0 => Ok(true),
        _kept => Err(io::Error::other("its file system keeps no modes")),
    }
}

fn exposed(path: &Path, mode: u32, error: &io::Error) -> StoreError {
    let mode = match mode {
        0 => String::new(),
        mode => format!(" (mode {mode:o})"),
    };
    StoreError::Foreign(format!(
        "{}{mode} is open to other users and cannot be closed to them: {error}. It holds every secret of the cluster: \
         give it to the user that runs this node, or let `data` name a folder below it",
        path.display()
    ))
}

fn refused(dir: &Path, error: &io::Error) -> StoreError {
    let forbidden = matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    );
    if !forbidden {
        return StoreError::io(dir, error);
    }
    StoreError::Foreign(format!(
        "the data folder {} cannot be written by the user that runs this node: {error}. Give it to that user, or \
         let `data` name another folder",
        dir.display()
    ))
}

/// Tries it, because modes do not say everything: a disk may be mounted for reading only. A full disk is no reason to
/// refuse here.
fn writable(dir: &Path) -> Result<(), StoreError> {
    let probe = dir.join("probe");
    let tried = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&probe);
    match tried {
        Ok(_file) => {
            let _ = fs::remove_file(&probe);
            Ok(())
        }
        Err(error) => {
            let refusal = refused(dir, &error);
            match matches!(refusal, StoreError::Io { .. }) {
                true => Ok(()),
                false => Err(refusal),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_folder_is_its_owners_and_an_open_one_is_closed_with_everything_of_ours_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join("a/b");
        prepare(&new).unwrap();
        assert_eq!(mode(&new), 0o700);
        let (sled, db) = (new.join("sled"), new.join("sled/db"));
        fs::create_dir(&sled).unwrap();
        // What a recovery has put aside holds the same secrets.
        let aside = ["former-1", "recovering-2", "recovered-3"].map(|name| new.join(name));
        for folder in &aside {
            fs::create_dir_all(folder.join("sled/blobs")).unwrap();
            fs::write(folder.join("sled/blobs/one"), "x").unwrap();
            for open in ["", "sled", "sled/blobs", "sled/blobs/one"] {
                fs::set_permissions(folder.join(open), Permissions::from_mode(0o755)).unwrap();
            }
        }
        for file in [&db, &new.join("mark"), &new.join("other")] {
            fs::write(file, "x").unwrap();
            fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
        }
        for folder in [&new, &sled] {
            fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
        }
        prepare(&new).unwrap();
        assert_eq!((mode(&new), mode(&sled)), (0o700, 0o700));
        assert_eq!((mode(&db), mode(&new.join("mark"))), (0o600, 0o600));
        for folder in &aside {
            for closed in ["", "sled", "sled/blobs", "sled/blobs/one"] {
                let closed = folder.join(closed);
                assert_eq!(mode(&closed), 0o700, "{}", closed.display());
            }
        }
        assert_eq!(mode(&new.join("other")), 0o644, "not ours");
        assert!(!new.join("probe").exists());
    }

    #[test]
    fn a_file_is_no_folder_and_is_left_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = prepare(file.path()).unwrap_err().to_string();
        assert!(error.contains("is a file"), "{error}");
    }
}
