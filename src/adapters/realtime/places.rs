//! How many subscribers' places the clients of this node have had kept, app by app: each is a stream of its own on two
//! nodes for a day, and whoever may subscribe makes one with every id that she thinks of.
//!
//! Pure but for its lock.
//! **Why the places are counted where their subscribers are, and not where they are kept:** a home would have to ask who
//! else has some of the app's; here who is known is served, and only newcomers are refused.

use crate::core::ids::AppId;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How often it may be looked for places whose time is over, ms: all of an app's are looked at.
const SWEEP_INTERVAL_MS: u64 = 1_000;

/// The places of this node's clients. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    hashes: RandomState,
    apps: Mutex<HashMap<AppId, Table>>,
}

/// What one app has had kept here.
#[derive(Debug, Default)]
struct Table {
    /// Until when each is kept, monotonic ms; by a hash of its name, since two that share one only count once.
    until_ms: HashMap<u64, u64>,
    swept_ms: u64,
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, HashMap<AppId, Table>> {
        // Consistent between any two statements: poison means nothing here.
        self.0.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this one may be kept, where an app has at most so many.
    pub(super) fn has_room(&self, app: AppId, name: &str, most: u64, now_ms: u64) -> bool {
        let hash = self.0.hashes.hash_one(name);
        let mut apps = self.lock();
        let Some(table) = apps.get_mut(&app) else {
            return most > 0;
        };
        let full = |table: &Table| table.until_ms.len() as u64 >= most;
        if table.until_ms.contains_key(&hash) || !full(table) {
            return true;
        }
        if now_ms >= table.swept_ms + SWEEP_INTERVAL_MS {
            table.swept_ms = now_ms;
            table.until_ms.retain(|_, until| *until > now_ms);
        }
        !full(table)
    }

    /// This one is kept until then.
    pub(super) fn note(&self, app: AppId, name: &str, until_ms: u64) {
        let hash = self.0.hashes.hash_one(name);
        let mut apps = self.lock();
        let table = apps.entry(app).or_default();
        table.until_ms.insert(hash, until_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_has_so_many_and_those_it_has_stay() {
        let places = Places::default();
        let (app, other) = (AppId(1), AppId(2));
        for name in ["a", "b"] {
            assert!(places.has_room(app, name, 2, 0));
            places.note(app, name, 5_000);
        }
        assert!(!places.has_room(app, "c", 2, 0));
        assert!(places.has_room(app, "a", 2, 0) && places.has_room(other, "c", 2, 0));
        assert!(!places.has_room(other, "c", 0, 0), "none at all");
        // One goes on being used, the other's time is over.
        places.note(app, "a", 9_000);
        assert!(!places.has_room(app, "c", 2, 4_999));
        assert!(places.has_room(app, "c", 2, 6_000));
        places.note(app, "c", 9_000);
        assert!(!places.has_room(app, "b", 2, 7_500));
    }
}
