//! A key's id and secret as a request's header carries them.
//!
//! **Must never know:** whether there is such a key. **Why two readings of `Basic`:** RFC 7617 takes a pair as it stands, and
//! RFC 6749 has clients escape both halves first.

use super::codes::{ApiError, Code};
use actix_web::web;
use base64::Engine as _;

/// `Bearer <id>:<secret>` or `Basic <base64 of the same>`.
pub(super) fn credentials(header: &str) -> Result<(String, String), ApiError> {
    let missing = || ApiError::new(Code::Unauthenticated, "the key is missing or malformed");
    let pair = match (
        after_scheme(header, "bearer"),
        after_scheme(header, "basic"),
    ) {
        (Some(pair), _) => pair.to_owned(),
        (None, Some(encoded)) => {
            let standard = base64::engine::general_purpose::STANDARD;
            let bytes = standard.decode(encoded).map_err(|_bad| missing())?;
            String::from_utf8(bytes).map_err(|_bad| missing())?
        }
        (None, None) => return Err(missing()),
    };
    let (id, secret) = pair.split_once(':').ok_or_else(missing)?;
    Ok((id.to_owned(), secret.to_owned()))
}

/// The same key in another header, where a `Basic` one has it escaped as forms are (RFC 6749, 2.3.1).
pub(super) fn unescaped(header: &str) -> Option<String> {
    after_scheme(header, "basic")?;
    let (id, secret) = credentials(header).ok()?;
    let pair = format!("id={id}&secret={secret}");
    if !pair.contains(['%', '+']) {
        return None;
    }
    let read = web::Query::<Vec<(String, String)>>::from_query(&pair).ok()?;
    match read.into_inner().as_slice() {
        [(_, id), (_, secret)] => Some(format!("Bearer {id}:{secret}")),
        _several => None,
    }
}

/// What follows the name of a scheme.
pub(super) fn after_scheme<'a>(header: &'a str, scheme: &str) -> Option<&'a str> {
    let (given, rest) = header.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn credentials_are_read_from_both_schemes() {
        let pair = Ok(("id".to_owned(), "se:cret".to_owned()));
        assert_eq!(credentials("Bearer id:se:cret"), pair);
        assert_eq!(credentials("bearer  id:se:cret "), pair);
        assert_eq!(credentials("Basic aWQ6c2U6Y3JldA=="), pair);
        for bad in [
            "",
            "Bearer",
            "Bearer id",
            "Basic !!",
            "Digest id:x",
            "Basic aWQ=",
        ] {
            assert_eq!(
                credentials(bad).unwrap_err().code,
                Code::Unauthenticated,
                "{bad}"
            );
        }
    }
}
