//! Opening sled under guard.
//!
//! **Must never know:** the layout above the trees. **Why so careful:** a half-written `snap.*.generating`
//! makes every later open fail, a damaged `snap.*` can be rebuilt from the log, and `open` itself can panic.
//! What is never done is to wipe: a voter that forgets what it acknowledged can undo committed changes.

use super::{Disk, StoreError};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a former owner of the files is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// The two handles of an open database: sled's own and the second one on its file, for `fdatasync`.
pub(super) struct SledDisk {
    pub(super) db: sled::Db,
    pub(super) file: File,
}

impl Disk for SledDisk {
    fn flush(&self) -> io::Result<()> {
        self.db.flush().map(|_| ()).map_err(io::Error::other)
    }

    fn fdatasync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Opens or creates the database below `dir`.
pub(super) fn open(dir: &Path) -> Result<SledDisk, StoreError> {
    let path = dir.join("sled");
    let new = !path.exists();
    fs::create_dir_all(&path).map_err(|error| StoreError::io(&path, &error))?;
    // Harmless while another process owns the files: it would write them again.
    sweep(
        &path,
        |name| name.starts_with("snap.") && name.ends_with(".generating"),
        None,
    )?;
    let db = match attempt_unlocked(&path) {
        Ok(db) => db,
        Err(text) if is_lock(&text) => {
            return Err(StoreError::Foreign(format!(
                "the store in {} is in use by another process",
                path.display()
            )));
        }
        Err(first) => {
            tracing::warn!(error = %first, "the store does not open; trying again without sled's own index snapshots");
            let aside = dir.join("sled-snap-aside");
            fs::create_dir_all(&aside).map_err(|error| StoreError::io(&aside, &error))?;
            sweep(&path, |name| name.starts_with("snap."), Some(&aside))?;
            attempt(&path).map_err(|second| StoreError::Open {
                path: path.clone(),
                text: second,
            })?
        }
    };
    let file = File::options()
        .read(true)
        .write(true)
        .open(path.join("db"))
        .map_err(|error| StoreError::io(&path.join("db"), &error))?;
    if new {
        for name in ["conf", "db", "", ".."] {
            let at = if name.is_empty() {
                path.clone()
            } else {
                path.join(name)
            };
            File::open(&at)
                .and_then(|file| file.sync_all())
                .map_err(|error| StoreError::io(&at, &error))?;
        }
    }
    Ok(SledDisk { db, file })
}

/// Waits a little for a former owner that is just ending.
fn attempt_unlocked(path: &Path) -> Result<sled::Db, String> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match attempt(path) {
            Err(text) if is_lock(&text) && Instant::now() < deadline => {
                std::thread::sleep(LOCK_PATIENCE / 100);
            }
            other => return other,
        }
    }
}

/// sled has no error of its own for it.
fn is_lock(text: &str) -> bool {
    text.contains("could not acquire lock")
}

fn attempt(path: &Path) -> Result<sled::Db, String> {
    let config = sled::Config::new().path(path).flush_every_ms(None);
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| config.open())) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the storage engine panicked while opening".into()),
    }
}

/// Deletes, or moves `aside`, the files in `path` whose name `matches`.
fn sweep(
    path: &Path,
    matches: impl Fn(&str) -> bool,
    aside: Option<&Path>,
) -> Result<(), StoreError> {
    for entry in fs::read_dir(path).map_err(|error| StoreError::io(path, &error))? {
        let entry = entry.map_err(|error| StoreError::io(path, &error))?;
        let name = entry.file_name();
        if name.to_str().is_some_and(&matches) {
            let from = entry.path();
            match aside {
                None => fs::remove_file(&from),
                Some(aside) => fs::rename(&from, aside.join(&name)),
            }
            .map_err(|error| StoreError::io(&from, &error))?;
        }
    }
    Ok(())
}
