//! Names of keys, `appId.keyId`, as credentials and paths carry them.

use crate::core::authority::{ApiKey, AppId, State};

/// The key of a name `appId.keyId`.
pub(super) fn key_of<'s>(state: &'s State, name: &str) -> Option<&'s ApiKey> {
    let (app, id) = name.split_once('.')?;
    let app = app.parse().map(AppId).ok()?;
    state.key_of(app, id)
}
