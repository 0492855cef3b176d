//! What a refused request names of itself, for operators: by its credential, its path, and the client id it asks for.
//!
//! **Must never know:** whether any of it is true. Of a credential only the key's name is read.

use super::{auth, query};
use crate::adapters::dialect::Named;
use actix_web::HttpRequest;

/// Reads the key's name, `/channels/{name}`, `/keys/{name}` and the client id.
pub(super) fn of(request: &HttpRequest) -> Named {
    let asked = query::parse(request.query_string());
    let credential = query::of_request(request, &asked).ok();
    let by_credential = credential.and_then(|one| auth::named(&one));
    let segments: Vec<&str> = request.path().split('/').collect();
    let after = |name: &str| {
        let at = segments.iter().position(|one| *one == name)?;
        let segment = segments.get(at + 1).filter(|one| !one.is_empty())?;
        // A path's `+` is no space; everything else is as in a query string.
        let pair = format!("v={}", segment.replace('+', "%2B"));
        query::parse(&pair).remove("v")
    };
    let by_path = || auth::of_name(&after("keys")?);
    let (app, key) = by_credential.or_else(by_path).unzip();
    Named {
        app,
        key: key.map(|key| key.to_string()),
        channel: after("channels"),
        user: query::client_id(request, &asked).ok().flatten(),
    }
}
