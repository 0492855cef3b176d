//! Webhooks: the lifecycle of an app's channels, posted to its servers.
//!
//! The core tells each event once per cluster, on the node that is the channel's home, and that node posts it.
//! What waits is bounded; what is dropped or given up is in the delivery log.
//!
//! In reading order: [`hook`] (what an app asks for), `event` (what is said), `target` (where we may connect), `log`,
//! `retry` (when again), `sender` (one delivery), `batcher` (sorting and batching).
//!
//! **Must never know:** how a home is chosen, or how it learns what happened.
//! **Why not from each node that notices:** then a webhook comes as often as there are nodes.

mod batcher;
mod event;
pub mod hook;
mod log;
mod retry;
mod sender;
mod target;

use crate::core::authority::{AppId, Authority, SettingValue};
use crate::core::ids::NodeId;
use crate::core::lifecycle::{LifecycleEvent, Listener, WebhookDelivery};
use batcher::{Batcher, Mail};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use sender::WebhookSender;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The setting that holds an app's hooks, as a JSON document.
pub const SETTING: &str = "webhooks";
/// Events that may wait to be sorted.
const QUEUE_CAPACITY: usize = 10_000;

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
    inbox: mpsc::Sender<Mail>,
    sender: WebhookSender,
    log: Arc<log::Log>,
    counts: Counts,
}

impl Webhooks {
    /// Starts the batcher on this thread's runtime.
    #[must_use]
    pub fn start(authority: Arc<Authority>, node: NodeId) -> Self {
        let (inbox, events) = mpsc::channel(QUEUE_CAPACITY);
        let (log, counts) = (Arc::new(log::Log::new(node)), Counts::default());
        let sender = WebhookSender::new(authority.clone(), log.clone(), counts.clone());
        let batcher = Batcher::new(authority.clone(), sender.clone());
        actix_web::rt::spawn(batcher.run(events));
        Self {
            authority,
            inbox,
            sender,
            log,
            counts,
        }
    }

    /// Delivers what waits, without long pauses, for at most this long: the node is leaving. How many deliveries are lost
    /// with it.
    pub async fn finish(&self, within: Duration) -> usize {
        let all = async {
            let (done, flushed) = oneshot::channel();
            // A batcher that is gone has nothing left to close.
            if self.inbox.send(Mail::Flush(done)).await.is_ok() {
                let _ = flushed.await;
            }
            self.sender.hurry().await;
        };
        match tokio::time::timeout(within, all).await {
            Ok(()) => 0,
            Err(_elapsed) => self.sender.waiting(),
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
        if self.inbox.try_send(Mail::Event(event)).is_err() {
            self.counts.failed.inc();
        }
    }

    fn deliveries(&self, app: AppId, limit: usize) -> Vec<WebhookDelivery> {
        self.log.newest(app, limit)
    }
}
