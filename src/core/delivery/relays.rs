//! The relays of this node, one per worker thread, entered as the threads start; and how many connections each
//! app has over all of them.
//!
//! Locked when a connection comes or goes, never for a message.

use super::relay::Relay;
use crate::core::ids::AppId;
use actix::Addr;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Every relay of this node. Clones share the list.
#[derive(Clone, Debug, Default)]
pub struct Relays {
    list: Arc<RwLock<Vec<Addr<Relay>>>>,
    apps: Arc<Mutex<HashMap<AppId, u64>>>,
}

impl Relays {
    /// Adds one and numbers its worker.
    #[must_use]
    pub fn add(&self, relay: Addr<Relay>) -> u16 {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        list.push(relay);
        u16::try_from(list.len() - 1).unwrap_or(u16::MAX)
    }

    /// Counts a connection for its app, unless there are `max` already.
    #[must_use]
    pub fn enter(&self, app: AppId, max: u64) -> bool {
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        let count = apps.entry(app).or_default();
        let room = *count < max;
        *count += u64::from(room);
        room
    }

    /// A connection of the app is gone.
    pub fn leave(&self, app: AppId) {
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = apps.get_mut(&app) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                apps.remove(&app);
            }
        }
    }

    /// All of them, for asking every worker. Never on the way of a message.
    #[must_use]
    pub fn all(&self) -> Vec<Addr<Relay>> {
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        list.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_has_as_many_connections_as_it_may() {
        let relays = Relays::default();
        assert!(relays.enter(AppId(1), 2) && relays.enter(AppId(1), 2));
        assert!(!relays.enter(AppId(1), 2));
        assert!(relays.enter(AppId(2), 2));
        relays.leave(AppId(1));
        assert!(relays.clone().enter(AppId(1), 2));
        assert!(!relays.enter(AppId(1), 2));
    }
}
