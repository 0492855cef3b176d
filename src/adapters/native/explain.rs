//! `POST /v1/apps/{app}/explain`: may this one do that, by which rule, at which revision, says which node.
//!
//! The answer is given even where it cannot be proven current; `fresh` says whether it is.
//!
//! **Must never know:** how the decision is made; it only asks the one that everybody asks.

use super::auth::{Call, principal_of};
use super::codes::{ApiError, Code, reason_text};
use super::input::{Body, Params};
use super::resource;
use super::revoke::nonsense;
use super::text::{ResourceText, SubjectText, TargetText, name, operation_names, operations};
use super::write::answer;
use crate::core::authority::{
    AppId, Ask, Decision, Issued, Operations, Principal, Proof, Reason, Rule, State,
};
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

/// Adds the paths of this file.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(resource("/apps/{app}/explain").post(explain));
}

/// A question as asked. Without user, token or key it is about anyone connected to the app.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainIn {
    /// A signed-in user.
    #[serde(default)]
    pub user: Option<String>,
    /// A token or auth key.
    #[serde(default)]
    pub token: Option<String>,
    /// A key.
    #[serde(default)]
    pub key: Option<String>,
    /// Which channel (or group, or user record).
    pub channel: String,
    /// All of these.
    pub operations: Vec<String>,
    /// On what kind of thing.
    #[serde(default)]
    pub resource: ResourceText,
}

impl ExplainIn {
    /// Whom it is about, with what the state knows of the credential.
    ///
    /// # Errors
    /// When a name is unusable or no such key exists.
    pub fn principal(&self, view: &State, app: AppId) -> Result<Principal, ApiError> {
        let mut principal = match &self.key {
            None => Principal::anonymous(app, None, view.revision),
            Some(id) => {
                let key = view.keys.get(&**id).filter(|key| key.app == app);
                let key = key.ok_or_else(|| {
                    ApiError::new(Code::NoSuchKey, "there is no such key in this app")
                })?;
                principal_of(key, view.revision)
            }
        };
        principal.user = self
            .user
            .as_ref()
            .map(|user| name("user", user))
            .transpose()?;
        if let Some(text) = &self.token {
            let id = name("token", text)?;
            if let Some(token) = view.tokens.get(&(app, id.clone())) {
                principal.user = principal.user.or_else(|| token.user.clone());
                principal.revocation_key = token.revocation_key.clone();
                principal.issued = Issued::At(token.issued_ms);
                principal.expires_ms = token.expires_ms;
                principal.proof = Some(Proof {
                    key: token.key.clone(),
                    issued: Issued::At(token.issued_ms),
                    expires_ms: token.expires_ms,
                    capability: token.capability.clone(),
                });
            }
            principal.token = Some(id);
        }
        Ok(principal)
    }
}

async fn explain(
    call: Call,
    path: web::Path<String>,
    body: Body<ExplainIn>,
) -> Result<HttpResponse, ApiError> {
    Params::none(&call)?;
    let app = call.app(&path)?.id;
    call.caller.whole(app, Operations::INSPECT)?;
    let channel = name("channel", &body.value.channel)?;
    let needs = operations(&body.value.operations)?;
    if needs.is_empty() {
        return Err(nonsense("`operations` is empty: nothing is asked"));
    }
    let authority = &call.broker.authority;
    let fresh = authority.catch_up().await.is_ok();
    let view = authority.view();
    let principal = body.value.principal(&view, app)?;
    let ask = Ask {
        resource: body.value.resource.into(),
        name: &channel,
        needs,
        wants: Operations::NONE,
    };
    let mut told = decision_json(&authority.explain(&principal, None, ask));
    if let Some(fields) = told.as_object_mut() {
        fields.insert("node".into(), authority.node().0.into());
        fields.insert("fresh".into(), fresh.into());
    }
    Ok(answer(StatusCode::OK, view.revision, told))
}

/// A decision as `/v1` shows it.
#[must_use]
pub fn decision_json(decision: &Decision) -> Value {
    match decision {
        Decision::Allow(rule) => json!({ "allowed": true, "rule": rule_json(rule) }),
        Decision::Deny(reason) => {
            json!({ "allowed": false, "reason": reason_json(reason), "text": reason_text(reason) })
        }
    }
}

fn rule_json(rule: &Rule) -> Value {
    match rule {
        Rule::Open(pattern) => json!({ "kind": "open", "pattern": pattern.to_string() }),
        Rule::Proof { key } => json!({ "kind": "credential", "key": &**key }),
        Rule::Grant {
            subject,
            pattern,
            revision,
            expires_ms,
        } => json!({
            "kind": "grant",
            "subject": SubjectText::from(subject),
            "pattern": pattern.to_string(),
            "revision": revision,
            "expires_ms": expires_ms,
        }),
    }
}

fn reason_json(reason: &Reason) -> Value {
    match reason {
        Reason::NoSuchApp(app) => json!({ "code": "no_such_app", "app": app.to_string() }),
        Reason::AppDisabled => json!({ "code": "app_disabled" }),
        Reason::NoSuchKey(key) => json!({ "code": "no_such_key", "key": &**key }),
        Reason::KeyDisabled(key) => json!({ "code": "key_disabled", "key": &**key }),
        Reason::Blocked { until_ms } => json!({ "code": "blocked", "until_ms": until_ms }),
        Reason::Expired { at_ms } => json!({ "code": "expired", "at_ms": at_ms }),
        Reason::Revoked { target, revision } => json!({
            "code": "revoked", "target": TargetText::from(target), "revision": revision,
        }),
        Reason::BeyondKey(key) => json!({ "code": "beyond_key", "key": &**key }),
        Reason::NotGranted(operations) => json!({
            "code": "not_granted", "operations": operation_names(*operations),
        }),
    }
}
