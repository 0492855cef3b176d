//! When keys are fetched, by whom, and what becomes of them: over real HTTP and a log that stands still.
#![allow(clippy::unwrap_used)]

use super::fixture::{Site, answer, set};
use super::key_fetcher::KeyFetcher;
use crate::core::authority::fixture::state_after;
use crate::core::authority::{
    Administered, Algorithm, AppId, AppSpec, Authority, Capability, CarriedRights, Claims, Command,
    KeyFetch, KeySource, KeySpec, ProviderSpec, Secret, SettingValue, State,
};
use crate::identity::fixture::{ISS, administer, token};
use crate::identity::want_key;
use futures_util::FutureExt as _;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const APP: AppId = AppId(7);
const NOW_S: u64 = 1_700_000_000;
const MINUTE_MS: u64 = 60_000;

/// What the provider publishes by now.
static TURN: AtomicUsize = AtomicUsize::new(0);

fn published(_at: &str, _base: &str) -> Option<Vec<u8>> {
    match TURN.load(Ordering::SeqCst) {
        0 => answer("200 OK", "", &set(&["a", "b"])),
        1 => answer("200 OK", "", &set(&["b", "k1"])),
        _ => answer("500 Internal Server Error", "", b""),
    }
}

fn state(url: &str) -> State {
    let key = KeySpec {
        id: "ceiling".into(),
        app: APP,
        name: "".into(),
        secret: Secret("secret".into()),
        capability: Capability::full(),
        revocable_tokens: true,
    };
    let app = Command::CreateApp(AppSpec {
        id: APP,
        name: "".into(),
        protocols: Vec::new(),
        open: Vec::new(),
        settings: [("provider_private_targets".into(), SettingValue::Bool(true))].into(),
        aliases: Vec::new(),
        keys: vec![key],
    });
    let provider = ProviderSpec {
        id: "idp".into(),
        iss: ISS.into(),
        audiences: vec!["chat".into()],
        algorithms: vec![Algorithm::EdDsa],
        keys: Vec::new(),
        source: KeySource::KeySet(url.into()),
        claims: Claims {
            user: "sub".into(),
            session: "sid".into(),
            groups: None,
            rights: CarriedRights::Grants,
        },
        leeway_ms: 0,
        ceiling: "ceiling".into(),
    };
    let provider = administer(APP, Administered::NewProvider(Box::new(provider)));
    state_after(&[app, provider], NOW_S * 1_000)
}

/// A node: what it knows, and what fetches there.
struct Node {
    authority: Arc<Authority>,
    fetcher: KeyFetcher,
}

impl Node {
    fn new(url: &str) -> Self {
        // Another test may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authority = Arc::new(Authority::fixed(state(url), NOW_S * 1_000));
        authority.take_writes(&[]);
        let fetcher = KeyFetcher::within(authority.clone(), Duration::from_secs(5));
        Self { authority, fetcher }
    }

    /// So much later; whether it may serve.
    fn later(&self, ms: u64, serves: bool) {
        let now_ms = self.authority.now().cluster_ms + ms;
        let state = State::clone(&self.authority.view());
        self.authority.set_fixed(state, now_ms, serves);
        self.authority.take_writes(&[]);
    }

    fn fetch(&self) -> KeyFetch {
        self.authority.view().key_fetch(APP, &"idp".into())
    }

    fn kids(&self) -> Vec<String> {
        let view = self.authority.view();
        let keys = &view.provider(APP, "idp").unwrap().keys;
        keys.iter().map(|one| one.key.kid.to_string()).collect()
    }

    /// Many tokens of a key that nobody knows; whether anything was wanted because of them.
    async fn strangers(&self) -> bool {
        for n in 0..50 {
            want_key(
                &self.authority,
                None,
                &token(NOW_S + n, serde_json::json!({})),
            );
        }
        match self.authority.wanted_keys().now_or_never() {
            None => false,
            Some(wanted) => {
                assert_eq!(wanted.len(), 1, "of one provider once");
                self.fetcher.ask(wanted).await;
                true
            }
        }
    }

    /// Fetches what is due; how many that were.
    async fn run(&self) -> usize {
        let due = self.fetcher.due();
        assert!(self.fetcher.due().is_empty(), "it is under way");
        for one in &due {
            self.fetcher.fetch(one).await;
        }
        due.len()
    }
}

#[actix_web::test]
async fn keys_are_fetched_when_it_is_time_and_out_of_turn_at_most_once_a_minute() {
    let site = Site::serve(published).await;
    let node = Node::new(&format!("{}/keys", site.base));
    assert_eq!(
        (node.run().await, node.kids()),
        (1, vec!["a".into(), "b".into()])
    );
    assert_eq!(node.fetch().came_ms, Some(NOW_S * 1_000));
    assert_eq!((node.run().await, site.asked()), (0, 1));

    // A key that nobody knows, within the minute: it is wanted, and nothing is asked for.
    assert!(node.strangers().await);
    assert_eq!((node.fetch().asked, node.run().await), (0, 0));
    node.later(MINUTE_MS, true);
    assert!(node.strangers().await);
    let asked = node.fetch().asked;
    assert!(asked > 0);
    assert!(node.strangers().await);
    assert_eq!(node.fetch().asked, asked, "it is asked for already");

    // The key that left takes with it who stood on it: that is waited for. The new one is known from then on.
    TURN.store(1, Ordering::SeqCst);
    assert_eq!(
        (node.run().await, node.kids()),
        (1, vec!["b".into(), "k1".into()])
    );
    assert_eq!((node.authority.fences(), site.asked()), (1, 2));
    assert!(!node.strangers().await);

    // A provider that cannot be asked keeps its keys, says so, and is tried again ever later.
    TURN.store(2, Ordering::SeqCst);
    node.later(59 * MINUTE_MS, true);
    assert_eq!(node.run().await, 0);
    node.later(MINUTE_MS, false);
    assert_eq!(node.run().await, 0, "who may not serve does not lead");
    node.later(0, true);
    assert_eq!(
        (node.run().await, node.kids()),
        (1, vec!["b".into(), "k1".into()])
    );
    let fetch = node.fetch();
    assert_eq!(
        (fetch.failures, fetch.error.as_deref()),
        (1, Some("the answer is 500"))
    );
    let mut registry = Registry::default();
    node.fetcher.register(&mut registry);
    let mut shown = String::new();
    prometheus_client::encoding::text::encode(&mut shown, &registry).unwrap();
    for line in [
        "providers_failing 1",
        "provider_keys_fetched_total 2",
        "provider_keys_failed_total 1",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    for (minutes, tries) in [(1, 2), (1, 2), (1, 3), (3, 3), (1, 4)] {
        node.later(minutes * MINUTE_MS, true);
        node.run().await;
        assert_eq!(node.fetch().failures, tries);
    }
    TURN.store(0, Ordering::SeqCst);
    node.later(60 * MINUTE_MS, true);
    assert_eq!((node.run().await, node.fetch().failures), (1, 0));
    assert_eq!(node.authority.view().key_fetches_failing(), 0);
}

#[actix_web::test]
async fn only_a_key_that_can_be_fetched_is_wanted() {
    let node = Node::new("https://id.test/keys");
    let wants = |text: &str| {
        want_key(&node.authority, None, text);
        node.authority.wanted_keys().now_or_never().is_some()
    };
    let claims = |more| token(NOW_S, more);
    assert!(wants(&claims(serde_json::json!({}))));
    assert!(!wants(&claims(
        serde_json::json!({"iss": "https://other.test"})
    )));
    assert!(!wants(&claims(serde_json::json!({"aud": "shop"}))));
    assert!(!wants("no token"));
    want_key(
        &node.authority,
        Some(AppId(8)),
        &claims(serde_json::json!({})),
    );
    assert!(node.authority.wanted_keys().now_or_never().is_none());
}
