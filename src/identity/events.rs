//! Security event tokens (RFC 8417) of Shared Signals 1.0 and CAEP 1.0: that something has happened to a user or a session.
//!
//! **Must never know:** how one came, or what becomes of it.
//! **Why its kind has to be said in the header, and `exp` and `sub` must not stand there:** so it can never be taken for a token
//! that lets in, nor the other way round, though the same keys sign both.
//! **Why it may be of any age:** it is told until somebody has heard it. What is ended is what was issued before it happened.

use super::compact::Compact;
use super::{Refused, once, subject, token};
use crate::core::authority::{
    AppId, MAX_AHEAD_MS, Millis, Provider, Reaction, SignalsSpec, State, Target, Text, signed_by,
};
use serde_json::{Map, Value};

const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const STREAM: &str = "https://schemas.openid.net/secevent/ssf/event-type/";
/// Longest text of a kind that is logged.
const KIND_BYTES: usize = 200;

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its own id.
    pub id: Text,
    /// Its kind, as far as it is logged.
    pub kind: Text,
    /// The same for the same event of this provider, and no other.
    pub request: u128,
    /// What it means here.
    pub meaning: Meaning,
}

/// What an event means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// What was issued to them before is void.
    Over {
        /// Whose credentials, or of which session.
        targets: Vec<Target>,
        /// When it happened, cluster time.
        happened_ms: Millis,
    },
    /// The stream works: this is what was to be said.
    Verifies(Text),
    /// Nothing that anybody here has to act on.
    Nothing,
}

/// Reads an event of this provider of an app, and verifies it.
///
/// # Errors
/// See [`Refused`].
pub fn read(
    state: &State,
    (app, provider): (AppId, &str),
    text: &str,
    now_ms: Millis,
) -> Result<Told, Refused> {
    let compact = Compact::parse(text)?;
    if compact.kind.as_deref() != Some("secevent+jwt") {
        return Err(Refused::Kind);
    }
    let record = state.provider(app, provider).ok_or(Refused::NoProvider)?;
    let spec = state.signals_of(app, provider).map(|signals| &signals.spec);
    for_us(record, spec, &compact)?;
    signed_by(
        record,
        (&compact.kid, compact.algorithm),
        compact.signed,
        &compact.signature,
    )?;
    if compact.claim("exp").is_some() || compact.claim("sub").is_some() {
        return Err(Refused::NoEvent("it has an `exp` or a `sub`"));
    }
    let said_ms = compact.time("iat")?.ok_or(Refused::Claim("iat"))?;
    if said_ms > now_ms.saturating_add(MAX_AHEAD_MS) {
        return Err(Refused::NotYet);
    }
    let id = token::name(&compact, "jti").ok_or(Refused::Claim("jti"))?;
    let (kind, event) = only_event(&compact)?;
    let event = Event {
        compact: &compact,
        fields: event,
        said_ms,
    };
    let meaning = event.meaning(kind, record, spec)?;
    let end = kind.floor_char_boundary(KIND_BYTES);
    Ok(Told {
        request: once::request("event", app, &record.id, &said(&compact, &id)),
        kind: kind.get(..end).unwrap_or_default().into(),
        id,
        meaning,
    })
}

/// What an event is known by: its id, and what it says of whom. Signed again it is the same; another one that was given the
/// same id by mistake is another, and is not passed over.
fn said(compact: &Compact<'_>, id: &Text) -> Text {
    let claims = ["events", "sub_id"].map(|name| compact.claim(name));
    let claims = claims.map(|claim| claim.map(Value::to_string).unwrap_or_default());
    [id, claims.concat().as_str()].join("\n").into()
}

/// That it is of this issuer, and for this provider's audience or that of its stream.
fn for_us(
    provider: &Provider,
    spec: Option<&SignalsSpec>,
    compact: &Compact<'_>,
) -> Result<(), Refused> {
    if compact.text("iss") != Some(&*provider.iss) {
        return Err(Refused::Issuer);
    }
    let streams = spec.map(|spec| &*spec.audiences).unwrap_or_default();
    let ours = |audience: &&str| {
        let mut all = provider.audiences.iter().chain(streams);
        all.any(|one| **one == **audience)
    };
    let audiences = compact.audiences().map_err(|_| Refused::Audience)?;
    match audiences.iter().any(ours) {
        true => Ok(()),
        false => Err(Refused::Audience),
    }
}

/// The one event that it tells.
fn only_event<'c>(compact: &'c Compact<'_>) -> Result<(&'c str, &'c Map<String, Value>), Refused> {
    let events = compact.claim("events").and_then(Value::as_object);
    let mut events = events.ok_or(Refused::Claim("events"))?.iter();
    match (events.next(), events.next()) {
        (Some((kind, Value::Object(event))), None) => Ok((kind, event)),
        (Some(_), None) => Err(Refused::Claim("events")),
        _other => Err(Refused::NoEvent("it does not tell one event")),
    }
}

struct Event<'c> {
    compact: &'c Compact<'c>,
    fields: &'c Map<String, Value>,
    said_ms: Millis,
}

impl Event<'_> {
    fn meaning(
        &self,
        kind: &str,
        provider: &Provider,
        spec: Option<&SignalsSpec>,
    ) -> Result<Meaning, Refused> {
        if kind.strip_prefix(STREAM) == Some("verification") {
            return self.verification(spec);
        }
        let reaction = |of: fn(&SignalsSpec) -> Reaction| spec.map(of).unwrap_or_default();
        let counts = match kind.strip_prefix(CAEP) {
            Some("session-revoked") => true,
            Some("token-claims-change") => {
                let claims = self.fields.get("claims").and_then(Value::as_object);
                claims.map(|_| true).ok_or(Refused::Claim("claims"))?
            }
            Some("credential-change") => {
                self.text("credential_type")?;
                let change = self.one_of("change_type", &["create", "revoke", "update", "delete"]);
                change.map(|_| true)?
            }
            Some("device-compliance-change") => {
                let now = self.one_of("current_status", &["compliant", "not-compliant"])?;
                now == "not-compliant"
                    && reaction(|spec| spec.device_compliance) == Reaction::NewerToken
            }
            Some("assurance-level-change") => {
                self.text("current_level")?;
                let rose = match self.fields.contains_key("change_direction") {
                    true => {
                        self.one_of("change_direction", &["increase", "decrease"])? == "increase"
                    }
                    false => false,
                };
                !rose && reaction(|spec| spec.assurance_level) == Reaction::NewerToken
            }
            Some(_) | None => return Ok(Meaning::Nothing),
        };
        let targets = subject::targets(provider, self.subject()?)?;
        match counts {
            true => Ok(Meaning::Over {
                targets,
                happened_ms: self.happened_ms()?,
            }),
            false => Ok(Meaning::Nothing),
        }
    }

    fn verification(&self, spec: Option<&SignalsSpec>) -> Result<Meaning, Refused> {
        let stream = spec.and_then(|spec| spec.stream.as_ref());
        let subject = self.compact.claim("sub_id");
        if let (Some(stream), Some(id)) = (stream, subject.and_then(|subject| subject.get("id")))
            && id.as_str() != Some(&*stream.id)
        {
            return Err(Refused::NoEvent("it is about another stream"));
        }
        if !self.fields.contains_key("state") {
            return Ok(Meaning::Nothing);
        }
        let said = self.text("state")?;
        let wanted = stream.and_then(|stream| stream.state.as_ref());
        match wanted.filter(|wanted| ***wanted == *said) {
            Some(state) => Ok(Meaning::Verifies(state.clone())),
            None => Err(Refused::State),
        }
    }

    /// Where it stands by now, or inside the event, as older drafts have it. Two that differ are none.
    fn subject(&self) -> Result<&Value, Refused> {
        match (self.compact.claim("sub_id"), self.fields.get("subject")) {
            (Some(one), Some(other)) if one != other => {
                Err(Refused::NoEvent("it names two subjects"))
            }
            (Some(subject), _) | (None, Some(subject)) => Ok(subject),
            (None, None) => Err(Refused::Claim("sub_id")),
        }
    }

    /// As far as the event says, and never later than it was told.
    fn happened_ms(&self) -> Result<Millis, Refused> {
        let toe_ms = self.compact.time("toe")?;
        let stamp = match self.fields.get("event_timestamp") {
            None => None,
            Some(stamp) => Some(stamp.as_f64().ok_or(Refused::Claim("event_timestamp"))?),
        };
        // What is out of range is another unit: some count milliseconds.
        let seconds = stamp.filter(|seconds| (1.0..1e11).contains(seconds));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let stamp_ms = seconds.map(|seconds| (seconds * 1000.0).round() as Millis);
        Ok(stamp_ms
            .or(toe_ms)
            .unwrap_or(self.said_ms)
            .min(self.said_ms))
    }

    fn text(&self, name: &'static str) -> Result<&str, Refused> {
        let text = self.fields.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
            .ok_or(Refused::Claim(name))
    }

    fn one_of(&self, name: &'static str, known: &[&str]) -> Result<&str, Refused> {
        let text = self.text(name)?;
        match known.contains(&text) {
            true => Ok(text),
            false => Err(Refused::Claim(name)),
        }
    }
}
