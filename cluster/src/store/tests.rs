//! The store by itself: order, damage, leftovers of a crash.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use super::*;

fn open(dir: &Path) -> Result<Store, StoreError> {
    Store::open(dir).map(|(store, _)| store)
}

fn with<R>(dir: &Path, work: impl FnOnce(&Store) -> R) -> R {
    let (store, thread) = Store::open(dir).unwrap();
    let result = work(&store);
    drop(store);
    thread.join().unwrap();
    result
}

fn records(range: std::ops::Range<u64>) -> Vec<(u64, Vec<u8>)> {
    range.map(|index| (index, vec![index as u8; 100])).collect()
}

#[test]
fn log_snapshot_and_names_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let big = (0..200_000u32).map(|n| n as u8).collect::<Vec<_>>();
    with(dir.path(), |store| {
        store.append(&records(0..10)).unwrap();
        store.truncate(8).unwrap();
        store.purge(2, "purged", b"2").unwrap();
        store.put_meta("vote", b"v").unwrap();
        store.write_snapshot(b"old", b"small").unwrap();
        store.write_snapshot(b"about", &big).unwrap();
        store.sync_now().unwrap();
    });
    with(dir.path(), |store| {
        let read = store.read(0..=99, usize::MAX).unwrap();
        assert_eq!(read, records(3..8));
        assert_eq!(store.last().unwrap().unwrap().0, 7);
        assert_eq!(
            store.read(0..=99, 250).unwrap().len(),
            2,
            "bounded in bytes"
        );
        assert_eq!(store.read(0..=99, 1).unwrap().len(), 1, "but never empty");
        assert_eq!(store.meta("vote").unwrap().unwrap(), b"v");
        assert_eq!(
            store.read_snapshot().unwrap().unwrap(),
            (b"about".to_vec(), big)
        );
        assert_eq!(store.snap.len(), 5, "the former snapshot is gone");
    });
}

#[test]
fn a_damaged_record_is_refused_at_the_start_and_left_alone() {
    for tree in ["log", "meta", "snap"] {
        let dir = tempfile::tempdir().unwrap();
        with(dir.path(), |store| {
            store.append(&records(0..5)).unwrap();
            store.put_meta("vote", b"vote").unwrap();
            store.write_snapshot(b"about", b"snapshot").unwrap();
            let tree = match tree {
                "log" => &store.log,
                "meta" => &store.meta,
                _ => &store.snap,
            };
            // Not the first of `meta`: that is the number of the last sync, which the next one replaces.
            let (key, mut value) = tree.last().unwrap().map(|(k, v)| (k, v.to_vec())).unwrap();
            *value.last_mut().unwrap() ^= 1;
            tree.insert(key, value).unwrap();
            store.sync_now().unwrap();
        });
        for _ in 0..2 {
            let error = open(dir.path()).unwrap_err().to_string();
            assert!(error.contains("damaged") && error.contains(tree), "{error}");
        }
    }
}

#[test]
fn a_store_in_use_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, _thread) = Store::open(dir.path()).unwrap();
    let error = open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("in use"), "{error}");
}

#[test]
fn a_hole_in_the_log_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    with(dir.path(), |store| {
        store.append(&records(0..5)).unwrap();
        store.log.remove(2u64.to_be_bytes()).unwrap();
    });
    let error = open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("2 to 2 are missing"), "{error}");
}

#[test]
fn leftovers_of_a_crash_do_not_stop_the_start() {
    let dir = tempfile::tempdir().unwrap();
    with(dir.path(), |store| {
        store.append(&records(0..5)).unwrap();
        store.write_snapshot(b"about", b"whole").unwrap();
        let torn = [9u64.to_be_bytes(), 0u64.to_be_bytes()].concat();
        store.snap.insert(torn, b"half a chunk".to_vec()).unwrap();
    });
    std::fs::write(dir.path().join("sled/snap.0000.generating"), b"").unwrap();
    with(dir.path(), |store| {
        assert_eq!(store.read_snapshot().unwrap().unwrap().1, b"whole");
        assert_eq!(store.snap.len(), 2);
        assert_eq!(store.read(0..=9, usize::MAX).unwrap().len(), 5);
    });
}

#[test]
fn a_record_that_sled_would_not_sync_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    with(dir.path(), |store| {
        let error = store
            .append(&[(0, vec![0; MAX_LOG_RECORD + 1])])
            .unwrap_err();
        assert!(matches!(error, StoreError::TooLarge(_)));
    });
}

#[test]
fn a_database_that_was_cut_short_is_noticed_wherever_the_cut_was() {
    let whole = tempfile::tempdir().unwrap();
    with(whole.path(), |store| {
        for index in 0..400u64 {
            store.append(&[(index, vec![index as u8; 5_000])]).unwrap();
            store.put_meta("vote", &index.to_be_bytes()).unwrap();
            store.sync_now().unwrap();
        }
    });
    let database = whole.path().join("sled/db");
    let length = std::fs::metadata(&database).unwrap().len();
    let mut by_the_mark = 0;
    for cut in 1..=8 {
        let copy = tempfile::tempdir().unwrap();
        let sled = copy.path().join("sled");
        std::fs::create_dir_all(&sled).unwrap();
        for name in ["db", "conf"] {
            std::fs::copy(whole.path().join("sled").join(name), sled.join(name)).unwrap();
        }
        std::fs::copy(whole.path().join("mark"), copy.path().join("mark")).unwrap();
        let file = std::fs::File::options()
            .write(true)
            .open(sled.join("db"))
            .unwrap();
        file.set_len(length * cut / 10).unwrap();
        let error = open(copy.path())
            .expect_err("a shorter store is not whole")
            .to_string();
        by_the_mark += u32::from(error.contains("acknowledged sync"));
    }
    // The others did not even open, which is as good; but the mark must have been needed.
    assert!(by_the_mark > 0);
}

/// The C library's syncs, watched and, for some directories, broken.
mod device {
    #![allow(unsafe_code)]

    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    static SYNCED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    static BROKEN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

    unsafe extern "C" {
        fn syscall(number: i64, ...) -> i64;
        fn __errno_location() -> *mut i32;
    }

    const SYS_FSYNC: i64 = 74;
    const SYS_FDATASYNC: i64 = 75;
    const EIO: i32 = 5;

    fn sync(number: i64, file: i32) -> i32 {
        let path = std::fs::read_link(format!("/proc/self/fd/{file}")).unwrap_or_default();
        let broken = BROKEN
            .lock()
            .unwrap()
            .iter()
            .any(|dir| path.starts_with(dir));
        SYNCED.lock().unwrap().push(path);
        if broken {
            // SAFETY: the calling thread's own error number.
            unsafe { *__errno_location() = EIO };
            return -1;
        }
        // SAFETY: as the original.
        unsafe { syscall(number, file) as i32 }
    }

    /// Stands before the C library's.
    #[unsafe(no_mangle)]
    extern "C" fn fsync(file: i32) -> i32 {
        sync(SYS_FSYNC, file)
    }

    /// Stands before the C library's.
    #[unsafe(no_mangle)]
    extern "C" fn fdatasync(file: i32) -> i32 {
        sync(SYS_FDATASYNC, file)
    }

    /// How often this file was synced.
    pub(super) fn syncs(file: &Path) -> usize {
        let synced = SYNCED.lock().unwrap();
        synced.iter().filter(|path| *path == file).count()
    }

    /// From here on, syncs of files in `dir` fail.
    pub(super) fn set_broken(dir: &Path) {
        BROKEN.lock().unwrap().push(dir.to_owned());
    }

    /// They work again.
    pub(super) fn mend(dir: &Path) {
        BROKEN.lock().unwrap().retain(|broken| broken != dir);
    }
}

#[test]
fn what_is_acknowledged_was_synced_by_the_device() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    let database = path.join("sled/db");
    with(&path, |store| {
        for index in 0..5 {
            store.append(&records(index..index + 1)).unwrap();
            let before = device::syncs(&database);
            store.sync_now().unwrap();
            assert!(device::syncs(&database) > before, "nothing was synced");
        }
    });
}

#[test]
fn an_error_of_the_device_is_final_and_nothing_panics_over_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    let database = path.join("sled/db");
    let synced = with(&path, |store| {
        store.append(&records(0..1)).unwrap();
        store.sync_now().unwrap();
        device::set_broken(&path);
        store.append(&records(1..2)).unwrap();
        let error = store.sync_now().unwrap_err().to_string();
        assert!(error.contains("could not be made durable"), "{error}");
        // The kernel would now report success over what it dropped.
        device::mend(&path);
        let synced = device::syncs(&database);
        assert!(store.sync_now().is_err());
        device::set_broken(&path);
        synced
    });
    assert_eq!(
        device::syncs(&database),
        synced,
        "and closing syncs nothing"
    );
    device::mend(&path);
    // This process holds the lock for good; another one would find this.
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("sled")).unwrap();
    for name in ["sled/db", "sled/conf", "mark"] {
        std::fs::copy(path.join(name), copy.path().join(name)).unwrap();
    }
    with(copy.path(), |store| {
        assert_eq!(store.read(0..=0, 1).unwrap(), records(0..1));
    });
}
