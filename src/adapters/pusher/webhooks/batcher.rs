//! Sorts events to hooks, and gathers what may travel together.
//!
//! **Why a batch is built per hook:** with one batch for all, a hook that asked for one kind of event would be sent the
//! others as well.

use super::batch::{Item, Receipt, SealedBatch};
use super::event::{self, Said};
use super::hook::{self, Hook};
use super::sender::WebhookSender;
use crate::core::authority::{AppId, Authority, Revision};
use crate::core::channel::registry::Channels;
use crate::core::lifecycle::{EventId, LifecycleEvent};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How long events are gathered for a batch.
const BATCH_WINDOW: Duration = Duration::from_millis(50);
/// Most events of one batch.
const BATCH_EVENTS: usize = 100;
/// Events under way before those that are over are looked for.
const CROWDED: usize = 10_000;
/// A batch that has reached so many bytes is closed.
const BATCH_BYTES: usize = 128 << 10;

/// The hooks of an app, and the revision they were read at.
type Read = (Revision, Vec<Arc<Hook>>);

/// What the batcher is sent.
#[derive(Debug)]
pub(super) enum Mail {
    /// An event of a channel's lifecycle.
    Event(LifecycleEvent),
    /// To be delivered after all.
    Again(SealedBatch),
    /// Batches are to be closed now; answered when they are.
    Flush(oneshot::Sender<()>),
}

/// The batcher of this node.
#[derive(Debug)]
pub(super) struct Batcher {
    authority: Arc<Authority>,
    channels: Channels,
    sender: WebhookSender,
    hooks: BTreeMap<AppId, Read>,
    batches: BTreeMap<(AppId, usize), Batch>,
    /// What is under way: a channel that comes back to this node tells it again.
    under_way: HashMap<EventId, Weak<Receipt>>,
    /// From so many on those that are over are looked for.
    crowded: usize,
}

/// Events on their way to one hook.
#[derive(Debug)]
struct Batch {
    hook: Arc<Hook>,
    due: Instant,
    at_ms: u64,
    items: Vec<Item>,
    bytes: usize,
}

impl Batcher {
    pub(super) fn new(
        authority: Arc<Authority>,
        channels: Channels,
        sender: WebhookSender,
    ) -> Self {
        Self {
            authority,
            channels,
            sender,
            hooks: BTreeMap::new(),
            batches: BTreeMap::new(),
            under_way: HashMap::new(),
            crowded: CROWDED,
        }
    }

    /// Works until nobody is left who could tell anything.
    pub(super) async fn run(mut self, mut mail: mpsc::Receiver<Mail>) {
        loop {
            let due = self.batches.values().map(|batch| batch.due).min();
            let letter = match due {
                None => mail.recv().await,
                Some(due) => match tokio::time::timeout_at(due, mail.recv()).await {
                    Ok(letter) => letter,
                    Err(_) => {
                        self.send_due();
                        continue;
                    }
                },
            };
            match letter {
                Some(Mail::Event(event)) => self.sort(&event),
                Some(Mail::Again(batch)) => self.sender.take(batch),
                Some(Mail::Flush(done)) => {
                    self.send_all();
                    // Whoever asked may have run out of time.
                    let _ = done.send(());
                }
                None => return self.send_due(),
            }
            self.send_due();
        }
    }

    fn sort(&mut self, event: &LifecycleEvent) {
        let (app, channel) = (event.channel.app, &event.channel.name);
        let said = event::said(event);
        let hooks = self.of_app(app).into_iter().enumerate();
        let wanted: Vec<(usize, Arc<Hook>, Said)> = said
            .iter()
            .flat_map(|said| hooks.clone().map(move |(index, hook)| (index, hook, said)))
            .filter(|(_, hook, said)| hook.wants(said.name, channel))
            .map(|(index, hook, said)| (index, hook, said.clone()))
            .collect();
        let Some(receipt) = self.receipt(event, wanted.len()) else {
            return;
        };
        for (index, hook, said) in wanted {
            let item = Item {
                said,
                receipt: Some(receipt.clone()),
            };
            if hook.batch {
                self.gather((app, index), hook, item, event.at_ms);
            } else {
                self.send(app, hook, vec![item], event.at_ms);
            }
        }
    }

    /// What the deliveries of an event share. None when nothing is to be done: nobody wants it, or it is under way.
    fn receipt(&mut self, event: &LifecycleEvent, hooks: usize) -> Option<Arc<Receipt>> {
        if hooks == 0 {
            self.channels.settled(&event.channel, vec![event.id]);
            return None;
        }
        let known = self.under_way.get(&event.id);
        if known.is_some_and(|one| one.strong_count() > 0) {
            return None;
        }
        if self.under_way.len() >= self.crowded {
            self.under_way.retain(|_, one| one.strong_count() > 0);
            self.crowded = CROWDED.max(2 * self.under_way.len());
        }
        let receipt = Receipt::new(event.channel.clone(), event.id, hooks);
        self.under_way.insert(event.id, Arc::downgrade(&receipt));
        Some(receipt)
    }

    fn of_app(&mut self, id: AppId) -> Vec<Arc<Hook>> {
        let view = self.authority.view();
        let Some(app) = view.apps.get(&id).filter(|app| app.enabled) else {
            self.hooks.remove(&id);
            return Vec::new();
        };
        let stale = self
            .hooks
            .get(&id)
            .is_none_or(|(at, _)| *at != app.revision);
        if stale {
            let read = hook::of_app(app).into_iter().map(Arc::new).collect();
            self.hooks.insert(id, (app.revision, read));
        }
        self.hooks
            .get(&id)
            .map_or_else(Vec::new, |(_, all)| all.clone())
    }

    fn gather(&mut self, place: (AppId, usize), hook: Arc<Hook>, item: Item, at_ms: u64) {
        if self
            .batches
            .get(&place)
            .is_some_and(|batch| batch.hook != hook)
        {
            self.close(place);
        }
        let batch = self.batches.entry(place).or_insert_with(|| Batch {
            hook,
            due: Instant::now() + BATCH_WINDOW,
            at_ms,
            items: Vec::new(),
            bytes: 0,
        });
        batch.bytes += item.said.json.len();
        batch.items.push(item);
        if batch.items.len() >= BATCH_EVENTS || batch.bytes >= BATCH_BYTES {
            self.close(place);
        }
    }

    fn send_due(&mut self) {
        let now = Instant::now();
        let due = self.batches.iter().filter(|(_, batch)| batch.due <= now);
        for place in due.map(|(place, _)| *place).collect::<Vec<_>>() {
            self.close(place);
        }
    }

    fn send_all(&mut self) {
        for place in self.batches.keys().copied().collect::<Vec<_>>() {
            self.close(place);
        }
    }

    fn close(&mut self, place: (AppId, usize)) {
        if let Some(batch) = self.batches.remove(&place) {
            self.send(place.0, batch.hook, batch.items, batch.at_ms);
        }
    }

    fn send(&self, app: AppId, hook: Arc<Hook>, items: Vec<Item>, at_ms: u64) {
        self.sender.take(SealedBatch {
            app,
            hook,
            items,
            at_ms,
            letter: None,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::pusher::fixture;
    use crate::adapters::pusher::webhooks::{Counts, SETTING, log::Log};
    use crate::core::authority::SettingValue;
    use crate::core::broker::Broker;
    use crate::core::ids::{ChannelKey, NodeId};
    use crate::core::lifecycle::LifecycleKind;

    #[actix_web::test]
    async fn what_is_told_again_while_it_is_under_way_is_posted_once() {
        // Another test may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let hooks = SettingValue::Text(r#"[{"url":"http://nowhere.invalid"}]"#.into());
        let state = fixture::state(|app| drop(app.settings.insert(SETTING.into(), hooks)));
        let authority = Arc::new(Authority::fixed(state, 1_000));
        let channels = Channels::new(Arc::default(), &[]);
        let log = Arc::new(Log::new(NodeId(1)));
        let broker = Broker::new(authority.clone(), channels.clone());
        let sender = WebhookSender::new(broker, log.clone(), Counts::default());
        let mut batcher = Batcher::new(authority, channels, sender);
        let told = |at| LifecycleEvent {
            channel: ChannelKey::channel(fixture::APP, "a"),
            id: EventId { at, epoch: 2 },
            at_ms: 1_000,
            kind: LifecycleKind::Occupied,
        };
        let posted = || log.newest(fixture::APP, 9).len();
        batcher.sort(&told(1));
        batcher.sort(&told(1));
        assert_eq!(posted(), 1);
        batcher.sort(&told(2));
        assert_eq!((posted(), batcher.under_way.len()), (2, 2));
        // What Pusher says nothing of is over at once.
        batcher.sort(&LifecycleEvent {
            kind: LifecycleKind::Missed,
            ..told(3)
        });
        assert_eq!((posted(), batcher.under_way.len()), (2, 2));
    }
}
