//! `/v1/apps/{app}/providers/{provider}/signals`: how a provider's security events come, and what those of them mean that mean
//! something only where the app says so.
//!
//! **Must never know:** how an event is read. **Why secrets are written and never shown:** whoever may change an app need not know
//! what another has agreed on with its provider.

use super::auth::Call;
use super::codes::{ApiError, Code};
use super::input::{Body, Params, Wait};
use super::provider::own;
use super::resource;
use super::stream::{open, proved, proved_again, random_text, transmitter};
use super::text::name;
use super::write::{APPLY_TIMEOUT, Write, answer};
use crate::core::authority::{
    Administered, Capability, Delivery, Reaction, Secret, Signals, SignalsSpec, State,
};
use crate::core::suggest::did_you_mean;
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

/// What a change for the worse means.
const REACTIONS: [(&str, Reaction); 2] = [
    ("ignore", Reaction::Ignore),
    ("block-until-newer-token", Reaction::NewerToken),
];
/// Fewest bytes of what is agreed on as a secret.
const BEARER_BYTES: usize = 16;

/// Adds the path of this file.
pub fn routes(config: &mut web::ServiceConfig) {
    let path = "/apps/{app}/providers/{provider}/signals";
    config
        .service(resource(path).get(show).put(set).delete(unset))
        .service(resource("/apps/{app}/providers/{provider}/signals/verify").post(verify));
}

/// A secret as it was sent. `Debug` shows only that it is there.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Hidden(pub(super) String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden(…)")
    }
}

/// How signals are to be; what is left out stays, or is as usual.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignalsIn {
    /// For whom events may be beside the provider's audiences.
    pub audiences: Option<Vec<String>>,
    /// `ignore` or `block-until-newer-token`.
    pub device_compliance: Option<String>,
    /// `ignore` or `block-until-newer-token`.
    pub assurance_level: Option<String>,
    /// What is shown as `Authorization: Bearer …` by whoever sends events; empty = nothing.
    pub bearer: Option<Hidden>,
    /// The transmitter's issuer, where a stream is made.
    pub transmitter: Option<String>,
    /// `push` or `poll`, of the stream; `poll`.
    pub delivery: Option<String>,
    /// Base URL under which the transmitter reaches this cluster, for `push`.
    pub receiver: Option<String>,
    /// The client that makes the stream.
    pub client_id: Option<String>,
    /// The secret of that client.
    pub client_secret: Option<Hidden>,
    /// Where access tokens come from.
    pub token_endpoint: Option<String>,
    /// The scope that is asked for.
    pub scope: Option<String>,
    /// How far to wait.
    pub wait: Wait,
}

pub(super) fn bad(message: impl Into<String>) -> ApiError {
    ApiError::new(Code::BadValue, message)
}

fn reaction(text: &String) -> Result<Reaction, ApiError> {
    let found = REACTIONS.into_iter().find(|(word, _)| word == text);
    let words = REACTIONS.into_iter().map(|(word, _)| word);
    let unknown = || bad(format!("no reaction `{text}`{}", did_you_mean(text, words)));
    found.map(|(_, reaction)| reaction).ok_or_else(unknown)
}

impl SignalsIn {
    /// Over what stands there now.
    ///
    /// # Errors
    /// When something is unusable.
    pub fn over(&self, now: Option<&Signals>) -> Result<SignalsSpec, ApiError> {
        let usual = || SignalsSpec {
            audiences: Vec::new(),
            device_compliance: Reaction::Ignore,
            assurance_level: Reaction::Ignore,
            delivery: Delivery::Push { bearer: None },
            stream: None,
        };
        let mut spec = now.map_or_else(usual, |now| now.spec.clone());
        if let Some(all) = &self.audiences {
            let all = all.iter().map(|text| name("audience", text));
            spec.audiences = all.collect::<Result<_, _>>()?;
        }
        if let Some(text) = &self.device_compliance {
            spec.device_compliance = reaction(text)?;
        }
        if let Some(text) = &self.assurance_level {
            spec.assurance_level = reaction(text)?;
        }
        if let Some(Hidden(bearer)) = &self.bearer {
            spec.delivery = match &spec.delivery {
                Delivery::Push { .. } => Delivery::Push {
                    bearer: secret(bearer)?,
                },
                Delivery::Poll { .. } => {
                    return Err(bad(
                        "`bearer` is for events that are sent, and these are asked for",
                    ));
                }
            };
        }
        Ok(spec)
    }
}

pub(super) fn secret(bearer: &str) -> Result<Option<Secret>, ApiError> {
    let plain = bearer.bytes().all(|byte| byte.is_ascii_graphic());
    match bearer.len() {
        0 => Ok(None),
        BEARER_BYTES..=512 if plain => Ok(Some(Secret(bearer.into()))),
        _other => Err(bad(format!(
            "`bearer` is {BEARER_BYTES} to 512 printable characters without blanks"
        ))),
    }
}

async fn show(call: Call, path: web::Path<(String, String)>) -> Result<HttpResponse, ApiError> {
    let id = Params::only_name(&call.http, &path.1)?;
    let provider = own(&call, &path.0, &id).await?;
    let missing = || ApiError::new(Code::NotFound, "nothing is said of this provider's signals");
    let look = |view: &State| {
        let signals = view
            .signals_of(provider.app, &provider.id)
            .ok_or_else(missing)?;
        Ok((view.revision, signals_json(signals)))
    };
    let (revision, shown) = call
        .broker
        .authority
        .look(look, |_: &ApiError| true)
        .await?;
    Ok(answer(
        StatusCode::OK,
        revision,
        json!({ "signals": shown }),
    ))
}

async fn set(
    call: Call,
    path: web::Path<(String, String)>,
    body: Body<SignalsIn>,
) -> Result<HttpResponse, ApiError> {
    let id = Params::only_name(&call.http, &path.1)?;
    let provider = own(&call, &path.0, &id).await?;
    let authority = &call.broker.authority;
    let before = authority.view().signals_of(provider.app, &id).cloned();
    let spec = body.value.over(before.as_ref())?;
    let (spec, opened) = match body.value.wanted(&provider)? {
        None => (spec, None),
        Some(wanted) => {
            let opened = open(&call, &provider, before.as_ref(), &wanted).await?;
            (opened.over(&body.value, spec), Some(opened))
        }
    };
    let change = Administered::Signals {
        id: provider.id.clone(),
        spec: Box::new(spec),
    };
    let command = call.administer(provider.app, Capability::default(), change)?;
    let write = Write::of(&call, &body.raw)?;
    let made = write.make(command, body.value.wait).await;
    if let (Err(_), Some(opened)) = (&made, &opened) {
        // Nobody here knows of it: it must not stay there either.
        let _gone = opened.transmitter.delete(&opened.made.stream).await;
    }
    let made = made?;
    authority.at_least(made.revision(), APPLY_TIMEOUT).await?;
    let verification = match &opened {
        Some(opened) => {
            let at = (&opened.transmitter, &opened.made.stream);
            proved(&call, &provider, at, opened.made.verification.as_ref()).await
        }
        None => Value::Null,
    };
    let view = authority.view();
    let shown = view
        .signals_of(provider.app, &provider.id)
        .map(signals_json);
    Ok(made.answer(json!({ "signals": shown, "verification": verification })))
}

/// Has a stream prove that it works: a text of ours has to come back through it.
async fn verify(call: Call, path: web::Path<(String, String)>) -> Result<HttpResponse, ApiError> {
    let id = Params::only_name(&call.http, &path.1)?;
    let provider = own(&call, &path.0, &id).await?;
    let missing = || {
        ApiError::new(
            Code::NotFound,
            "no stream was made for this provider's signals",
        )
    };
    let look = |view: &State| {
        let spec = view
            .signals_of(provider.app, &provider.id)
            .map(|one| one.spec.clone());
        let made = spec.and_then(|spec| Some((spec.stream.clone()?, spec)));
        made.ok_or_else(missing)
    };
    let authority = &call.broker.authority;
    let (mut stream, spec) = authority.look(look, |_: &ApiError| true).await?;
    stream.state = Some(random_text().into());
    let change = Administered::Signals {
        id: provider.id.clone(),
        spec: Box::new(SignalsSpec {
            stream: Some(stream.clone()),
            ..spec
        }),
    };
    let command = call.administer(provider.app, Capability::default(), change)?;
    let made = Write::of(&call, b"")?.make(command, Wait::All).await?;
    authority.at_least(made.revision(), APPLY_TIMEOUT).await?;
    let verification = proved_again(&call, &provider, &stream).await;
    let view = authority.view();
    let shown = view
        .signals_of(provider.app, &provider.id)
        .map(signals_json);
    Ok(made.answer(json!({ "signals": shown, "verification": verification })))
}

async fn unset(call: Call, path: web::Path<(String, String)>) -> Result<HttpResponse, ApiError> {
    let mut params = Params::of(&call.http)?;
    let (wait, id) = (params.wait()?, params.name_in(&path.1)?);
    params.finish()?;
    let provider = own(&call, &path.0, &id).await?;
    let before = call.broker.authority.view();
    let stream = before.signals_of(provider.app, &provider.id);
    let stream = stream.and_then(|signals| signals.spec.stream.clone());
    let change = Administered::NoSignals { id: provider.id };
    let command = call.administer(provider.app, Capability::default(), change)?;
    let made = Write::of(&call, b"")?.make(command, wait).await?;
    let left = match stream {
        Some(stream) => {
            let gone = transmitter(&call, provider.app).delete(&stream).await;
            gone.err()
        }
        None => None,
    };
    Ok(made.answer(json!({ "left_at_the_transmitter": left })))
}

/// Signals as `/v1` shows them, without a secret.
#[must_use]
pub fn signals_json(signals: &Signals) -> Value {
    let word = |reaction| {
        let found = REACTIONS.into_iter().find(|(_, one)| *one == reaction);
        found.map(|(word, _)| word)
    };
    let spec = &signals.spec;
    let (delivery, endpoint, bearer) = match &spec.delivery {
        Delivery::Push { bearer } => ("push", None, Some(bearer.is_some())),
        Delivery::Poll { endpoint } => ("poll", Some(&**endpoint), None),
    };
    let stream = spec.stream.as_ref().map(|stream| {
        json!({
            "id": &*stream.id,
            "configuration_endpoint": &*stream.configuration,
            "client_id": &*stream.client,
            "verified_ms": signals.verified_ms,
        })
    });
    json!({
        "delivery": delivery,
        "endpoint": endpoint,
        "bearer": bearer,
        "audiences": spec.audiences.iter().map(|one| &**one).collect::<Vec<_>>(),
        "device_compliance": word(spec.device_compliance),
        "assurance_level": word(spec.assurance_level),
        "stream": stream,
        "revision": signals.revision,
    })
}
