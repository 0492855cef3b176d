//! The delivery log: the last deliveries of each app, in memory.
//!
//! **Must never know:** payloads, secrets, queries of addresses.

use crate::core::authority::AppId;
use crate::core::ids::NodeId;
use crate::core::lifecycle::WebhookDelivery;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Deliveries kept per app.
const PER_APP: usize = 200;
/// Apps kept; the one with the oldest news goes first.
const APPS: usize = 1_000;

type Apps = BTreeMap<AppId, VecDeque<WebhookDelivery>>;

/// The log of this node.
#[derive(Debug)]
pub(super) struct Log {
    node: NodeId,
    apps: Mutex<(u64, Apps)>,
}

impl Log {
    pub(super) fn new(node: NodeId) -> Self {
        let apps = Mutex::default();
        Self { node, apps }
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Apps)> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a delivery and gives it its number.
    pub(super) fn enter(&self, app: AppId, mut delivery: WebhookDelivery) -> u64 {
        let (next, apps) = &mut *self.lock();
        *next += 1;
        (delivery.id, delivery.node) = (*next, self.node);
        let of_app = apps.entry(app).or_default();
        if of_app.len() >= PER_APP {
            of_app.pop_front();
        }
        of_app.push_back(delivery);
        if apps.len() > APPS {
            let age = |list: &VecDeque<WebhookDelivery>| list.back().map_or(0, |one| one.id);
            let oldest = apps.iter().min_by_key(|(_, list)| age(list));
            if let Some(oldest) = oldest.map(|(app, _)| *app) {
                apps.remove(&oldest);
            }
        }
        *next
    }

    /// Changes a delivery that is still in the log.
    pub(super) fn change(&self, app: AppId, id: u64, change: impl FnOnce(&mut WebhookDelivery)) {
        let mut locked = self.lock();
        let of_app = locked.1.get_mut(&app).into_iter().flatten();
        if let Some(one) = of_app.rev().find(|one| one.id == id) {
            change(one);
        }
    }

    /// The newest first.
    pub(super) fn newest(&self, app: AppId, limit: usize) -> Vec<WebhookDelivery> {
        let locked = self.lock();
        let of_app = locked.1.get(&app).into_iter().flatten();
        of_app.rev().take(limit).cloned().collect()
    }
}
