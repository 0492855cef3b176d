//! Files that this program leaves behind, and the secrets that it reads back: the one place that makes them.
//!
//! A file is made anew beside its place and then given its name. So nothing is written through a link, nothing into a
//! file whose readers and mode somebody else chose, and nobody ever sees half of it.
//! **Why not `fs::write`:** it follows links, keeps the mode of what stood there, and leaves half a file when it is cut off.

use rustix::fs::OFlags;
use rustix::process::geteuid;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The mode of what is its owner's alone.
pub const OWNERS: u32 = 0o600;
/// The mode of what anybody may read.
pub const ANYBODYS: u32 = 0o644;
/// Longest secret that is read, bytes.
const MAX_SECRET: u64 = 64 * 1024;

/// A new, empty file with exactly this mode. What had the name goes; a link goes, and what it led to stays.
///
/// # Errors
/// When it cannot be made.
pub fn fresh(path: &Path, mode: u32) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut how = OpenOptions::new();
    let file = how.read(true).write(true).create_new(true).mode(OWNERS);
    let file = file.open(path)?;
    // Not by `mode` above: the process makes what it makes for itself alone.
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// A file with this content, in place of whatever had the name.
///
/// # Errors
/// When it cannot be written; what stood there stands then.
pub fn replace(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    written(path, mode, content, |beside| fs::rename(beside, path))
}

/// A file with this content, if nothing has the name.
///
/// # Errors
/// When something has it, or it cannot be written.
pub fn add(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    written(path, mode, content, |beside| give_name(beside, path))
}

fn written(
    path: &Path,
    mode: u32,
    content: &[u8],
    name: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let beside = beside(path, ".new");
    let made = fresh(&beside, mode).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()?;
        name(&beside)
    });
    if made.is_err() {
        let _not_made = fs::remove_file(&beside);
    }
    made
}

/// The name with something behind it.
#[must_use]
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// Gives a finished file its name, unless something has it by now.
///
/// # Errors
/// `AlreadyExists` then; and when it cannot be named.
pub fn give_name(finished: &Path, path: &Path) -> io::Result<()> {
    // A rename would replace what has the name.
    match fs::hard_link(finished, path) {
        Ok(()) => fs::remove_file(finished)?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(error),
        // Some file systems have no second names.
        Err(_) if is_free(path) => fs::rename(finished, path)?,
        Err(error) => return Err(error),
    }
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Whether nothing has this name, not even a link that leads nowhere.
#[must_use]
pub fn is_free(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// A secret that was kept in a file; none if there is no file.
///
/// # Errors
/// When others could have read or chosen it, saying what to do.
pub fn secret(path: &Path) -> io::Result<Option<String>> {
    if is_free(path) {
        return Ok(None);
    }
    if fs::symlink_metadata(path)?.is_symlink() {
        return Err(wrong("it is a symbolic link: delete it"));
    }
    // What has become a link or a pipe meanwhile is neither followed nor waited for.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let mut how = OpenOptions::new();
    let file = how
        .read(true)
        .custom_flags(flags.cast_signed())
        .open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(wrong("it is no file: delete it"));
    }
    owned(&about)?;
    if about.mode() & 0o077 != 0 {
        return Err(wrong(
            "others may read or change it (its mode is not 600): delete it, and a new one is made",
        ));
    }
    let mut text = String::new();
    file.take(MAX_SECRET + 1).read_to_string(&mut text)?;
    match text.len() as u64 > MAX_SECRET {
        true => Err(wrong("it is too long for a secret: delete it")),
        false => Ok(Some(text)),
    }
}

/// Refuses a folder that others own or can put files into.
///
/// # Errors
/// Saying what to do.
pub fn own_folder(path: &Path) -> io::Result<()> {
    let about = fs::symlink_metadata(path)?;
    if !about.is_dir() {
        return Err(wrong(
            "it is no folder, or a link to one: name the folder itself",
        ));
    }
    owned(&about)?;
    match about.mode() & 0o022 {
        0 => Ok(()),
        _some => Err(wrong(
            "others may put files there: take that from them (chmod go-w), or name another folder",
        )),
    }
}

fn owned(about: &Metadata) -> io::Result<()> {
    match about.uid() == geteuid().as_raw() {
        true => Ok(()),
        false => Err(wrong(
            "it belongs to another user: name a folder of your own, or run this as that user",
        )),
    }
}

fn wrong(why: &'static str) -> io::Error {
    io::Error::other(why)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::symlink;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn nothing_is_written_through_a_link_or_into_what_stood_there() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("it"), folder.path().join("victim"));
        fs::write(&victim, "theirs").unwrap();
        for make in [replace, |path: &Path, mode, content: &[u8]| {
            fresh(path, mode).and_then(|mut file| file.write_all(content))
        }] {
            for ending in ["", ".new"] {
                symlink(&victim, beside(&path, ending)).unwrap();
                make(&path, OWNERS, b"ours").unwrap();
                assert_eq!(fs::read_to_string(&victim).unwrap(), "theirs");
                assert_eq!(fs::read_to_string(&path).unwrap(), "ours");
                assert!(!fs::symlink_metadata(&path).unwrap().is_symlink());
                let _gone = (
                    fs::remove_file(&path),
                    fs::remove_file(beside(&path, ".new")),
                );
            }
            fs::write(&path, "old").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
            let mut held = File::open(&path).unwrap();
            make(&path, OWNERS, b"ours").unwrap();
            assert_eq!(mode(&path), OWNERS);
            let mut seen = String::new();
            held.read_to_string(&mut seen).unwrap();
            assert_eq!(seen, "old", "who had it open sees nothing of the new one");
            fs::remove_file(&path).unwrap();
        }
        replace(&path, ANYBODYS, b"page").unwrap();
        assert_eq!(mode(&path), ANYBODYS, "whatever the process's umask is");
    }

    #[test]
    fn what_has_the_name_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it");
        for stands in ["file", "link", "folder"] {
            match stands {
                "file" => fs::write(&path, "theirs").unwrap(),
                "link" => symlink("/nowhere/at/all", &path).unwrap(),
                _folder => fs::create_dir(&path).unwrap(),
            }
            assert!(!is_free(&path), "{stands}");
            let refused = add(&path, OWNERS, b"ours").unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "{stands}");
            assert!(is_free(&beside(&path, ".new")), "nothing is left over");
            let _gone = (fs::remove_file(&path), fs::remove_dir(&path));
        }
        add(&path, OWNERS, b"ours").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "ours");
    }

    #[test]
    fn a_secret_that_others_could_have_chosen_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it");
        assert_eq!(secret(&path).unwrap(), None);
        add(&path, OWNERS, b"hush").unwrap();
        assert_eq!(secret(&path).unwrap().as_deref(), Some("hush"));
        for open in [0o640, 0o604, 0o622, 0o666] {
            fs::set_permissions(&path, Permissions::from_mode(open)).unwrap();
            let said = secret(&path).unwrap_err().to_string();
            assert!(said.contains("delete it"), "{open:o}: {said}");
        }
        let link = folder.path().join("link");
        fs::set_permissions(&path, Permissions::from_mode(OWNERS)).unwrap();
        symlink(&path, &link).unwrap();
        assert!(secret(&link).is_err() && secret(folder.path()).is_err());
        fs::write(&path, vec![b'x'; 70_000]).unwrap();
        assert!(secret(&path).is_err());
    }

    #[test]
    fn a_folder_where_others_put_files_is_not_ones_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it");
        fs::create_dir(&path).unwrap();
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        for (mode, good) in [(0o700, true), (0o755, true), (0o775, false), (0o777, false)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(own_folder(&path).is_ok(), good, "{mode:o}");
            assert!(own_folder(&link).is_err());
        }
    }
}
