//! Streams of security events at a provider (Shared Signals 1.0): made, verified, taken away, and the access tokens for that.
//!
//! **Must never know:** what an event means, or how one is asked for.
//! **Why a transmitter has to be the provider itself:** its events are verified with the keys of the provider's record, and say
//! that they are of its issuer. What another says of its users would be nobody's word here.

use super::read::{As, Place, Sent, Unread, ask, get, unexpected};
use super::target::{ATTEMPT_TIMEOUT, Clients};
use crate::core::authority::{Delivery, Provider, Secret, Stream, Text};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// What transmitters are told who asks.
pub(super) const AGENT: &str = concat!("Gatecast/", env!("CARGO_PKG_VERSION"));
/// Most bytes of an answer that is no event.
pub(super) const ANSWER_BYTES: usize = 64 << 10;
/// Where a transmitter says what it offers, below its host and before its own path.
const WELL_KNOWN: &str = "/.well-known/ssf-configuration";
/// Where an authorization server says where tokens come from, below its whole address.
const OPENID: &str = "/.well-known/openid-configuration";
/// What a client may ask for that makes and reads streams (CAEP interoperability profile 1.0).
const SCOPE: &str = "ssf.manage ssf.read";
/// Longest that an access token is used that does not say how long it lives.
const UNSTATED: Duration = Duration::from_secs(60);
/// What is asked for: everything that means something here.
const EVENTS: [&str; 5] = [
    "session-revoked",
    "credential-change",
    "token-claims-change",
    "device-compliance-change",
    "assurance-level-change",
];
const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const PUSH: &str = "urn:ietf:rfc:8935";
const POLL: &str = "urn:ietf:rfc:8936";

/// A stream to be made.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The transmitter's issuer.
    pub transmitter: String,
    /// Where access tokens come from; none = as its metadata as an OpenID provider say.
    pub token: Option<String>,
    /// The client that asks.
    pub client: String,
    /// The secret of that client.
    pub secret: Secret,
    /// The scope that is asked for; none = as the profile says.
    pub scope: Option<String>,
    /// Where events are sent to, and what is shown with them; none = they are asked for.
    pub receiver: Option<(String, Secret)>,
    /// What its verification has to say.
    pub state: Text,
}

/// A stream that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The stream itself.
    pub stream: Stream,
    /// How its events come.
    pub delivery: Delivery,
    /// For whom they are.
    pub audiences: Vec<Text>,
    /// Where its verification is asked for.
    pub verification: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    configuration_endpoint: String,
    #[serde(default)]
    verification_endpoint: Option<String>,
}

#[derive(Deserialize)]
struct Configured {
    stream_id: String,
    #[serde(default)]
    aud: Value,
    #[serde(default)]
    delivery: Value,
}

/// An access token, and how long it may be used.
pub(super) struct Token {
    /// The token itself.
    pub(super) text: String,
    /// How long, from now.
    pub(super) lives: Duration,
}

/// Whom streams are asked of: a provider, as far as its app may reach it.
#[derive(Debug)]
pub struct Transmitter {
    clients: Clients,
    private: bool,
}

impl Transmitter {
    /// `private` = also where is not public, and without TLS.
    #[must_use]
    pub fn new(private: bool) -> Self {
        Self {
            clients: Clients::new(AGENT, ATTEMPT_TIMEOUT),
            private,
        }
    }

    fn place(&self) -> Place<'_> {
        Place {
            clients: &self.clients,
            private: self.private,
            max_bytes: ANSWER_BYTES,
        }
    }

    /// Makes a stream.
    ///
    /// # Errors
    /// Why there is none, for whoever owns the app.
    pub async fn make(&self, provider: &Provider, wanted: &Wanted) -> Result<Made, String> {
        let metadata = self.metadata(provider, &wanted.transmitter).await?;
        let token = match &wanted.token {
            Some(given) => given.clone(),
            None => self.token_endpoint(&wanted.transmitter).await?,
        };
        let scope = wanted.scope.as_deref().unwrap_or(SCOPE);
        let stream = Stream {
            id: Text::default(),
            configuration: metadata.configuration_endpoint.as_str().into(),
            token: token.as_str().into(),
            client: wanted.client.as_str().into(),
            secret: wanted.secret.clone(),
            scope: Some(scope.into()).filter(|scope: &Text| !scope.is_empty()),
            state: Some(wanted.state.clone()),
        };
        let access = token_for(self.place(), &stream).await?;
        let delivery = match &wanted.receiver {
            Some((receiver, bearer)) => json!({
                "method": PUSH, "endpoint_url": receiver,
                "authorization_header": format!("Bearer {}", bearer.0),
            }),
            None => json!({ "method": POLL }),
        };
        let events = EVENTS.map(|event| format!("{CAEP}{event}"));
        let body =
            json!({ "delivery": delivery, "events_requested": events, "description": "Gatecast" });
        let call = (Method::POST, &*metadata.configuration_endpoint);
        let asked = ask(
            self.place(),
            call,
            As::Bearer(&access.text),
            Sent::Json(&body),
        )
        .await;
        let configured = configured(asked)?;
        let delivery = match &wanted.receiver {
            Some((_, bearer)) => Delivery::Push {
                bearer: Some(bearer.clone()),
            },
            None => {
                let endpoint = configured.delivery.get("endpoint_url");
                let missing = "the stream does not say where its events are asked for";
                let endpoint = endpoint.and_then(Value::as_str).ok_or(missing)?;
                Delivery::Poll {
                    endpoint: endpoint.into(),
                }
            }
        };
        let id = configured.stream_id.as_str().into();
        Ok(Made {
            stream: Stream { id, ..stream },
            delivery,
            audiences: audiences(&configured.aud),
            verification: metadata.verification_endpoint,
        })
    }

    async fn metadata(&self, provider: &Provider, transmitter: &str) -> Result<Metadata, String> {
        let no_address = |error| format!("this is no address: {error}");
        let url = Url::parse(transmitter).map_err(no_address)?;
        let path = url.path().trim_end_matches('/');
        let mut inserted = url.clone();
        inserted.set_path(&format!("{WELL_KNOWN}{path}"));
        // Some have it below their whole address, as OpenID providers have theirs.
        let below = format!("{}{WELL_KNOWN}", transmitter.trim_end_matches('/'));
        let body = match get(self.place(), inserted.as_str()).await {
            Ok(body) => body,
            Err(why) => get(self.place(), &below)
                .await
                .map_err(|_| format!("metadata: {why}"))?,
        };
        let none = |_| "this is no metadata of a transmitter".to_owned();
        let metadata: Metadata = serde_json::from_slice(&body).map_err(none)?;
        if *metadata.issuer != *provider.iss {
            return Err("the transmitter is another issuer than the provider".into());
        }
        Ok(metadata)
    }

    async fn token_endpoint(&self, transmitter: &str) -> Result<String, String> {
        let at = format!("{}{OPENID}", transmitter.trim_end_matches('/'));
        let body = get(self.place(), &at).await;
        let body = body.map_err(|why| format!("where tokens come from: {why}"))?;
        let found: Value = serde_json::from_slice(&body).unwrap_or_default();
        let endpoint = found.get("token_endpoint").and_then(Value::as_str);
        let missing = "nothing says where access tokens come from: name it";
        endpoint.map(ToOwned::to_owned).ok_or(missing.to_owned())
    }

    /// Where the verification of a provider's streams is asked for, as it says now.
    ///
    /// # Errors
    /// Why nobody can say.
    pub async fn verification(&self, provider: &Provider) -> Result<Option<String>, String> {
        let metadata = self.metadata(provider, &provider.iss).await?;
        Ok(metadata.verification_endpoint)
    }

    /// Asks for the verification of a stream.
    ///
    /// # Errors
    /// Why it could not be asked for.
    pub async fn verify(&self, stream: &Stream, endpoint: &str) -> Result<(), String> {
        let access = token_for(self.place(), stream).await?;
        let body = json!({ "stream_id": &*stream.id, "state": stream.state.as_deref() });
        let call = (Method::POST, endpoint);
        let asked = ask(
            self.place(),
            call,
            As::Bearer(&access.text),
            Sent::Json(&body),
        )
        .await;
        match asked.map_err(|why| why.to_string())? {
            (status, _) if status.is_success() => Ok(()),
            (status, _) => Err(unexpected(status)),
        }
    }

    /// Takes a stream away.
    ///
    /// # Errors
    /// Why it may still be there.
    pub async fn delete(&self, stream: &Stream) -> Result<(), String> {
        let access = token_for(self.place(), stream).await?;
        let no_address = |error| format!("this is no address: {error}");
        let mut url = Url::parse(&stream.configuration).map_err(no_address)?;
        url.query_pairs_mut().append_pair("stream_id", &stream.id);
        let call = (Method::DELETE, url.as_str());
        let asked = ask(self.place(), call, As::Bearer(&access.text), Sent::Nothing).await;
        match asked.map_err(|why| why.to_string())? {
            (status, _) if status.is_success() || status == StatusCode::NOT_FOUND => Ok(()),
            (status, _) => Err(unexpected(status)),
        }
    }
}

fn configured(asked: Result<(StatusCode, Vec<u8>), Unread>) -> Result<Configured, String> {
    let (status, body) = asked.map_err(|why| format!("making the stream: {why}"))?;
    if status == StatusCode::CONFLICT {
        return Err(
            "that client has a stream at the transmitter already: take it away there".into(),
        );
    }
    if !status.is_success() {
        return Err(format!("making the stream: {}", unexpected(status)));
    }
    let none = |_| "what was made is no stream".to_owned();
    serde_json::from_slice(&body).map_err(none)
}

fn audiences(aud: &Value) -> Vec<Text> {
    match aud {
        Value::String(one) => vec![one.as_str().into()],
        Value::Array(all) => {
            let all = all.iter().filter_map(Value::as_str);
            all.map(Into::into).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

/// An access token for the client of a stream.
pub(super) async fn token_for(place: Place<'_>, stream: &Stream) -> Result<Token, String> {
    #[derive(Deserialize)]
    struct Granted {
        access_token: String,
        #[serde(default)]
        expires_in: Option<u64>,
    }
    let mut fields = vec![("grant_type", "client_credentials")];
    if let Some(scope) = &stream.scope {
        fields.push(("scope", scope));
    }
    let who = As::Client(&stream.client, &stream.secret.0);
    let call = (Method::POST, &*stream.token);
    let asked = ask(place, call, who, Sent::Form(&fields)).await;
    let (status, body) = asked.map_err(|why| format!("an access token: {why}"))?;
    if status != StatusCode::OK {
        return Err(format!("an access token: {}", unexpected(status)));
    }
    let none = |_| "an access token: the answer has none".to_owned();
    let granted: Granted = serde_json::from_slice(&body).map_err(none)?;
    let lives = granted.expires_in.map_or(UNSTATED, Duration::from_secs);
    Ok(Token {
        text: granted.access_token,
        // Renewed a little early: it may not end under way.
        lives: lives * 3 / 4,
    })
}
