//! `/keys/{name}/…`: tokens out, tokens void.

use super::call::{Answer, Call, body, failed, told};
use crate::adapters::ably::auth::{self, Credential};
use crate::adapters::ably::codes::Fault;
use crate::adapters::ably::key_name::key_of;
use crate::adapters::ably::{query, token_request};
use crate::core::authority::{
    ApiKey, AppId, Authority, BarrierMode, Command, Holder, Millis, RequestId, Revision,
    Revocation, State, Target,
};
use crate::core::broker::Broker;
use crate::core::refusals::Rule;
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
    let find = |view: &State| {
        let unknown = || Fault::new(40400, 404, "No such key").because(Rule::UnknownKey);
        let key = key_of(view, name).ok_or_else(unknown)?;
        auth::live(key, authority.now().cluster_ms)?;
        auth::accepts(view, key.app)?;
        Ok(key.clone())
    };
    // It may be newer than this node's view, or enabled again.
    authority.look(find, |_| true).await
}

/// Any other method: of a key that is not there it is the key that is missing.
pub(super) async fn wrong_method(
    request: HttpRequest,
    name: web::Path<String>,
    broker: web::Data<Broker>,
) -> HttpResponse {
    let found = key(&name, &broker.authority).await;
    let fault = found.map_or_else(|fault| fault, |_| super::not_allowed());
    failed(&fault, Answer::of(&request).0)
}

/// Answers `POST /keys/{name}/requestToken`.
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
        true => None,
        false => Some(held(request, broker).await?),
    };
    let now = authority.now().cluster_ms;
    let asked = token_request::check(&body, (name, &key), in_person, now)?;
    if let Some(signed) = &asked.signed {
        let until = now + token_request::NONCE_MS;
        authority.use_once(signed, until).await?;
    }
    authority.issue(|now| asked.grant(name, now)).await
}

/// Who calls with the key itself.
async fn held(request: &HttpRequest, broker: &Broker) -> Result<Holder, Fault> {
    let query = query::parse(request.query_string());
    let credential = query::of_request(request, &query)?;
    let Credential::Key(text) = &credential else {
        return Err(Fault::new(40162, 401, "This needs the key itself"));
    };
    Call::with(request, broker, &credential).await?;
    let authority = &broker.authority;
    auth::holder(text, &authority.view(), authority.now().cluster_ms)
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

/// Answers `POST /keys/{name}/revokeTokens`.
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
    let authority = &broker.authority;
    let holder = held(request, broker).await?;
    let key = key(name, authority).await;
    let key = key.ok().filter(|key| key.id == holder.id);
    let key = key.ok_or_else(|| Fault::new(40133, 401, "A key revokes its own tokens only"))?;
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
    let targets: Vec<Result<Target, Fault>> =
        asked.targets.iter().map(|text| target(text)).collect();
    let writes = targets.iter().flatten().map(|target| {
        let command = Command::Revoke {
            app: key.app,
            issuer: holder.issuer(),
            target: target.clone(),
            issued_before_ms: before,
            margin_ms,
        };
        (RequestId(rand::random()), command)
    });
    // Answered only when no node serves by the old state.
    let written = authority.write_all(writes.collect(), BarrierMode::All);
    let mut written = written.await?.into_iter();
    let view = authority.view();
    let results = asked.targets.iter().zip(targets).map(|(text, target)| {
        let target = match target {
            Err(fault) => return Ok(json!({ "target": text, "error": told(&fault) })),
            Ok(target) => target,
        };
        let since = written.next().map_or(Revision::MAX, |one| one.revision);
        let stored = stored(&view, (key.app, target), since)?;
        Ok(json!({
            "target": text,
            "issuedBefore": stored.issued_before_ms,
            "appliesAt": stored.applies_ms,
        }))
    });
    results.collect()
}

/// The revocation as it was stored: only its place in the log says what came before it. What this node knew before it
/// asked would spare in words what is void in fact.
///
/// # Errors
/// 50003 when this node does not have it yet.
fn stored(view: &State, target: (AppId, Target), since: Revision) -> Result<&Revocation, Fault> {
    let found = view.revocations.get(&target);
    let found = found.filter(|record| record.revision >= since);
    found.ok_or_else(|| Fault::new(50003, 503, "It is revoked; when, this node cannot say yet"))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::adapters::ably::fixture::{self, KEY, NAME, SECRET};
    use crate::core::authority::fixture::{Stamp, apply};
    use crate::core::authority::{Capability, Issued, Operations, Secret};
    use crate::core::channel::registry::Channels;
    use crate::core::delivery::encoding::Encodings;
    use actix_web::App;
    use actix_web::test::{TestRequest, call_service, init_service, read_body_json};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use std::sync::Arc;

    const NOW: Millis = 1_700_000_000_000;

    /// The key asked for, and beside it a narrow one, a disabled one and one of another app.
    fn state() -> State {
        let mut state = fixture::state();
        let mut other = |id: &str, change: fn(&mut ApiKey)| {
            let mut key = fixture::key();
            key.id = id.into();
            key.secret = Secret(format!("{id} secret").into());
            change(&mut key);
            state.keys.insert(key.id.clone(), key.into());
        };
        other("narrow", |key| {
            key.capability = Capability::channel("x", Operations::SUBSCRIBE);
        });
        other("off", |key| key.enabled = false);
        other("alien", |key| key.app = AppId(4));
        let mut app = state.apps[&fixture::APP].as_ref().clone();
        app.id = AppId(4);
        state.apps.insert(app.id, app.into());
        state
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    fn bearer(text: &str) -> String {
        format!("Bearer {}", STANDARD.encode(text))
    }

    async fn post(path: &str, header: Option<&str>, body: Value) -> (u16, Value) {
        let authority = Arc::new(Authority::fixed(state(), NOW));
        let channels = Channels::new(Arc::new(Encodings::default()), &[]);
        let web = App::new()
            .app_data(web::Data::new(Broker::new(authority, channels)))
            .route("/keys/{name}/requestToken", web::post().to(request_token))
            .route("/keys/{name}/revokeTokens", web::post().to(revoke));
        let service = init_service(web).await;
        let mut request = TestRequest::post().uri(path).set_json(body);
        if let Some(header) = header {
            request = request.insert_header(("authorization", header));
        }
        let response = call_service(&service, request.to_request()).await;
        (response.status().as_u16(), read_body_json(response).await)
    }

    #[actix_web::test]
    async fn only_who_has_the_key_is_issued_its_tokens_or_revokes_them() {
        let s = NOW / 1000;
        let limited = json!({
            "iat": s, "exp": s + 60, "x-ably-clientId": "eve",
            "x-ably-capability": r#"{"x":["subscribe"]}"#,
        });
        let all = json!({"iat": s, "exp": s + 60, "x-ably-clientId": "*"});
        let jwt = |claims| fixture::jwt(NAME, SECRET, claims);
        let wrapped = json!({"iat": s, "exp": s + 60, "x-ably-token": jwt(&limited)});
        let ours = fixture::limited(NOW, 60_000, Some("eve"), r#"{"x":["subscribe"]}"#);
        let credentials = [
            ("nothing", None),
            ("a limited JWT", Some(bearer(&jwt(&limited)))),
            ("a JWT with everything", Some(bearer(&jwt(&all)))),
            (
                "a token in a JWT",
                Some(bearer(&fixture::jwt("any", "x", &wrapped))),
            ),
            ("a token of ours", Some(bearer(&ours))),
            ("the key's name", Some(bearer(NAME))),
            ("no secret", Some(basic(&format!("{NAME}:")))),
            ("a wrong secret", Some(basic(&format!("{NAME}:wrong")))),
            ("another key", Some(basic("3.narrow:narrow secret"))),
            ("a disabled key", Some(basic("3.off:off secret"))),
            ("a key of another app", Some(basic("4.alien:alien secret"))),
        ];
        let targets = json!({"targets": ["clientId:bob"]});
        for (what, header) in &credentials {
            for body in [json!({}), json!({"clientId": "*"}), json!({"mac": null})] {
                let path = format!("/keys/{NAME}/requestToken");
                let (status, told) = post(&path, header.as_deref(), body).await;
                assert_eq!(status, 401, "{what}: {told}");
            }
            let path = format!("/keys/{NAME}/revokeTokens");
            let (status, told) = post(&path, header.as_deref(), targets.clone()).await;
            assert_eq!(status, 401, "{what}: {told}");
        }
        let own = basic(&format!("{NAME}:{SECRET}"));
        let path = format!("/keys/{NAME}/requestToken");
        let (status, told) = post(&path, Some(&own), json!({})).await;
        assert_eq!((status, &told["keyName"]), (201, &json!(NAME)));
        assert_eq!(fixture::key().id.as_ref(), KEY);
    }

    /// Status, and how often the other nodes were waited for.
    async fn revoke_with(pending: &[u64], targets: &Value) -> (u16, usize) {
        let mut state = state();
        Arc::make_mut(state.keys.get_mut(KEY).unwrap()).revocable_tokens = true;
        let authority = Authority::fixed(state, NOW);
        authority.take_writes(pending);
        let broker = Broker::new(Arc::new(authority), Channels::new(Arc::default(), &[]));
        let app = App::new()
            .app_data(web::Data::new(broker.clone()))
            .route("/keys/{name}/revokeTokens", web::post().to(revoke));
        let app = init_service(app).await;
        let request = TestRequest::post()
            .uri(&format!("/keys/{NAME}/revokeTokens"))
            .insert_header(actix_web::http::header::ContentType::json())
            .insert_header(("X-Ably-Version", "3"))
            .insert_header(("Authorization", basic(&format!("{NAME}:{SECRET}"))))
            .set_payload(json!({ "targets": targets }).to_string());
        let response = call_service(&app, request.to_request()).await;
        (response.status().as_u16(), broker.authority.fences())
    }

    #[actix_web::test]
    async fn many_targets_have_one_fence_and_pending_is_no_success() {
        let targets = json!(["clientId:a", "channel:b", "revocationKey:c"]);
        assert_eq!(revoke_with(&[], &targets).await, (201, 1));
        assert_eq!(revoke_with(&[2], &targets).await, (503, 1));
        // Nothing that could be understood: nothing to wait for.
        assert_eq!(revoke_with(&[2], &json!(["nonsense"])).await, (201, 0));
    }

    /// The answer about one target, asked of a node whose log is a second ahead of what it knew when it was asked.
    async fn revoked_at(before: Option<Millis>, log_ms: Millis) -> Value {
        let mut state = state();
        Arc::make_mut(state.keys.get_mut(KEY).unwrap()).revocable_tokens = true;
        let mut ahead = state.clone();
        let tick = Stamp {
            index: 9,
            time_ms: log_ms,
        };
        apply(&mut ahead, &Command::Tick, tick);
        let authority = Authority::fixed(ahead, NOW);
        authority.take_writes(&[]);
        authority.set_fixed(state, NOW, true);
        let broker = Broker::new(Arc::new(authority), Channels::new(Arc::default(), &[]));
        let app = App::new()
            .app_data(web::Data::new(broker.clone()))
            .route("/keys/{name}/revokeTokens", web::post().to(revoke));
        let app = init_service(app).await;
        let mut body = json!({"targets": ["nonsense", "clientId:bob"]});
        if let Some(before) = before {
            body["issuedBefore"] = before.into();
        }
        let request = TestRequest::post()
            .uri(&format!("/keys/{NAME}/revokeTokens"))
            .insert_header(("X-Ably-Version", "3"))
            .insert_header(("Authorization", basic(&format!("{NAME}:{SECRET}"))))
            .set_json(body);
        let response = call_service(&app, request.to_request()).await;
        let answer: Value = read_body_json(response).await;
        let view = broker.authority.view();
        let answer = answer["results"][1].clone();
        let target = (fixture::APP, Target::User("bob".into()));
        let stored = &view.revocations[&target];
        assert_eq!(answer["issuedBefore"], stored.issued_before_ms);
        assert_eq!(answer["appliesAt"], stored.applies_ms);
        // What was issued after the question and before the log's word is void, and the answer says so.
        for issued in [NOW, log_ms - 1, log_ms, log_ms + 1] {
            let reached = stored.voids(Issued::At(issued), log_ms);
            assert_eq!(
                reached,
                issued < answer["issuedBefore"].as_u64().unwrap(),
                "{issued}"
            );
        }
        answer
    }

    #[actix_web::test]
    async fn a_revocation_is_told_as_the_log_has_it() {
        let later = NOW + 1_000;
        let answer = revoked_at(None, later).await;
        assert_eq!(answer["issuedBefore"], later + 1);
        assert_eq!(answer["appliesAt"], later);
        let asked = revoked_at(Some(NOW - 5), later).await;
        assert_eq!(asked["issuedBefore"], NOW - 5, "as it was asked for");
    }
}
