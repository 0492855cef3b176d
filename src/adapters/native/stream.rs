//! A stream of security events, made at a provider for `signals`: what is asked for, and what is waited for.
//!
//! **Must never know:** how a transmitter is spoken to.
//! **Why the stream of before goes first:** a transmitter may have one for each client only, and two would tell everything twice.

use super::auth::Call;
use super::codes::{ApiError, Code};
use super::signals::{SignalsIn, bad};
use super::text::name;
use crate::core::authority::{AppId, Provider, Secret, Signals, SignalsSpec, Stream};
use crate::core::limits::PROVIDER_PRIVATE_TARGETS;
use crate::outbound::stream::{Made, Transmitter, Wanted};
use reqwest::Url;
use serde_json::{Value, json};
use std::time::Duration;

/// Longest wait for the event that proves that a stream works.
const VERIFIED_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked whether it came.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A stream that was made, and at which transmitter.
pub(super) struct Opened {
    pub(super) transmitter: Transmitter,
    pub(super) made: Made,
}

/// Whom the provider's streams are asked of, as far as the app may reach it.
pub(super) fn transmitter(call: &Call, app: AppId) -> Transmitter {
    let view = call.broker.authority.view();
    let owner = view.apps.get(&app);
    Transmitter::new(owner.is_some_and(|app| PROVIDER_PRIVATE_TARGETS.on(app)))
}

pub(super) fn random_text() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

impl SignalsIn {
    /// The stream to be made, if one is.
    pub(super) fn wanted(&self, provider: &Provider) -> Result<Option<Wanted>, ApiError> {
        let rest = [
            ("delivery", self.delivery.is_some()),
            ("receiver", self.receiver.is_some()),
            ("client_id", self.client_id.is_some()),
            ("client_secret", self.client_secret.is_some()),
            ("token_endpoint", self.token_endpoint.is_some()),
            ("scope", self.scope.is_some()),
        ];
        let Some(transmitter) = &self.transmitter else {
            let lost = rest.into_iter().find(|(_, given)| *given);
            return match lost {
                Some((field, _)) => Err(bad(format!(
                    "`{field}` is for a stream: name its `transmitter`"
                ))),
                None => Ok(None),
            };
        };
        let missing = |field: &str| bad(format!("`{field}` is missing"));
        let client = self
            .client_id
            .as_ref()
            .ok_or_else(|| missing("client_id"))?;
        let secret = self.client_secret.as_ref();
        let secret = secret.ok_or_else(|| missing("client_secret"))?;
        if let Some(endpoint) = &self.token_endpoint {
            name("token_endpoint", endpoint)?;
        }
        Ok(Some(Wanted {
            transmitter: name("transmitter", transmitter)?.to_string(),
            token: self.token_endpoint.clone(),
            client: name("client_id", client)?.to_string(),
            secret: Secret(name("client_secret", &secret.0)?),
            scope: self.scope.clone(),
            receiver: self.receiver(provider)?,
            state: random_text().into(),
        }))
    }

    /// Where events are sent to, and what is shown with them.
    fn receiver(&self, provider: &Provider) -> Result<Option<(String, Secret)>, ApiError> {
        match (self.delivery.as_deref(), &self.receiver) {
            (None | Some("poll"), None) if self.bearer.is_some() => Err(bad(
                "`bearer` is for events that are sent, and these are asked for",
            )),
            (None | Some("poll"), None) => Ok(None),
            (None | Some("poll"), Some(_)) => Err(bad("`receiver` is for `push`")),
            (Some("push"), Some(base)) => {
                let no_address = |_| bad("`receiver`: this is no address");
                Url::parse(base).map_err(no_address)?;
                let (base, app, id) = (base.trim_end_matches('/'), provider.app, &provider.id);
                let url = format!("{base}/v1/apps/{app}/providers/{id}/events");
                let bearer = match &self.bearer {
                    Some(given) => super::signals::secret(&given.0)?,
                    None => None,
                };
                let bearer = bearer.unwrap_or_else(|| Secret(random_text().into()));
                Ok(Some((url, bearer)))
            }
            (Some("push"), None) => Err(bad(
                "`receiver` is missing: the base URL under which the transmitter reaches this cluster",
            )),
            (Some(other), _) => Err(bad(format!(
                "no delivery `{other}`: it is `push` or `poll`"
            ))),
        }
    }
}

/// Makes the stream, in place of the one that there is.
pub(super) async fn open(
    call: &Call,
    provider: &Provider,
    before: Option<&Signals>,
    wanted: &Wanted,
) -> Result<Opened, ApiError> {
    let transmitter = transmitter(call, provider.app);
    if let Some(stream) = before.and_then(|signals| signals.spec.stream.as_ref())
        && let Err(why) = transmitter.delete(stream).await
    {
        tracing::warn!(
            app = provider.app.0,
            provider = &*provider.id,
            why,
            "a former stream may be left at its transmitter"
        );
    }
    let failed = |why| {
        let message = format!("the stream could not be made: {why}");
        ApiError::new(Code::Unavailable, message)
    };
    let made = transmitter.make(provider, wanted).await.map_err(failed)?;
    Ok(Opened { transmitter, made })
}

impl Opened {
    /// How signals are with the stream. Its audiences are those of its events, unless others were said.
    pub(super) fn over(&self, asked: &SignalsIn, spec: SignalsSpec) -> SignalsSpec {
        SignalsSpec {
            audiences: match asked.audiences {
                Some(_) => spec.audiences,
                None => self.made.audiences.clone(),
            },
            delivery: self.made.delivery.clone(),
            stream: Some(self.made.stream.clone()),
            ..spec
        }
    }
}

/// Asks the transmitter to prove that a stream works, and waits for that; what came of it.
pub(super) async fn proved(
    call: &Call,
    provider: &Provider,
    (transmitter, stream): (&Transmitter, &Stream),
    endpoint: Option<&String>,
) -> Value {
    let no = |why: &str| json!({ "verified": false, "why": why });
    let Some(endpoint) = endpoint else {
        return no("the transmitter verifies no streams");
    };
    if let Err(why) = transmitter.verify(stream, endpoint).await {
        return no(&why);
    }
    let authority = &call.broker.authority;
    let came = async {
        loop {
            let view = authority.view();
            let signals = view.signals_of(provider.app, &provider.id);
            if signals.is_some_and(|signals| signals.verified_ms.is_some()) {
                return;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    match tokio::time::timeout(VERIFIED_WITHIN, came).await {
        Ok(()) => json!({ "verified": true }),
        Err(_late) => no("no event has come yet: show the provider later"),
    }
}

/// The same of a stream that was made before; its verification is asked for where the provider says now.
pub(super) async fn proved_again(call: &Call, provider: &Provider, stream: &Stream) -> Value {
    let transmitter = transmitter(call, provider.app);
    match transmitter.verification(provider).await {
        Ok(endpoint) => proved(call, provider, (&transmitter, stream), endpoint.as_ref()).await,
        Err(why) => json!({ "verified": false, "why": why }),
    }
}
