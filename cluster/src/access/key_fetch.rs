//! How it stands with the keys of a provider that are fetched: when they were asked for, when somebody last tried, what came of it.
//!
//! **Must never know:** how keys are fetched. **Why in the log and not with whoever fetches:** the one that does may be another
//! a moment later, and must neither ask a provider anew nor forget that it was asked to; and every node can say how it stands.

use super::{AppId, KeySource, Millis, Provider, PublicKey, Revision, State, Text};
use serde::{Deserialize, Serialize};

/// How long keys that were fetched count as new. One hour.
pub const FETCH_EVERY_MS: Millis = 60 * 60 * 1_000;
/// How soon a failed try is repeated; twice as long after each that fails as well, up to [`FETCH_EVERY_MS`]. Also how often
/// a key that nobody knows may have the keys fetched out of turn.
pub const FETCH_AGAIN_MS: Millis = 60 * 1_000;

/// How it stands with the keys of one provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFetch {
    /// When they were last asked for out of turn; 0 = never.
    pub asked: Revision,
    /// The same as a time.
    pub asked_ms: Millis,
    /// When somebody last tried; 0 = nobody has.
    pub tried: Revision,
    /// The same as a time.
    pub tried_ms: Millis,
    /// When they last came.
    pub came_ms: Option<Millis>,
    /// How many tries have failed since.
    pub failures: u32,
    /// Why the last one did.
    pub error: Option<Text>,
}

impl KeyFetch {
    /// Whether they are asked for and nobody has tried since.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.asked > self.tried
    }

    /// From when on somebody should try.
    #[must_use]
    pub fn due_ms(&self) -> Millis {
        if self.is_open() || self.tried == 0 {
            return 0;
        }
        let doubled = self.failures.saturating_sub(1).min(6);
        let pause_ms = match self.failures {
            0 => FETCH_EVERY_MS,
            _ => (FETCH_AGAIN_MS << doubled).min(FETCH_EVERY_MS),
        };
        self.tried_ms.saturating_add(pause_ms)
    }

    /// Whether they may be asked for again, this long after they were last asked for or came.
    #[must_use]
    pub fn may_be_asked(&self, now_ms: Millis, pause_ms: Millis) -> bool {
        let last_ms = self.asked_ms.max(self.tried_ms);
        let never = self.asked == 0 && self.tried == 0;
        !self.is_open() && (never || last_ms.saturating_add(pause_ms) <= now_ms)
    }
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// Where it was tried: what came from elsewhere meanwhile is not stored.
    pub source: KeySource,
    /// What [`KeyFetch::tried`] was when it began: of two who tried at once, the first is heard.
    pub after: Revision,
    /// The keys, or why there are none.
    pub outcome: Result<Vec<PublicKey>, Text>,
}

impl State {
    /// How it stands with the keys of a provider.
    #[must_use]
    pub fn key_fetch(&self, app: AppId, provider: &Text) -> KeyFetch {
        let known = self.key_fetches.get(&(app, provider.clone()));
        known.cloned().unwrap_or_default()
    }

    /// The providers whose keys somebody should fetch now.
    pub fn keys_due(&self, now_ms: Millis) -> impl Iterator<Item = &Provider> {
        let due = move |one: &&Provider| {
            one.enabled
                && one.source.url().is_some()
                && self.key_fetch(one.app, &one.id).due_ms() <= now_ms
        };
        self.providers.values().filter(due)
    }

    /// How many providers' last try has failed.
    #[must_use]
    pub fn key_fetches_failing(&self) -> usize {
        let failing = self.key_fetches.values().filter(|one| one.failures > 0);
        failing.count()
    }
}
