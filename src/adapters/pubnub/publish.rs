//! `publish`, `signal`, `fire`: judged on every message.

use super::admit::{Caller, Ctx};
use super::codes::{Fault, answer};
use super::envelope::{Extra, is_custom_type};
use super::signature::fingerprint;
use super::{PubNub, limits, names, query};
use crate::core::authority::Operations;
use crate::core::broker::Broker;
use crate::core::ids::{ChannelKey, Text, Timetoken};
use crate::core::message::{ContentKind, Draft};
use crate::core::refusals::Rule;
use actix_web::HttpResponse;
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

/// What is published, as the request names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Publication<'a> {
    /// The keyset's publish key.
    pub(super) publish_key: &'a str,
    /// The channel's name, still escaped.
    pub(super) channel: &'a str,
    /// In the path and still escaped; a POST has it in its body.
    pub(super) message: Option<&'a str>,
    /// Small, never stored.
    pub(super) signal: bool,
}

/// Carries it out.
pub(super) async fn publish(
    node: &PubNub,
    broker: &Broker,
    caller: &Caller,
    ctx: &Ctx<'_>,
    given: Publication<'_>,
) -> Result<HttpResponse, Fault> {
    let now = broker.authority.now().cluster_ms.saturating_mul(10_000);
    if super::PUBLISH_KEY.of(&caller.app) != given.publish_key {
        return Err(Fault::unsent("Invalid Key", now).because(Rule::UnknownKey));
    }
    let channel = query::decode(given.channel).unwrap_or_default();
    if !names::is_valid(&channel, caller.limit(limits::NAME_CHARACTERS)) {
        let fault = Fault::unsent("Invalid Character in Channel Name", now);
        return Err(fault.because(Rule::ChannelName));
    }
    let draft = draft(caller, ctx, given, now)?;
    counts_once(caller, &draft)?;
    let pass = caller.channel(&broker.authority, &channel, Operations::PUBLISH);
    let pass = pass.await?;
    // After the judgement: who may not publish uses up nothing of those who may.
    let rate = caller.limit(limits::PUBLISHES_PER_SECOND);
    let now_ms = broker.authority.now().mono_ms;
    node.rates.admit(caller.app.id, rate, now_ms)?;
    let fire = ctx.query.flag("norep") && !draft.store;
    if fire {
        // Neither kept nor delivered: that it was allowed is all there is to do.
        return Ok(sent(now));
    }
    let key = ChannelKey::channel(caller.app.id, &channel);
    let receipt = broker.publish(&key, draft, pass).await?;
    Ok(sent(receipt.timetoken))
}

fn sent(timetoken: Timetoken) -> HttpResponse {
    answer(200, json!([1, "Sent", timetoken.to_string()]).to_string())
}

fn draft(
    caller: &Caller,
    ctx: &Ctx<'_>,
    given: Publication<'_>,
    now: Timetoken,
) -> Result<Draft, Fault> {
    let invalid = || Fault::unsent("Invalid JSON", now).because(Rule::BadMessage);
    let (message, size) = match given.message {
        Some(escaped) => {
            let message = query::decode(escaped).ok_or_else(invalid)?;
            (Bytes::from(message), escaped.len())
        }
        None => (ctx.body.clone(), ctx.body.len()),
    };
    let (max, reason) = match given.signal {
        true => (limits::SIGNAL_BYTES, "Signal size too large"),
        false => (limits::MESSAGE_BYTES, "Message Too Large"),
    };
    // Escapes do not count for a signal: its limit is smaller than they are.
    let size = if given.signal { message.len() } else { size };
    if size as u64 > caller.limit(max) {
        return Err(Fault::unsent(reason, now).because(Rule::MessageTooLarge));
    }
    let (data, kind) = content(&message).ok_or_else(invalid)?;
    let meta = match ctx.query.given("meta") {
        Some(meta) => {
            serde_json::from_str::<IgnoredAny>(meta).map_err(|_| invalid())?;
            Some(Bytes::copy_from_slice(meta.as_bytes()))
        }
        None => None,
    };
    let name = ctx.query.given("custom_message_type").unwrap_or_default();
    if !name.is_empty() && !is_custom_type(name) {
        return Err(Fault::bad("Invalid custom_message_type"));
    }
    let extra = Extra {
        e: given.signal.then_some(1),
        i: ctx.query.given("uuid").map(str::to_owned),
        s: ctx.query.number("seqn"),
        o: ctx
            .query
            .get("ortt")
            .and_then(|o| serde_json::from_str(o).ok()),
    };
    let store = !given.signal && ctx.query.get("store") != Some("0");
    Ok(Draft {
        id: repeatable(caller, ctx),
        name: name.into(),
        data,
        kind,
        meta,
        client: caller.principal.user.clone(),
        connection: None,
        except: None,
        store,
        retain_ms: None,
        tag: extra.tag(),
    })
}

/// Whoever keeps a request that his signature does not cover as a whole could send it again with another body: it counts
/// once, which needs a number in it.
fn counts_once(caller: &Caller, draft: &Draft) -> Result<(), Fault> {
    if !caller.covered && draft.id.is_none() {
        return Err(Fault::signature());
    }
    Ok(())
}

/// What a signed publish is known by, so that its repetition delivers nothing: a POST's body is not even signed. Only where
/// the client numbers its requests: without that, two equal ones within a second are two.
fn repeatable(caller: &Caller, ctx: &Ctx<'_>) -> Option<Text> {
    let numbered = ["requestid", "seqn"].map(|name| ctx.query.given(name));
    caller
        .key
        .as_ref()
        .filter(|_| numbered.iter().any(Option::is_some))?;
    Some(format!("pubnub {}", hex::encode(fingerprint(ctx.query, ""))).into())
}

/// A JSON string travels as text, so that other dialects get what it says; anything else as the JSON sent.
fn content(message: &[u8]) -> Option<(Bytes, ContentKind)> {
    let text = std::str::from_utf8(message).ok()?.trim();
    if text.starts_with('"') {
        let text: String = serde_json::from_str(text).ok()?;
        return Some((Bytes::from(text), ContentKind::Text));
    }
    let value: Value = serde_json::from_str(text).ok()?;
    drop(value);
    Some((Bytes::copy_from_slice(text.as_bytes()), ContentKind::Json))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::admit;
    use super::super::fixture::{self, PUB, SECRET, SUB};
    use super::super::query::Query;
    use super::super::token::Known;
    use super::*;
    use crate::core::authority::Authority;

    #[test]
    fn a_publish_whose_body_is_not_signed_needs_a_number() {
        let authority = Authority::fixed(fixture::state(&fixture::commands(&[])), 1_000);
        let path = format!("/publish/{PUB}/{SUB}/0/c/0");
        // Whether it is taken, and as what: signed as a client does who leaves the body out, or with all of it.
        let taken = |query: &str, signed_as: &str, body: &'static str| {
            let text = format!("{signed_as}\n{PUB}\n{path}\n{query}\n");
            let covered = if signed_as == "POST" { body } else { "" };
            let signature = fixture::mac(SECRET, &format!("{text}{covered}"));
            let query = format!("{query}&signature=v2.{signature}");
            let query = Query::parse(&query).unwrap();
            let ctx = Ctx {
                method: "POST",
                path: &path,
                query: &query,
                body: Bytes::from_static(body.as_bytes()),
            };
            let given = Publication {
                publish_key: PUB,
                channel: "c",
                message: None,
                signal: false,
            };
            let caller = admit::on_view(&authority, &Known::default(), SUB, &ctx).unwrap();
            let draft = draft(&caller, &ctx, given, 0).unwrap();
            counts_once(&caller, &draft)
                .map(|()| draft.id)
                .map_err(|fault| fault.status)
        };
        let numbered = "requestid=r1&timestamp=1&uuid=u";
        let first = taken(numbered, "GET", "1").unwrap();
        assert!(first.is_some());
        assert_eq!(
            taken(numbered, "GET", "2"),
            Ok(first),
            "another body is the same publish"
        );
        assert_eq!(taken("timestamp=1&uuid=u", "GET", "1"), Err(403));
        assert_eq!(
            taken("timestamp=1&uuid=u", "POST", "1"),
            Ok(None),
            "all of it is signed"
        );
    }

    #[test]
    fn strings_become_text_and_the_rest_stays_as_sent() {
        let read = |text: &str| {
            content(text.as_bytes())
                .map(|(data, kind)| (String::from_utf8(data.to_vec()).unwrap(), kind))
        };
        let json = |text: &str| Some((text.to_owned(), ContentKind::Json));
        assert_eq!(
            read(r#""h\u00e9\"llo""#),
            Some(("hé\"llo".into(), ContentKind::Text))
        );
        assert_eq!(
            read(" {\"b\": 1.0, \"a\":[]}\n"),
            json("{\"b\": 1.0, \"a\":[]}")
        );
        for other in ["1", "true", "null", "[\"x\"]"] {
            assert_eq!(read(other), json(other));
        }
        for bad in ["", "{", "\"", "x", "1 2", "\"a\" 1"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
