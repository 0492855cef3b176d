//! Webhooks: the lifecycle of an app's channels, posted to its servers.
//!
//! The core tells each event once per cluster, on the node that is the channel's home, and that node posts it.
//! What waits is bounded; what is dropped or given up is in the delivery log.
//!
//! In reading order: [`hook`] (what an app asks for), `event` (what is said), `target` (where we may connect), `log`,
//! `courier` (one delivery with its retries), `desk` (sorting and batching).
//!
//! **Must never know:** how a home is chosen, or how it learns what happened.
//! **Why not from each node that notices:** then a webhook comes as often as there are nodes.

mod courier;
mod desk;
mod event;
pub mod hook;
mod log;
mod target;

use crate::core::authority::{AppId, Authority, SettingValue};
use crate::core::ids::NodeId;
use crate::core::lifecycle::{Delivery, LifecycleEvent, Listener};
use courier::Courier;
use desk::Desk;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The setting that holds an app's hooks, as a JSON document.
pub const SETTING: &str = "webhooks";
/// Events that may wait to be sorted.
const INBOX: usize = 10_000;

/// What is counted.
#[derive(Clone, Debug, Default)]
struct Counts {
    queued: Counter,
    delivered: Counter,
    failed: Counter,
}

/// The webhooks of this node. Clones share them.
#[derive(Clone, Debug)]
pub struct Webhooks {
    authority: Arc<Authority>,
    inbox: mpsc::Sender<LifecycleEvent>,
    log: Arc<log::Log>,
    counts: Counts,
}

impl Webhooks {
    /// Starts the desk on this thread's runtime.
    #[must_use]
    pub fn start(authority: Arc<Authority>, node: NodeId) -> Self {
        let (inbox, events) = mpsc::channel(INBOX);
        let (log, counts) = (Arc::new(log::Log::new(node)), Counts::default());
        let courier = Courier::new(authority.clone(), log.clone(), counts.clone());
        let desk = Desk::new(authority.clone(), courier);
        actix_web::rt::spawn(desk.run(events));
        Self {
            authority,
            inbox,
            log,
            counts,
        }
    }

    /// Shows the counters in this registry.
    pub fn register(&self, registry: &mut Registry) {
        let Counts {
            queued,
            delivered,
            failed,
        } = self.counts.clone();
        registry.register("webhook_queued", "Webhook requests to be made", queued);
        registry.register(
            "webhook_delivered",
            "Webhook requests answered with 2xx",
            delivered,
        );
        registry.register(
            "webhook_failed",
            "Webhook requests given up or dropped",
            failed,
        );
    }
}

impl Listener for Webhooks {
    fn wants(&self, app: AppId) -> bool {
        let view = self.authority.view();
        let app = view.apps.get(&app).filter(|app| app.enabled);
        let hooks = app.and_then(|app| app.settings.get(SETTING));
        matches!(hooks, Some(SettingValue::Text(text)) if text.len() > 2)
    }

    fn tell(&self, event: LifecycleEvent) {
        if self.inbox.try_send(event).is_err() {
            self.counts.failed.inc();
        }
    }

    fn deliveries(&self, app: AppId, limit: usize) -> Vec<Delivery> {
        self.log.newest(app, limit)
    }
}
