//! Asks providers for security events (poll delivery, RFC 8936), on the node that leads. An event is acknowledged when nobody
//! serves any more whom it ends, and never before; what is not acknowledged comes again, here or at the next leader.
//!
//! **Must never know:** what an event means.
//! **Why only the leader:** two that ask are told the same things twice. Should two believe for a moment that they lead, nothing is
//! lost by it: an event is carried out once, by its id in the log.
//! **Why no queue of our own:** the transmitter keeps what we have not acknowledged. A burst waits there, and costs us one answer.

use super::hear::{Counts, Heard, Unheard, hear, word};
use super::read::{As, Place, Sent, Unread, ask, unexpected};
use super::stream::{AGENT, Token, token_for};
use super::target::Clients;
use crate::core::authority::{AppId, Authority, Delivery, Signals, Stream, Text};
use crate::core::limits::PROVIDER_PRIVATE_TARGETS;
use futures_util::stream::{self, StreamExt as _};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// How often the leader looks whose events nobody asks for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Longest that one request waits for an event to happen.
const POLL_WITHIN: Duration = Duration::from_secs(30);
/// Most events of one answer that are asked for.
const EVENTS: usize = 256;
/// Most bytes of one answer: so many events of the greatest length, and what is around them.
const ANSWER_BYTES: usize = EVENTS * (9 << 10);
/// Events that are carried out at once; they share log entries.
const AT_ONCE: usize = 64;
/// From one request to the next where nothing came: not every transmitter waits.
const IDLE: Duration = Duration::from_secs(1);
/// Pause after a request that failed; twice as long after each that fails as well.
const AGAIN: Duration = Duration::from_secs(1);
/// Longest such pause.
const AGAIN_AT_MOST: Duration = Duration::from_secs(60);
/// Longest text of why one is refused.
const WHY_BYTES: usize = 200;

/// Asks. Clones share what is under way.
#[derive(Clone, Debug)]
pub struct Poller {
    authority: Arc<Authority>,
    clients: Clients,
    counts: Counts,
    failed: Counter,
    under_way: Arc<Mutex<BTreeSet<(AppId, Text)>>>,
}

/// One provider's events, and what it has to be told of them.
pub(super) struct Stand {
    of: (AppId, Text),
    signals: Signals,
    stream: Stream,
    endpoint: Text,
    token: Option<(Token, Instant)>,
    acknowledged: Vec<String>,
    refused: BTreeMap<String, Value>,
    most: usize,
}

/// An answer of RFC 8936.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    sets: Map<String, Value>,
}

/// What came of one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Polled {
    /// Something. It is asked again after a pause where nobody can say what became of an event, and where there was
    /// none among what came: whoever sends such things may do so for ever.
    Came {
        /// Whether there is a pause.
        pauses: bool,
    },
    /// Nothing has happened for so long.
    Nothing,
}

#[cfg(test)]
impl Stand {
    /// What the provider is told with the next request.
    pub(super) fn told(self) -> (Vec<String>, BTreeMap<String, Value>) {
        (self.acknowledged, self.refused)
    }

    /// How many events are asked for with it.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// As if it had to be told this.
    pub(super) fn owes(&mut self, id: &str) {
        self.acknowledged.push(id.to_owned());
    }
}

impl Poller {
    /// Over this authority; does nothing by itself.
    #[must_use]
    pub fn new(authority: Arc<Authority>) -> Self {
        Self {
            authority,
            clients: Clients::new(AGENT, POLL_WITHIN),
            counts: Counts::default(),
            failed: Counter::default(),
            under_way: Arc::default(),
        }
    }

    /// Starts it on this thread's runtime.
    pub fn start(&self) {
        let looking = self.clone();
        actix_web::rt::spawn(async move {
            let mut ticks = tokio::time::interval(LOOK_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                for stand in looking.idle() {
                    let one = looking.clone();
                    actix_web::rt::spawn(async move { one.follow(stand).await });
                }
            }
        });
    }

    fn under_way(&self) -> std::sync::MutexGuard<'_, BTreeSet<(AppId, Text)>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose events this node is to ask for, and does not already.
    pub(super) fn idle(&self) -> Vec<Stand> {
        if !self.authority.leads() {
            return Vec::new();
        }
        let view = self.authority.view();
        let mut under_way = self.under_way();
        let mut idle = Vec::new();
        for (of, signals) in &view.signals {
            let enabled = view.provider(of.0, &of.1).is_some_and(|one| one.enabled);
            let (Delivery::Poll { endpoint }, Some(stream)) =
                (&signals.spec.delivery, &signals.spec.stream)
            else {
                continue;
            };
            if !enabled || !under_way.insert(of.clone()) {
                continue;
            }
            idle.push(Stand {
                of: of.clone(),
                signals: signals.clone(),
                stream: stream.clone(),
                endpoint: endpoint.clone(),
                token: None,
                acknowledged: Vec::new(),
                refused: BTreeMap::new(),
                most: EVENTS,
            });
        }
        idle
    }

    /// Whether it is still this node that asks, and so.
    fn is_ours(&self, stand: &Stand) -> bool {
        let (app, provider) = &stand.of;
        let view = self.authority.view();
        let enabled = view.provider(*app, provider).is_some_and(|one| one.enabled);
        let signals = view.signals_of(*app, provider);
        let same = signals.is_some_and(|now| now.spec == stand.signals.spec);
        self.authority.leads() && enabled && same
    }

    async fn follow(&self, mut stand: Stand) {
        let (app, provider) = stand.of.clone();
        let mut failures: u32 = 0;
        while self.is_ours(&stand) {
            let began = Instant::now();
            match self.poll(&mut stand).await {
                Ok(polled) => {
                    if failures > 0 {
                        tracing::info!(
                            app = app.0,
                            provider = &*provider,
                            "a provider's events come again"
                        );
                    }
                    failures = 0;
                    match polled {
                        Polled::Came { pauses: false } => {}
                        Polled::Came { pauses: true } => tokio::time::sleep(AGAIN).await,
                        Polled::Nothing => tokio::time::sleep_until(began + IDLE).await,
                    }
                }
                Err(why) => {
                    self.failed.inc();
                    tracing::warn!(
                        app = app.0,
                        provider = &*provider,
                        why,
                        failures,
                        "a provider's events could not be asked for"
                    );
                    let pause = AGAIN * 2_u32.saturating_pow(failures.min(6));
                    failures = failures.saturating_add(1);
                    tokio::time::sleep(pause.min(AGAIN_AT_MOST)).await;
                }
            }
        }
        self.under_way().remove(&stand.of);
    }

    /// Acknowledges what is over, asks for more, and carries that out.
    pub(super) async fn poll(&self, stand: &mut Stand) -> Result<Polled, String> {
        let place = self.place(stand);
        let token = self.token(stand, place).await?;
        // What was acknowledged is told at once; only who has nothing to tell waits.
        let waits = stand.acknowledged.is_empty() && stand.refused.is_empty();
        let body = json!({
            "maxEvents": stand.most,
            "returnImmediately": !waits,
            "ack": stand.acknowledged,
            "setErrs": stand.refused,
        });
        let call = (Method::POST, &*stand.endpoint);
        let asked = ask(place, call, As::Bearer(&token), Sent::Json(&body)).await;
        let body = match asked {
            Ok((StatusCode::OK, body)) => body,
            Ok((StatusCode::NO_CONTENT | StatusCode::ACCEPTED, _)) => b"{}".to_vec(),
            Ok((status, _)) => {
                stand.token = None;
                return Err(unexpected(status));
            }
            // Nothing has happened for so long. What had to be told is told again.
            Err(Unread::Late) if waits => return Ok(Polled::Nothing),
            Err(Unread::TooLong(_)) if stand.most > 1 => {
                stand.most /= 2;
                return Ok(Polled::Came { pauses: false });
            }
            Err(why) => return Err(why.to_string()),
        };
        stand.acknowledged.clear();
        stand.refused.clear();
        let none = |_| "this is no answer of RFC 8936".to_owned();
        let answer: Answer = serde_json::from_slice(&body).map_err(none)?;
        if answer.sets.is_empty() {
            return Ok(match waits {
                true => Polled::Nothing,
                false => Polled::Came { pauses: false },
            });
        }
        let open = self.carry_out(stand, answer.sets).await;
        let pauses = open > 0 || stand.acknowledged.is_empty();
        Ok(Polled::Came { pauses })
    }

    fn place(&self, stand: &Stand) -> Place<'_> {
        let view = self.authority.view();
        let owner = view.apps.get(&stand.of.0);
        Place {
            clients: &self.clients,
            private: owner.is_some_and(|app| PROVIDER_PRIVATE_TARGETS.on(app)),
            max_bytes: ANSWER_BYTES,
        }
    }

    async fn token(&self, stand: &mut Stand, place: Place<'_>) -> Result<String, String> {
        let usable = |(_, until): &&(Token, Instant)| *until > Instant::now();
        if let Some((token, _)) = stand.token.as_ref().filter(usable) {
            return Ok(token.text.clone());
        }
        let token = token_for(place, &stand.stream).await?;
        let text = token.text.clone();
        let until = Instant::now() + token.lives;
        stand.token = Some((token, until));
        Ok(text)
    }

    /// Carries these events out, all that came at once; of how many nobody can say what became of them.
    pub(super) async fn carry_out(&self, stand: &mut Stand, sets: Map<String, Value>) -> usize {
        let (app, provider) = (stand.of.0, &*stand.of.1);
        let (authority, counts) = (&self.authority, &self.counts);
        let heard = sets.into_iter().map(|(id, set)| async move {
            // What is no text is no event.
            let heard = hear(authority, (app, provider), set.as_str().unwrap_or_default()).await;
            counts.count(&heard);
            (id, heard)
        });
        let heard: Vec<_> = stream::iter(heard)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut open = 0;
        for (id, heard) in heard {
            match heard {
                Ok(Heard::Over { .. } | Heard::Noted | Heard::Nothing) => {
                    stand.acknowledged.push(id);
                }
                Err(Unheard::Refused(why)) => {
                    let text = why.to_string();
                    let end = text.floor_char_boundary(WHY_BYTES);
                    let description = text.get(..end).unwrap_or_default();
                    let error = json!({ "err": word(why), "description": description });
                    stand.refused.insert(id, error);
                }
                Err(Unheard::Unavailable(_) | Unheard::Unwritten { .. }) => open += 1,
            }
        }
        // One line, however many: what is sent is the other side's.
        if let Some((_, first)) = stand.refused.first_key_value() {
            let (refused, first) = (stand.refused.len(), first.to_string());
            tracing::warn!(
                app = app.0,
                provider,
                refused,
                first,
                "what a provider told is refused"
            );
        }
        open
    }

    /// Shows how it goes in this registry.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Security events that this node has asked identity providers for";
        self.counts
            .register(registry, "provider_events_polled", help);
        registry.register(
            "provider_polls_failed",
            "Requests of this node for security events that failed",
            self.failed.clone(),
        );
    }
}
