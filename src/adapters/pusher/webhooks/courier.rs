//! One request at a time to where it belongs: signed, tried again with growing pauses, given up after five minutes.
//!
//! **Must never know:** why the request is made.
//! **Why each delivery waits for itself:** a receiver that fails on one request would otherwise hold up all that
//! follow it for five minutes.

use super::target::Clients;
use super::{Counts, hook::Hook, log::Log};
use crate::adapters::pusher::limits;
use crate::core::authority::{ApiKey, AppId, Authority};
use crate::core::ids::Text;
use crate::core::lifecycle::{Delivery, DeliveryState};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Client, Url};
use sha2::Sha256;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a delivery is tried, ms. Libraries refuse a body whose time is further off.
pub(super) const WINDOW_MS: u64 = 300_000;
/// First pause; it doubles.
const FIRST_PAUSE_MS: u64 = 1_000;
/// Longest pause.
const LONGEST_PAUSE_MS: u64 = 60_000;
/// Requests of one app under way at once.
const AT_ONCE: usize = 8;
/// Bytes of one app that may wait, and of the whole node.
const BYTES: (u32, usize) = (8 << 20, 64 << 20);
/// What a waiting delivery costs beside its body.
const COST: usize = 1_024;

/// What is to be delivered.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) app: AppId,
    pub(super) hook: Arc<Hook>,
    pub(super) body: Bytes,
    /// Names of its events, each once.
    pub(super) events: Vec<Text>,
    pub(super) count: u32,
    pub(super) at_ms: u64,
}

/// Delivers. Clones share the bounds.
#[derive(Clone, Debug)]
pub(super) struct Courier {
    authority: Arc<Authority>,
    log: Arc<Log>,
    counts: Counts,
    clients: Clients,
    room: Arc<Semaphore>,
    apps: Arc<Mutex<BTreeMap<AppId, Arc<Bounds>>>>,
}

#[derive(Debug)]
struct Bounds {
    at_once: Semaphore,
    room: Arc<Semaphore>,
}

/// Room taken by a waiting delivery, given back when it is over.
struct Room(#[allow(dead_code)] [OwnedSemaphorePermit; 2]);

/// The pause after so many attempts, ms.
fn pause_ms(attempts: u32) -> u64 {
    let doubled = FIRST_PAUSE_MS.checked_shl(attempts.saturating_sub(1));
    doubled.unwrap_or(u64::MAX).min(LONGEST_PAUSE_MS)
}

/// `X-Pusher-Signature` of a body.
pub(super) fn signature(key: &ApiKey, body: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.secret.0.as_bytes()) else {
        return String::new();
    };
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

impl Courier {
    pub(super) fn new(authority: Arc<Authority>, log: Arc<Log>, counts: Counts) -> Self {
        Self {
            authority,
            log,
            counts,
            clients: Clients::new(),
            room: Arc::new(Semaphore::new(BYTES.1)),
            apps: Arc::default(),
        }
    }

    /// Takes a parcel on its way, unless too much is waiting.
    pub(super) fn take(&self, parcel: Parcel) {
        let bounds = self.bounds(parcel.app);
        let room = self.reserve(&bounds, parcel.body.len());
        let state = match room {
            Some(_) => DeliveryState::Pending,
            None => DeliveryState::Dropped,
        };
        let id = self.log.enter(parcel.app, line(&parcel, state));
        match room {
            None => drop(self.counts.failed.inc()),
            Some(room) => {
                self.counts.queued.inc();
                let courier = self.clone();
                actix_web::rt::spawn(async move {
                    courier.carry(parcel, id, &bounds).await;
                    drop(room);
                });
            }
        }
    }

    fn bounds(&self, app: AppId) -> Arc<Bounds> {
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || {
            Arc::new(Bounds {
                at_once: Semaphore::new(AT_ONCE),
                room: Arc::new(Semaphore::new(BYTES.0 as usize)),
            })
        };
        apps.entry(app).or_insert_with(made).clone()
    }

    fn reserve(&self, bounds: &Bounds, bytes: usize) -> Option<Room> {
        let cost = u32::try_from(bytes + COST).ok()?;
        let of_app = bounds.room.clone().try_acquire_many_owned(cost).ok()?;
        let of_node = self.room.clone().try_acquire_many_owned(cost).ok()?;
        Some(Room([of_app, of_node]))
    }

    async fn carry(&self, parcel: Parcel, id: u64, bounds: &Bounds) {
        let (app, mut attempts) = (parcel.app, 0);
        loop {
            attempts += 1;
            let tried = match bounds.at_once.acquire().await {
                Ok(_turn) => self.attempt(&parcel).await,
                Err(_) => return,
            };
            let now_ms = self.authority.now().cluster_ms;
            let pause = pause_ms(attempts);
            let late = now_ms.saturating_add(pause) > parcel.at_ms.saturating_add(WINDOW_MS);
            let (state, status, error) = match tried {
                Ok(status) if (200..300).contains(&status) => {
                    (DeliveryState::Delivered, Some(status), None)
                }
                Ok(status) => (DeliveryState::Pending, Some(status), None),
                Err(Failure::Again(error)) => (DeliveryState::Pending, None, Some(error)),
                Err(Failure::Never(error)) => (DeliveryState::GivenUp, None, Some(error)),
            };
            let state = match state {
                DeliveryState::Pending if late => DeliveryState::GivenUp,
                known @ (DeliveryState::Pending
                | DeliveryState::Delivered
                | DeliveryState::GivenUp
                | DeliveryState::Dropped) => known,
            };
            let over = state != DeliveryState::Pending;
            self.log.change(app, id, |line| {
                (line.state, line.attempts, line.status) = (state, attempts, status);
                line.error = error.map(Into::into);
                line.next_ms = (!over).then(|| now_ms.saturating_add(pause));
            });
            if over {
                let delivered = state == DeliveryState::Delivered;
                let counts = &self.counts;
                if delivered {
                    counts.delivered.inc()
                } else {
                    counts.failed.inc()
                };
                return;
            }
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// One request. Everything about the app is looked up anew: hooks and keys may have changed since.
    async fn attempt(&self, parcel: &Parcel) -> Result<u16, Failure> {
        if !self.authority.serving() {
            // A node cut off from its cluster may be wrong about who is there.
            return Err(Failure::Again("this node may not serve now".into()));
        }
        let view = self.authority.view();
        let app = view.apps.get(&parcel.app).filter(|app| app.enabled);
        let app = app.ok_or_else(|| Failure::Never("the app is gone or disabled".into()))?;
        if !super::desk::hooks(app).contains(&*parcel.hook) {
            return Err(Failure::Never("the hook was taken away".into()));
        }
        let now_ms = self.authority.now().cluster_ms;
        let active = |key: &&ApiKey| key.enabled && key.expires_ms.is_none_or(|end| now_ms < end);
        let keys = view.keys_of(parcel.app).filter(active);
        let oldest = keys.min_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
        let key = oldest.ok_or_else(|| Failure::Never("the app has no active key".into()))?;
        let private = limits::WEBHOOK_PRIVATE_TARGETS.on(app);
        let url = Url::parse(&parcel.hook.url).map_err(|e| Failure::Never(e.to_string()))?;
        let client = self.clients.to(&url, private).map_err(Failure::Never)?;
        post(client, url, parcel, key).await
    }
}

/// Why an attempt came to nothing.
enum Failure {
    /// It may be better next time.
    Again(String),
    /// It will not.
    Never(String),
}

async fn post(client: &Client, url: Url, parcel: &Parcel, key: &ApiKey) -> Result<u16, Failure> {
    let mut request = client
        .post(url)
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
        .header("X-Pusher-Key", &*key.id)
        .header("X-Pusher-Signature", signature(key, &parcel.body));
    for (name, value) in &parcel.hook.headers {
        if let Ok(name) = HeaderName::try_from(name.as_str()) {
            request = request.header(name, value);
        }
    }
    match request.body(parcel.body.clone()).send().await {
        Ok(answer) => Ok(answer.status().as_u16()),
        Err(error) => Err(Failure::Again(reason(&error.without_url()))),
    }
}

/// The innermost cause says what is wrong; the outer ones say that something is.
fn reason(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(inner) = last.source() {
        last = inner;
    }
    let text = last.to_string();
    text.get(..text.floor_char_boundary(200))
        .unwrap_or_default()
        .to_owned()
}

fn line(parcel: &Parcel, state: DeliveryState) -> Delivery {
    let target = parcel.hook.url.split(['?', '#']).next().unwrap_or_default();
    Delivery {
        id: 0,
        node: crate::core::ids::NodeId(0),
        target: target.into(),
        events: parcel.events.clone(),
        count: parcel.count,
        at_ms: parcel.at_ms,
        state,
        attempts: 0,
        status: None,
        error: None,
        next_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::pusher::fixture;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let pauses: Vec<u64> = (1..=8).map(pause_ms).collect();
        let wanted = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000];
        assert_eq!(pauses, wanted);
        assert_eq!(pause_ms(200), 60_000);
    }

    #[test]
    fn the_documented_body_has_the_documented_signature() {
        let body = br#"{"time_ms":1327078148132,"events":[{"name":"channel_occupied","channel":"my-channel"}]}"#;
        let wanted = "c19001ae3963ccb13bf618e5b16ba9848e7e74df0993aa0689168e341c6833cf";
        assert_eq!(signature(&fixture::key(), body), wanted);
    }
}
