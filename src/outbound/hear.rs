//! An event that a provider tells, however it came: read, written to the log once, and over when no node serves any more whom it
//! ends. What is counted of it.
//!
//! **Must never know:** how one came, or how whoever told it is answered.
//! **Why one function for those that are sent and those that are asked for:** neither may be taken more easily, or told sooner
//! that it is done.

use crate::core::authority::{
    AppId, Authority, BarrierMode, Command, FETCH_AGAIN_MS, Millis, RequestId, Revision, Signal,
    State, UNCONFIRMED, WriteError,
};
use crate::core::error::Refusal;
use crate::identity::Refused;
use crate::identity::events::{self, Meaning, Told};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Tokens state their time of issue in whole seconds: what was issued in the second of an event counts as issued before it.
const SECOND_MS: Millis = 1_000;
/// What is told of an event whose key may be a new one.
const UNFETCHED: Refusal =
    Refusal::Unavailable("the provider's keys are looked at again: it may have a new one");

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nobody serves any more whom it ends.
    Over {
        /// When it became true.
        revision: Revision,
        /// How many connections were closed for it.
        closed: u64,
    },
    /// It is written down, and ends nobody.
    Noted,
    /// It means nothing here.
    Nothing,
}

/// Why it is not carried out.
#[derive(Debug)]
pub enum Unheard {
    /// It is none of that provider's, or nothing that can be acted on.
    Refused(Refused),
    /// Nobody can say now.
    Unavailable(Refusal),
    /// It was not written, or is not over everywhere.
    Unwritten {
        /// As which request.
        request: RequestId,
        /// Why it is not.
        error: WriteError,
    },
}

impl From<Refusal> for Unheard {
    fn from(refusal: Refusal) -> Self {
        Self::Unavailable(refusal)
    }
}

/// Reads an event of a provider and carries it out.
///
/// # Errors
/// See [`Unheard`].
pub async fn hear(
    authority: &Authority,
    (app, provider): (AppId, &str),
    text: &str,
) -> Result<Heard, Unheard> {
    let told = read(authority, (app, provider), text).await?;
    let mut signal = Signal {
        app,
        provider: provider.into(),
        id: told.id.clone(),
        issued_before_ms: 0,
        targets: Vec::new(),
        verifies: None,
    };
    match told.meaning {
        Meaning::Nothing => {
            tracing::debug!(
                app = app.0,
                provider,
                kind = &*told.kind,
                "an event means nothing here"
            );
            return Ok(Heard::Nothing);
        }
        Meaning::Verifies(state) => signal.verifies = Some(state),
        Meaning::Over {
            targets,
            happened_ms,
        } => {
            // Nothing is void that is issued later than now, by the cluster's clock.
            authority.reach(happened_ms).await;
            let second = happened_ms - happened_ms % SECOND_MS;
            signal.issued_before_ms = second.saturating_add(SECOND_MS);
            signal.targets = targets;
        }
    }
    let ends = !signal.targets.is_empty();
    let request = RequestId(told.request);
    let written = authority.write(request, Command::Signal(signal), BarrierMode::All);
    let written = written.await;
    let written = written.map_err(|error| Unheard::Unwritten { request, error })?;
    let (revision, closed) = (written.revision, written.report.closed);
    tracing::debug!(
        app = app.0,
        provider,
        kind = &*told.kind,
        revision,
        closed,
        "an event was heard"
    );
    Ok(match ends {
        true => Heard::Over { revision, closed },
        false => Heard::Noted,
    })
}

async fn read(
    authority: &Authority,
    (app, provider): (AppId, &str),
    text: &str,
) -> Result<Told, Unheard> {
    if !authority.serving() {
        return Err(UNCONFIRMED.into());
    }
    let look = |view: &State| {
        let now_ms = authority.now().cluster_ms;
        events::read(view, (app, provider), text, now_ms).map_err(Unheard::Refused)
    };
    let lifts = |unheard: &Unheard| match unheard {
        Unheard::Refused(why) => why.may_be_lifted(),
        Unheard::Unavailable(_) | Unheard::Unwritten { .. } => false,
    };
    let read = authority.look(look, lifts).await;
    if !matches!(read, Err(Unheard::Refused(Refused::NoKey))) {
        return read;
    }
    if !is_fetched(authority, app, provider) {
        return read;
    }
    // Its provider may have begun to sign with a new key: whoever tells it is told to tell it again, until we have looked.
    let fetch = authority.view().key_fetch(app, &provider.into());
    let now_ms = authority.now().cluster_ms;
    let looked = !fetch.is_open() && !fetch.may_be_asked(now_ms, FETCH_AGAIN_MS);
    authority.want_keys(app, provider.into());
    match looked {
        true => read,
        false => Err(UNFETCHED.into()),
    }
}

fn is_fetched(authority: &Authority, app: AppId, provider: &str) -> bool {
    let view = authority.view();
    let provider = view.provider(app, provider);
    provider.is_some_and(|one| one.source.url().is_some())
}

/// What RFC 8935 calls it (2.4), and Shared Signals 1.0 where a state is another.
#[must_use]
pub fn word(why: Refused) -> &'static str {
    match why {
        Refused::Issuer | Refused::NoProvider | Refused::Ambiguous => "invalid_issuer",
        Refused::Audience => "invalid_audience",
        Refused::NoKey | Refused::WrongAlgorithm | Refused::Signature | Refused::NoAlgorithm => {
            "invalid_key"
        }
        Refused::Disabled => "access_denied",
        Refused::State => "invalid_state",
        Refused::TooLong
        | Refused::Malformed
        | Refused::Critical
        | Refused::Kind
        | Refused::Claim(_)
        | Refused::NoUser
        | Refused::Expired
        | Refused::NotYet
        | Refused::Rights
        | Refused::Groups
        | Refused::NoLogout(_)
        | Refused::NoEvent(_) => "invalid_request",
    }
}

/// What became of one, as it is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// Events that this node has heard. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Counts(Family<Outcome, Counter>);

impl Counts {
    /// Counts what became of one.
    pub fn count(&self, heard: &Result<Heard, Unheard>) {
        let outcome = match heard {
            Ok(Heard::Over { .. }) => "applied",
            Ok(Heard::Noted) => "noted",
            Ok(Heard::Nothing) => "ignored",
            Err(Unheard::Refused(_)) => "refused",
            Err(Unheard::Unavailable(_) | Unheard::Unwritten { .. }) => "failed",
        };
        self.0.get_or_create(&Outcome { outcome }).inc();
    }

    /// Shows them in this registry under this name.
    pub fn register(&self, registry: &mut Registry, name: &'static str, help: &'static str) {
        registry.register(name, help, self.0.clone());
    }
}
