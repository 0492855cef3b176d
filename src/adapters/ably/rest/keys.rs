//! `/keys/{name}/…`: tokens out, tokens void.
//!
//! **Must never know:** how a token is presented later.

use super::call::{Answer, Call, body, failed, told};
use crate::adapters::ably::auth::{self, Credential};
use crate::adapters::ably::codes::Fault;
use crate::adapters::ably::{query, token_request};
use crate::core::authority::{
    ApiKey, Authority, BarrierMode, Command, Issuer, Millis, RequestId, Target,
};
use crate::core::broker::Broker;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Map, Value, json};

const MAX_BODY: u64 = 64 << 10;
/// Most targets of one call.
const TARGETS: usize = 100;
/// How long clients may renew when asked for, ms. More than the documented 30 s.
const MARGIN_MS: Millis = 31_000;
/// How far back `issuedBefore` may lie, ms.
const BACK_MS: Millis = 3_600_000;

async fn key(name: &str, authority: &Authority) -> Result<ApiKey, Fault> {
    let find = || {
        let view = authority.view();
        let key = auth::key_of(&view, name).ok_or_else(|| Fault::new(40400, 404, "No such key"))?;
        auth::live(key, authority.now().cluster_ms)?;
        auth::open_door(&view, key.app)?;
        Ok(key.clone())
    };
    if let Ok(key) = find() {
        return Ok(key);
    }
    // It may be newer than this node's view, or enabled again.
    let _ = authority.catch_up().await;
    find()
}

/// `POST /keys/{name}/requestToken`
pub(super) async fn request_token(
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    broker: web::Data<Broker>,
) -> HttpResponse {
    let answer = Answer::of(&request);
    let outcome = grant(&request, payload, &name, &broker).await;
    answer.json(201, outcome)
}

async fn grant(
    request: &HttpRequest,
    payload: web::Payload,
    name: &str,
    broker: &Broker,
) -> Result<Value, Fault> {
    let authority = &broker.authority;
    let body: Map<String, Value> = body(request, payload, MAX_BODY).await?;
    let key = key(name, authority).await?;
    let signed = body.get("mac").is_some_and(|mac| !mac.is_null());
    let in_person = match signed {
        true => false,
        false => {
            Call::admit(request, broker)
                .await?
                .identity
                .key_name
                .as_ref()
                == name
        }
    };
    let now = authority.now().cluster_ms;
    let asked = token_request::check(&body, (name, &key), in_person, now)?;
    if let Some(nonce) = &asked.nonce {
        // The time is signed as well, so that the same nonce with another time is another request.
        let time = body
            .get("timestamp")
            .map(Value::to_string)
            .unwrap_or_default();
        let command = Command::UseNonce {
            app: key.app,
            key: key.id.clone(),
            nonce: format!("{}/{nonce}", time.trim_matches('"')).into(),
            expires_ms: now + token_request::NONCE_MS,
        };
        authority.change(RequestId(rand::random()), command).await?;
    }
    asked.grant(name, &key, authority.now().cluster_ms)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RevokeIn {
    targets: Vec<String>,
    #[serde(default)]
    issued_before: Option<Millis>,
    #[serde(default)]
    allow_reauth_margin: Option<bool>,
}

/// `POST /keys/{name}/revokeTokens`
pub(super) async fn revoke(
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    broker: web::Data<Broker>,
) -> HttpResponse {
    let answer = Answer::of(&request);
    match revoked(&request, payload, &name, &broker).await {
        Err(fault) => failed(&fault, answer.0),
        Ok(results) => {
            let bad = results
                .iter()
                .filter(|one| one.get("error").is_some())
                .count();
            let query = query::parse(request.query_string());
            match query::version(&request, &query) {
                Some(version) if version < 3 => answer.ok(201, &results),
                Some(_) | None => answer.ok(
                    201,
                    &json!({
                        "successCount": results.len() - bad,
                        "failureCount": bad,
                        "results": results,
                    }),
                ),
            }
        }
    }
}

async fn revoked(
    request: &HttpRequest,
    payload: web::Payload,
    name: &str,
    broker: &Broker,
) -> Result<Vec<Value>, Fault> {
    let query = query::parse(request.query_string());
    let credential = query::of_request(request, &query)?;
    if matches!(credential, Credential::Token(_)) {
        return Err(Fault::new(40162, 401, "Revoking needs the key itself"));
    }
    let authority = &broker.authority;
    let call = Call::with(request, broker, &credential).await?;
    if call.identity.key_name.as_ref() != name {
        return Err(Fault::new(40133, 401, "A key revokes its own tokens only"));
    }
    let key = key(name, authority).await?;
    if !key.revocable_tokens {
        return Err(Fault::new(40163, 401, "The key's tokens are not revocable"));
    }
    let asked: RevokeIn = body(request, payload, MAX_BODY).await?;
    if asked.targets.is_empty() || asked.targets.len() > TARGETS {
        return Err(Fault::bad("1 to 100 targets"));
    }
    let now = authority.now().cluster_ms;
    let before = asked.issued_before;
    if before.is_some_and(|at| at > now || at + BACK_MS < now) {
        return Err(Fault::new(
            40003,
            400,
            "issuedBefore is in the future or over an hour ago",
        ));
    }
    let margin_ms = match asked.allow_reauth_margin {
        Some(true) => MARGIN_MS,
        Some(false) | None => 0,
    };
    let mut results = Vec::with_capacity(asked.targets.len());
    let mut revision = 0;
    for text in &asked.targets {
        results.push(match target(text) {
            Err(fault) => json!({ "target": text, "error": told(&fault) }),
            Ok(target) => {
                let command = Command::Revoke {
                    app: key.app,
                    issuer: Issuer::Key(key.id.clone()),
                    target,
                    issued_before_ms: before,
                    margin_ms,
                };
                let committed = authority.change(RequestId(rand::random()), command).await?;
                revision = revision.max(committed.revision);
                json!({
                    "target": text,
                    "issuedBefore": before.unwrap_or(now),
                    "appliesAt": authority.now().cluster_ms + margin_ms,
                })
            }
        });
    }
    if revision > 0 {
        // Answered only when no node serves by the old state.
        authority.barrier(revision, BarrierMode::All).await;
    }
    Ok(results)
}

fn target(text: &str) -> Result<Target, Fault> {
    let bad = || Fault::bad("A target is clientId:…, revocationKey:… or channel:…");
    let (kind, name) = text.split_once(':').ok_or_else(bad)?;
    if name.is_empty() {
        return Err(bad());
    }
    match kind {
        "clientId" => Ok(Target::User(name.into())),
        "revocationKey" => Ok(Target::RevocationKey(name.into())),
        "channel" => Ok(Target::Channel(name.into())),
        _other => Err(bad()),
    }
}
