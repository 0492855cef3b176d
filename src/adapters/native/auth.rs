//! Who calls `/v1`, and what they may: app servers with a key on the public port, operators with the admin
//! token on the internal one. The guard stands before every path of the scope, so no handler can forget it.
//!
//! **Why the two ports do not share credentials:** an admin token that worked on the public port would turn every leak
//! of it into an incident of the whole cluster.

use super::codes::{ApiError, Code, reason_text};
use super::shown_key::{after_scheme, credentials};
use super::text::issuer_text;
use super::{AuthMode, Native, bearer, input};
use crate::adapters::dialect::Named;
use crate::core::authority::{
    AccessQuery, Administered, Administration, App, AppId, Capability, Command, Holder, Issuer,
    Operations, Pattern, Principal, Resource, State,
};
use crate::core::broker::Broker;
use crate::core::refusals::Rule;
use crate::identity::is_meant;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, ResponseError as _, web};
use sha2::{Digest as _, Sha256};
use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq as _;

/// Longest wait for a read to be as fresh as asked.
pub(super) const FRESHNESS_TIMEOUT: Duration = Duration::from_secs(5);

/// Who calls, by the credential that was shown.
#[derive(Clone, Debug)]
pub enum Caller {
    /// The cluster's operator, on the internal port.
    Operator,
    /// An app server.
    Key(Arc<Holder>),
    /// Whoever bears a token of an identity provider: may do what the token opens, and nothing in the app's name.
    Bearer(Arc<Principal>),
}

impl Caller {
    /// In whose name changes are proposed.
    ///
    /// # Errors
    /// `not_allowed` for whoever bears a token.
    pub fn issuer(&self) -> Result<Issuer, ApiError> {
        match self {
            Self::Operator => Ok(Issuer::Operator),
            Self::Key(key) => Ok(key.issuer()),
            Self::Bearer(_) => Err(bearer::only_keys()),
        }
    }

    /// As a name of who calls, for telling callers apart.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Operator => issuer_text(&Issuer::Operator),
            Self::Key(key) => issuer_text(&key.issuer()),
            Self::Bearer(principal) => {
                format!("token {}", principal.token.as_deref().unwrap_or_default())
            }
        }
    }

    /// Refuses keys altogether.
    ///
    /// # Errors
    /// `operator_only`.
    pub fn operator(&self) -> Result<(), ApiError> {
        match self {
            Self::Operator => Ok(()),
            Self::Key(_) | Self::Bearer(_) => Err(ApiError::new(
                Code::OperatorOnly,
                "app keys may not do this",
            )),
        }
    }

    /// Refuses keys of other apps.
    ///
    /// # Errors
    /// `wrong_app`.
    pub fn require_app(&self, app: AppId) -> Result<(), ApiError> {
        let own = match self {
            Self::Operator => return Ok(()),
            Self::Key(key) => key.app,
            Self::Bearer(principal) => principal.app,
        };
        match own == app {
            true => Ok(()),
            false => Err(ApiError::new(
                Code::WrongApp,
                format!("this key belongs to app {own}"),
            )),
        }
    }

    /// Requires an operation on every channel of the app: what concerns the app as a whole.
    ///
    /// # Errors
    /// `wrong_app` or `not_allowed`.
    pub fn require_app_wide(&self, app: AppId, needs: Operations) -> Result<(), ApiError> {
        self.having(app, needs, |capability| {
            capability.operations_over(Resource::Channel, &Pattern::All)
        })
    }

    /// Whether the caller may do everything in the app: to it nothing of the app is a secret of others.
    #[must_use]
    pub fn is_full(&self, app: AppId) -> bool {
        self.require_app_wide(app, Operations::ALL).is_ok()
    }

    /// Whether the caller has an operation on every name that this pattern matches: may it see a right stored on it?
    #[must_use]
    pub fn covers(&self, resource: Resource, pattern: &Pattern, needs: Operations) -> bool {
        match self {
            Self::Operator => true,
            Self::Key(key) => {
                let has = key.capability.operations_over(resource, pattern);
                has.contains(needs)
            }
            Self::Bearer(_) => false,
        }
    }

    /// Requires an operation on this user, or on the app as a whole.
    ///
    /// # Errors
    /// `wrong_app` or `not_allowed`.
    pub fn user(&self, app: AppId, name: &str, needs: Operations) -> Result<(), ApiError> {
        self.having(app, needs, |capability| {
            capability.operations_over(Resource::Channel, &Pattern::All)
                | capability.operations_on(Resource::User, name)
        })
    }

    /// Requires an operation somewhere: for what the access machine limits more closely by itself.
    ///
    /// # Errors
    /// `wrong_app` or `not_allowed`.
    pub fn require_any(&self, app: AppId, needs: Operations) -> Result<(), ApiError> {
        self.having(app, needs, |capability| {
            operations_where(capability, |_, _| true)
        })
    }

    /// Requires an operation on this channel.
    ///
    /// # Errors
    /// `wrong_app` or `not_allowed`.
    pub fn channel(&self, app: AppId, name: &str, needs: Operations) -> Result<(), ApiError> {
        self.having(app, needs, |capability| {
            capability.operations_on(Resource::Channel, name)
        })
    }

    /// Requires an operation on every channel whose name starts so.
    ///
    /// # Errors
    /// `wrong_app` or `not_allowed`.
    pub fn prefix(&self, app: AppId, prefix: &str, needs: Operations) -> Result<(), ApiError> {
        let covers = |resource, pattern: &Pattern| match pattern {
            Pattern::All => resource == Resource::Channel,
            Pattern::Prefix(own) | Pattern::Levels(own) => {
                resource == Resource::Channel && prefix.starts_with(&**own)
            }
            Pattern::Exact(_) | Pattern::Segments(_) | Pattern::Regex(_) | Pattern::Except(_) => {
                false
            }
        };
        self.having(app, needs, |capability| {
            operations_where(capability, covers)
        })
    }

    fn having(
        &self,
        app: AppId,
        needs: Operations,
        has: impl FnOnce(&Capability) -> Operations,
    ) -> Result<(), ApiError> {
        self.require_app(app)?;
        let key = match self {
            Self::Operator => return Ok(()),
            Self::Key(key) => key,
            Self::Bearer(_) => return Err(bearer::only_keys()),
        };
        if has(&key.capability).contains(needs) {
            return Ok(());
        }
        let needed = needs.names().join(", ");
        let message = format!("the key's capability lacks: {needed}");
        Err(ApiError::new(Code::NotAllowed, message))
    }
}

fn operations_where(
    capability: &Capability,
    mut fits: impl FnMut(Resource, &Pattern) -> bool,
) -> Operations {
    let fitting = capability.rights.iter();
    fitting
        .filter(|right| fits(right.resource, &right.pattern))
        .fold(Operations::NONE, |all, right| all | right.operations)
}

/// One authenticated call: what every handler starts from.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who calls, by the credential that was shown.
    pub caller: Caller,
    /// The broker that serves the call.
    pub broker: web::Data<Broker>,
    /// This adapter's tables.
    pub native: web::Data<Native>,
    /// The request, for its headers and query.
    pub http: HttpRequest,
}

impl Call {
    /// A change of an app or its keys in the caller's name. What it opens or hands on is judged where it is carried out:
    /// no node's own view is enough for that.
    ///
    /// # Errors
    /// `not_allowed` for whoever bears a token.
    pub fn administer(
        &self,
        app: AppId,
        hands_on: Capability,
        change: Administered,
    ) -> Result<Command, ApiError> {
        Ok(Command::Administer(Administration {
            app,
            issuer: self.caller.issuer()?,
            hands_on,
            change,
        }))
    }

    /// Requires an operation on this channel, of a key by its capability and of a token by all that opens the channel to
    /// its bearer.
    ///
    /// # Errors
    /// `wrong_app`, `not_allowed` or `denied`.
    pub async fn channel(&self, app: AppId, name: &str, needs: Operations) -> Result<(), ApiError> {
        let Caller::Bearer(principal) = &self.caller else {
            return self.caller.channel(app, name, needs);
        };
        self.caller.require_app(app)?;
        let ask = AccessQuery {
            resource: Resource::Channel,
            name,
            needs,
            wants: Operations::NONE,
            speaks_for: None,
        };
        let authority = &self.broker.authority;
        authority.authorize(principal, None, ask).await?;
        Ok(())
    }

    /// The app of a call whose path names none: the key's own; an operator, who has none, says which by `?app=`.
    ///
    /// # Errors
    /// `bad_value` when an operator does not, `unknown_parameter`, or as [`Self::app`].
    pub async fn named_app(&self) -> Result<AppId, ApiError> {
        let mut params = input::Params::of(&self.http)?;
        let named = params.text("app");
        params.finish()?;
        let id = match (named, &self.caller) {
            (Some(named), _) => named,
            (None, Caller::Key(key)) => key.app.to_string(),
            (None, Caller::Operator | Caller::Bearer(_)) => {
                let message = "say which app is meant: `?app=`";
                return Err(ApiError::new(Code::BadValue, message));
            }
        };
        Ok(self.app(&id).await?.id)
    }

    /// The app, if the caller may see that it is there.
    ///
    /// # Errors
    /// `wrong_app`, `no_such_app`, or `behind` on a node that cannot say so.
    pub async fn app(&self, text: &str) -> Result<Arc<App>, ApiError> {
        let id = input::app_id(text)?;
        self.caller.require_app(id)?;
        let authority = &self.broker.authority;
        let missing = || ApiError::new(Code::NoSuchApp, format!("there is no app {id}"));
        // A moment ago it may have been made through another node: nobody is told for good that there is none.
        let look = |state: &State| state.apps.get(&id).cloned().ok_or_else(missing);
        let found = authority.look(look, |_| true).await;
        found.map_err(|error| match authority.serving() {
            true => error,
            false => ApiError::new(
                Code::Behind,
                format!("this node does not know app {id} now"),
            ),
        })
    }
}

impl FromRequest for Call {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let caller = request.extensions().get::<Caller>().cloned();
        ready(match (caller, wired(request)) {
            (Some(caller), Ok((native, broker))) => Ok(Self {
                caller,
                broker,
                native,
                http: request.clone(),
            }),
            (None, _) => Err(ApiError::new(Code::Unauthenticated, "not authenticated")),
            (Some(_), Err(error)) => Err(error),
        })
    }
}

fn wired(request: &HttpRequest) -> Result<(web::Data<Native>, web::Data<Broker>), ApiError> {
    let native = request.app_data::<web::Data<Native>>().cloned();
    let broker = request.app_data::<web::Data<Broker>>().cloned();
    native
        .zip(broker)
        .ok_or_else(|| ApiError::new(Code::Unavailable, "the broker is not wired up"))
}

/// Stands before every path: authenticates, then waits until the view is as fresh as asked.
///
/// # Errors
/// Only what the handler behind it fails with; its own refusals are answers.
pub async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    match admit(request.request(), shown(request.request())).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.call(request)
                .await
                .map(ServiceResponse::map_into_boxed_body)
        }
        Err(error) => Ok(request.into_response(error.error_response())),
    }
}

/// The call of a path that stands outside the guard, because it refuses in other words, by what is shown in this header.
///
/// # Errors
/// Those of the guard.
pub(super) async fn call(request: &HttpRequest, header: &str) -> Result<Call, ApiError> {
    let caller = admit(request, header).await?;
    let (native, broker) = wired(request)?;
    Ok(Call {
        caller,
        broker,
        native,
        http: request.clone(),
    })
}

/// What a request shows of who calls.
pub(super) fn shown(request: &HttpRequest) -> &str {
    let header = request.headers().get(header::AUTHORIZATION);
    header.and_then(|value| value.to_str().ok()).unwrap_or("")
}

async fn admit(request: &HttpRequest, header: &str) -> Result<Caller, ApiError> {
    let (native, broker) = wired(request)?;
    let outcome = authenticate(&native.auth_mode, &broker, (app_in(request), header)).await;
    let refused = outcome.as_ref().err().map(|error| error.code.row().0);
    native.meter.authenticated(refused);
    let caller = outcome?;
    if matches!(caller, Caller::Bearer(_)) && !bearer::may_call(request.path()) {
        return Err(bearer::only_keys());
    }
    if let Some(revision) = input::at_least(request)? {
        broker
            .authority
            .at_least(revision, FRESHNESS_TIMEOUT)
            .await?;
    }
    Ok(caller)
}

async fn authenticate(
    auth_mode: &AuthMode,
    broker: &Broker,
    (named, header): (Option<AppId>, &str),
) -> Result<Caller, ApiError> {
    match auth_mode {
        AuthMode::Operators { token } => operator(token, header),
        AuthMode::Keys => {
            if let Some(token) = after_scheme(header, "bearer").filter(|one| is_meant(one)) {
                let principal = bearer::read(broker, named, token).await?;
                return Ok(Caller::Bearer(Arc::new(principal)));
            }
            let (id, secret) = credentials(header)?;
            key(broker, &id, &secret).await
        }
    }
}

fn operator(token: &str, header: &str) -> Result<Caller, ApiError> {
    let given = after_scheme(header, "bearer")
        .ok_or_else(|| ApiError::new(Code::Unauthenticated, "the admin token is missing"))
        .map_err(|error| error.because(Rule::OperatorToken))?;
    match same(given.as_bytes(), token.as_bytes()) {
        true => Ok(Caller::Operator),
        false => {
            let error = ApiError::new(Code::BadCredential, "not the admin token");
            Err(error.because(Rule::OperatorToken))
        }
    }
}

async fn key(broker: &Broker, id: &str, secret: &str) -> Result<Caller, ApiError> {
    let authority = &broker.authority;
    if !authority.serving() {
        let message = "this node cannot prove that its view of keys is current";
        return Err(ApiError::new(Code::Behind, message));
    }
    if let Ok(holder) = check_key(broker, id, secret) {
        return Ok(Caller::Key(holder));
    }
    // The key may have been made, enabled or unblocked a moment ago through another node. A wrong secret is looked at
    // again as well: what is done must not tell which ids are there.
    authority.catch_up().await?;
    check_key(broker, id, secret)
        .map(Caller::Key)
        .map_err(|message| ApiError::new(Code::BadCredential, message))
}

fn check_key(broker: &Broker, id: &str, secret: &str) -> Result<Arc<Holder>, String> {
    let key = broker.authority.key(id);
    let holder = Holder::by_secret(key.as_deref(), secret.as_bytes());
    let holder = holder.ok_or("unknown key or wrong secret")?;
    let principal = holder.principal(broker.authority.view().revision);
    match broker.authority.objection(&principal) {
        Some(reason) => Err(reason_text(&reason)),
        None => Ok(Arc::new(holder)),
    }
}

/// What a refused request names of itself: the key's id in its credential, and what stands in its path.
#[must_use]
pub fn named(request: &HttpRequest) -> Named {
    let key = credentials(shown(request)).ok().map(|(id, _)| id);
    let segments: Vec<&str> = request.path().split('/').collect();
    let after = |name: &str| {
        let at = segments.iter().position(|one| *one == name)?;
        segments.get(at + 1).map(|one| (*one).to_owned())
    };
    Named {
        app: app_in(request),
        key,
        channel: after("channels"),
        user: after("users"),
    }
}

/// The app that a path names.
fn app_in(request: &HttpRequest) -> Option<AppId> {
    let mut segments = request.path().split('/').skip_while(|one| *one != "apps");
    segments.nth(1)?.parse().ok().map(AppId)
}

/// Equal, in a time that tells nothing about where they differ.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    let (a, b) = (Sha256::digest(a), Sha256::digest(b));
    a.as_slice().ct_eq(b.as_slice()).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_admin_token_makes_an_operator() {
        assert!(operator("t0ken", "Bearer t0ken").is_ok());
        for bad in ["", "Bearer t0ke", "Bearer t0ken2", "Basic t0ken", "t0ken"] {
            assert!(operator("t0ken", bad).is_err(), "{bad}");
        }
    }
}
