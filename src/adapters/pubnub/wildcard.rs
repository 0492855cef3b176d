//! Wildcard subscribes: switched on in an app by the first of them.
//!
//! **Why on demand:** repeating costs every publication to a name with dots up to two more; apps whose clients never
//! subscribe so must not pay for it.

use super::codes::Fault;
use crate::core::authority::{
    App, AppChange, Authority, BarrierMode, Command, RequestId, SettingValue,
};
use crate::core::limits::WILDCARDS;

/// Sees to it that what is published from here on, at any node, is repeated.
pub(super) async fn switch_on(authority: &Authority, app: &App) -> Result<(), Fault> {
    if WILDCARDS.on(app) {
        return Ok(());
    }
    if app.settings.contains_key(WILDCARDS.name) {
        return Err(Fault::bad("Wildcard subscribe is not enabled"));
    }
    let settings = [(WILDCARDS.name.into(), Some(SettingValue::Bool(true)))];
    let command = Command::UpdateApp {
        app: app.id,
        change: AppChange {
            settings: settings.into(),
            ..AppChange::default()
        },
    };
    let request = RequestId(rand::random());
    // Homes are anywhere: all of them have to know before the subscriber is told that it hears. A setting is fenced,
    // whatever it means.
    authority.write(request, command, BarrierMode::All).await?;
    Ok(())
}
