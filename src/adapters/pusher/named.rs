//! What a refused request names of itself, for operators: by its path, and by the key in its query string.
//!
//! **Why it is read again and not handed over by whoever refused:** a request is refused at any step on the way, most often
//! before anything of it is known; and this is read of refused ones only.

use super::query;
use crate::adapters::dialect::Named;
use crate::core::authority::{AppId, State};
use actix_web::HttpRequest;

/// Reads `/apps/{id}/channels/{name}` and `/app/{key}`, below whatever prefix.
pub(super) fn of(state: &State, request: &HttpRequest) -> Named {
    let segments: Vec<&str> = request.path().split('/').collect();
    let after = |name: &str| {
        let at = segments.iter().position(|one| *one == name)?;
        let decoded = query::decode(segments.get(at + 1)?)?;
        Some(decoded.into_owned())
    };
    let pairs = query::parse(request.query_string()).unwrap_or_default();
    let given = pairs.into_iter().find(|(name, _)| name == "auth_key");
    let key = given
        .map(|(_, key)| key.into_owned())
        .or_else(|| after("app"));
    let by_path = after("apps").and_then(|id| id.parse().ok().map(AppId));
    let of_key = || Some(state.keys.get(key.as_deref()?)?.app);
    Named {
        app: by_path.or_else(of_key),
        channel: after("channels"),
        user: after("users"),
        key,
    }
}
