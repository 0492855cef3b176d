//! `/v1/apps/{app}/providers`: identity providers whose tokens count in an app: make, list, change, take away.
//!
//! **Must never know:** tokens. **Why key sets are read here and not in the access machine:** it holds no JSON; what it gets are
//! plain bytes, and a set that cannot be read is refused before anybody is asked to agree on it.

use super::auth::Call;
use super::codes::{ApiError, Code};
use super::input::{Body, Params, Wait};
use super::resource;
use super::signals::signals_json;
use super::text::name;
use super::write::{APPLY_TIMEOUT, Write, answer};
use crate::core::authority::{
    Administered, Algorithm, AppId, BarrierMode, Capability, CarriedRights, Claims, KeyKind,
    KeySource, Millis, Operations, Provider, ProviderChange, ProviderSpec, PublicKey, State, Text,
};
use crate::core::suggest::did_you_mean;
use crate::identity::keys;
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use reqwest::Url;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::time::Duration;

/// How far a provider's clock may be off where nothing is said.
const LEEWAY_MS: Millis = 5_000;
/// Longest wait for keys that are fetched: an attempt, and what is said and heard around it.
const FETCHED_WITHIN: Duration = Duration::from_secs(25);
/// How often it is looked whether they came.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// What tokens may do by themselves.
const RIGHTS: [(&str, CarriedRights); 4] = [
    ("grants", CarriedRights::Grants),
    ("ceiling", CarriedRights::Ceiling),
    ("authorization_details", CarriedRights::Details),
    ("x-ably-capability", CarriedRights::Capability),
];

/// Adds the paths of this file.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/apps/{app}/providers").get(list).post(create))
        .service(
            resource("/apps/{app}/providers/{provider}")
                .get(show)
                .patch(update)
                .delete(delete),
        )
        .service(resource("/apps/{app}/providers/{provider}/refresh").post(refresh));
}

/// Which claim is what; what is left out is as usual, or stays.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClaimsIn {
    /// The user: `sub`.
    pub user: Option<String>,
    /// The session: `sid`.
    pub session: Option<String>,
    /// Name or path of the claim that lists groups; empty = none.
    pub groups: Option<String>,
    /// `grants`, `ceiling`, `authorization_details` or `x-ably-capability`.
    pub rights: Option<String>,
}

/// A provider, or a change to one, as asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderIn {
    /// Its id, when it is made.
    pub id: Option<String>,
    /// On or off, when it is changed.
    pub enabled: Option<bool>,
    /// Its name in tokens (`iss`).
    pub issuer: Option<String>,
    /// For whom its tokens are (`aud`).
    pub audiences: Option<Vec<String>>,
    /// How it signs.
    pub algorithms: Option<Vec<String>>,
    /// Its key set (RFC 7517).
    pub keys: Option<Box<RawValue>>,
    /// Address of its key set, in place of the set.
    pub jwks_uri: Option<String>,
    /// Address of an issuer whose metadata name the key set's.
    pub discovery: Option<String>,
    /// Which claim is what.
    pub claims: Option<ClaimsIn>,
    /// How far its clock may be off.
    pub leeway_ms: Option<Millis>,
    /// Id of the key whose capability its tokens never exceed.
    pub ceiling: Option<String>,
    /// How far to wait.
    pub wait: Wait,
}

fn bad(message: impl Into<String>) -> ApiError {
    ApiError::new(Code::BadValue, message)
}

fn algorithm(text: &String) -> Result<Algorithm, ApiError> {
    let known = Algorithm::NAMES.into_iter().map(|(name, _)| name);
    let unknown = || {
        bad(format!(
            "no algorithm `{text}`{}",
            did_you_mean(text, known)
        ))
    };
    Algorithm::named(text).ok_or_else(unknown)
}

impl ClaimsIn {
    /// Over what stands there now.
    fn over(&self, now: &Claims) -> Result<Claims, ApiError> {
        let given = |what: &str, text: &Option<String>, or: &Text| match text {
            Some(text) => name(what, text),
            None => Ok(or.clone()),
        };
        let rights = self.rights.as_ref().map(|text| {
            let found = RIGHTS.into_iter().find(|(word, _)| word == text);
            let names = RIGHTS.into_iter().map(|(word, _)| word);
            let unknown = || bad(format!("no rights `{text}`{}", did_you_mean(text, names)));
            found.map(|(_, rights)| rights).ok_or_else(unknown)
        });
        let groups = match self.groups.as_deref() {
            None => now.groups.clone(),
            Some("") => None,
            Some(text) => Some(name("groups", text)?),
        };
        Ok(Claims {
            user: given("user", &self.user, &now.user)?,
            session: given("session", &self.session, &now.session)?,
            groups,
            rights: rights.transpose()?.unwrap_or(now.rights),
        })
    }
}

/// Claims as OpenID Connect has them; by itself a token may do nothing.
fn usual() -> Claims {
    Claims {
        user: "sub".into(),
        session: "sid".into(),
        groups: None,
        rights: CarriedRights::Grants,
    }
}

/// Where keys come from, and those that are given.
type Sourced = (KeySource, Option<Vec<PublicKey>>);

impl ProviderIn {
    fn audiences(&self) -> Result<Option<Vec<Text>>, ApiError> {
        let all = self.audiences.as_ref();
        all.map(|all| all.iter().map(|text| name("audience", text)).collect())
            .transpose()
    }

    fn algorithms(&self) -> Result<Option<Vec<Algorithm>>, ApiError> {
        let all = self.algorithms.as_ref();
        all.map(|all| all.iter().map(algorithm).collect())
            .transpose()
    }

    fn keys(&self) -> Result<Option<Vec<PublicKey>>, ApiError> {
        let set = self.keys.as_ref();
        set.map(|set| keys::read(set.get().as_bytes()))
            .transpose()
            .map_err(|why| bad(format!("`keys`: {why}")))
    }

    /// Where its keys come from, and those that are given.
    fn source(&self) -> Result<Option<Sourced>, ApiError> {
        let url = |what: &str, text: &String| {
            let usable = Url::parse(text).is_ok_and(|url| {
                matches!(url.scheme(), "https" | "http")
                    && url.username().is_empty()
                    && url.password().is_none()
                    && url.fragment().is_none()
            });
            let no_address = || bad(format!("`{what}`: this is no address of https"));
            usable
                .then(|| Text::from(text.as_str()))
                .ok_or_else(no_address)
        };
        let given = (&self.keys, &self.jwks_uri, &self.discovery);
        Ok(match given {
            (None, None, None) => None,
            (Some(_), None, None) => Some((KeySource::Given, self.keys()?)),
            (None, Some(text), None) => Some((KeySource::KeySet(url("jwks_uri", text)?), None)),
            (None, None, Some(text)) => Some((KeySource::Discovery(url("discovery", text)?), None)),
            _several => return Err(bad("one of `keys`, `jwks_uri` and `discovery` is enough")),
        })
    }

    fn text(what: &'static str, given: &Option<String>) -> Result<Text, ApiError> {
        let given = given.as_deref();
        let missing = || bad(format!("`{what}` is missing"));
        given.ok_or_else(missing).and_then(|text| name(what, text))
    }

    /// The command's content when it is made.
    ///
    /// # Errors
    /// When something is missing or unusable.
    pub fn spec(&self) -> Result<ProviderSpec, ApiError> {
        if self.enabled.is_some() {
            return Err(bad("a provider that is made is enabled"));
        }
        let claims = self.claims.clone().unwrap_or_default();
        let missing = |what: &str| bad(format!("`{what}` is missing"));
        let (source, keys) = self.source()?.ok_or_else(|| missing("keys"))?;
        Ok(ProviderSpec {
            id: Self::text("id", &self.id)?,
            iss: Self::text("issuer", &self.issuer)?,
            audiences: self.audiences()?.ok_or_else(|| missing("audiences"))?,
            algorithms: self.algorithms()?.unwrap_or_else(|| vec![Algorithm::Rs256]),
            keys: keys.unwrap_or_default(),
            source,
            claims: claims.over(&usual())?,
            leeway_ms: self.leeway_ms.unwrap_or(LEEWAY_MS),
            ceiling: Self::text("ceiling", &self.ceiling)?,
        })
    }

    /// The command's content when one is changed that is so now.
    ///
    /// # Errors
    /// When something is unusable.
    pub fn change(&self, now: &Provider) -> Result<ProviderChange, ApiError> {
        if self.id.is_some() {
            return Err(bad("a provider's id does not change"));
        }
        let issuer = self.issuer.as_ref().map(|text| name("issuer", text));
        let ceiling = self.ceiling.as_ref().map(|text| name("ceiling", text));
        let claims = self.claims.as_ref().map(|claims| claims.over(&now.claims));
        let (source, keys) = self.source()?.unzip();
        Ok(ProviderChange {
            if_source: None,
            enabled: self.enabled,
            iss: issuer.transpose()?,
            audiences: self.audiences()?,
            algorithms: self.algorithms()?,
            source,
            keys: keys.flatten(),
            claims: claims.transpose()?,
            leeway_ms: self.leeway_ms,
            ceiling: ceiling.transpose()?,
        })
    }
}

async fn list(call: Call, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    Params::none(&call)?;
    let app = call.app(&path).await?.id;
    call.caller.require_app_wide(app, Operations::ADMIN)?;
    let view = call.broker.authority.view();
    let all = view.providers_of(app).map(|one| provider_json(&view, one));
    let all: Vec<Value> = all.collect();
    let body = json!({ "providers": all });
    Ok(answer(StatusCode::OK, view.revision, body))
}

async fn show(call: Call, path: web::Path<(String, String)>) -> Result<HttpResponse, ApiError> {
    let id = Params::only_name(&call.http, &path.1)?;
    let provider = own(&call, &path.0, &id).await?;
    let view = call.broker.authority.view();
    let body = json!({ "provider": provider_json(&view, &provider) });
    Ok(answer(StatusCode::OK, view.revision, body))
}

/// Has the keys fetched now, and answers when what came of it is true on every node.
async fn refresh(call: Call, path: web::Path<(String, String)>) -> Result<HttpResponse, ApiError> {
    let id = Params::only_name(&call.http, &path.1)?;
    let provider = own(&call, &path.0, &id).await?;
    let (app, id) = (provider.app, provider.id);
    let ask = Administered::AskForKeys {
        id: id.clone(),
        pause_ms: 0,
    };
    let command = call.administer(app, Capability::default(), ask)?;
    let asked = Write::of(&call, b"")?.make(command, Wait::All).await?;
    let authority = &call.broker.authority;
    authority.at_least(asked.revision(), APPLY_TIMEOUT).await?;
    let tried = async {
        loop {
            let fetch = authority.view().key_fetch(app, &id);
            if !fetch.is_open() {
                return fetch;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let fetch = tokio::time::timeout(FETCHED_WITHIN, tried).await;
    let nobody = "the keys are asked for, and nobody has fetched them yet: show the provider later";
    let fetch = fetch.map_err(|_late| ApiError::new(Code::Unavailable, nobody))?;
    if let Some(why) = fetch.error {
        let message = format!("the keys could not be fetched, and the last ones stay: {why}");
        return Err(ApiError::new(Code::Unavailable, message));
    }
    // Whoever fetched has waited for all nodes as well, but has told only itself.
    let report = authority.barrier(fetch.tried, BarrierMode::All).await;
    if !report.pending.is_empty() {
        let message = "the keys are stored, but not every node has confirmed it yet";
        return Err(ApiError::new(Code::OutcomeUnknown, message));
    }
    let view = authority.view();
    let shown = view.provider(app, &id).map(|one| provider_json(&view, one));
    Ok(answer(
        StatusCode::OK,
        fetch.tried,
        json!({ "provider": shown }),
    ))
}

async fn create(
    call: Call,
    path: web::Path<String>,
    body: Body<ProviderIn>,
) -> Result<HttpResponse, ApiError> {
    Params::none(&call)?;
    let app = call.app(&path).await?.id;
    call.caller.require_app_wide(app, Operations::ADMIN)?;
    let spec = body.value.spec()?;
    let id = spec.id.clone();
    let change = Administered::NewProvider(Box::new(spec));
    let command = call.administer(app, Capability::default(), change)?;
    let write = Write::of(&call, &body.raw)?;
    let made = write.make(command, body.value.wait).await?;
    let shown = applied(&call, (app, &id), made.revision()).await;
    Ok(made.answer_as(StatusCode::CREATED, json!({ "provider": shown })))
}

async fn update(
    call: Call,
    path: web::Path<(String, String)>,
    body: Body<ProviderIn>,
) -> Result<HttpResponse, ApiError> {
    let id = Params::only_name(&call.http, &path.1)?;
    let provider = own(&call, &path.0, &id).await?;
    let change = Administered::Provider {
        id: provider.id.clone(),
        change: Box::new(body.value.change(&provider)?),
    };
    let command = call.administer(provider.app, Capability::default(), change)?;
    let write = Write::of(&call, &body.raw)?;
    let made = write.make(command, body.value.wait).await?;
    let shown = applied(&call, (provider.app, &provider.id), made.revision()).await;
    Ok(made.answer(json!({ "provider": shown })))
}

async fn delete(call: Call, path: web::Path<(String, String)>) -> Result<HttpResponse, ApiError> {
    let mut params = Params::of(&call.http)?;
    let (wait, id) = (params.wait()?, params.name_in(&path.1)?);
    params.finish()?;
    let provider = own(&call, &path.0, &id).await?;
    let change = Administered::NoProvider { id: provider.id };
    let command = call.administer(provider.app, Capability::default(), change)?;
    let made = Write::of(&call, b"")?.make(command, wait).await?;
    Ok(made.answer(json!({})))
}

async fn applied(call: &Call, (app, id): (AppId, &Text), revision: u64) -> Option<Value> {
    let authority = &call.broker.authority;
    authority.at_least(revision, APPLY_TIMEOUT).await.ok()?;
    let view = authority.view();
    view.provider(app, id).map(|one| provider_json(&view, one))
}

/// The provider of the path, if the caller may change the app. It may have been made a moment ago through another node.
pub(super) async fn own(call: &Call, app: &str, id: &str) -> Result<Provider, ApiError> {
    let app = call.app(app).await?.id;
    call.caller.require_app_wide(app, Operations::ADMIN)?;
    let missing = || ApiError::new(Code::NotFound, "there is no such provider in this app");
    let look = |view: &State| view.provider(app, id).cloned().ok_or_else(missing);
    call.broker.authority.look(look, |_| true).await
}

/// A provider as `/v1` shows it. Its keys are public.
#[must_use]
pub fn provider_json(state: &State, provider: &Provider) -> Value {
    let kind = |kind| match kind {
        KeyKind::Rsa => "RSA",
        KeyKind::P256 => "P-256",
        KeyKind::P384 => "P-384",
        KeyKind::Ed25519 => "Ed25519",
    };
    let keys = provider.keys.iter().map(|one| {
        json!({
            "kid": &*one.key.kid,
            "kind": kind(one.key.kind),
            "algorithm": one.key.algorithm.map(Algorithm::name),
            "since_revision": one.since,
        })
    });
    let algorithms = provider.algorithms.iter().map(|one| one.name());
    let (set, discovery) = match &provider.source {
        KeySource::Given => (None, None),
        KeySource::KeySet(url) => (Some(&**url), None),
        KeySource::Discovery(url) => (None, Some(&**url)),
    };
    let fetch = provider.source.url().map(|_| {
        let fetch = state.key_fetch(provider.app, &provider.id);
        json!({
            "tried_ms": (fetch.tried > 0).then_some(fetch.tried_ms),
            "came_ms": fetch.came_ms,
            "failures": fetch.failures,
            "error": fetch.error.as_deref(),
        })
    });
    let signals = state.signals_of(provider.app, &provider.id);
    let rights = RIGHTS
        .into_iter()
        .find(|(_, one)| *one == provider.claims.rights);
    json!({
        "id": &*provider.id,
        "enabled": provider.enabled,
        "issuer": &*provider.iss,
        "audiences": provider.audiences.iter().map(|one| &**one).collect::<Vec<_>>(),
        "algorithms": algorithms.collect::<Vec<_>>(),
        "keys": keys.collect::<Vec<_>>(),
        "jwks_uri": set,
        "discovery": discovery,
        "fetch": fetch,
        "signals": signals.map(signals_json),
        "claims": {
            "user": &*provider.claims.user,
            "session": &*provider.claims.session,
            "groups": provider.claims.groups.as_deref(),
            "rights": rights.map(|(word, _)| word),
        },
        "leeway_ms": provider.leeway_ms,
        "ceiling": &*provider.ceiling,
        "revision": provider.revision,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::adapters::native::input::json as read;

    const KEY: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn asked(more: &str) -> Result<ProviderSpec, ApiError> {
        let body = format!(
            r#"{{"id":"p","issuer":"https://id","audiences":["a"],"ceiling":"k","keys":{KEY}{more}}}"#
        );
        read::<ProviderIn>(body.as_bytes())?.spec()
    }

    #[test]
    fn a_provider_is_as_usual_where_nothing_is_said() {
        let spec = asked("").unwrap();
        assert_eq!(spec.claims, usual());
        assert_eq!(spec.algorithms, [Algorithm::Rs256]);
        assert_eq!(spec.leeway_ms, LEEWAY_MS);
        assert_eq!(spec.keys.len(), 1);
        let said =
            r#","algorithms":["EdDSA"],"claims":{"user":"email","rights":"ceiling"},"leeway_ms":7"#;
        let said = asked(said).unwrap();
        assert_eq!(&*said.claims.user, "email");
        assert_eq!(said.claims.rights, CarriedRights::Ceiling);
        assert_eq!(
            (said.algorithms.as_slice(), said.leeway_ms),
            (&[Algorithm::EdDsa][..], 7)
        );
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        for (more, word) in [
            (r#","algorithms":["HS256"]"#, "HS256"),
            (r#","algorithms":["none"]"#, "none"),
            (r#","claims":{"rights":"everything"}"#, "everything"),
            (r#","enabled":false"#, "enabled"),
            (r#","secret":"x""#, "secret"),
        ] {
            let error = asked(more).unwrap_err();
            assert!(error.message.contains(word), "{more}: {}", error.message);
        }
        for missing in ["id", "issuer", "audiences", "ceiling", "keys"] {
            let mut body: Value = serde_json::from_str(&format!(
                r#"{{"id":"p","issuer":"i","audiences":["a"],"ceiling":"k","keys":{KEY}}}"#
            ))
            .unwrap();
            body.as_object_mut().unwrap().remove(missing);
            let error = read::<ProviderIn>(body.to_string().as_bytes())
                .unwrap()
                .spec()
                .unwrap_err();
            assert!(error.message.contains(missing), "{}", error.message);
        }
    }
}
