//! `POST /oauth/introspect` and `/oauth/revoke`: RFC 7662 and RFC 7009, for OAuth libraries that know nothing of `/v1`. The
//! client's credentials are a key's id and secret; a token is one of any dialect or identity provider.
//!
//! **Must never know:** how a token is read, or how what it opened is ended.
//! **Why a token that is nobody's is not an error:** both RFCs say so. Whoever asks holds something that a client has shown.

use super::auth::{self, Call};
use super::codes::{ApiError, Code};
use super::explain::of_token;
use super::input::{Form, Wait, form};
use super::resource;
use super::revoke::nonsense;
use super::shown_key::unescaped;
use super::text::{operation_names, pattern_text};
use super::token::{self, Shown};
use super::write::Write;
use crate::core::authority::{
    AppId, Capability, Command, Issued, Millis, Operations, Principal, Resource, State, Subject,
    Target, Text,
};
use crate::core::error::Refusal;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, WWW_AUTHENTICATE};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use serde_json::{Value, json};

/// Most bytes of a form: a token of the greatest length, percent-encoded, and its hint.
const MAX_FORM: usize = 200 << 10;

/// Adds the paths of this file. They authenticate by themselves: what is refused here is said in OAuth's words.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/oauth/introspect").post(introspect))
        .service(resource("/oauth/revoke").post(revoke));
}

/// An error as RFC 6749 spells it.
#[derive(Debug)]
struct Failed {
    error: ApiError,
    /// The word for it, where its status does not say it.
    word: Option<&'static str>,
}

impl From<ApiError> for Failed {
    fn from(error: ApiError) -> Self {
        Self { error, word: None }
    }
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        ApiError::from(refusal).into()
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl ResponseError for Failed {
    /// Of what may have happened 503 is said: RFC 7009 wants it asked again, and a revocation bears that.
    fn status_code(&self) -> StatusCode {
        match self.error.code == Code::OutcomeUnknown {
            true => StatusCode::SERVICE_UNAVAILABLE,
            false => self.error.status_code(),
        }
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let status = self.status_code();
        let word = self.word.unwrap_or(match status.as_u16() {
            401 => "invalid_client",
            403 => "access_denied",
            429 | 503 | 507 => "temporarily_unavailable",
            _other => "invalid_request",
        });
        let (_, _, hint) = self.error.code.row();
        let text = format!("{}: {hint}", self.error.message);
        let body = json!({ "error": word, "error_description": text });
        let mut response = self.error.error_response().set_body(body.to_string());
        *response.status_mut() = status;
        if status == StatusCode::UNAUTHORIZED {
            let schemes =
                HeaderValue::from_static("Basic realm=\"gatecast\", Bearer realm=\"gatecast\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, schemes);
        }
        response.map_into_boxed_body()
    }
}

/// What was asked: by whom, of which app, about which token.
struct Asked {
    call: Call,
    app: AppId,
    token: String,
    /// The form: a repeated request is the same bytes.
    form: Form,
}

async fn asked(http: &HttpRequest, payload: web::Payload) -> Result<Asked, ApiError> {
    let mut form = form(payload, MAX_FORM).await?;
    let call = called(http, &mut form).await?;
    let app = call.named_app().await?;
    // It changes nothing here: what a token is, it says itself.
    form.take("token_type_hint")?;
    let token = form.take("token")?;
    let token = token.ok_or_else(|| nonsense("the body is a form with one `token`"))?;
    Ok(Asked {
        call,
        app,
        token,
        form,
    })
}

/// Who asks, as RFC 6749 (2.3.1) has clients say it: in the header, where what is in it is escaped, or in the form.
async fn called(http: &HttpRequest, form: &mut Form) -> Result<Call, ApiError> {
    let (id, secret) = (form.take("client_id")?, form.take("client_secret")?);
    let shown = auth::shown(http);
    if shown.is_empty()
        && let Some((id, secret)) = id.zip(secret)
    {
        return auth::call(http, &format!("Bearer {id}:{secret}")).await;
    }
    match unescaped(shown) {
        None => auth::call(http, shown).await,
        Some(pair) => match auth::call(http, &pair).await {
            // Whoever does not escape may have meant what stands there.
            Err(error) if error.code == Code::BadCredential => auth::call(http, shown).await,
            found => found,
        },
    }
}

async fn introspect(http: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Failed> {
    let asked = asked(&http, payload).await?;
    let Asked { call, app, .. } = &asked;
    call.caller.require_app_wide(*app, Operations::INSPECT)?;
    let described = match token::shown(call, *app, &asked.token).await {
        Ok(Shown::Known(known)) => match known.bearer {
            Some(bearer) => of_bearer(call, &bearer, Some(&known.id)).await?,
            None => stored(call, *app, &known.id).await?,
        },
        Ok(Shown::Nameless(bearer)) => of_bearer(call, &bearer, None).await?,
        Ok(Shown::Unproven(..) | Shown::Foreign(_)) => None,
        Err(error) if is_no_token(&error) => None,
        Err(error) => return Err(error.into()),
    };
    let body = described.unwrap_or_else(|| json!({ "active": false }));
    let revision = call.broker.authority.view().revision;
    Ok(HttpResponse::Ok()
        .insert_header(("Gatecast-Revision", revision.to_string()))
        .insert_header(("Cache-Control", "no-store"))
        .json(body))
}

/// The text cannot be a token.
fn is_no_token(error: &ApiError) -> bool {
    matches!(error.code, Code::BadValue | Code::BadName)
}

/// What is told of a token while it is good, with everything acknowledged anywhere counted.
async fn of_bearer(
    call: &Call,
    bearer: &Principal,
    name: Option<&Text>,
) -> Result<Option<Value>, Failed> {
    match call.broker.authority.admit(bearer).await {
        Ok(()) => Ok(Some(described(bearer, name))),
        Err(Refusal::Denied(_)) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

/// Why no stored token was found.
enum Unfound {
    /// Nothing is stored for it.
    Nothing,
    /// Nobody could say so.
    Other(Refusal),
}

impl From<Refusal> for Unfound {
    fn from(refusal: Refusal) -> Self {
        Self::Other(refusal)
    }
}

/// A token that the broker has issued, or one that only is what is granted to it.
async fn stored(call: &Call, app: AppId, id: &Text) -> Result<Option<Value>, Failed> {
    let authority = &call.broker.authority;
    let find = |view: &State| -> Result<Principal, Unfound> {
        if let Some(token) = view.tokens.get(&(app, id.clone())) {
            let token_id = Some(id.clone());
            return Ok(Principal {
                token: token_id,
                ..of_token(app, token)
            });
        }
        let now_ms = authority.now().cluster_ms;
        let subject = Subject::Token(id.clone());
        let mut grants = view.grants_of(app, &subject);
        match grants.any(|(_, grant)| grant.expires_ms.is_none_or(|end| now_ms < end)) {
            true => Ok(Principal {
                token: Some(id.clone()),
                ..Principal::anonymous(app, None, view.revision)
            }),
            false => Err(Unfound::Nothing),
        }
    };
    match authority
        .look(find, |why| matches!(why, Unfound::Nothing))
        .await
    {
        Ok(bearer) => of_bearer(call, &bearer, None).await,
        Err(Unfound::Nothing) => Ok(None),
        Err(Unfound::Other(other)) => Err(other.into()),
    }
}

fn described(bearer: &Principal, name: Option<&Text>) -> Value {
    let seconds = |ms: Millis| ms / 1000;
    let issued = match bearer.issued {
        Issued::At(ms) => Some(seconds(ms)),
        Issued::Seen(_) => None,
    };
    let proof = bearer.proof.as_ref();
    let key = proof.map(|proof| &proof.key).or_else(|| bearer.held());
    let mut all = json!({
        "active": true,
        "token_type": "Bearer",
        "client_id": key.map(|key| &**key),
        "sub": bearer.user.as_deref(),
        "username": bearer.user.as_deref(),
        "jti": name.map(|name| &**name),
        "iat": issued,
        "exp": bearer.expires_ms.map(seconds),
        "authorization_details": proof.map(|proof| details(&proof.capability)),
    });
    if let Some(fields) = all.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    all
}

/// What it carries, as docs/identity.md spells it; a right that is not about channels names its resource.
fn details(capability: &Capability) -> Value {
    let lines = capability.rights.iter().map(|right| {
        let names = match right.resource {
            Resource::Channel => "channels",
            Resource::Group => "groups",
            Resource::User => "users",
        };
        let (pattern, _) = pattern_text(&right.pattern);
        json!({
            "type": "gatecast",
            names: [pattern],
            "actions": operation_names(right.operations),
        })
    });
    lines.collect()
}

async fn revoke(http: HttpRequest, payload: web::Payload) -> Result<HttpResponse, Failed> {
    let asked = asked(&http, payload).await?;
    let Asked { call, app, .. } = &asked;
    // Before the token is looked at: a narrow key could learn from the answer whose it is.
    call.caller.require_app_wide(*app, Operations::REVOKE)?;
    let target = match token::shown(call, *app, &asked.token).await {
        Ok(Shown::Known(known)) => Target::Token(known.id),
        Ok(Shown::Unproven(_, id)) => Target::Token(id),
        Ok(Shown::Nameless(_)) => {
            return Err(Failed {
                error: token::nameless(),
                word: Some("unsupported_token_type"),
            });
        }
        Ok(Shown::Foreign(_)) => return Ok(HttpResponse::Ok().finish()),
        Err(error) if is_no_token(&error) => return Ok(HttpResponse::Ok().finish()),
        Err(error) => return Err(error.into()),
    };
    let command = Command::Revoke {
        app: *app,
        issuer: call.caller.issuer()?,
        target,
        issued_before_ms: None,
        margin_ms: 0,
    };
    let made = Write::of(call, &asked.form.raw)?
        .make(command, Wait::All)
        .await?;
    match made.status() {
        StatusCode::OK => Ok(HttpResponse::Ok()
            .insert_header(("Gatecast-Revision", made.revision().to_string()))
            .insert_header(("Cache-Control", "no-store"))
            .finish()),
        _pending => {
            let message = "it is stored, but not every node has confirmed it yet";
            Err(ApiError::new(Code::OutcomeUnknown, message).into())
        }
    }
}
