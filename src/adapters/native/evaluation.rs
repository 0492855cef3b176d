//! `POST /access/v1/evaluation` and `/access/v1/evaluations`: the OpenID AuthZEN Authorization API 1.0. An app asks us about
//! its own HTTP routes, in words that every policy enforcement point speaks, and gets the answer that a channel would.
//!
//! **Must never know:** how the decision is made; it asks the one that everybody asks.
//! **Why not `explain` under another name:** that tells an operator what this node thinks, also when it may not serve. A
//! decision that somebody acts on is final or is none: a yes only while this node serves, a no only on a fresh view.

use super::auth::{self, Call};
use super::codes::{ApiError, Code};
use super::explain::{ExplainIn, Found, decision_json, first_yes};
use super::input::{Body, MAX_BODY};
use super::resource;
use super::revoke::nonsense;
use super::text::{ResourceText, name, operations};
use super::token;
use crate::core::authority::{
    AccessQuery, AppId, Authority, Decision, Operations, Principal, Reason, Revision, UNCONFIRMED,
};
use crate::core::error::Refusal;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::HeaderName;
use actix_web::middleware::{Next, from_fn};
use actix_web::{HttpResponse, web};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Most questions of one request. Each may be about a user under each of an app's keys.
pub const MAX_EVALUATIONS: usize = 100;
/// Most decisions that the questions of one request come to.
const MAX_DECISIONS: usize = 10_000;
/// Questions that are asked at the same time: those that need a round with the others share it.
const AT_ONCE: usize = 16;
/// Names a request in the logs of both sides; it comes back as it was sent.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Adds the paths of this file.
pub fn routes(config: &mut web::ServiceConfig) {
    let body = || web::PayloadConfig::new(MAX_BODY);
    let one = resource("/access/v1/evaluation").app_data(body());
    let many = resource("/access/v1/evaluations").app_data(body());
    config
        .service(
            one.post(evaluation)
                .wrap(from_fn(auth::guard))
                .wrap(from_fn(identified)),
        )
        .service(
            many.post(evaluations)
                .wrap(from_fn(auth::guard))
                .wrap(from_fn(identified)),
        );
}

/// Every answer, refusals among them, has the id that its request had.
async fn identified(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let id = request.headers().get(REQUEST_ID).cloned();
    let http = request.request().clone();
    // What fails before a handler is reached would become an answer only behind us.
    let mut response = match next.call(request).await {
        Ok(response) => response.map_into_boxed_body(),
        Err(error) => ServiceResponse::new(http, error.error_response()),
    };
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    Ok(response)
}

/// Who wants something.
#[derive(Clone, Debug, Deserialize)]
pub struct Asker {
    /// `user`, `token`, `key` or `everyone`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which one. Of a token its text.
    #[serde(default)]
    pub id: String,
    /// What else is known of it.
    #[serde(default)]
    pub properties: Option<Properties>,
}

impl Asker {
    /// The key that has to vouch, where one is named.
    fn key(&self) -> Option<&str> {
        self.properties.as_ref()?.key.as_deref()
    }
}

/// What something is wanted of.
#[derive(Clone, Debug, Deserialize)]
pub struct Thing {
    /// `channel`, `group` or `user`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name by which rights name it.
    pub id: String,
}

/// What we read of a subject's properties.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Properties {
    /// The key that has to vouch for a user, instead of any that may.
    #[serde(default)]
    pub key: Option<String>,
}

/// What the subject wants to do.
#[derive(Clone, Debug, Deserialize)]
pub struct Action {
    /// An operation of `/v1`.
    pub name: String,
}

/// What we read of the circumstances.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Circumstances {
    /// The revision that the caller has seen: the answer is not older.
    #[serde(default)]
    pub at_least: Option<Revision>,
}

/// One question; of several, what they have in common or what one of them has of its own.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Evaluation {
    /// Who wants to do it.
    #[serde(default)]
    pub subject: Option<Asker>,
    /// What is wanted.
    #[serde(default)]
    pub action: Option<Action>,
    /// What it is wanted of.
    #[serde(default)]
    pub resource: Option<Thing>,
    /// In which circumstances.
    #[serde(default)]
    pub context: Option<Circumstances>,
}

/// Several questions in one request.
#[derive(Clone, Debug, Deserialize)]
pub struct Evaluations {
    /// What is said once for all of them.
    #[serde(flatten)]
    pub common: Evaluation,
    /// The questions. Without any, the common part is the one question.
    #[serde(default)]
    pub evaluations: Option<Vec<Evaluation>>,
    /// How many of them are answered.
    #[serde(default)]
    pub options: Option<Options>,
}

/// How several questions are answered.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Options {
    /// After which answer to stop.
    #[serde(default)]
    pub evaluations_semantic: Semantic,
}

/// When to stop answering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Semantic {
    /// After the last one.
    #[default]
    ExecuteAll,
    /// Behind the first no.
    DenyOnFirstDeny,
    /// Behind the first yes.
    PermitOnFirstPermit,
}

/// What a request is about when it has been understood.
#[derive(Debug)]
struct Asked {
    who: ExplainIn,
    name: String,
    needs: Operations,
    at_least: Option<Revision>,
}

/// What is answered to one question.
#[derive(Clone, Debug, Serialize)]
struct Answer {
    decision: bool,
    /// By which rule or for which reason, at which revision, says which node.
    context: Value,
}

impl Evaluation {
    /// With what it lacks taken from the common part.
    fn within(mut self, common: &Self) -> Self {
        self.subject = self.subject.or_else(|| common.subject.clone());
        self.action = self.action.or_else(|| common.action.clone());
        self.resource = self.resource.or_else(|| common.resource.clone());
        self.context = self.context.or_else(|| common.context.clone());
        self
    }

    fn read(self) -> Result<Asked, ApiError> {
        let missing = |what| {
            nonsense(&format!(
                "`{what}` is missing: say who wants to do what, on what"
            ))
        };
        let subject = self.subject.ok_or_else(|| missing("subject"))?;
        let action = self.action.ok_or_else(|| missing("action"))?;
        let on = self.resource.ok_or_else(|| missing("resource"))?;
        let resource = match on.kind.as_str() {
            "channel" => ResourceText::Channel,
            "group" => ResourceText::Group,
            "user" => ResourceText::User,
            other => {
                let message =
                    format!("there is no resource `{other}`; there are: channel, group, user");
                return Err(ApiError::new(Code::BadValue, message));
            }
        };
        let named = name("resource.id", &on.id)?.to_string();
        let needs = operations(std::slice::from_ref(&action.name))?;
        let mut who = ExplainIn {
            user: None,
            token: None,
            key: subject.key().map(str::to_owned),
            channel: named.clone(),
            operations: Vec::new(),
            resource,
        };
        match subject.kind.as_str() {
            "user" => who.user = Some(name("subject.id", &subject.id)?.to_string()),
            "token" => who.token = Some(subject.id),
            "key" => who.key = Some(subject.id),
            "everyone" => {}
            other => {
                let message =
                    format!("there is no subject `{other}`; there are: user, token, key, everyone");
                return Err(ApiError::new(Code::BadValue, message));
            }
        }
        Ok(Asked {
            who,
            name: named,
            needs,
            at_least: self.context.and_then(|context| context.at_least),
        })
    }
}

async fn evaluation(call: Call, body: Body<Evaluation>) -> Result<HttpResponse, ApiError> {
    let app = call.named_app().await?;
    call.caller.require_app_wide(app, Operations::INSPECT)?;
    let asked = body.value.read()?;
    let told = decide(&call, app, asked).await?;
    Ok(told_as(told))
}

async fn evaluations(call: Call, body: Body<Evaluations>) -> Result<HttpResponse, ApiError> {
    let app = call.named_app().await?;
    call.caller.require_app_wide(app, Operations::INSPECT)?;
    let Evaluations {
        common,
        evaluations,
        options,
    } = body.value;
    let evaluations = evaluations.unwrap_or_default();
    if evaluations.is_empty() {
        let told = decide(&call, app, common.read()?).await?;
        return Ok(told_as(told));
    }
    if evaluations.len() > MAX_EVALUATIONS {
        let message = format!("one request asks at most {MAX_EVALUATIONS} questions");
        return Err(ApiError::new(Code::TooLarge, message));
    }
    bounded(&call, app, &common, &evaluations)?;
    let each = evaluations.into_iter().map(|one| async {
        match one.within(&common).read() {
            Ok(asked) => decide(&call, app, asked).await,
            Err(error) => Ok(unasked(&error)),
        }
    });
    // None changes anything, so those behind the last that is told may be asked all the same.
    let answers = stream::iter(each).buffered(AT_ONCE);
    let mut answers: Vec<Answer> = answers.try_collect().await?;
    let last = match options.unwrap_or_default().evaluations_semantic {
        Semantic::ExecuteAll => None,
        Semantic::DenyOnFirstDeny => Some(false),
        Semantic::PermitOnFirstPermit => Some(true),
    };
    let end = last.and_then(|last| answers.iter().position(|one| one.decision == last));
    answers.truncate(end.map_or(answers.len(), |at| at + 1));
    Ok(told_as(json!({ "evaluations": &answers })))
}

/// A user without a key is asked about under each that may vouch for her: so many questions may be in one request, and no more.
fn bounded(
    call: &Call,
    app: AppId,
    common: &Evaluation,
    all: &[Evaluation],
) -> Result<(), ApiError> {
    let under_every_key = |one: &&Evaluation| {
        let asker = one.subject.as_ref().or(common.subject.as_ref());
        asker.is_some_and(|asker| asker.kind == "user" && asker.key().is_none())
    };
    let questions = all.iter().filter(under_every_key).count();
    let keys = call.broker.authority.view().keys_of(app).count();
    match questions.saturating_mul(keys) <= MAX_DECISIONS {
        true => Ok(()),
        false => {
            let message = format!(
                "{questions} questions about users under {keys} keys are more than {MAX_DECISIONS} decisions: ask fewer at once, or \
                 name the key that vouches in `subject.properties.key`"
            );
            Err(ApiError::new(Code::TooLarge, message))
        }
    }
}

/// A decision that may be acted on.
async fn decide(call: &Call, app: AppId, asked: Asked) -> Result<Answer, ApiError> {
    let authority = &call.broker.authority;
    if let Some(revision) = asked.at_least {
        authority
            .at_least(revision, auth::FRESHNESS_TIMEOUT)
            .await?;
    }
    let shown = match &asked.who.token {
        None => None,
        Some(text) => match token::known(call, app, text).await {
            Ok(known) => Some(known),
            // A request may carry anything as its token: that nobody is meant by it is an answer.
            Err(error) if matches!(error.code, Code::BadValue | Code::BadName) => {
                return Ok(unasked(&error));
            }
            Err(error) => return Err(error),
        },
    };
    let ask = AccessQuery {
        resource: asked.who.resource.into(),
        name: &asked.name,
        needs: asked.needs,
        wants: Operations::NONE,
        speaks_for: None,
    };
    let principals = || {
        let now_ms = authority.now().cluster_ms;
        let view = authority.view();
        asked.who.principals(&view, app, now_ms, shown.as_ref())
    };
    let early = match principals() {
        Ok(all) => first_yes(authority, &all, ask).await,
        Err(_) => None,
    };
    let found = match early {
        Some(found) => found,
        None => {
            // The key that vouches, or the grant, may have been made a moment ago at another node.
            authority.catch_up().await.map_err(|_| UNCONFIRMED)?;
            let all = match principals() {
                Ok(all) => all,
                Err(error) => return Ok(unasked(&error)),
            };
            if let [one] = all.as_slice() {
                wait_for_the_very_moment(authority, one, ask).await?;
            }
            let view = authority.view();
            match first_yes(authority, &all, ask).await {
                Some(found) => found,
                None => {
                    let first = all.into_iter().next().ok_or(UNCONFIRMED)?;
                    let decision = authority.explain(&first, None, ask);
                    Found {
                        view,
                        principal: first,
                        decision,
                    }
                }
            }
        }
    };
    // Asked last: a view counts only if this node may serve by it still.
    match authority.serving() {
        true => Ok(told(&found, call)),
        false => Err(UNCONFIRMED.into()),
    }
}

/// A credential of this very moment is good in the next one. A user has none: she is asked about under every key of the app.
async fn wait_for_the_very_moment(
    authority: &Authority,
    one: &Principal,
    ask: AccessQuery<'_>,
) -> Result<(), ApiError> {
    let decision = authority.explain(one, None, ask);
    if !matches!(decision, Decision::Deny(Reason::NotYet { .. })) {
        return Ok(());
    }
    match authority.authorize(one, None, ask).await {
        Ok(_) | Err(Refusal::Denied(_)) => Ok(()),
        Err(other) => Err(other.into()),
    }
}

fn told(found: &Found, call: &Call) -> Answer {
    let decision = &found.decision;
    let mut context = decision_json(decision);
    if let Some(fields) = context.as_object_mut() {
        fields.remove("allowed");
        if let Some(path) = found.path_json(call.broker.authority.now().cluster_ms) {
            fields.insert("path".into(), path);
        }
        fields.insert("revision".into(), found.view.revision.into());
        fields.insert("node".into(), call.broker.authority.node().0.into());
    }
    Answer {
        decision: matches!(decision, Decision::Allow(_)),
        context,
    }
}

/// A no, because there is nobody or nothing to ask about.
fn unasked(error: &ApiError) -> Answer {
    let (code, status, _) = error.code.row();
    let error = json!({ "status": status, "code": code, "message": error.message });
    Answer {
        decision: false,
        context: json!({ "error": error }),
    }
}

fn told_as(body: impl Serialize) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("Cache-Control", "no-store"))
        .json(body)
}
