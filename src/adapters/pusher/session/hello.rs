//! What a client asks for in the address it connects to.
//!
//! Refusals wait until the socket is open, because a refused handshake leaves clients retrying for ever.

use crate::adapters::pusher::codes::{self, ClosingError};
use crate::adapters::pusher::{DIALECT, auth, limits, query};
use crate::core::authority::{ApiKey, State, UNCONFIRMED};
use crate::core::refusals::Rule;

/// Protocol versions spoken; old ones differ in nothing the server does.
const PROTOCOLS: [&str; 3] = ["5", "6", "7"];

/// What the request that opens a connection says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::adapters::pusher) struct Hello {
    /// App key; all of the path when that is none of ours.
    pub(in crate::adapters::pusher) key: String,
    path: bool,
    /// The client came with TLS, to us or to a proxy before us.
    secure: bool,
    protocol: Option<String>,
    version: Option<String>,
    /// The key was looked for in a view that no majority has confirmed.
    unconfirmed: bool,
}

impl Hello {
    /// From what follows `/app/` in the path (decoded) and the raw query.
    pub(in crate::adapters::pusher) fn new(tail: &str, raw_query: &str, secure: bool) -> Self {
        let pairs = query::parse(raw_query).unwrap_or_default();
        let value = |name: &str| {
            let (_, value) = pairs.iter().find(|(key, _)| key == name)?;
            (!value.is_empty()).then(|| value.to_string())
        };
        Self {
            key: tail.to_owned(),
            path: !tail.is_empty() && !tail.contains('/'),
            secure,
            protocol: value("protocol"),
            version: value("version"),
            unconfirmed: false,
        }
    }

    /// Nobody has confirmed the view in which its key is looked for: what it lacks may be there.
    pub(in crate::adapters::pusher) fn unconfirmed(&mut self) {
        self.unconfirmed = true;
    }

    /// Lets go of what is not needed for the life of the connection.
    pub(super) fn forget_versions(&mut self) {
        (self.protocol, self.version) = (None, None);
    }

    /// Whether the address can be read and its protocol is spoken here, whatever the view.
    fn spoken(&self) -> Result<(), ClosingError> {
        if !self.path {
            return Err(ClosingError::new(codes::BAD_PATH, "Path not found"));
        }
        let Some(protocol) = self.protocol.as_deref() else {
            return Err(ClosingError::new(
                codes::NO_PROTOCOL,
                "No protocol version supplied",
            ));
        };
        if !PROTOCOLS.contains(&protocol) {
            let text = format!("Unsupported protocol version {}", codes::clip(protocol, 20));
            return Err(ClosingError::new(codes::BAD_PROTOCOL, text));
        }
        if !self.version.as_deref().is_none_or(is_version) {
            return Err(ClosingError::new(
                codes::BAD_VERSION,
                "Invalid version string format",
            ));
        }
        Ok(())
    }

    /// Whether a newer view may lift what this state says against it.
    pub(in crate::adapters::pusher) fn may_be_lifted(&self, state: &State, now_ms: u64) -> bool {
        self.spoken().is_ok() && self.find(state, now_ms).is_err()
    }

    /// The key to connect under, or why not.
    pub(in crate::adapters::pusher) fn check<'s>(
        &self,
        state: &'s State,
        now_ms: u64,
    ) -> Result<&'s ApiKey, ClosingError> {
        self.spoken()?;
        let found = self.find(state, now_ms);
        found.map_err(|closing| match self.unconfirmed {
            true => codes::identify(&UNCONFIRMED, &self.key, false),
            false => closing,
        })
    }

    fn find<'s>(&self, state: &'s State, now_ms: u64) -> Result<&'s ApiKey, ClosingError> {
        let unknown = || codes::unknown_key(&self.key);
        let key = state.keys.get(&*self.key).ok_or_else(unknown)?;
        let app = state.apps.get(&key.app).ok_or_else(unknown)?;
        let key = auth::usable_key(state, app.id, &self.key, now_ms).ok_or_else(unknown)?;
        if !app.enabled {
            return Err(ClosingError::new(
                codes::APP_DISABLED,
                "Application is disabled",
            ));
        }
        if !app
            .protocols
            .iter()
            .any(|protocol| &*protocol.name == DIALECT)
        {
            let text = "The Pusher protocol is not enabled for this application";
            return Err(ClosingError::new(codes::APP_DISABLED, text).because(Rule::ProtocolOff));
        }
        if limits::TLS_ONLY.on(app) && !self.secure {
            let text = "Application only accepts SSL connections, reconnect using wss://";
            return Err(ClosingError::new(codes::TLS_ONLY, text));
        }
        Ok(key)
    }
}

fn is_version(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    text.len() <= 64 && text.bytes().all(allowed)
}
