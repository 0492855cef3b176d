//! Puts one store in place of another in the same folder, at once or not at all.
//!
//! The new store is made whole beside the old one, in `recovering-N`. Renaming that to `recovered-N` is the moment of
//! the swap: whoever opens the folder from then on first finishes it, and until then nothing has happened to the old
//! store. The old one is kept in `former-N`.
//!
//! **Why not two renames of the folder itself:** it is often the root of a volume, which cannot be renamed, and between
//! the two renames there would be no store.

use super::StoreError;
use fs2::FileExt as _;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

const STAGED: &str = "recovering-";
const WHOLE: &str = "recovered-";
const FORMER: &str = "former-";
/// What a store consists of.
const PARTS: [&str; 2] = ["sled", "mark"];

/// A swap that has not happened yet.
#[derive(Debug)]
pub(crate) struct Swap {
    dir: PathBuf,
    tag: String,
    /// Nobody else opens the old store meanwhile.
    _lock: File,
}

impl Swap {
    /// Sweeps what an earlier attempt has left, and keeps others from the store, which must be closed.
    pub(crate) fn begin(dir: &Path) -> Result<Self, StoreError> {
        let refuse = |error: io::Error| StoreError::io(dir, &error);
        let lock = File::open(dir.join("sled").join("db")).map_err(refuse)?;
        lock.try_lock_exclusive().map_err(|_| {
            StoreError::Foreign(format!("{} is in use by another process", dir.display()))
        })?;
        for (path, _) in named(dir, STAGED).map_err(refuse)? {
            fs::remove_dir_all(&path).map_err(|error| StoreError::io(&path, &error))?;
        }
        Ok(Self {
            dir: dir.to_owned(),
            tag: format!("{:016x}", rand::random::<u64>()),
            _lock: lock,
        })
    }

    /// Where the new store is to be made.
    pub(crate) fn staged(&self) -> PathBuf {
        self.dir.join(format!("{STAGED}{}", self.tag))
    }

    /// The new store is whole and on the disk: it takes the old one's place. Where the old one is kept.
    pub(crate) fn commit(self) -> Result<PathBuf, StoreError> {
        let refuse = |error: io::Error| StoreError::io(&self.dir, &error);
        let whole = self.dir.join(format!("{WHOLE}{}", self.tag));
        sync(&self.staged()).map_err(refuse)?;
        fs::rename(self.staged(), &whole).map_err(refuse)?;
        sync(&self.dir).map_err(refuse)?;
        finish(&self.dir)?;
        Ok(self.dir.join(format!("{FORMER}{}", self.tag)))
    }
}

/// Finishes a swap that was cut off, if there is one.
pub(super) fn finish(dir: &Path) -> Result<(), StoreError> {
    let whole = match named(dir, WHOLE) {
        Ok(whole) => whole,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io(dir, &error)),
    };
    for (from, tag) in whole {
        let former = dir.join(format!("{FORMER}{tag}"));
        exchange(dir, &from, &former).map_err(|error| StoreError::io(&from, &error))?;
    }
    Ok(())
}

/// Each step is left out when it was done before.
fn exchange(dir: &Path, from: &Path, former: &Path) -> io::Result<()> {
    // Two that start at once do it one after the other.
    let lock = File::open(from)?;
    lock.lock_exclusive()?;
    if !former.exists() {
        DirBuilder::new().mode(0o700).create(former)?;
    }
    for part in PARTS {
        let (new, place, old) = (from.join(part), dir.join(part), former.join(part));
        if !new.exists() {
            continue;
        }
        if place.exists() {
            fs::rename(&place, &old)?;
            sync(former)?;
        }
        fs::rename(&new, &place)?;
        sync(dir)?;
    }
    fs::remove_dir_all(from)?;
    sync(dir)
}

/// Every folder that a swap has made, is making or has put aside.
pub(super) fn aside(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for prefix in [STAGED, WHOLE, FORMER] {
        found.extend(named(dir, prefix)?.into_iter().map(|(path, _)| path));
    }
    Ok(found)
}

/// What is called so in a folder, and how it goes on.
fn named(dir: &Path, prefix: &str) -> io::Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(tag) = name.to_str().and_then(|name| name.strip_prefix(prefix)) {
            found.push((entry.path(), tag.to_owned()));
        }
    }
    Ok(found)
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Store;
    use super::*;

    fn make(dir: &Path, what: &str) {
        fs::create_dir_all(dir).unwrap();
        let (store, thread) = Store::open(dir).unwrap();
        store.put_meta("what", what.as_bytes()).unwrap();
        store.sync_now().unwrap();
        drop(store);
        thread.join().unwrap();
    }

    fn what(dir: &Path) -> String {
        let (store, thread) = Store::open(dir).unwrap();
        let what = store.meta("what").unwrap().unwrap();
        drop(store);
        thread.join().unwrap();
        String::from_utf8(what).unwrap()
    }

    #[test]
    fn whenever_a_swap_is_cut_off_the_folder_has_the_old_store_or_the_new_one() {
        // The steps as they stand on the disk after a crash.
        let steps: [fn(&Path); 6] = [
            |dir| fs::rename(dir.join("recovering-7"), dir.join("recovered-7")).unwrap(),
            |dir| fs::create_dir(dir.join("former-7")).unwrap(),
            |dir| fs::rename(dir.join("sled"), dir.join("former-7/sled")).unwrap(),
            |dir| fs::rename(dir.join("recovered-7/sled"), dir.join("sled")).unwrap(),
            |dir| fs::rename(dir.join("mark"), dir.join("former-7/mark")).unwrap(),
            |dir| fs::rename(dir.join("recovered-7/mark"), dir.join("mark")).unwrap(),
        ];
        for done in 0..=steps.len() {
            let place = tempfile::tempdir().unwrap();
            let dir = place.path();
            make(dir, "old");
            make(&dir.join("recovering-7"), "new");
            for step in steps.iter().take(done) {
                step(dir);
            }
            let expected = if done == 0 { "old" } else { "new" };
            assert_eq!(what(dir), expected, "cut off after {done} steps");
            assert_eq!(what(dir), expected, "and again");
            if done > 0 {
                assert_eq!(what(&dir.join("former-7")), "old", "it is kept");
                assert!(!dir.join("recovered-7").exists());
            }
        }
    }

    #[test]
    fn a_store_in_use_is_not_swapped_and_leftovers_are_swept() {
        let place = tempfile::tempdir().unwrap();
        make(place.path(), "old");
        make(&place.path().join("recovering-left"), "half");
        let (store, thread) = Store::open(place.path()).unwrap();
        assert!(Swap::begin(place.path()).is_err());
        drop(store);
        thread.join().unwrap();
        let swap = Swap::begin(place.path()).unwrap();
        assert!(!place.path().join("recovering-left").exists());
        make(&swap.staged(), "new");
        let former = swap.commit().unwrap();
        assert_eq!(
            (what(place.path()), what(&former)),
            ("new".into(), "old".into())
        );
    }
}
