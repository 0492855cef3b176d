//! `POST /access/v1/evaluation` and `/access/v1/evaluations`: the OpenID AuthZEN Authorization API 1.0. An app asks us about
//! its own HTTP routes, in words that every policy enforcement point speaks, and gets the answer that a channel would.
//!
//! **Must never know:** how the decision is made; it asks the one that everybody asks.
//! **Why not `explain` under another name:** that tells an operator what this node thinks, also when it may not serve. A
//! decision that somebody acts on is final or is none: a yes only while this node serves, a no only on a fresh view.

use super::auth::{self, Call};
use super::codes::{ApiError, Code};
use super::explain::{ExplainIn, decision_json};
use super::input::{Body, MAX_BODY};
use super::resource;
use super::revoke::nonsense;
use super::text::{ResourceText, name, operations};
use super::token;
use crate::core::authority::{
    AccessQuery, AppId, Decision, Operations, Principal, Reason, Revision, UNCONFIRMED,
};
use crate::core::error::Refusal;
use actix_web::http::header::HeaderName;
use actix_web::middleware::from_fn;
use actix_web::{HttpResponse, web};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Most questions of one request. Each may be about a user under each of an app's keys.
pub const MAX_EVALUATIONS: usize = 100;
/// Names a request in the logs of both sides; it comes back as it was sent.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Adds the paths of this file.
pub fn routes(config: &mut web::ServiceConfig) {
    let body = || web::PayloadConfig::new(MAX_BODY);
    let one = resource("/access/v1/evaluation").app_data(body());
    let many = resource("/access/v1/evaluations").app_data(body());
    config
        .service(one.post(evaluation).wrap(from_fn(auth::guard)))
        .service(many.post(evaluations).wrap(from_fn(auth::guard)));
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
    pub properties: Properties,
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
    pub evaluations: Vec<Evaluation>,
    /// How many of them are answered.
    #[serde(default)]
    pub options: Options,
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
            key: subject.properties.key,
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
    Ok(told_as(&call, told))
}

async fn evaluations(call: Call, body: Body<Evaluations>) -> Result<HttpResponse, ApiError> {
    let app = call.named_app().await?;
    call.caller.require_app_wide(app, Operations::INSPECT)?;
    let Evaluations {
        common,
        evaluations,
        options,
    } = body.value;
    if evaluations.is_empty() {
        let told = decide(&call, app, common.read()?).await?;
        return Ok(told_as(&call, told));
    }
    if evaluations.len() > MAX_EVALUATIONS {
        let message = format!("one request asks at most {MAX_EVALUATIONS} questions");
        return Err(ApiError::new(Code::TooLarge, message));
    }
    let each = evaluations.into_iter().map(|one| async {
        match one.within(&common).read() {
            Ok(asked) => decide(&call, app, asked).await,
            Err(error) => Ok(unasked(&error)),
        }
    });
    // None changes anything, so those behind the last that is told may be asked all the same.
    let answers: Result<Vec<Answer>, ApiError> = join_all(each).await.into_iter().collect();
    let mut answers = answers?;
    let last = match options.evaluations_semantic {
        Semantic::ExecuteAll => None,
        Semantic::DenyOnFirstDeny => Some(false),
        Semantic::PermitOnFirstPermit => Some(true),
    };
    let end = last.and_then(|last| answers.iter().position(|one| one.decision == last));
    answers.truncate(end.map_or(answers.len(), |at| at + 1));
    Ok(told_as(&call, json!({ "evaluations": &answers })))
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
    let yes = |all: &[Principal]| {
        let decisions = all.iter().map(|one| authority.explain(one, None, ask));
        let mut allowed = decisions.filter(|one| matches!(one, Decision::Allow(_)));
        allowed.next()
    };
    let early = principals().ok().and_then(|all| yes(&all));
    let decision = match early {
        Some(decision) => decision,
        None => {
            // The key that vouches, or the grant, may have been made a moment ago at another node.
            authority.catch_up().await.map_err(|_| UNCONFIRMED)?;
            let all = match principals() {
                Ok(all) => all,
                Err(error) => return Ok(unasked(&error)),
            };
            // A credential of this very moment is good in the next one. Nobody else is asked about twice: each question
            // would cost a round of its own, and a user is asked about under every key of the app.
            for one in &all {
                let decision = authority.explain(one, None, ask);
                if matches!(decision, Decision::Deny(Reason::NotYet { .. })) {
                    match authority.authorize(one, None, ask).await {
                        Ok(_) | Err(Refusal::Denied(_)) => {}
                        Err(other) => return Err(other.into()),
                    }
                }
            }
            let first = all.first().map(|one| authority.explain(one, None, ask));
            yes(&all).or(first).ok_or(UNCONFIRMED)?
        }
    };
    // Asked last: a view counts only if this node may serve by it still.
    match authority.serving() {
        true => Ok(told(&decision, authority.view().revision, call)),
        false => Err(UNCONFIRMED.into()),
    }
}

fn told(decision: &Decision, revision: Revision, call: &Call) -> Answer {
    let mut context = decision_json(decision);
    if let Some(fields) = context.as_object_mut() {
        fields.remove("allowed");
        fields.insert("revision".into(), revision.into());
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

fn told_as(call: &Call, body: impl Serialize) -> HttpResponse {
    let mut response = HttpResponse::Ok()
        .insert_header(("Cache-Control", "no-store"))
        .json(body);
    if let Some(id) = call.http.headers().get(REQUEST_ID) {
        response.headers_mut().insert(REQUEST_ID, id.clone());
    }
    response
}
