//! Dead letters: deliveries that were given up, kept until somebody has them delivered after all.
//!
//! They are the history of a channel that nobody subscribes to ([`ChannelKey::dead_letters`]), so they are on two nodes,
//! move with their home and are bounded like everything in a channel.
//!
//! **Why the hook is kept by its address alone:** its headers may hold secrets, and may be others by the time.

use super::batch::{Item, SealedBatch};
use super::event::Said;
use super::hook::{EVENT_TYPES, Hook};
use super::retry::Verdict;
use crate::core::authority::{AppId, Operations};
use crate::core::broker::Broker;
use crate::core::error::Refusal;
use crate::core::ids::{ChannelKey, Text};
use crate::core::lifecycle::DeadLetter;
use crate::core::message::{ContentKind, Draft, Publication};
use crate::core::session::HistoryPage;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    url: String,
    at_ms: u64,
    given_up_ms: u64,
    attempts: u32,
    status: Option<u16>,
    error: Option<String>,
    events: Vec<KeptEvent>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptEvent {
    id: Text,
    name: String,
    json: String,
}

/// One that has been found.
#[derive(Debug)]
pub(super) struct Letter {
    id: u64,
    kept: Kept,
}

/// The dead letters of all apps. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Letters(Broker);

impl Letters {
    pub(super) fn new(broker: Broker) -> Self {
        Self(broker)
    }

    /// Keeps one. The same one given up twice is one.
    ///
    /// # Errors
    /// When it could not be kept on two nodes.
    pub(super) async fn keep(
        &self,
        batch: &SealedBatch,
        attempts: u32,
        verdict: &Verdict,
    ) -> Result<(), Refusal> {
        let key = ChannelKey::dead_letters(batch.app);
        let pass = self.0.authority.operator_pass(Operations::PUBLISH);
        let now_ms = self.0.authority.now().cluster_ms;
        let draft = draft(batch, attempts, verdict, now_ms);
        self.0.publish(&key, draft, pass).await.map(drop)
    }

    /// An app's, newest first.
    ///
    /// # Errors
    /// When their home cannot be asked.
    pub(super) async fn of(&self, app: AppId, limit: usize) -> Result<Vec<Letter>, Refusal> {
        let page = HistoryPage {
            after: 0,
            until: u64::MAX,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            backwards: true,
        };
        let found = self.0.history(&ChannelKey::dead_letters(app), page).await?;
        Ok(found.iter().filter_map(|one| Letter::read(one)).collect())
    }

    /// It has been delivered after all.
    pub(super) async fn erase(&self, app: AppId, id: u64) {
        let key = ChannelKey::dead_letters(app);
        let pass = self.0.authority.operator_pass(Operations::DELETE);
        let range = (id.saturating_sub(1), id);
        if let Err(error) = self.0.erase(&key, range, pass).await {
            tracing::warn!(app = app.0, %error, "a dead letter was delivered and could not be taken off the list");
        }
    }
}

fn draft(batch: &SealedBatch, attempts: u32, verdict: &Verdict, given_up_ms: u64) -> Draft {
    let event = |one: &Item| KeptEvent {
        id: one.said.id.clone(),
        name: one.said.name.to_owned(),
        json: String::from_utf8_lossy(&one.said.json).into_owned(),
    };
    let kept = Kept {
        url: batch.hook.url.clone(),
        at_ms: batch.at_ms,
        given_up_ms,
        attempts,
        status: verdict.status,
        error: verdict.error.clone(),
        events: batch.items.iter().map(event).collect(),
    };
    let first = kept.events.first().map_or("", |one| &*one.id);
    Draft {
        id: Some(format!("{first} {}", kept.url).into()),
        name: "dead-letter".into(),
        // Texts and numbers into memory: cannot fail.
        data: serde_json::to_vec(&kept).unwrap_or_default().into(),
        kind: ContentKind::Json,
        meta: None,
        client: None,
        connection: None,
        except: None,
        store: true,
        retain_ms: None,
        tag: None,
    }
}

impl Letter {
    fn read(publication: &Publication) -> Option<Self> {
        Some(Self {
            id: publication.timetoken,
            kept: serde_json::from_slice(&publication.draft.data).ok()?,
        })
    }

    /// Its number in its app.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// As operators see it.
    pub(super) fn shown(self) -> DeadLetter {
        let target = self.kept.url.split(['?', '#']).next().unwrap_or_default();
        let mut events: Vec<Text> = self
            .kept
            .events
            .iter()
            .map(|one| (*one.name).into())
            .collect();
        events.sort_unstable();
        events.dedup();
        DeadLetter {
            id: self.id,
            target: target.into(),
            events,
            event_ids: self.kept.events.iter().map(|one| one.id.clone()).collect(),
            at_ms: self.kept.at_ms,
            given_up_ms: self.kept.given_up_ms,
            attempts: self.kept.attempts,
            status: self.kept.status,
            error: self.kept.error.map(Into::into),
        }
    }

    /// To be delivered after all, at this time (libraries refuse an old one), to the hook that has its address now. None
    /// when no hook has, or none of its events is known.
    pub(super) fn batch(self, app: AppId, hooks: &[Arc<Hook>], now_ms: u64) -> Option<SealedBatch> {
        let hook = hooks.iter().find(|one| one.url == self.kept.url)?.clone();
        let item = |one: KeptEvent| {
            let name = EVENT_TYPES.into_iter().find(|name| **name == *one.name)?;
            let said = Said {
                name,
                id: one.id,
                json: one.json.into_bytes(),
            };
            let receipt = None;
            Some(Item { said, receipt })
        };
        let items: Vec<Item> = self.kept.events.into_iter().filter_map(item).collect();
        (!items.is_empty()).then_some(SealedBatch {
            app,
            hook,
            items,
            at_ms: now_ms,
            letter: Some(self.id),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::adapters::pusher::webhooks::retry::{Tried, next_attempt};
    use crate::core::ids::Position;

    fn given_up() -> Letter {
        let url = r#"{"url":"https://hooks.example/path?key=secret","headers":{"X-Secret":"y"}}"#;
        let batch = SealedBatch {
            app: AppId(3),
            hook: Arc::new(serde_json::from_str(url).unwrap()),
            items: vec![Item {
                said: Said {
                    name: "member_added",
                    id: "0a".into(),
                    json: br#"{"name":"member_added"}"#.to_vec(),
                },
                receipt: None,
            }],
            at_ms: 5,
            letter: None,
        };
        let verdict = next_attempt(Tried::Answered(503), 10, (0, 400_000));
        let draft = draft(&batch, 10, &verdict, 7);
        let text = String::from_utf8(draft.data.to_vec()).unwrap();
        assert!(!text.contains("X-Secret"), "{text}");
        Letter::read(&Publication {
            draft: Box::new(draft),
            position: Position::default(),
            timetoken: 70_000,
        })
        .unwrap()
    }

    #[test]
    fn a_letter_is_shown_without_its_query_and_its_payload() {
        let shown = given_up().shown();
        assert_eq!((shown.id, shown.given_up_ms, shown.at_ms), (70_000, 7, 5));
        assert_eq!(&*shown.target, "https://hooks.example/path");
        assert_eq!((shown.attempts, shown.status), (10, Some(503)));
        assert_eq!(shown.events, ["member_added".into()]);
        assert_eq!(shown.event_ids, ["0a".into()]);
    }

    #[test]
    fn a_letter_goes_to_the_hook_that_has_its_address_now_under_the_same_id() {
        let hook = |text: &str| Arc::new(serde_json::from_str::<Hook>(text).unwrap());
        let hooks = [
            hook(r#"{"url":"https://hooks.example/other"}"#),
            hook(r#"{"url":"https://hooks.example/path?key=secret","headers":{"X-New":"z"}}"#),
        ];
        let batch = given_up().batch(AppId(3), &hooks, 900).unwrap();
        assert_eq!(batch.hook, hooks[1]);
        assert_eq!((&*batch.ids(), batch.letter), ("0a", Some(70_000)));
        assert_eq!(
            batch.body(),
            r#"{"time_ms":900,"events":[{"name":"member_added"}]}"#
        );
        assert!(given_up().batch(AppId(3), &hooks[..1], 900).is_none());
    }
}
