//! Webhooks: the lifecycle of an app's channels, posted to its servers.
//!
//! The core tells an event on the node that is the channel's home, and that node posts it, under the event's id. Until it is
//! over, home and backup of the channel keep it: the next home posts it again. What waits is bounded; what is dropped or
//! given up is in the delivery log, and what is given up is a dead letter that can be delivered after all.
//!
//! In reading order: [`hook`] (what an app asks for), `event` (what is said), `log`,
//! `retry` (when again), `batch` (one delivery), `letters` (given up), `sender` (on its way), `batcher` (sorting and batching).
//!
//! **Must never know:** how a home is chosen, or how it learns what happened.
//! **Why not from each node that notices:** then a webhook comes as often as there are nodes.

mod batch;
mod batcher;
mod event;
pub mod hook;
mod letters;
mod log;
mod retry;
mod sender;

use crate::core::authority::{AppId, Authority, SettingValue};
use crate::core::broker::Broker;
use crate::core::channel::registry::Channels;
use crate::core::error::Refusal;
use crate::core::lifecycle::{
    Answer, DeadLetter, LifecycleEvent, Listener, Replay, WebhookDelivery,
};
use batcher::{Batcher, Mail};
use letters::{Letter, Letters};
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
    dead: Counter,
}

/// The webhooks of this node. Clones share them.
#[derive(Clone, Debug)]
pub struct Webhooks {
    authority: Arc<Authority>,
    channels: Channels,
    letters: Letters,
    inbox: mpsc::Sender<Mail>,
    sender: WebhookSender,
    log: Arc<log::Log>,
    counts: Counts,
}

impl Webhooks {
    /// Starts the batcher on this thread's runtime.
    #[must_use]
    pub fn start(broker: Broker) -> Self {
        let (inbox, events) = mpsc::channel(QUEUE_CAPACITY);
        let (authority, channels) = (broker.authority.clone(), broker.channels.clone());
        let counts = Counts::default();
        let log = Arc::new(log::Log::new(channels.node()));
        let sender = WebhookSender::new(broker.clone(), log.clone(), counts.clone());
        let batcher = Batcher::new(authority.clone(), channels.clone(), sender.clone());
        actix_web::rt::spawn(batcher.run(events));
        Self {
            authority,
            channels,
            letters: Letters::new(broker),
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
            dead,
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
        registry.register(
            "webhook_dead",
            "Webhook requests given up and kept as dead letters",
            dead,
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
        let (channel, id) = (event.channel.clone(), event.id);
        if self.inbox.try_send(Mail::Event(event)).is_err() {
            self.counts.failed.inc();
            self.channels.settled(&channel, vec![id]);
        }
    }

    fn deliveries(&self, app: AppId, limit: usize) -> Vec<WebhookDelivery> {
        self.log.newest(app, limit)
    }

    fn dead_letters(&self, app: AppId, limit: usize) -> Answer<Vec<DeadLetter>> {
        let letters = self.letters.clone();
        Box::pin(async move {
            let found = letters.of(app, limit).await?;
            Ok(found.into_iter().map(Letter::shown).collect())
        })
    }

    fn replay(&self, app: AppId, ids: Option<Vec<u64>>) -> Answer<Replay> {
        let webhooks = self.clone();
        Box::pin(async move { webhooks.replay_all(app, ids.as_deref()).await })
    }
}

impl Webhooks {
    async fn replay_all(&self, app: AppId, ids: Option<&[u64]>) -> Result<Replay, Refusal> {
        let view = self.authority.view();
        let of_app = view
            .apps
            .get(&app)
            .map(|app| hook::of_app(app))
            .unwrap_or_default();
        let hooks: Vec<_> = of_app.into_iter().map(Arc::new).collect();
        let now_ms = self.authority.now().cluster_ms;
        let mut replay = Replay::default();
        for letter in self.letters.of(app, usize::MAX).await? {
            if ids.is_some_and(|ids| !ids.contains(&letter.id())) {
                continue;
            }
            let Some(batch) = letter.batch(app, &hooks, now_ms) else {
                replay.unwanted += 1;
                continue;
            };
            let stopping = |_| Refusal::Unavailable("this node is stopping");
            let again = self.inbox.send(Mail::Again(batch)).await;
            again.map_err(stopping)?;
            replay.replaying += 1;
        }
        Ok(replay)
    }
}
