//! Opening sled under guard.
//!
//! **Why so careful:** a half-written `snap.*.generating` makes every later open fail, a damaged `snap.*` can be
//! rebuilt from the log, and `open` itself can panic. What is never done is to wipe: a voter that forgets what it
//! acknowledged can undo committed changes.

use super::mark::Mark;
use super::{Disk, StoreError, private, record};
use std::cell::Cell;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a former owner of the files is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Under which name of tree `meta` the number of the last sync stands.
const MARK: &[u8] = b"mark";

/// The handles of an open database: sled's own, the second one on its file, for `fdatasync`, and its mark.
pub(super) struct SledDisk {
    pub(super) db: sled::Db,
    meta: sled::Tree,
    file: File,
    mark: Mark,
    syncs: Cell<u64>,
}

impl Disk for SledDisk {
    fn flush(&self) -> io::Result<()> {
        // Behind everything this sync is for: whoever recovers the number recovers all of it.
        let number = self.syncs.get() + 1;
        self.syncs.set(number);
        let noted = record::seal(MARK, &number.to_be_bytes());
        self.meta.insert(MARK, noted).map_err(io::Error::other)?;
        self.db.flush().map(|_| ()).map_err(io::Error::other)
    }

    fn fdatasync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        self.mark.write(self.syncs.get())
    }

    fn persist_mark(&self) -> io::Result<()> {
        self.mark.sync()
    }
}

/// Opens or creates the database below `dir`.
pub(super) fn open(dir: &Path) -> Result<SledDisk, StoreError> {
    let path = dir.join("sled");
    let new = !path.exists();
    if new {
        private::create(&path)?;
    }
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
    let meta = db.open_tree("meta")?;
    let stored = match meta.get(MARK)? {
        None => None,
        Some(bytes) => <[u8; 8]>::try_from(record::open("meta", MARK, &bytes)?)
            .ok()
            .map(u64::from_be_bytes),
    };
    Ok(SledDisk {
        db,
        meta,
        file,
        mark: Mark::open(dir, stored)?,
        syncs: Cell::new(stored.unwrap_or(0)),
    })
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
