//! `/v1/apps/{app}/grants`: merge (POST), replace (PUT), list, delete.
//!
//! **Why a merge can be a narrowing write:** overwriting a line with less takes rights away as surely as deleting it
//! does, so it has to be finished everywhere before the answer as well.

use super::auth::Call;
use super::codes::{ApiError, Code};
use super::input::{Body, Params, Wait};
use super::resource;
use super::text::{
    ResourceText, SubjectText, issuer_text, operation_names, operations, pattern, pattern_text,
};
use super::token;
use super::write::{Write, answer};
use crate::core::authority::{
    Command, Grant, GrantEntry, GrantKey, GrantMode, Millis, Operations, Pattern, Resource, Subject,
};
use crate::core::redact::fingerprint;
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

/// Most lines of one request.
const MAX_LINES: usize = 5000;

/// Adds the paths of this file.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(
        resource("/apps/{app}/grants")
            .get(list)
            .post(merge)
            .put(replace)
            .delete(delete),
    );
}

/// Grants as asked for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantsIn {
    /// Who gets the rights.
    pub subject: SubjectText,
    /// The lines that are granted.
    pub grants: Vec<LineIn>,
    /// How far to wait, when rights are taken away.
    #[serde(default)]
    pub wait: Wait,
}

/// One line of a request for grants.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineIn {
    /// Which names the right is for.
    pub pattern: String,
    /// The pattern's kind, where its form does not say it.
    #[serde(default)]
    pub kind: Option<String>,
    /// What may be done; empty = delete the line.
    pub operations: Vec<String>,
    /// How long, milliseconds; none = until deleted.
    #[serde(default)]
    pub ttl_ms: Option<Millis>,
    /// On what kind of thing.
    #[serde(default)]
    pub resource: ResourceText,
}

impl GrantsIn {
    /// The entries of the command.
    ///
    /// # Errors
    /// When a name, pattern or operation is unusable, or there are too many lines.
    pub fn entries(&self) -> Result<Vec<GrantEntry>, ApiError> {
        if self.grants.len() > MAX_LINES {
            let message = format!("at most {MAX_LINES} grants in one request");
            return Err(ApiError::new(Code::LimitReached, message));
        }
        let entry = |line: &LineIn| {
            if line.ttl_ms == Some(0) {
                return Err(ApiError::new(Code::BadValue, "`ttl_ms` is at least 1"));
            }
            Ok(GrantEntry {
                resource: line.resource.into(),
                pattern: pattern(&line.pattern, line.kind.as_deref())?,
                operations: operations(&line.operations)?,
                ttl_ms: line.ttl_ms,
            })
        };
        self.grants.iter().map(entry).collect()
    }
}

async fn merge(
    call: Call,
    path: web::Path<String>,
    body: Body<GrantsIn>,
) -> Result<HttpResponse, ApiError> {
    set(&call, &path, &body, GrantMode::Merge).await
}

async fn replace(
    call: Call,
    path: web::Path<String>,
    body: Body<GrantsIn>,
) -> Result<HttpResponse, ApiError> {
    set(&call, &path, &body, GrantMode::Replace).await
}

async fn set(
    call: &Call,
    path: &str,
    body: &Body<GrantsIn>,
    mode: GrantMode,
) -> Result<HttpResponse, ApiError> {
    let record = call.app(path).await?;
    let app = record.id;
    call.caller.require_any(app, Operations::GRANT)?;
    let entries = body.value.entries()?;
    let subject = token::subject(call, app, &body.value.subject).await?;
    if entries.is_empty() && mode == GrantMode::Merge {
        return Err(ApiError::new(Code::BadValue, "`grants` is empty"));
    }
    let command = Command::SetGrants {
        app,
        issuer: call.caller.issuer()?,
        subject: subject.clone(),
        mode,
        entries,
    };
    let write = Write::of(call, &body.raw)?;
    let made = write.make(command, body.value.wait).await?;
    Ok(made.answer_about(&subject, call, &record))
}

async fn list(call: Call, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let mut params = Params::of(&call.http)?;
    let named = subject_of(&mut params)?;
    let limit = params.limit(1000, 10_000)?;
    params.finish()?;
    let app = call.app(&path).await?.id;
    call.caller.require_any(app, Operations::GRANT)?;
    let subject = match &named {
        Some(named) => Some(token::subject(&call, app, named).await?),
        None => None,
    };
    let view = call.broker.authority.view();
    let now_ms = call.broker.authority.now().cluster_ms;
    let grants: Box<dyn Iterator<Item = _>> = match &subject {
        Some(subject) => Box::new(view.grants_of(app, subject)),
        None => Box::new(view.grants_in(app)),
    };
    // A token is its own secret, and what others may do is not told to who may not grant it.
    let (caller, clear) = (&call.caller, call.caller.is_full(app));
    let mut lines: Vec<Value> = grants
        .filter(|(_, grant)| grant.expires_ms.is_none_or(|end| end > now_ms))
        .filter(|(key, _)| caller.covers(key.resource, &key.pattern, Operations::GRANT))
        .take(limit + 1)
        .map(|(key, grant)| line_json(key, grant, clear))
        .collect();
    let truncated = lines.len() > limit;
    lines.truncate(limit);
    let body = json!({ "grants": lines, "truncated": truncated });
    Ok(answer(StatusCode::OK, view.revision, body))
}

/// The subject named by `user`, `token`, `key`, `group` or `everyone`; none when nothing is named.
///
/// # Errors
/// `bad_value` when several are named.
fn subject_of(params: &mut Params) -> Result<Option<SubjectText>, ApiError> {
    let named = [
        params.text("user").map(SubjectText::User),
        params.text("token").map(SubjectText::Token),
        params.text("key").map(SubjectText::Key),
        params.text("group").map(SubjectText::Group),
        params.flag("everyone")?.then_some(SubjectText::Everyone),
    ];
    let mut named = named.into_iter().flatten();
    match (named.next(), named.next()) {
        (None, _) => Ok(None),
        (Some(one), None) => Ok(Some(one)),
        (Some(_), Some(_)) => Err(ApiError::new(
            Code::BadValue,
            "name one of user, token, key, group, everyone",
        )),
    }
}

fn line_json(key: &GrantKey, grant: &Grant, clear: bool) -> Value {
    let (pattern, kind) = pattern_text(&key.pattern);
    let subject = match &key.subject {
        Subject::Token(token) if !clear => json!({ "token_fingerprint": fingerprint(token) }),
        Subject::Everyone
        | Subject::User(_)
        | Subject::Token(_)
        | Subject::Key(_)
        | Subject::Group(_) => {
            json!(SubjectText::from(&key.subject))
        }
    };
    let mut line = json!({
        "subject": subject,
        "resource": ResourceText::from(key.resource),
        "pattern": pattern,
        "operations": operation_names(grant.operations),
        "expires_ms": grant.expires_ms,
        "issuer": issuer_text(&grant.issuer),
        "revision": grant.revision,
    });
    if let (Some(kind), Some(line)) = (kind, line.as_object_mut()) {
        line.insert("kind".to_owned(), kind.into());
    }
    line
}

/// A pattern by its text, or with its kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a pattern is a text, or an object of `pattern` and `kind`"
)]
pub enum PatternIn {
    /// Of the kind that its form says.
    Text(String),
    /// Of this kind.
    Of(KindIn),
}

/// A pattern with its kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindIn {
    /// As it is written.
    pub pattern: String,
    /// What its text means.
    pub kind: String,
}

impl PatternIn {
    fn read(&self) -> Result<Pattern, ApiError> {
        match self {
            Self::Text(text) => pattern(text, None),
            Self::Of(of) => pattern(&of.pattern, Some(&of.kind)),
        }
    }
}

/// A deletion as asked for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteIn {
    /// Whose grants are deleted.
    pub subject: SubjectText,
    /// Which, on channels; none = all of the subject's grants.
    #[serde(default)]
    pub patterns: Vec<PatternIn>,
    /// On what kind of thing the patterns are.
    #[serde(default)]
    pub resource: ResourceText,
    /// How far to wait.
    #[serde(default)]
    pub wait: Wait,
}

async fn delete(
    call: Call,
    path: web::Path<String>,
    body: Body<DeleteIn>,
) -> Result<HttpResponse, ApiError> {
    let record = call.app(&path).await?;
    let app = record.id;
    // Who may only take something away may take this as well; of which patterns, the access machine says.
    let may = |needs| call.caller.require_any(app, needs);
    may(Operations::GRANT).or_else(|_| may(Operations::REVOKE))?;
    let resource: Resource = body.value.resource.into();
    let patterns = body.value.patterns.iter();
    let names = patterns.map(|one| Ok((resource, one.read()?)));
    let subject = token::subject(&call, app, &body.value.subject).await?;
    let command = Command::DeleteGrants {
        app,
        issuer: call.caller.issuer()?,
        subject: subject.clone(),
        names: names.collect::<Result<_, ApiError>>()?,
    };
    let write = Write::of(&call, &body.raw)?;
    let made = write.make(command, body.value.wait).await?;
    Ok(made.answer_about(&subject, &call, &record))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::adapters::native::input::json as read;

    #[test]
    fn lines_become_entries() {
        let body = r#"{"subject":{"user":"ana"},"grants":[
            {"pattern":"private-room","operations":["subscribe","publish"],"ttl_ms":60000},
            {"pattern":"g-*","operations":["manage"],"resource":"group"}]}"#;
        let body = read::<GrantsIn>(body.as_bytes()).unwrap();
        assert_eq!(body.subject.read(), Ok(Subject::User("ana".into())));
        let entries = body.entries().unwrap();
        let first = GrantEntry {
            resource: Resource::Channel,
            pattern: Pattern::Exact("private-room".into()),
            operations: Operations::SUBSCRIBE | Operations::PUBLISH,
            ttl_ms: Some(60_000),
        };
        assert_eq!(entries.first(), Some(&first));
        assert_eq!(entries.get(1).map(|e| e.resource), Some(Resource::Group));
    }

    #[test]
    fn a_kind_that_the_form_does_not_say_is_read_in_both_directions() {
        let body = r#"{"subject":"everyone","grants":[
            {"pattern":"*","kind":"segments","operations":["subscribe"]}]}"#;
        let entries = read::<GrantsIn>(body.as_bytes())
            .unwrap()
            .entries()
            .unwrap();
        let segments = Pattern::Segments("*".into());
        assert_eq!(entries.first().map(|one| &one.pattern), Some(&segments));
        let body = r#"{"subject":"everyone","patterns":["*",{"pattern":"*","kind":"segments"}]}"#;
        let deleted = read::<DeleteIn>(body.as_bytes()).unwrap().patterns;
        let deleted: Vec<_> = deleted.iter().map(|one| one.read().unwrap()).collect();
        assert_eq!(deleted, [Pattern::All, segments]);
    }

    #[test]
    fn what_is_misspelt_is_refused() {
        let code = |body: &str| {
            let read = read::<GrantsIn>(body.as_bytes()).and_then(|body| body.entries());
            read.unwrap_err().code
        };
        let line = |line: &str| format!(r#"{{"subject":"everyone","grants":[{line}]}}"#);
        assert_eq!(code(r#"{"subject":"nobody","grants":[]}"#), Code::BadJson);
        assert_eq!(
            code(&line(r#"{"pattern":"a","operations":[],"ttl":5}"#)),
            Code::BadJson
        );
        assert_eq!(
            code(&line(r#"{"pattern":"a","operations":["read"]}"#)),
            Code::UnknownOperation
        );
        assert_eq!(
            code(&line(r#"{"pattern":"a","operations":["*"],"ttl_ms":0}"#)),
            Code::BadValue
        );
        assert_eq!(
            code(&line("{\"pattern\":\"a\\u0007\",\"operations\":[]}")),
            Code::BadName
        );
    }
}
