//! Blocks of a user or a user group: how one is asked for, and how it is shown.

use super::codes::ApiError;
use super::input::Wait;
use super::revoke::nonsense;
use super::text::label;
use crate::core::authority::{AppId, Command, Issuer, Millis, State, Subject};
use serde::Deserialize;
use serde_json::{Value, json};

/// A block as asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BlockIn {
    /// Milliseconds; none = until unblocked.
    pub for_ms: Option<Millis>,
    /// Why, in words for people.
    pub reason: String,
    /// How far to wait.
    pub wait: Wait,
}

/// The command that keeps a subject out.
///
/// # Errors
/// When the reason is unusable or the time is nothing.
pub(super) fn block_command(
    app: AppId,
    issuer: Issuer,
    subject: Subject,
    for_ms: Option<Millis>,
    reason: &str,
) -> Result<Command, ApiError> {
    if for_ms == Some(0) {
        return Err(nonsense(
            "`for_ms` is at least 1; leave it out to block until unblocked",
        ));
    }
    Ok(Command::Block {
        app,
        issuer,
        subject,
        for_ms,
        reason: label("reason", reason)?,
    })
}

/// The block of a subject, while it holds.
pub(super) fn block_json(
    view: &State,
    app: AppId,
    subject: Subject,
    now_ms: Millis,
) -> Option<Value> {
    let block = view.blocks.get(&(app, subject));
    let block = block.filter(|block| block.until_ms.is_none_or(|end| end > now_ms))?;
    Some(json!({
        "until_ms": block.until_ms, "reason": &*block.reason, "revision": block.revision,
    }))
}
