//! History: fetch (v2 and v3), counts, delete.

use super::admit::{Caller, Ctx, requirement};
use super::codes::{Fault, ok};
use super::envelope::{self, Extra};
use super::{names, query};
use crate::core::authority::{Operations, Resource};
use crate::core::broker::Broker;
use crate::core::ids::{ChannelKey, Text};
use crate::core::message::Publication;
use crate::core::session::HistoryPage;
use actix_web::HttpResponse;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Most messages of one channel.
const MAX_OF_ONE: u64 = 100;
/// Most messages of each of several.
const MAX_OF_EACH: u64 = 25;
/// Most that are counted.
const MAX_COUNT: u32 = 10_000;

/// A call: its tools and its caller.
pub(super) struct Call<'a> {
    pub(super) broker: &'a Broker,
    pub(super) caller: &'a Caller,
    pub(super) ctx: &'a Ctx<'a>,
}

impl Call<'_> {
    fn channels(&self, channels: &str) -> Result<Vec<Text>, Fault> {
        let named = query::path_list(channels).ok_or_else(Fault::arguments)?;
        let named = names::distinct(named.iter().map(String::as_str));
        match (1..=500).contains(&named.len()) {
            true => Ok(named),
            false => Err(Fault::arguments()),
        }
    }

    async fn allowed(&self, channels: &[Text]) -> Result<(), Fault> {
        let of = |name: &Text| requirement(Resource::Channel, name, Operations::HISTORY);
        let requirements: Vec<_> = channels.iter().map(of).collect();
        let authority = &self.broker.authority;
        let passes = self
            .caller
            .allow(authority, &requirements, Operations::NONE);
        passes.await.map(drop)
    }

    fn key(&self, channel: &str) -> Arc<ChannelKey> {
        ChannelKey::channel(self.caller.app.id, channel)
    }

    /// Between `start` (exclusive, newer) and `end` (inclusive, older), the newest of them unless asked from the
    /// other side; oldest first.
    async fn page(
        &self,
        channel: &str,
        limit: u64,
        reverse: bool,
    ) -> Result<Vec<Arc<Publication>>, Fault> {
        let bound = |name| match self.ctx.query.given(name) {
            Some(text) => text
                .parse::<u64>()
                .map(Some)
                .map_err(|_| Fault::arguments()),
            None => Ok(None),
        };
        let (start, end) = (bound("start")?, bound("end")?);
        // From the oldest on, the start is the older end.
        let (after, until) = match reverse {
            false => (
                end.map_or(0, |end| end.saturating_sub(1)),
                start.map_or(u64::MAX, |start| start.saturating_sub(1)),
            ),
            true => (start.unwrap_or(0), end.unwrap_or(u64::MAX)),
        };
        let page = HistoryPage {
            after,
            until,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            backwards: !reverse,
        };
        let mut found = self.broker.history(&self.key(channel), page).await?;
        if !reverse {
            found.reverse();
        }
        Ok(found)
    }

    /// Fetches the history of channels, version 3.
    pub(super) async fn fetch(&self, channels: &str) -> Result<HttpResponse, Fault> {
        let channels = self.channels(channels)?;
        self.allowed(&channels).await?;
        let most = if channels.len() == 1 {
            MAX_OF_ONE
        } else {
            MAX_OF_EACH
        };
        let asked = self.ctx.query.number("max").unwrap_or(most);
        let reverse = self.ctx.query.flag("reverse");
        let mut shown = Map::new();
        for channel in &channels {
            let page = self.page(channel, asked.clamp(1, most), reverse).await?;
            if !page.is_empty() {
                let items: Vec<Value> = page.iter().map(|one| self.item(one)).collect();
                shown.insert(channel.to_string(), items.into());
            }
        }
        Ok(ok(&json!({
            "status": 200, "error": false, "error_message": "", "channels": shown,
        })))
    }

    fn item(&self, one: &Publication) -> Value {
        let draft = &one.draft;
        let mut item = json!({
            "message": payload(one),
            "timetoken": one.timetoken.to_string(),
        });
        let Some(map) = item.as_object_mut() else {
            return item;
        };
        let wants = |name| self.ctx.query.flag(name);
        if wants("include_uuid") {
            map.insert("uuid".into(), Extra::of(draft).i.into());
        }
        if wants("include_meta") {
            let meta = envelope::meta(draft).and_then(|meta| serde_json::from_str(meta).ok());
            map.insert("meta".into(), meta.unwrap_or_else(|| "".into()));
        }
        if wants("include_message_type") {
            map.insert("message_type".into(), Extra::of(draft).e.into());
        }
        if let (true, Some(name)) = (
            wants("include_custom_message_type"),
            envelope::custom_type(draft),
        ) {
            map.insert("custom_message_type".into(), name.into());
        }
        item
    }

    /// Fetches the history of a channel, version 2.
    pub(super) async fn fetch_old(&self, channel: &str) -> Result<HttpResponse, Fault> {
        let channel = query::decode(channel).ok_or_else(Fault::arguments)?;
        self.allowed(&[channel.as_str().into()]).await?;
        let count = self
            .ctx
            .query
            .number("count")
            .unwrap_or(MAX_OF_ONE)
            .clamp(1, MAX_OF_ONE);
        let reverse = self.ctx.query.flag("reverse");
        let page = self.page(&channel, count, reverse).await?;
        let text = self.ctx.query.flag("string_message_token");
        let timetoken = |at: u64| match text {
            true => Value::from(at.to_string()),
            false => at.into(),
        };
        let with_token = self.ctx.query.flag("include_token");
        let with_meta = self.ctx.query.flag("include_meta");
        let item = |one: &Arc<Publication>| {
            if !with_token && !with_meta {
                return payload(one);
            }
            let mut item = Map::new();
            item.insert("message".into(), payload(one));
            if with_token {
                item.insert("timetoken".into(), timetoken(one.timetoken));
            }
            if with_meta {
                let meta = envelope::meta(&one.draft);
                let meta = meta.and_then(|meta| serde_json::from_str(meta).ok());
                item.insert("meta".into(), meta.unwrap_or_else(|| "".into()));
            }
            Value::Object(item)
        };
        let items: Vec<Value> = page.iter().map(item).collect();
        let end = |one: Option<&Arc<Publication>>| timetoken(one.map_or(0, |one| one.timetoken));
        Ok(ok(&json!([items, end(page.first()), end(page.last())])))
    }

    /// How many came after a time.
    pub(super) async fn counts(&self, channels: &str) -> Result<HttpResponse, Fault> {
        let channels = self.channels(channels)?;
        let times = match self.ctx.query.given("timetoken") {
            Some(one) => vec![one; channels.len()],
            None => self.ctx.query.list("channelsTimetoken"),
        };
        let times: Result<Vec<u64>, _> = times.iter().map(|text| text.parse()).collect();
        let times = times.map_err(|_| Fault::arguments())?;
        let times = match times.as_slice() {
            [one] => vec![*one; channels.len()],
            _ => times,
        };
        if times.len() != channels.len() {
            return Err(Fault::arguments());
        }
        self.allowed(&channels).await?;
        let mut counts = Map::new();
        for (channel, after) in channels.iter().zip(times) {
            let page = HistoryPage {
                after,
                until: u64::MAX,
                limit: MAX_COUNT,
                backwards: false,
            };
            let found = self.broker.history(&self.key(channel), page).await?;
            counts.insert(channel.to_string(), found.len().into());
        }
        Ok(ok(&json!({
            "status": 200, "error": false, "error_message": "", "channels": counts,
        })))
    }

    /// Forgets messages after `start` up to `end`.
    pub(super) async fn delete(&self, channel: &str) -> Result<HttpResponse, Fault> {
        let channel = query::decode(channel).ok_or_else(Fault::arguments)?;
        let pass = self
            .caller
            .channel(&self.broker.authority, &channel, Operations::DELETE)
            .await?;
        let after = self.ctx.query.number("start").unwrap_or(0);
        let until = self.ctx.query.number("end").unwrap_or(u64::MAX);
        self.broker
            .erase(&self.key(&channel), (after, until), pass)
            .await?;
        Ok(ok(
            &json!({ "status": 200, "error": false, "error_message": "" }),
        ))
    }
}

fn payload(one: &Publication) -> Value {
    serde_json::from_str(&envelope::payload(&one.draft)).unwrap_or(Value::Null)
}
