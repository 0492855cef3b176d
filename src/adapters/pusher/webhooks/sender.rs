//! One request at a time to where it belongs: signed, tried again with growing pauses, given up after five minutes.
//!
//! **Why each delivery waits for itself:** a receiver that fails on one request would otherwise hold up all that follow
//! it for five minutes.

use super::batch::{EVENT_IDS, SealedBatch};
use super::hook;
use super::letters::Letters;
use super::retry::{Tried, Verdict, next_attempt};
use super::{Counts, log::Log};
use crate::adapters::pusher::limits;
use crate::core::authority::{ApiKey, AppId, Authority};
use crate::core::broker::Broker;
use crate::core::channel::registry::Channels;
use crate::core::lifecycle::{WebhookDelivery, WebhookDeliveryState};
use crate::outbound::target::{ATTEMPT_TIMEOUT, Clients, innermost};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Client, Url};
use sha2::Sha256;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// What receivers are told who posts.
const AGENT: &str = concat!("Gatecast-Webhooks/", env!("CARGO_PKG_VERSION"));
/// Longest pause of a node that is leaving.
const MAX_DRAIN_PAUSE: Duration = Duration::from_millis(500);
/// Requests of one app under way at once.
const MAX_CONCURRENT: usize = 8;
/// Bytes of one app that may wait, and of the whole node.
const BYTES: (u32, usize) = (8 << 20, 64 << 20);
/// What a waiting delivery costs beside its body.
const OVERHEAD_BYTES: usize = 1_024;

/// Delivers. Clones share the bounds.
#[derive(Clone, Debug)]
pub(super) struct WebhookSender {
    authority: Arc<Authority>,
    channels: Channels,
    letters: Letters,
    log: Arc<Log>,
    counts: Counts,
    clients: Clients,
    room: Arc<Semaphore>,
    apps: Arc<Mutex<BTreeMap<AppId, Arc<Bounds>>>>,
    /// How many wait, and whether the node is leaving.
    waiting: watch::Sender<Waiting>,
    /// Dead letters on their way.
    replaying: Arc<Mutex<BTreeSet<(AppId, u64)>>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    count: usize,
    hurried: bool,
}

#[derive(Debug)]
struct Bounds {
    at_once: Semaphore,
    room: Arc<Semaphore>,
}

/// Room taken by a waiting delivery, given back when it is over.
struct Room(#[allow(dead_code)] [OwnedSemaphorePermit; 2]);

/// `X-Pusher-Signature` of a body.
pub(super) fn signature(key: &ApiKey, body: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.secret.0.as_bytes()) else {
        return String::new();
    };
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

impl WebhookSender {
    pub(super) fn new(broker: Broker, log: Arc<Log>, counts: Counts) -> Self {
        Self {
            authority: broker.authority.clone(),
            channels: broker.channels.clone(),
            letters: Letters::new(broker),
            log,
            counts,
            clients: Clients::new(AGENT, ATTEMPT_TIMEOUT),
            room: Arc::new(Semaphore::new(BYTES.1)),
            apps: Arc::default(),
            waiting: watch::Sender::default(),
            replaying: Arc::default(),
        }
    }

    /// From now on nothing waits long for its next attempt. Ready when nothing waits any more; to be dropped when there is
    /// no more time.
    pub(super) async fn hurry(&self) {
        self.waiting.send_modify(|waiting| waiting.hurried = true);
        let mut waiting = self.waiting.subscribe();
        // The sender is here: it cannot be gone.
        let _ = waiting.wait_for(|waiting| waiting.count == 0).await;
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.borrow().count
    }

    /// Until the next attempt.
    async fn pause(&self, pause: Duration) {
        let mut waiting = self.waiting.subscribe();
        let hurried = async {
            let _ = waiting.wait_for(|waiting| waiting.hurried).await;
            tokio::time::sleep(MAX_DRAIN_PAUSE).await;
        };
        tokio::select! {
            () = hurried => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    fn replaying(&self) -> MutexGuard<'_, BTreeSet<(AppId, u64)>> {
        self.replaying
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self, letter: Option<(AppId, u64)>) {
        if let Some(letter) = letter {
            self.replaying().remove(&letter);
        }
    }

    /// Takes a batch on its way, unless too much is waiting, or it is a dead letter that is under way.
    pub(super) fn take(&self, batch: SealedBatch) {
        let letter = batch.letter.map(|letter| (batch.app, letter));
        if letter.is_some_and(|letter| !self.replaying().insert(letter)) {
            return;
        }
        let bounds = self.bounds(batch.app);
        let room = self.reserve(&bounds, batch.bytes());
        let state = match room {
            Some(_) => WebhookDeliveryState::Pending,
            None => WebhookDeliveryState::Dropped,
        };
        let id = self.log.enter(batch.app, line(&batch, state));
        match room {
            None => {
                self.counts.failed.inc();
                batch.settle(&self.channels);
                self.has_ended(letter);
            }
            Some(room) => {
                self.counts.queued.inc();
                self.waiting.send_modify(|waiting| waiting.count += 1);
                let sender = self.clone();
                actix_web::rt::spawn(async move {
                    sender.deliver(batch, id, &bounds).await;
                    drop(room);
                    sender.has_ended(letter);
                    let waiting = &sender.waiting;
                    waiting.send_modify(|waiting| waiting.count = waiting.count.saturating_sub(1));
                });
            }
        }
    }

    fn bounds(&self, app: AppId) -> Arc<Bounds> {
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || {
            Arc::new(Bounds {
                at_once: Semaphore::new(MAX_CONCURRENT),
                room: Arc::new(Semaphore::new(BYTES.0 as usize)),
            })
        };
        apps.entry(app).or_insert_with(made).clone()
    }

    fn reserve(&self, bounds: &Bounds, bytes: usize) -> Option<Room> {
        let cost = u32::try_from(bytes + OVERHEAD_BYTES).ok()?;
        let of_app = bounds.room.clone().try_acquire_many_owned(cost).ok()?;
        let of_node = self.room.clone().try_acquire_many_owned(cost).ok()?;
        Some(Room([of_app, of_node]))
    }

    async fn deliver(&self, mut batch: SealedBatch, id: u64, bounds: &Bounds) {
        let (app, mut attempts) = (batch.app, 0);
        loop {
            attempts += 1;
            let Ok(turn) = bounds.at_once.acquire().await else {
                return;
            };
            if !batch.stays(&self.channels) {
                let moved = |line: &mut WebhookDelivery| {
                    (line.state, line.next_ms) = (WebhookDeliveryState::Moved, None);
                };
                return self.log.change(app, id, moved);
            }
            let tried = self.attempt(&batch).await.unwrap_or_else(|tried| tried);
            drop(turn);
            let now_ms = self.authority.now().cluster_ms;
            let verdict = next_attempt(tried, attempts, (batch.at_ms, now_ms));
            self.log.change(app, id, |line| {
                (line.state, line.attempts) = (verdict.state, attempts);
                (line.status, line.error) = (verdict.status, verdict.error.clone().map(Into::into));
                let pause_ms = verdict.pause_ms;
                line.next_ms = pause_ms.map(|pause_ms| now_ms.saturating_add(pause_ms));
            });
            match verdict.pause_ms {
                Some(pause_ms) => self.pause(Duration::from_millis(pause_ms)).await,
                None => return self.end(&batch, attempts, &verdict).await,
            }
        }
    }

    /// It was taken, or there is no use in trying again.
    async fn end(&self, batch: &SealedBatch, attempts: u32, verdict: &Verdict) {
        if verdict.state == WebhookDeliveryState::Delivered {
            self.counts.delivered.inc();
            if let Some(letter) = batch.letter {
                self.letters.erase(batch.app, letter).await;
            }
        } else {
            self.counts.failed.inc();
            given_up(batch, attempts, verdict.status, verdict.error.as_deref());
            // One that was a dead letter is one still.
            if !verdict.unwanted && batch.letter.is_none() {
                match self.letters.keep(batch, attempts, verdict).await {
                    Ok(()) => drop(self.counts.dead.inc()),
                    Err(error) => {
                        let app = batch.app.0;
                        tracing::warn!(app, %error, "a dead letter could not be kept: the channels' next homes try again");
                        return;
                    }
                }
            }
        }
        batch.settle(&self.channels);
    }

    /// One request. Everything about the app is looked up anew: hooks and keys may have changed since.
    async fn attempt(&self, batch: &SealedBatch) -> Result<Tried, Tried> {
        if !self.authority.serving() {
            // A node cut off from its cluster may be wrong about who is there.
            return Err(Tried::Again("this node may not serve now".into()));
        }
        let view = self.authority.view();
        let app = view.apps.get(&batch.app).filter(|app| app.enabled);
        let app = app.ok_or_else(|| Tried::Unwanted("the app is gone or disabled".into()))?;
        if !hook::of_app(app).contains(&*batch.hook) {
            return Err(Tried::Unwanted("the hook was taken away".into()));
        }
        let now_ms = self.authority.now().cluster_ms;
        let active = |key: &&ApiKey| key.enabled && key.expires_ms.is_none_or(|end| now_ms < end);
        let keys = view.keys_of(batch.app).filter(active);
        let oldest = keys.min_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
        let key = oldest.ok_or_else(|| Tried::Never("the app has no active key".into()))?;
        let private = limits::WEBHOOK_PRIVATE_TARGETS.on(app);
        let url = Url::parse(&batch.hook.url).map_err(|e| Tried::Never(e.to_string()))?;
        let client = self.clients.to(&url, private).map_err(Tried::Never)?;
        Ok(post(client, url, batch, key).await)
    }
}

async fn post(client: &Client, url: Url, batch: &SealedBatch, key: &ApiKey) -> Tried {
    let body = batch.body();
    let mut request = client
        .post(url)
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header("X-Pusher-Key", &*key.id)
        .header("X-Pusher-Signature", signature(key, &body))
        .header(EVENT_IDS, batch.ids());
    for (name, value) in &batch.hook.headers {
        if let Ok(name) = HeaderName::try_from(name.as_str()) {
            request = request.header(name, value);
        }
    }
    match request.body(body).send().await {
        Ok(answer) => Tried::Answered(answer.status().as_u16()),
        Err(error) => Tried::Again(innermost(&error.without_url())),
    }
}

/// Says so in the log. No path, query or user of the address: they may be secrets.
fn given_up(batch: &SealedBatch, attempts: u32, status: Option<u16>, why: Option<&str>) {
    let host = Url::parse(&batch.hook.url).ok();
    let host = host.as_ref().and_then(Url::host_str).unwrap_or_default();
    let (app, events) = (batch.app.0, batch.count());
    tracing::warn!(
        app,
        host,
        events,
        attempts,
        status,
        why,
        "a webhook was given up"
    );
}

fn line(batch: &SealedBatch, state: WebhookDeliveryState) -> WebhookDelivery {
    let target = batch.hook.url.split(['?', '#']).next().unwrap_or_default();
    WebhookDelivery {
        id: 0,
        node: crate::core::ids::NodeId(0),
        target: target.into(),
        events: batch.names(),
        count: batch.count(),
        at_ms: batch.at_ms,
        state,
        attempts: 0,
        status: None,
        error: None,
        next_ms: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::adapters::pusher::fixture;
    use crate::adapters::pusher::webhooks::SETTING;
    use crate::adapters::pusher::webhooks::batch::Item;
    use crate::adapters::pusher::webhooks::event::Said;
    use crate::core::authority::SettingValue;

    #[test]
    fn the_documented_body_has_the_documented_signature() {
        let body = br#"{"time_ms":1327078148132,"events":[{"name":"channel_occupied","channel":"my-channel"}]}"#;
        let wanted = "c19001ae3963ccb13bf618e5b16ba9848e7e74df0993aa0689168e341c6833cf";
        assert_eq!(signature(&fixture::key(), body), wanted);
    }

    fn sender() -> WebhookSender {
        // Another test may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authority = Arc::new(Authority::fixed(fixture::state(|_| {}), 1_000));
        let log = Arc::new(Log::new(crate::core::ids::NodeId(1)));
        let broker = Broker::new(authority, Channels::new(Arc::default(), &[]));
        WebhookSender::new(broker, log, Counts::default())
    }

    /// So many events of one delivery, each of so many bytes.
    fn batch(app: u64, url: &str, (count, bytes): (usize, usize)) -> SealedBatch {
        let said = Said {
            name: "channel_occupied",
            id: "0a".into(),
            json: vec![b'x'; bytes],
        };
        let receipt = None;
        SealedBatch {
            app: AppId(app),
            hook: Arc::new(serde_json::from_str(url).unwrap()),
            items: vec![Item { said, receipt }; count],
            at_ms: 1,
            letter: None,
        }
    }

    #[test]
    fn what_waits_is_bounded_per_app_and_per_node_and_room_comes_back() {
        let sender = sender();
        let body = 100_000;
        let mut fill = |app: u64| -> Vec<Room> {
            let bounds = sender.bounds(AppId(app));
            std::iter::from_fn(|| sender.reserve(&bounds, body)).collect()
        };
        let per_app = (8 << 20) / (body + OVERHEAD_BYTES);
        let mut rooms: Vec<Vec<Room>> = (0..8).map(&mut fill).collect();
        assert!(rooms.iter().all(|rooms| rooms.len() == per_app));
        // Eight apps that are full are nearly the node's room: the ninth gets what is left.
        let rest = ((64 << 20) - 8 * per_app * (body + OVERHEAD_BYTES)) / (body + OVERHEAD_BYTES);
        assert_eq!((fill(8).len(), fill(0).len()), (rest, 0));
        rooms.swap_remove(0);
        assert_eq!(fill(0).len(), per_app);
    }

    #[actix_web::test]
    async fn a_webhook_that_is_given_up_is_said_in_the_log_without_what_may_be_secret() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let writer = Mutex::new(log.reopen().unwrap());
        let lines = tracing_subscriber::fmt()
            .with_writer(writer)
            .with_ansi(false);
        let _here = tracing::subscriber::set_default(lines.finish());
        let sender = sender();
        let url = r#"{"url":"https://user:word@hooks.example/path-secret?key=query-secret"}"#;
        // There is no such app any more: no attempt can help.
        sender.take(batch(999, url, (4, 2)));
        sender.hurry().await;
        let said = std::fs::read_to_string(log.path()).unwrap();
        let given_up = said
            .lines()
            .filter(|line| line.contains("a webhook was given up"));
        assert_eq!(given_up.count(), 1, "{said}");
        for word in ["WARN", "app=999", "hooks.example", "events=4", "attempts=1"] {
            assert!(said.contains(word), "{word}: {said}");
        }
        for secret in ["user", "word", "path-secret", "query-secret"] {
            assert!(!said.contains(secret), "{secret}: {said}");
        }
    }

    #[actix_web::test]
    async fn what_is_given_up_is_a_dead_letter_unless_nobody_wants_it() {
        // Another test may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let hooks = SettingValue::Text(r#"[{"url":"http://127.0.0.1:9/a"}]"#.into());
        let state = fixture::state(|app| drop(app.settings.insert(SETTING.into(), hooks)));
        let authority = Arc::new(Authority::fixed(state, 1_000));
        let broker = Broker::new(authority, Channels::new(Arc::default(), &[]));
        let log = Arc::new(Log::new(crate::core::ids::NodeId(1)));
        let sender = WebhookSender::new(broker, log, Counts::default());
        let app = fixture::APP.0;
        // Not public, which may change; taken away; and the first once more.
        for path in ["a", "b", "a"] {
            let hook = format!(r#"{{"url":"http://127.0.0.1:9/{path}"}}"#);
            sender.take(batch(app, &hook, (1, 2)));
            sender.hurry().await;
        }
        let kept = sender.letters.of(fixture::APP, 9).await.unwrap();
        assert_eq!((kept.len(), sender.counts.failed.get()), (1, 3));
        sender.letters.erase(fixture::APP, kept[0].id()).await;
        assert!(sender.letters.of(fixture::APP, 9).await.unwrap().is_empty());
    }

    #[actix_web::test]
    async fn what_finds_no_room_is_dropped_and_in_the_log() {
        let sender = sender();
        let batch = |bytes: usize| batch(3, r#"{"url":"http://x"}"#, (1, bytes));
        sender.take(batch(8 << 20));
        sender.take(batch(7 << 20));
        sender.take(batch(7 << 20));
        let states: Vec<_> = sender
            .log
            .newest(AppId(3), 9)
            .iter()
            .map(|one| one.state)
            .collect();
        use WebhookDeliveryState::{Dropped, Pending};
        assert_eq!(states, [Dropped, Pending, Dropped]);
        assert_eq!(sender.counts.failed.get(), 2);
        // Nobody takes it, and it is over all the same.
        sender.hurry().await;
        assert_eq!(sender.waiting(), 0);
        sender.take(batch(7 << 20));
        assert_eq!(
            sender.log.newest(AppId(3), 1).first().map(|one| one.state),
            Some(Pending)
        );
    }
}
