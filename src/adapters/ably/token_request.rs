//! TokenRequests: what an app server signs so that its client may fetch a token.
//!
//! The order of checks is the order in which errors are told.

use super::auth::{self, Rule};
use super::capability::Wanted;
use super::codes::Fault;
use super::token::{self, Claims};
use crate::core::authority::{ApiKey, Holder, Millis, Principal, Signed};
use crate::core::refusals::Rule as Broken;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// How far a request's time may be off, ms.
const SKEW_MS: Millis = 120_000;
/// How long a nonce is remembered, ms: longer than any request can be in time.
pub(super) const NONCE_MS: Millis = 2 * SKEW_MS + 60_000;
const NONCE_BYTES: std::ops::RangeInclusive<usize> = 16..=256;
/// When a request says nothing.
const TTL_MS: Millis = 3_600_000;

/// A request whose signature and time are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Who made it, and issues what it asks for.
    holder: Holder,
    /// To be used up; none for a request that a key's holder made in person.
    pub(super) signed: Option<Signed>,
    ttl: Millis,
    capability: Option<String>,
    client: Option<String>,
}

/// A field as it stands in the signed text. Numbers may come as decimal strings; `null` is absent.
fn field(body: &Map<String, Value>, name: &str) -> Result<String, Fault> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(match number.as_f64() {
            #[allow(clippy::cast_possible_truncation)]
            Some(float) if number.is_f64() && float.fract() == 0.0 => (float as i64).to_string(),
            _ => number.to_string(),
        }),
        Some(other) if name == "capability" && other.is_object() => Ok(other.to_string()),
        Some(_) => Err(Fault::new(40003, 400, format!("{name} is not usable"))),
    }
}

/// Checks a request's own signature, or takes the word of one who brings the key `in_person`. A token of the key is
/// not the key.
///
/// # Errors
/// In order: 40101 (mac), 40104 (time), 40105 (nonce), 40012 (client id), 40003 (ttl).
pub(super) fn check(
    body: &Map<String, Value>,
    (name, key): (&str, &ApiKey),
    in_person: Option<Holder>,
    now: Millis,
) -> Result<Request, Fault> {
    let get = |name| field(body, name);
    let (ttl, capability, client) = (get("ttl")?, get("capability")?, get("clientId")?);
    let (timestamp, nonce, mac) = (get("timestamp")?, get("nonce")?, get("mac")?);
    let said = get("keyName")?;
    one_line_each([&said, &ttl, &client, &timestamp, &nonce])?;
    if !said.is_empty() && said != name {
        return Err(Fault::new(40101, 401, "keyName does not match the path"));
    }
    let (holder, mut once) = (in_person.filter(|holder| holder.id == key.id), None);
    let holder = if mac.is_empty() {
        let unsigned = || Fault::credentials("The request is not signed");
        holder.ok_or_else(|| unsigned().because(Broken::CredentialMissing))?
    } else {
        if said.is_empty() {
            // Else it were good once for every key that has this secret.
            let text = "keyName is missing: a signed request names the key that signed it";
            return Err(Fault::bad(text));
        }
        let text = [&said, &ttl, &capability, &client, &timestamp, &nonce];
        let signed = signed(key, text, &mac)?;
        let at: Millis = timestamp
            .parse()
            .map_err(|_| Fault::new(40003, 400, "timestamp is not usable"))?;
        if at.abs_diff(now) > SKEW_MS {
            return Err(Fault::new(40104, 401, "Timestamp not current"));
        }
        if !NONCE_BYTES.contains(&nonce.len()) {
            return Err(Fault::new(40105, 401, "nonce is too short or too long"));
        }
        once.insert(signed).holder().clone()
    };
    if body.get("clientId").is_some_and(|id| *id == json!("")) {
        return Err(Fault::new(40012, 400, "clientId is empty"));
    }
    Rule::of(Some(&client).filter(|id| !id.is_empty()).cloned())?;
    let longest = auth::longest_ttl(key);
    let ttl: Millis = match &*ttl {
        "" => TTL_MS.min(longest),
        given => given
            .parse()
            .ok()
            .filter(|ttl| *ttl <= longest)
            .ok_or_else(|| Fault::new(40003, 400, "ttl is not usable"))?,
    };
    Ok(Request {
        holder,
        signed: once,
        ttl,
        capability: Some(capability).filter(|text| !text.is_empty()),
        client: Some(client).filter(|text| !text.is_empty()),
    })
}

/// These lines, as somebody signed them.
fn signed(key: &ApiKey, lines: [&String; 6], mac: &str) -> Result<Signed, Fault> {
    let wrong = || Fault::credentials("The request's mac is wrong");
    let tag = STANDARD.decode(mac).map_err(|_| wrong())?;
    let [said, ttl, capability, client, timestamp, nonce] = lines.map(|line| line.as_bytes());
    let end: &[u8] = b"\n";
    let text = [
        said, end, ttl, end, capability, end, client, end, timestamp, end, nonce, end,
    ];
    Signed::by_mac(key, &text, &tag).ok_or_else(wrong)
}

/// What is signed is lines. Only the capability may be several of them: the others are counted from both ends, so that
/// one signed text can be read in one way only, and nobody's client id is the beginning of another field.
fn one_line_each(fields: [&String; 5]) -> Result<(), Fault> {
    match fields.iter().any(|field| field.contains('\n')) {
        true => Err(Fault::new(
            40003,
            400,
            "A field other than the capability is several lines",
        )),
        false => Ok(()),
    }
}

impl Request {
    /// The capability of the token, within the key's.
    ///
    /// # Errors
    /// 40000 for a bad one, 40160 when nothing is left.
    pub(super) fn capability(&self, key: &ApiKey) -> Result<String, Fault> {
        let wanted = match &self.capability {
            None => {
                let own = Wanted::of_key(&key.capability);
                // A key may be made of patterns that this protocol has no words for.
                return Ok(own.to_string());
            }
            Some(text) => Wanted::parse(text)?,
        };
        Ok(wanted.within(&key.capability)?.to_string())
    }

    /// The token, as `TokenDetails`, and whom it speaks for.
    ///
    /// # Errors
    /// As [`Self::capability`]; 40000 when it would be too long.
    pub(super) fn grant(&self, name: &str, now: Millis) -> Result<(Value, Principal), Fault> {
        let key = &self.holder;
        let claims = Claims {
            id: format!("{:016x}", rand::random::<u64>()),
            key: key.id.to_string(),
            issued: now,
            expires: now + self.ttl,
            capability: self.capability(key)?,
            client: self.client.clone(),
        };
        let text = token::mint(key, &claims).ok_or_else(|| Fault::bad("The token is too long"))?;
        let (bearer, _) = auth::minted(&claims, &key.signer(), key)?;
        let mut details = json!({
            "token": text,
            "keyName": name,
            "issued": claims.issued,
            "expires": claims.expires,
            "capability": claims.capability,
        });
        if let (Some(client), Some(fields)) = (claims.client, details.as_object_mut()) {
            fields.insert("clientId".into(), client.into());
        }
        Ok((details, *bearer.principal))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
    use super::super::fixture;
    use super::*;
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use sha2::Sha256;

    const AT: Millis = 1_700_000_000_000;
    const FULL: &str = r#"{"keyName":"appId.keyId","ttl":3600000,"capability":"{\"a\":[\"*\"],\"b:*\":[\"publish\",\"subscribe\"]}","clientId":"bob","timestamp":1700000000000,"nonce":"0123456789abcdef","mac":"7WGTME28jE8ALTtsGJ6lp7W0T/DRWe+qRp6N8DQ63N4="}"#;
    const SPACED: &str = r#"{"keyName":"appId.keyId","ttl":3600000,"capability":"{\"a\": [\"*\"], \"b:*\": [\"publish\", \"subscribe\"]}","clientId":"bob","timestamp":1700000000000,"nonce":"0123456789abcdef","mac":"9JasELzQh8xqyVpFliITgzGVKY02xMWkmyKlhZ60qNU="}"#;
    const BARE: &str = r#"{"keyName":"appId.keyId","ttl":null,"capability":null,"clientId":null,"timestamp":"1700000000000","nonce":"0123456789abcdef","mac":"h8qQnNpC1QJ0ZSdOLeBFSefLasekbDkaUz+WTGhyXZ4="}"#;

    fn body(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    fn checked(body: &Map<String, Value>, now: Millis) -> Result<Request, u32> {
        let key = fixture::key();
        check(body, ("appId.keyId", &key), None, now).map_err(|fault| fault.code)
    }

    #[test]
    fn vectors_of_both_sdks_verify() {
        for text in [FULL, SPACED, BARE] {
            let request = checked(&body(text), AT).unwrap_or_else(|code| panic!("{code} {text}"));
            assert!(request.signed.is_some());
        }
        let details = checked(&body(SPACED), AT).unwrap();
        let (details, _) = details.grant("appId.keyId", AT).unwrap();
        let canonical = r#"{"a":["*"],"b:*":["publish","subscribe"]}"#;
        assert_eq!(details["capability"], canonical);
        assert_eq!(details["expires"], AT + 3_600_000);
        assert_eq!(details["clientId"], "bob");
    }

    #[test]
    fn what_is_signed_names_the_key_that_signed_it() {
        let mut nameless = body(FULL);
        nameless.insert("keyName".into(), json!(""));
        let text = [
            "",
            "3600000",
            nameless["capability"].as_str().unwrap(),
            "bob",
            "1700000000000",
            "0123456789abcdef",
        ]
        .map(|line| format!("{line}\n"))
        .concat();
        let secret = fixture::key().secret;
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.0.as_bytes()).unwrap();
        mac.update(text.as_bytes());
        let tag = STANDARD.encode(mac.finalize().into_bytes());
        nameless.insert("mac".into(), json!(tag));
        assert_eq!(
            checked(&nameless, AT),
            Err(40000),
            "it would be good once for each key of this secret"
        );
    }

    #[test]
    fn every_field_is_signed() {
        for name in ["ttl", "capability", "clientId", "timestamp", "nonce"] {
            let mut changed = body(FULL);
            changed.insert(name.into(), json!("1"));
            assert_eq!(checked(&changed, AT), Err(40101), "{name}");
        }
        let mut unsigned = body(FULL);
        unsigned.remove("mac");
        assert_eq!(checked(&unsigned, AT), Err(40101));
        let key = fixture::key();
        assert!(
            check(
                &unsigned,
                ("appId.keyId", &key),
                Some(fixture::holder()),
                AT
            )
            .is_ok()
        );
    }

    #[test]
    fn what_is_used_up_is_the_signed_text_however_it_is_spelled() {
        let plain = checked(&body(FULL), AT).unwrap().signed.unwrap();
        let number = "1700000000000";
        let named = |other: &str| FULL.replace(&format!(":{number}"), &format!(":{other}"));
        for spelling in [
            named("1.7e12"),
            named("1700000000000.0"),
            named("1.7E+12"),
            named("17000000000000e-1"),
            named("\"1700000000000\""),
            FULL.replace(":1700", " : \n\t1700"),
            FULL.replace("\"ttl\":3600000", "\"ttl\":1,\"ttl\":3.6e6"),
            FULL.replace("0123456789abcdef", "\\u0030123456789abcde\\u0066"),
            FULL.replace("\"nonce\"", "\"n\\u006fnce\""),
            FULL.replace("{\"keyName\"", "{\"more\":[],\"keyName\""),
            FULL.replace("bob", "b\\u006fb"),
        ] {
            assert_ne!(spelling, FULL);
            let signed =
                checked(&body(&spelling), AT).unwrap_or_else(|code| panic!("{code} {spelling}"));
            assert_eq!(signed.signed, Some(plain.clone()), "{spelling}");
        }
        let other = checked(&body(SPACED), AT).unwrap().signed;
        assert_ne!(other, Some(plain), "another text is another request");
    }

    #[test]
    fn no_field_reaches_into_the_next() {
        use super::super::fixture;
        // Signed for a client who calls herself several lines; shown as one for `boss`, who is the first of them.
        let text = "appId.keyId\n\n\nboss\n1700000000000\n0123456789abcdef\n1700000000000\n0123456789abcdeg\n";
        let mac = fixture::mac("topsecret", text);
        let shown = json!({"keyName": "appId.keyId", "clientId": "boss", "timestamp": 1_700_000_000_000_u64,
            "nonce": "0123456789abcdef\n1700000000000\n0123456789abcdeg", "mac": mac});
        let signed = json!({"keyName": "appId.keyId", "clientId": "boss\n1700000000000\n0123456789abcdef",
            "timestamp": 1_700_000_000_000_u64, "nonce": "0123456789abcdeg", "mac": mac});
        for body in [shown, signed] {
            assert_eq!(checked(body.as_object().unwrap(), AT), Err(40003));
        }
        let text = "appId.keyId\n\n{\n\"a\":[\"*\"]}\n\n1700000000000\n0123456789abcdef\n";
        let body = json!({"keyName": "appId.keyId", "capability": "{\n\"a\":[\"*\"]}", "timestamp": 1_700_000_000_000_u64,
            "nonce": "0123456789abcdef", "mac": fixture::mac("topsecret", text)});
        assert!(
            checked(body.as_object().unwrap(), AT).is_ok(),
            "capabilities may be laid out"
        );
    }

    #[test]
    fn times_are_two_minutes_either_way() {
        for (now, good) in [
            (AT + 120_000, true),
            (AT - 120_000, true),
            (AT + 120_001, false),
            (AT - 120_001, false),
        ] {
            let expected = if good { Ok(()) } else { Err(40104) };
            assert_eq!(checked(&body(FULL), now).map(|_| ()), expected, "{now}");
        }
    }

    #[test]
    fn values_of_one_made_in_person_are_checked() {
        let key = fixture::key();
        let says = |text: &str| {
            check(
                &body(text),
                ("appId.keyId", &key),
                Some(fixture::holder()),
                AT,
            )
            .and_then(|request| request.grant("appId.keyId", AT))
            .map(|_| ())
            .map_err(|fault| fault.code)
        };
        assert_eq!(says("{}"), Ok(()));
        assert_eq!(says(r#"{"ttl":1}"#), Ok(()));
        assert_eq!(says(r#"{"ttl":86400000}"#), Ok(()));
        assert_eq!(says(r#"{"ttl":86400001}"#), Err(40003));
        assert_eq!(says(r#"{"ttl":-1}"#), Err(40003));
        assert_eq!(says(r#"{"ttl":"x"}"#), Err(40003));
        assert_eq!(says(r#"{"clientId":""}"#), Err(40012));
        assert_eq!(says(r#"{"capability":"x"}"#), Err(40000));
        let mut revocable = fixture::key();
        revocable.revocable_tokens = true;
        let long = check(
            &body(r#"{"ttl":3600001}"#),
            ("appId.keyId", &revocable),
            Some(fixture::holder()),
            AT,
        );
        assert_eq!(long.unwrap_err().code, 40003);
    }
}
