//! The relays of this node: one per worker thread, entered as the threads start.
//!
//! **Must never know:** connections, channels.

use super::relay::Relay;
use actix::Addr;
use std::sync::{Arc, PoisonError, RwLock};

/// Every relay of this node. Clones share the list.
#[derive(Clone, Debug, Default)]
pub struct Relays {
    list: Arc<RwLock<Vec<Addr<Relay>>>>,
}

impl Relays {
    /// Adds one and numbers its worker.
    #[must_use]
    pub fn add(&self, relay: Addr<Relay>) -> u16 {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        list.push(relay);
        u16::try_from(list.len() - 1).unwrap_or(u16::MAX)
    }

    /// All of them, for asking every worker. Never on the way of a message.
    #[must_use]
    pub fn all(&self) -> Vec<Addr<Relay>> {
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        list.clone()
    }
}
