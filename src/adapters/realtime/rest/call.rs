//! What every call needs: the body, the app, and the private key that speaks for it.

use super::fault::Fault;
use super::form::Form;
use crate::adapters::realtime::{auth, limits};
use crate::core::authority::{App, Authority, Holder, Issuer, Principal, State};
use crate::core::refusals::Rule;
use actix_web::web;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for a body.
const BODY_WITHIN: Duration = Duration::from_secs(15);

/// A call by an app's server.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) app: App,
    pub(super) key: Holder,
}

impl Call {
    /// The app and key of these credentials. A node that does not know them catches up first.
    ///
    /// # Errors
    /// 401, or 503 when nobody could be asked.
    pub(super) async fn admit(
        authority: &Authority,
        application: &str,
        private: &str,
    ) -> Result<Self, Fault> {
        let now_ms = authority.now().cluster_ms;
        let find = |state: &State| find(state, application, private, now_ms);
        authority.look(find, |_| true).await
    }

    /// As the maker of a change.
    pub(super) fn issuer(&self) -> Issuer {
        self.key.issuer()
    }

    /// As one that asks for channels.
    pub(super) fn principal(&self, state: &State) -> Principal {
        self.key.principal(state.revision)
    }
}

fn find(state: &State, application: &str, private: &str, now_ms: u64) -> Result<Call, Fault> {
    let unknown = || Fault::unauthorized("Invalid application key").because(Rule::UnknownKey);
    let app = auth::app(state, application).ok_or_else(unknown)?;
    let key = auth::private_key(state, app.id, private, now_ms);
    let wrong = || Fault::unauthorized("Invalid private key").because(Rule::WrongSecret);
    let key = key.ok_or_else(wrong)?;
    Ok(Call {
        app: app.clone(),
        key,
    })
}

/// Brings the view up to date before something is refused on it.
///
/// # Errors
/// 503.
pub(super) async fn fresh(authority: &Authority) -> Result<Arc<State>, Fault> {
    let asked = authority.catch_up().await;
    asked.map_err(|_| Fault::new(503, "Not available now, try again"))?;
    Ok(authority.view())
}

/// The body as a form.
///
/// # Errors
/// 400, 408 or 413.
pub(super) async fn form(payload: web::Payload) -> Result<Form, Fault> {
    let read = payload.to_bytes_limited(limits::BODY_BYTES);
    let read = tokio::time::timeout(BODY_WITHIN, read).await;
    let read = read.map_err(|_| Fault::new(408, "The body did not arrive in time"))?;
    let read = read.map_err(|_| Fault::new(413, "The body is too large"))?;
    let body = read.map_err(|_| Fault::bad("The body could not be read"))?;
    Form::read(&body)
}
