//! `/v1/audit`: who changed what, as records of one chain; how much of them is kept; what proves that a record is one of
//! them, and whether all nodes have the same. `/v1/apps/{app}/audit` has an app's own, for whoever administers it.
//!
//! **Must never know:** a secret or the text of a token; there is none in what it lists.
//! **Why an app's listing has no hashes:** they cover what was done in other apps, and whoever knows all but one word of a
//! record could try words until the hash fits.

use super::auth::Call;
use super::codes::{ApiError, Code};
use super::input::{Body, Params, Wait};
use super::write::{Write, answer};
use super::{audit_line, resource};
use crate::core::authority::{
    AppId, Audit, AuditHash, AuditRecord, AuditRetention, Command, Millis, Operations,
};
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

/// Records that one call looks at.
const LOOKED_AT: u64 = 20_000;
/// Proofs that one call brings.
const PROOFS: usize = 100;

/// Adds the paths of this file.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/audit").get(all).patch(keep))
        .service(resource("/audit/heads").get(heads))
        .service(resource("/audit/proofs").get(proofs))
        .service(resource("/apps/{app}/audit").get(of_app));
}

async fn of_app(call: Call, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let app = call.app(&path).await?.id;
    call.caller.require_app_wide(app, Operations::ADMIN)?;
    let mut params = Params::of(&call.http)?;
    let filter = AuditFilter::of(&mut params, Some(app))?;
    let page = AuditPage::of(&mut params)?;
    params.finish()?;
    list(&call, &filter, &page).await
}

async fn all(call: Call) -> Result<HttpResponse, ApiError> {
    call.caller.operator()?;
    let mut params = Params::of(&call.http)?;
    let app = params.text("app");
    let app = app.as_deref().map(super::input::app_id).transpose()?;
    let mut filter = AuditFilter::of(&mut params, app)?;
    filter.hashes = true;
    let page = AuditPage::of(&mut params)?;
    params.finish()?;
    list(&call, &filter, &page).await
}

/// Which records are wanted.
#[derive(Debug, Default)]
struct AuditFilter {
    app: Option<AppId>,
    user: Option<String>,
    actor: Option<String>,
    kind: Option<String>,
    since_ms: Option<Millis>,
    until_ms: Option<Millis>,
    hashes: bool,
}

impl AuditFilter {
    fn of(params: &mut Params, app: Option<AppId>) -> Result<Self, ApiError> {
        Ok(Self {
            app,
            user: params.text("user"),
            actor: params.text("actor"),
            kind: params.text("kind"),
            since_ms: params.number("since_ms")?,
            until_ms: params.number("until_ms")?,
            hashes: false,
        })
    }

    fn wants(&self, record: &AuditRecord) -> bool {
        let is =
            |wanted: &Option<String>, word: &str| wanted.as_ref().is_none_or(|one| one == word);
        self.app.is_none_or(|app| record.app == Some(app))
            && self
                .user
                .as_ref()
                .is_none_or(|user| record.names_user(user))
            && is(&self.actor, &record.actor)
            && is(&self.kind, &record.kind)
            && self.since_ms.is_none_or(|since| record.time_ms >= since)
            && self.until_ms.is_none_or(|until| record.time_ms < until)
    }
}

/// Where a listing begins; none = the newest.
#[derive(Debug)]
struct AuditPage {
    from: Option<u64>,
    limit: usize,
}

impl AuditPage {
    fn of(params: &mut Params) -> Result<Self, ApiError> {
        Ok(Self {
            from: params.number("from")?,
            limit: params.limit(100, 1_000)?,
        })
    }
}

/// The records that are wanted, in order, and the number from which later ones are asked for.
fn found(audit: &Audit, filter: &AuditFilter, page: &AuditPage) -> (Vec<Value>, u64) {
    let (first, last) = (audit.first_index(), audit.last_index());
    let look = |index: u64| {
        let one = audit.get(index).filter(|one| filter.wants(&one.record))?;
        Some(match filter.hashes {
            true => audit_line::shown(&one),
            false => audit_line::record(&one.record),
        })
    };
    let Some(from) = page.from else {
        let oldest = first.max(last.saturating_sub(LOOKED_AT));
        let newest = (oldest..=last).rev().filter_map(look).take(page.limit);
        let mut lines: Vec<Value> = newest.collect();
        lines.reverse();
        return (lines, last.saturating_add(1));
    };
    let mut next = from.max(first);
    let end = next.saturating_add(LOOKED_AT);
    let mut lines = Vec::new();
    while next <= last && next < end && lines.len() < page.limit {
        lines.extend(look(next));
        next = next.saturating_add(1);
    }
    (lines, next)
}

async fn list(
    call: &Call,
    filter: &AuditFilter,
    page: &AuditPage,
) -> Result<HttpResponse, ApiError> {
    let view = current(call).await;
    let audit = &view.audit;
    let (records, next) = found(audit, filter, page);
    let mut body = json!({
        "records": records,
        "next": next,
        "more": next <= audit.last_index(),
    });
    if let (true, Some(fields)) = (filter.hashes, body.as_object_mut()) {
        let retention = audit.retention();
        fields.insert("first".into(), audit.first_index().into());
        fields.insert("last".into(), audit.last_index().into());
        fields.insert("head".into(), audit.head().to_string().into());
        fields.insert(
            "retention".into(),
            json!({
                "records": retention.records,
                "bytes": retention.bytes,
                "age_ms": retention.age_ms.unwrap_or(0),
            }),
        );
    }
    Ok(answer(StatusCode::OK, view.revision, body))
}

/// The view once it is current, or as this node has it where nobody can say: its revision stands in the answer.
async fn current(call: &Call) -> std::sync::Arc<crate::core::authority::State> {
    let authority = &call.broker.authority;
    let _unconfirmed = authority.catch_up().await;
    authority.view()
}

/// How much is to be kept; what is left out stays.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeepIn {
    records: Option<u64>,
    bytes: Option<u64>,
    /// 0 = however old.
    age_ms: Option<Millis>,
}

async fn keep(call: Call, body: Body<KeepIn>) -> Result<HttpResponse, ApiError> {
    call.caller.operator()?;
    Params::none(&call)?;
    let is = current(&call).await.audit.retention();
    let asked = &body.value;
    let keep = AuditRetention {
        records: asked.records.unwrap_or(is.records),
        bytes: asked.bytes.unwrap_or(is.bytes),
        age_ms: match asked.age_ms {
            None => is.age_ms,
            Some(age) => Some(age).filter(|age| *age > 0),
        },
    };
    let write = Write::of(&call, &body.raw)?;
    let made = write.make(Command::KeepAudit(keep), Wait::All).await?;
    Ok(made.answer(json!({})))
}

async fn heads(call: Call) -> Result<HttpResponse, ApiError> {
    call.caller.operator()?;
    let mut params = Params::of(&call.http)?;
    let index = params.number("index")?;
    params.finish()?;
    let view = current(&call).await;
    let index = index.unwrap_or(view.audit.last_index());
    let heads = call.broker.audit_heads(index).await;
    let nodes: Vec<Value> = heads
        .into_iter()
        .map(|(node, asked)| match asked {
            Ok((last, hash)) => json!({
                "node": node.0,
                "last": last,
                "hash": hash.map(|hash| AuditHash(hash).to_string()),
            }),
            Err(why) => json!({ "node": node.0, "error": why.to_string() }),
        })
        .collect();
    let body = json!({ "index": index, "nodes": nodes });
    Ok(answer(StatusCode::OK, view.revision, body))
}

async fn proofs(call: Call) -> Result<HttpResponse, ApiError> {
    call.caller.operator()?;
    let mut params = Params::of(&call.http)?;
    let wanted = params.number("revision")?;
    params.finish()?;
    let missing = || ApiError::new(Code::BadValue, "say which revision is meant: `?revision=`");
    let revision = wanted.ok_or_else(missing)?;
    let view = current(&call).await;
    let audit = &view.audit;
    let proof = |index: u64| {
        let (one, way) = audit.proof(index)?;
        let mut line = audit_line::shown(&one);
        line.as_object_mut()?
            .insert("way".into(), audit_line::way(&way));
        Some(line)
    };
    let of_revision = (first_of(audit, revision)..=audit.last_index())
        .take_while(|index| revision_of(audit, *index) == Some(revision));
    let proofs: Vec<Value> = of_revision.take(PROOFS).filter_map(proof).collect();
    if proofs.is_empty() {
        let message = format!("no record of revision {revision} is kept");
        return Err(ApiError::new(Code::NotFound, message));
    }
    let body = json!({
        "proofs": proofs,
        "last": audit.last_index(),
        "head": audit.head().to_string(),
    });
    Ok(answer(StatusCode::OK, view.revision, body))
}

fn revision_of(audit: &Audit, index: u64) -> Option<u64> {
    audit.get(index).map(|one| one.record.revision)
}

/// The first record that is kept and not of an earlier revision.
fn first_of(audit: &Audit, revision: u64) -> u64 {
    let (mut low, mut high) = (audit.first_index(), audit.last_index().saturating_add(1));
    while low < high {
        let middle = low.midpoint(high);
        match revision_of(audit, middle).is_some_and(|found| found < revision) {
            true => low = middle.saturating_add(1),
            false => high = middle,
        }
    }
    low
}
