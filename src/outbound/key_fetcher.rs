//! Fetches the keys of providers that have an address for them, on the node that leads: when it is time, and when somebody has
//! asked for them. What came of it is proposed like every other change.
//!
//! **Must never know:** tokens, dialects, or what a key is for.
//! **Why only the leader:** two nodes that fetch at different moments see different keys. Which one is right is said by the
//! log, and the one that fetched is heard once. When it stops leading, the next one reads in the log what is open.

use super::key_set;
use super::target::{ATTEMPT_TIMEOUT, Clients};
use crate::core::authority::{
    Administered, Administration, AppId, Authority, BarrierMode, Capability, Command,
    FETCH_AGAIN_MS, Fetched, Issuer, KeyFetch, Provider, Reply, RequestId, Text,
};
use crate::core::limits::PROVIDER_PRIVATE_TARGETS;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;

/// What providers are told who asks.
const AGENT: &str = concat!("Gatecast/", env!("CARGO_PKG_VERSION"));
/// How often the leader looks whose time it is.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Fetches under way at once: a provider that does not answer keeps no other waiting.
const AT_ONCE: usize = 16;
/// Pause after a result that could not be proposed.
const UNPROPOSED_PAUSE: Duration = Duration::from_secs(5);

/// What is counted on this node.
#[derive(Clone, Debug, Default)]
struct Counts {
    came: Counter,
    failed: Counter,
}

/// Fetches. Clones share what is under way.
#[derive(Clone, Debug)]
pub struct KeyFetcher {
    authority: Arc<Authority>,
    clients: Clients,
    counts: Counts,
    room: Arc<Semaphore>,
    under_way: Arc<Mutex<BTreeSet<(AppId, Text)>>>,
}

impl KeyFetcher {
    /// Over this authority; does nothing by itself.
    #[must_use]
    pub fn new(authority: Arc<Authority>) -> Self {
        Self::within(authority, ATTEMPT_TIMEOUT)
    }

    /// As [`Self::new`]; no request takes longer than that.
    pub(super) fn within(authority: Arc<Authority>, within: Duration) -> Self {
        Self {
            authority,
            clients: Clients::new(AGENT, within),
            counts: Counts::default(),
            room: Arc::new(Semaphore::new(AT_ONCE)),
            under_way: Arc::default(),
        }
    }

    /// Starts it on this thread's runtime.
    pub fn start(&self) {
        let asking = self.clone();
        actix_web::rt::spawn(async move {
            loop {
                let wanted = asking.authority.wanted_keys().await;
                asking.ask(wanted).await;
            }
        });
        let fetching = self.clone();
        actix_web::rt::spawn(async move {
            let mut ticks = tokio::time::interval(LOOK_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                for provider in fetching.due() {
                    let one = fetching.clone();
                    actix_web::rt::spawn(async move { one.fetch(&provider).await });
                }
            }
        });
    }

    /// Asks for these providers' keys, where that is not too soon. Too soon is what the log says; it is looked at here first,
    /// because whoever sends tokens of keys that nobody knows must not fill the log.
    pub(super) async fn ask(&self, wanted: BTreeSet<(AppId, Text)>) {
        for (app, id) in wanted {
            let fetch = self.authority.view().key_fetch(app, &id);
            let now_ms = self.authority.now().cluster_ms;
            if !fetch.may_be_asked(now_ms, FETCH_AGAIN_MS) {
                continue;
            }
            let pause_ms = FETCH_AGAIN_MS;
            let ask = Administered::AskForKeys { id, pause_ms };
            let asked = self.authority.write(
                RequestId(rand::random()),
                in_our_name(app, ask),
                BarrierMode::None,
            );
            if let Err(error) = asked.await {
                tracing::debug!(app = app.0, %error, "keys could not be asked for");
            }
        }
    }

    /// Whose keys this node is to fetch now, and is not fetching already.
    pub(super) fn due(&self) -> Vec<Provider> {
        if !self.authority.leads() {
            return Vec::new();
        }
        let view = self.authority.view();
        let now_ms = self.authority.now().cluster_ms;
        let mut under_way = self.under_way();
        let mut begin = |one: &&Provider| under_way.insert((one.app, one.id.clone()));
        let due = view.keys_due(now_ms).filter(|one| begin(one));
        due.cloned().collect()
    }

    fn under_way(&self) -> std::sync::MutexGuard<'_, BTreeSet<(AppId, Text)>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches this provider's keys and proposes what came of it.
    pub(super) async fn fetch(&self, provider: &Provider) {
        let (app, id) = (provider.app, &provider.id);
        if let Ok(_turn) = self.room.acquire().await {
            self.fetch_in_turn(provider).await;
        }
        self.under_way().remove(&(app, id.clone()));
    }

    async fn fetch_in_turn(&self, provider: &Provider) {
        let (app, id) = (provider.app, &provider.id);
        let view = self.authority.view();
        let KeyFetch { tried, .. } = view.key_fetch(app, id);
        let owner = view.apps.get(&app);
        let private = owner.is_some_and(|app| PROVIDER_PRIVATE_TARGETS.on(app));
        let outcome = key_set::fetch(&self.clients, provider, private).await;
        match &outcome {
            Ok(_) => self.counts.came.inc(),
            Err(_) => self.counts.failed.inc(),
        };
        let why = outcome.as_ref().err().cloned();
        let fetched = Administered::KeysFetched {
            id: id.clone(),
            fetched: Box::new(Fetched {
                source: provider.source.clone(),
                after: tried,
                outcome: outcome.map_err(Into::into),
            }),
        };
        let command = in_our_name(app, fetched);
        let written = self
            .authority
            .write(RequestId(rand::random()), command, BarrierMode::All);
        let written = written.await;
        // A set that cannot be stored has failed as well, and only the log says so.
        let stored = self.authority.view().key_fetch(app, id);
        let why = why.or_else(|| stored.error.as_deref().map(ToOwned::to_owned));
        let (app, provider) = (app.0, &**id);
        match (written, why) {
            (Err(error), _) => {
                tracing::warn!(app, provider, %error, "what was fetched of a provider is not stored, or not everywhere");
                tokio::time::sleep(UNPROPOSED_PAUSE).await;
            }
            (Ok(_), Some(why)) => {
                let failures = stored.failures;
                tracing::warn!(
                    app,
                    provider,
                    why,
                    failures,
                    "a provider's keys could not be fetched: the last ones stay"
                );
            }
            (Ok(written), None) if matches!(written.reply, Reply::Narrowed(_)) => {
                let closed = written.report.closed;
                tracing::info!(
                    app,
                    provider,
                    closed,
                    "a provider has taken keys out of its set"
                );
            }
            (Ok(_), None) => tracing::debug!(app, provider, "a provider's keys were fetched"),
        }
    }

    /// Shows how it goes in this registry.
    pub fn register(&self, registry: &mut Registry) {
        let Counts { came, failed } = self.counts.clone();
        registry.register(
            "provider_keys_fetched",
            "Key sets of identity providers that this node has fetched",
            came,
        );
        registry.register(
            "provider_keys_failed",
            "Key sets of identity providers that this node could not fetch",
            failed,
        );
        registry.register_collector(Box::new(Failing(self.authority.clone())));
    }
}

fn in_our_name(app: AppId, change: Administered) -> Command {
    Command::Administer(Administration {
        app,
        issuer: Issuer::Operator,
        hands_on: Capability::default(),
        change,
    })
}

/// Reads in the state how many providers' last fetch failed.
#[derive(Debug)]
struct Failing(Arc<Authority>);

impl Collector for Failing {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let failing = self.0.view().key_fetches_failing();
        let gauge = ConstGauge::new(i64::try_from(failing).unwrap_or(i64::MAX));
        let help = "Identity providers whose keys could not be fetched the last time, and that keep those of before";
        let kind = gauge.metric_type();
        gauge.encode(encoder.encode_descriptor("providers_failing", help, None, kind)?)
    }
}
