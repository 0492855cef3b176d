//! Access Manager v3: `grantToken` and `revokeToken`.

use super::admit::{Caller, Ctx};
use super::cbor::Value as Cbor;
use super::codes::{Fault, ok};
use super::limits;
use super::rights;
use super::token::{self, Claims, Read};
use crate::core::authority::{
    Authority, BarrierMode, Command, Operations, Pattern, RequestId, Resource, Target,
};
use crate::core::refusals::Rule;
use actix_web::HttpResponse;
use serde_json::{Map, Value, json};

/// Longest life, minutes.
const MAX_TTL: u64 = 43_200;
/// Kinds as a request names them, in the order of [`token::KINDS`].
const KINDS: [&str; 5] = ["channels", "groups", "spaces", "users", "uuids"];
/// Largest claims of the granter's own, bytes of JSON.
const META_BYTES: usize = 8 << 10;

/// What is wrong, in v3's form.
pub(super) fn fault(
    status: u16,
    (source, message): (&str, &str),
    (detail, location, kind): (&str, &str, &str),
) -> Fault {
    let body = json!({
        "error": {
            "message": message, "source": source,
            "details": [{ "message": detail, "location": location, "locationType": kind }],
        },
        "service": "Access Manager", "status": status,
    });
    Fault::new(status, &body)
}

fn in_body(message: &str, detail: &str, location: &str) -> Fault {
    fault(400, ("grant", message), (detail, location, "body"))
}

/// A request whose signature is missing or wrong.
pub(super) fn unsigned(source: &str) -> Fault {
    let detail = "Client and server produced different signatures for the same inputs.";
    let fault = fault(
        403,
        (source, "Invalid signature"),
        (detail, "signature", "query"),
    );
    fault.because(Rule::WrongSecret)
}

/// Carries out `grantToken`. Nothing is stored: the token says it all.
pub(super) async fn grant(
    authority: &Authority,
    caller: &Caller,
    ctx: &Ctx<'_>,
) -> Result<HttpResponse, Fault> {
    let (key, _) = caller.issuer().map_err(|_| unsigned("grant"))?;
    let may = key
        .capability
        .operations_over(Resource::Channel, &Pattern::All);
    if !may.contains(Operations::GRANT) {
        let detail = "The key may not grant.";
        return Err(fault(
            403,
            ("grant", "Forbidden"),
            (detail, "signature", "query"),
        ));
    }
    let claims = claims(&ctx.body)?;
    let signed = |issued_ms| {
        let claims = Claims {
            issued_ms,
            ..claims.clone()
        };
        let text = claims.sign(caller.app.id, key);
        match token::read(caller.app.id, &text, [key.key()].into_iter()) {
            Read::Token(token) => Ok((text, token.principal())),
            // It is one just now.
            Read::Foreign | Read::Other => Err(Fault::unavailable()),
        }
    };
    let token = authority.issue(signed).await?;
    if token.len() > token::MAX_TOKEN {
        return Err(in_body(
            "Invalid permissions",
            "The token would be too large.",
            "permissions",
        ));
    }
    Ok(ok(&json!({
        "data": { "message": "Success", "token": token },
        "service": "Access Manager", "status": 200,
    })))
}

/// Reads and checks what a token is to say, but for when.
fn claims(body: &[u8]) -> Result<Claims, Fault> {
    let broken = || in_body("Invalid JSON", "The body is no JSON object.", "body");
    let body: Value = serde_json::from_slice(body).map_err(|_| broken())?;
    let body = body.as_object().ok_or_else(broken)?;
    // Some clients write the number as text.
    let number = |ttl: &Value| {
        let text = ttl.as_str().and_then(|text| text.parse().ok());
        text.or_else(|| ttl.as_u64())
    };
    let ttl = body.get("ttl").and_then(number);
    let ttl = ttl
        .filter(|ttl| (1..=MAX_TTL).contains(ttl))
        .ok_or_else(|| {
            in_body(
                "Invalid ttl",
                "Range should be 1 to 43200 minute(s).",
                "ttl",
            )
        })?;
    let empty = Map::new();
    let permissions = body
        .get("permissions")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let resources = side(permissions, "resources")?;
    let patterns = side(permissions, "patterns")?;
    if patterns.iter().map(Vec::len).sum::<usize>() > token::MAX_EXPRESSIONS {
        return Err(in_body(
            "Invalid permissions",
            "Too many expressions.",
            "permissions.patterns",
        ));
    }
    for (kind, entries) in KINDS.iter().zip(&patterns) {
        for (text, _) in entries {
            check_expression(kind, text)?;
        }
    }
    let count: usize = resources.iter().chain(&patterns).map(Vec::len).sum();
    if count == 0 {
        let message = "This grant contains no permissions";
        return Err(in_body(message, "What are you granting?", "permissions"));
    }
    if count > token::MAX_RIGHTS {
        return Err(in_body(
            "Invalid permissions",
            "Too many permissions.",
            "permissions",
        ));
    }
    let meta = permissions.get("meta").filter(|meta| meta.is_object());
    if meta.is_some_and(|meta| meta.to_string().len() > META_BYTES) {
        return Err(in_body(
            "Invalid meta",
            "The meta is too large.",
            "permissions.meta",
        ));
    }
    let user = permissions.get("uuid").and_then(Value::as_str);
    Ok(Claims {
        issued_ms: 0,
        ttl,
        resources,
        patterns,
        meta: meta.map_or_else(|| Cbor::Map(Vec::new()), Cbor::of_json),
        user: user.filter(|user| !user.is_empty()).map(str::to_owned),
    })
}

fn side(permissions: &Map<String, Value>, name: &str) -> Result<[Vec<(String, u64)>; 5], Fault> {
    let mut side: [Vec<(String, u64)>; 5] = Default::default();
    let given = permissions.get(name).and_then(Value::as_object);
    for (kind, entries) in KINDS.into_iter().zip(&mut side) {
        let Some(named) = given.and_then(|given| given.get(kind)?.as_object()) else {
            continue;
        };
        for (text, mask) in named {
            let mask = mask.as_u64().filter(|mask| (1..256).contains(mask));
            let mask = mask.ok_or_else(|| {
                let location = format!("permissions.{name}.{kind}.{text}");
                let detail =
                    format!("Unexpected value: `{location}` must be positive and non-zero.");
                in_body("Invalid permissions", &detail, &location)
            })?;
            entries.push((text.clone(), mask));
        }
    }
    Ok(side)
}

/// Only expressions that compile, within bounds, and capture nothing.
fn check_expression(kind: &str, text: &str) -> Result<(), Fault> {
    let location = format!("permissions.patterns.{kind}.{text}");
    let invalid = |detail: &str| in_body("Invalid RegExp", detail, &location);
    if repeats_twice(text) {
        return Err(invalid("Syntax error: multiple repeat."));
    }
    if rights::check(text).is_err() {
        return Err(invalid("Syntax error: the expression cannot be used."));
    }
    match captures(text) {
        true => Err(invalid(
            "Only non-capturing groups are allowed. Try replacing `(` with `(?:`.",
        )),
        false => Ok(()),
    }
}

/// The characters of an expression that are operators: neither escaped nor in a class.
fn operators(text: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut escaped, mut class) = (false, false);
    text.char_indices().filter(move |(_, letter)| {
        let plain = !escaped && !class;
        match letter {
            _ if escaped => escaped = false,
            '\\' => {
                escaped = true;
                return false;
            }
            '[' => class = true,
            ']' => class = false,
            _ => {}
        }
        plain
    })
}

fn captures(text: &str) -> bool {
    let opens = operators(text).filter(|(_, letter)| *letter == '(');
    let rest = |at: usize| text.get(at + 1..).unwrap_or_default();
    let mut rests = opens.map(|(at, _)| rest(at));
    rests.any(|rest| !rest.starts_with('?') || rest.starts_with("?P<") || rest.starts_with("?<"))
}

fn repeats_twice(text: &str) -> bool {
    let mut before: Option<(usize, char)> = None;
    for (at, letter) in operators(text) {
        let next = before.is_some_and(|(last, _)| last + 1 == at);
        let repeat = |one: char| matches!(one, '*' | '+');
        if next && repeat(letter) && before.is_some_and(|(_, one)| repeat(one)) {
            return true;
        }
        before = Some((at, letter));
    }
    false
}

/// Carries out `revokeToken`; answers once no node serves the token any more.
pub(super) async fn revoke(
    authority: &Authority,
    caller: &Caller,
    text: &str,
) -> Result<HttpResponse, Fault> {
    let (_, issuer) = caller.issuer().map_err(|_| unsigned("revoke"))?;
    let bad = |detail: &str| fault(400, ("revoke", "Invalid token"), (detail, "token", "path"));
    if !limits::TOKEN_REVOCATION.on(&caller.app) {
        let detail = "Token revocation is disabled.";
        let of = ("revoke", "Feature disabled");
        return Err(fault(403, of, (detail, "subscribe-key", "path")));
    }
    let view = authority.view();
    let token = match token::read(caller.app.id, text, view.keys_of(caller.app.id)) {
        Read::Token(token) => token,
        Read::Foreign | Read::Other => return Err(bad("It is no token of this keyset.")),
    };
    let now_ms = authority.now().cluster_ms;
    if token.bearer.expires_ms.is_some_and(|end| end <= now_ms) {
        return Err(bad("Token is expired."));
    }
    let command = Command::Revoke {
        app: caller.app.id,
        issuer,
        target: Target::Token(token.id.clone()),
        issued_before_ms: None,
        margin_ms: 0,
    };
    let request = RequestId(rand::random());
    authority.write(request, command, BarrierMode::All).await?;
    Ok(ok(&json!({
        "data": { "message": "Success" }, "service": "Access Manager", "status": 200,
    })))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn refused(body: &Value) -> (u16, String, String, String) {
        let fault = claims(body.to_string().as_bytes()).unwrap_err();
        let body: Value = serde_json::from_str(&fault.body).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let error = &body["error"];
        let detail = &error["details"][0];
        (
            fault.status,
            text(&error["message"]),
            text(&detail["message"]),
            text(&detail["location"]),
        )
    }

    fn uuids(side: &str, name: &str, mask: i64) -> Value {
        json!({"ttl": 15, "permissions": {side: {"uuids": {name: mask}}}})
    }

    #[test]
    fn errors_are_worded_as_the_contract_says() {
        let range = "Range should be 1 to 43200 minute(s).";
        for ttl in [json!(0), json!(43_201), json!(-1), json!("x"), Value::Null] {
            let body = json!({"ttl": ttl, "permissions": {}});
            assert_eq!(
                refused(&body),
                (400, "Invalid ttl".into(), range.into(), "ttl".into())
            );
        }
        let at = "permissions.resources.uuids.uuid-1";
        assert_eq!(
            refused(&uuids("resources", "uuid-1", 0)),
            (
                400,
                "Invalid permissions".into(),
                format!("Unexpected value: `{at}` must be positive and non-zero."),
                at.into()
            )
        );
        let regexp = |text: &str| {
            let (status, message, detail, location) = refused(&uuids("patterns", text, 1));
            assert_eq!((status, message.as_str()), (400, "Invalid RegExp"));
            assert_eq!(location, format!("permissions.patterns.uuids.{text}"));
            detail
        };
        assert_eq!(regexp("!<[^>]+>++"), "Syntax error: multiple repeat.");
        let captures = "Only non-capturing groups are allowed. Try replacing `(` with `(?:`.";
        assert_eq!(regexp("(!<[^>]+>)+"), captures);
        assert_eq!(regexp("(?P<a>x)"), captures);
        regexp("((a{1000}){1000}){1000}");
        let many: Map<String, Value> = (0..=token::MAX_EXPRESSIONS)
            .map(|n| (format!("^n{n}$"), 1.into()))
            .collect();
        let body = json!({"ttl": 15, "permissions": {"patterns": {"channels": many}}});
        assert_eq!(refused(&body).2, "Too many expressions.");
        let none = json!({"ttl": 1, "permissions": {"resources": {}, "patterns": {}}});
        assert_eq!(
            refused(&none),
            (
                400,
                "This grant contains no permissions".into(),
                "What are you granting?".into(),
                "permissions".into()
            )
        );
    }

    #[test]
    fn what_the_sdks_send_is_understood() {
        let body = json!({"ttl": "15", "permissions": {"uuid": "alice",
            "resources": {"channels": {"secure": 3}, "spaces": {"secure": 3}, "groups": {"g": 5}},
            "patterns": {"channels": {r"^a(?:b|c)[(]\($": 1}},
            "meta": {"role": "x", "deep": {"n": 1}}}});
        let claims = claims(body.to_string().as_bytes()).unwrap();
        assert_eq!(claims.ttl, 15);
        assert_eq!(claims.user.as_deref(), Some("alice"));
        assert_eq!(claims.resources[1], [("g".into(), 5)]);
        assert_eq!(claims.meta.get("deep").unwrap().json(), json!({"n": 1}));
    }
}
