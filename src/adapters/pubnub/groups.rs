//! Channel groups: replicated sets of channels.
//!
//! **Must never know:** who is subscribed through them.

use super::admit::{Caller, Ctx};
use super::codes::Fault;
use crate::core::authority::{AppId, Authority, State};
use crate::core::ids::Text;
use actix_web::HttpResponse;

/// The channels of a group.
pub(super) fn members(_state: &State, _app: AppId, _group: &str) -> Vec<Text> {
    Vec::new()
}

/// All groups.
pub(super) async fn list(_authority: &Authority, _caller: &Caller) -> Result<HttpResponse, Fault> {
    Err(Fault::bad("Channel groups are not supported"))
}

/// Lists, changes or removes one.
pub(super) async fn group(
    _authority: &Authority,
    _caller: &Caller,
    _ctx: &Ctx<'_>,
    _group: &str,
    _remove: bool,
) -> Result<HttpResponse, Fault> {
    Err(Fault::bad("Channel groups are not supported"))
}
