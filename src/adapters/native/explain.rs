//! `POST /v1/apps/{app}/explain`: may this one do that, by which rule, at which revision, says which node.
//!
//! The answer is given even where it cannot be proven current; `fresh` says whether it is.
//!
//! **Must never know:** how the decision is made; it only asks the one that everybody asks.

use super::auth::Call;
use super::block::block_json;
use super::codes::{ApiError, Code, reason_text};
use super::input::{Body, Params};
use super::key::keys_of;
use super::resource;
use super::revoke::nonsense;
use super::text::{ResourceText, SubjectText, TargetText, name, operation_names, operations};
use super::token::{self, Known};
use super::write::answer;
use crate::core::authority::{
    AccessQuery, ApiKey, AppId, Authority, Decision, GroupMember, Issued, Millis, Operations,
    Principal, Proof, Reason, Revision, Rule, State, Subject, Text, Token, Voucher,
};
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Adds the paths of this file.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(resource("/apps/{app}/explain").post(explain));
}

/// A question as asked. Without user, token or key it is about anyone connected to the app. A user without a key
/// is asked about under each of the app's keys that may vouch for her, the oldest first: a yes under one is a yes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainIn {
    /// A signed-in user.
    #[serde(default)]
    pub user: Option<String>,
    /// A token or auth key.
    #[serde(default)]
    pub token: Option<String>,
    /// The id of a key, instead of a token.
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
    /// Whom it is about, with what the state knows of the credential: the first one who may is the answer.
    ///
    /// # Errors
    /// When a name is unusable or no such key exists.
    pub fn principals(
        &self,
        view: &State,
        app: AppId,
        now_ms: Millis,
        shown: Option<&Known>,
    ) -> Result<Vec<Principal>, ApiError> {
        let user = self.user.as_ref().map(|user| name("user", user));
        let user = user.transpose()?;
        let token = shown.map(|known| known.id.clone());
        let key = match &self.key {
            None => None,
            Some(id) => {
                let key = view.keys.get(&**id).filter(|key| key.app == app);
                Some(key.ok_or_else(|| {
                    ApiError::new(Code::NoSuchKey, "there is no such key in this app")
                })?)
            }
        };
        let issued = token.as_ref();
        let issued = issued.and_then(|id| view.tokens.get(&(app, id.clone())));
        let named = |principal: Principal| Principal {
            user: user.clone().or_else(|| principal.user.clone()),
            token: token.clone(),
            ..principal
        };
        if let Some(bearer) = shown.and_then(|known| known.bearer.as_deref()) {
            let opened_under = key.map(|key| key.id.clone());
            return Ok(vec![named(Principal {
                opened_under: opened_under.or_else(|| bearer.opened_under.clone()),
                ..bearer.clone()
            })]);
        }
        if let Some(issued) = issued {
            let bearer = of_token(app, issued);
            return Ok(vec![named(Principal {
                opened_under: key.map(|key| key.id.clone()),
                ..bearer
            })]);
        }
        if let Some(key) = key {
            return Ok(vec![named(of_key(key, view.revision))]);
        }
        let nobody = Principal::anonymous(app, None, view.revision);
        if user.is_none() {
            return Ok(vec![named(nobody)]);
        }
        let mut keys = keys_of(view, app);
        keys.retain(|key| key.is_live(now_ms));
        let mut all: Vec<Principal> = keys
            .into_iter()
            .map(|key| {
                named(Principal {
                    vouched_by: Some(Voucher::Held(key.id)),
                    ..nobody.clone()
                })
            })
            .collect();
        if all.is_empty() {
            all.push(named(nobody));
        }
        Ok(all)
    }
}

/// Who would show this key. Nobody does: it is only asked about.
fn of_key(key: &ApiKey, seen: Revision) -> Principal {
    let proof = Proof {
        key: key.id.clone(),
        issued: Issued::Seen(seen),
        expires_ms: None,
        capability: key.capability.clone(),
        vouched: None,
    };
    Principal::proven(key.app, proof)
}

/// Who presents a token that the broker can look up.
pub(super) fn of_token(app: AppId, token: &Token) -> Principal {
    let proof = Proof {
        key: token.key.clone(),
        issued: Issued::At(token.issued_ms),
        expires_ms: token.expires_ms,
        capability: token.capability.clone(),
        vouched: None,
    };
    Principal {
        user: token.user.clone(),
        revocation_key: token.revocation_key.clone(),
        ..Principal::proven(app, proof)
    }
}

async fn explain(
    call: Call,
    path: web::Path<String>,
    body: Body<ExplainIn>,
) -> Result<HttpResponse, ApiError> {
    Params::none(&call)?;
    let app = call.app(&path).await?.id;
    call.caller.require_app_wide(app, Operations::INSPECT)?;
    let channel = name("channel", &body.value.channel)?;
    let needs = operations(&body.value.operations)?;
    if needs.is_empty() {
        return Err(nonsense("`operations` is empty: nothing is asked"));
    }
    let authority = &call.broker.authority;
    let fresh = authority.catch_up().await.is_ok();
    let shown = match &body.value.token {
        Some(text) => Some(token::known(&call, app, text).await?),
        None => None,
    };
    let view = authority.view();
    let now_ms = authority.now().cluster_ms;
    let principals = body.value.principals(&view, app, now_ms, shown.as_ref())?;
    let ask = AccessQuery {
        resource: body.value.resource.into(),
        name: &channel,
        needs,
        wants: Operations::NONE,
        speaks_for: None,
    };
    let found = match first_yes(authority, &principals, ask).await {
        Some(found) => found,
        None => {
            let nobody = || ApiError::new(Code::Unavailable, "nobody could be asked about");
            let principal = principals.into_iter().next().ok_or_else(nobody)?;
            let decision = authority.explain(&principal, None, ask);
            Found {
                view,
                principal,
                decision,
            }
        }
    };
    let mut told = decision_json(&found.decision);
    if let Some(fields) = told.as_object_mut() {
        if let Some(path) = found.path_json(now_ms) {
            fields.insert("path".into(), path);
        }
        let held = found.principal.held();
        fields.insert("vouched_by".into(), held.map(|key| &**key).into());
        fields.insert("node".into(), authority.node().0.into());
        fields.insert("fresh".into(), fresh.into());
    }
    Ok(answer(StatusCode::OK, found.view.revision, told))
}

/// What was decided, about whom, and a view that is not newer than what it was decided on.
pub struct Found {
    /// The view as it was just before.
    pub view: Arc<State>,
    /// Whom it was asked about.
    pub principal: Principal,
    /// What was decided of her.
    pub decision: Decision,
}

impl Found {
    /// The way to the user group that decided, if one did.
    #[must_use]
    pub fn path_json(&self, now_ms: Millis) -> Option<Value> {
        path_json(&self.view, &self.principal, &self.decision, now_ms)
    }
}

/// The first of these who may. A user may have a thousand patterns and an app as many keys that may vouch for her, so everybody
/// else of this thread has a turn before each.
pub(super) async fn first_yes(
    authority: &Authority,
    all: &[Principal],
    ask: AccessQuery<'_>,
) -> Option<Found> {
    for principal in all {
        pause().await;
        let view = authority.view();
        let decision = authority.explain(principal, None, ask);
        if matches!(decision, Decision::Allow(_)) {
            return Some(Found {
                view,
                principal: principal.clone(),
                decision,
            });
        }
    }
    None
}

/// Lets everybody else of this thread have a turn.
pub(super) async fn pause() {
    tokio::task::yield_now().await;
}

/// The way to the user group that gives the right, or that is blocked: who is in what, from the user (or what her token
/// claims) outwards.
fn path_json(
    view: &State,
    principal: &Principal,
    decision: &Decision,
    now_ms: Millis,
) -> Option<Value> {
    let (app, user) = (principal.app, principal.user.as_ref());
    let group = match decision {
        Decision::Allow(Rule::Grant {
            subject: Subject::Group(group),
            ..
        }) => group,
        Decision::Deny(Reason::Blocked { .. }) => {
            let own = user.cloned().map(Subject::User);
            if own.is_some_and(|own| block_json(view, app, own, now_ms).is_some()) {
                return None;
            }
            let all = view.groups_of_user(app, user, principal.claimed());
            let mut all = all.into_iter();
            let blocked = |group: &&Text| {
                block_json(view, app, Subject::Group((*group).clone()), now_ms).is_some()
            };
            all.find(blocked)?
        }
        Decision::Allow(_) | Decision::Deny(_) => return None,
    };
    let way = view.way_to_group(app, user, principal.claimed(), group)?;
    let first = match (user, way.first()) {
        (Some(user), Some(near))
            if view
                .groups_with(app, GroupMember::User(user.clone()))
                .contains(near) =>
        {
            json!({ "user": &**user })
        }
        (_, _) => json!({ "claim_of": user.map(|user| &**user) }),
    };
    let groups = way.iter().map(|group| json!({ "group": &**group }));
    Some(std::iter::once(first).chain(groups).collect())
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
        Reason::NotYet { at_ms } => json!({ "code": "not_yet", "at_ms": at_ms }),
        Reason::Revoked { target, revision } => json!({
            "code": "revoked", "target": TargetText::from(target), "revision": revision,
        }),
        Reason::BeyondKey(key) => json!({ "code": "beyond_key", "key": &**key }),
        Reason::NotVouched(provider) => {
            json!({ "code": "not_vouched", "provider": &**provider })
        }
        Reason::NotGranted(operations) => json!({
            "code": "not_granted", "operations": operation_names(*operations),
        }),
    }
}
