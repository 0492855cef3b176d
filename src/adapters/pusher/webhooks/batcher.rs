//! Sorts events to hooks, and gathers what may travel together.
//!
//! **Why a batch is built per hook:** with one batch for all, a hook that asked for one kind of event would be sent the
//! others as well.

use super::event::{self, Said};
use super::hook::{self, Hook};
use super::sender::{SealedBatch, WebhookSender};
use crate::core::authority::{App, AppId, Authority, Revision, SettingValue};
use crate::core::ids::Text;
use crate::core::lifecycle::LifecycleEvent;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// How long events are gathered for a batch.
const BATCH_WINDOW: Duration = Duration::from_millis(50);
/// Most events of one batch.
const BATCH_EVENTS: usize = 100;
/// A batch that has reached so many bytes is closed.
const BATCH_BYTES: usize = 128 << 10;

/// The hooks of an app, and the revision they were read at.
type Read = (Revision, Vec<Arc<Hook>>);

/// What the batcher is sent.
#[derive(Debug)]
pub(super) enum Mail {
    /// An event of a channel's lifecycle.
    Event(LifecycleEvent),
    /// Batches are to be closed now; answered when they are.
    Flush(oneshot::Sender<()>),
}

/// The batcher of this node.
#[derive(Debug)]
pub(super) struct Batcher {
    authority: Arc<Authority>,
    sender: WebhookSender,
    hooks: BTreeMap<AppId, Read>,
    batches: BTreeMap<(AppId, usize), Batch>,
}

/// Events on their way to one hook.
#[derive(Debug)]
struct Batch {
    hook: Arc<Hook>,
    due: Instant,
    at_ms: u64,
    events: Vec<Said>,
    bytes: usize,
}

/// The hooks of an app.
pub(super) fn hooks(app: &App) -> Vec<Hook> {
    match app.settings.get(super::SETTING) {
        Some(SettingValue::Text(document)) => hook::read(document),
        Some(SettingValue::Bool(_) | SettingValue::Int(_)) | None => Vec::new(),
    }
}

impl Batcher {
    pub(super) fn new(authority: Arc<Authority>, sender: WebhookSender) -> Self {
        Self {
            authority,
            sender,
            hooks: BTreeMap::new(),
            batches: BTreeMap::new(),
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
        let Some(said) = event::said(event) else {
            return;
        };
        let (app, channel) = (event.channel.app, &event.channel.name);
        let hooks = self.of_app(app);
        for (index, hook) in hooks.into_iter().enumerate() {
            if !hook.wants(said.name, channel) {
                continue;
            }
            if hook.batch {
                self.gather((app, index), hook, said.clone(), event.at_ms);
            } else {
                self.send(app, hook, std::slice::from_ref(&said), event.at_ms);
            }
        }
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
            let read = hooks(app).into_iter().map(Arc::new).collect();
            self.hooks.insert(id, (app.revision, read));
        }
        self.hooks
            .get(&id)
            .map_or_else(Vec::new, |(_, all)| all.clone())
    }

    fn gather(&mut self, place: (AppId, usize), hook: Arc<Hook>, said: Said, at_ms: u64) {
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
            events: Vec::new(),
            bytes: 0,
        });
        batch.bytes += said.json.len();
        batch.events.push(said);
        if batch.events.len() >= BATCH_EVENTS || batch.bytes >= BATCH_BYTES {
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
            self.send(place.0, batch.hook, &batch.events, batch.at_ms);
        }
    }

    fn send(&self, app: AppId, hook: Arc<Hook>, events: &[Said], at_ms: u64) {
        let mut names: Vec<Text> = events.iter().map(|one| one.name.into()).collect();
        names.sort_unstable();
        names.dedup();
        self.sender.take(SealedBatch {
            app,
            hook,
            body: body(events, at_ms),
            events: names,
            count: u32::try_from(events.len()).unwrap_or(u32::MAX),
            at_ms,
        });
    }
}

/// The request's body. Its time stays when it is tried again.
fn body(events: &[Said], at_ms: u64) -> Bytes {
    let mut out = format!("{{\"time_ms\":{at_ms},\"events\":[").into_bytes();
    for (index, one) in events.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&one.json);
    }
    out.extend_from_slice(b"]}");
    out.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_body_is_as_documented() {
        let one = |channel: &str| Said {
            name: "channel_occupied",
            json: format!(r#"{{"name":"channel_occupied","channel":"{channel}"}}"#).into_bytes(),
        };
        let single = r#"{"time_ms":1327078148132,"events":[{"name":"channel_occupied","channel":"my-channel"}]}"#;
        assert_eq!(body(&[one("my-channel")], 1_327_078_148_132), single);
        let both = body(&[one("a"), one("b")], 1);
        let read: Result<serde_json::Value, _> = serde_json::from_slice(&both);
        assert!(read.is_ok_and(|read| read["events"].as_array().is_some_and(|all| all.len() == 2)));
    }
}
