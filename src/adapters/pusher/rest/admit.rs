//! From a request to a call that is known to come from the app's server.

use super::fault::Fault;
use super::signature::{self, Signed};
use crate::adapters::pusher::query::Pair;
use crate::adapters::pusher::{DIALECT, Prefix, auth, limits, query};
use crate::core::authority::{
    AccessQuery, ApiKey, App, AppId, Authority, Holder, Operations, Pass, Principal, Resource,
    State,
};
use crate::core::broker::Broker;
use crate::core::ids::{ChannelKey, Space};
use crate::core::refusals::Rule;
use actix_web::{HttpRequest, web};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for a body.
const BODY_WITHIN: Duration = Duration::from_secs(15);

/// A verified request.
#[derive(Debug)]
pub(super) struct Call<'r> {
    /// Whose server asks.
    pub(super) app: Arc<App>,
    /// Who signed it.
    pub(super) key: Holder,
    /// Query parameters, decoded.
    pub(super) query: Vec<Pair<'r>>,
    /// The whole body.
    pub(super) body: Bytes,
    /// The key as one who may do what it may do.
    principal: Principal,
}

impl<'r> Call<'r> {
    /// Verifies a request and reads its body.
    ///
    /// # Errors
    /// 400, 401, 403, 404, 408 or 413, in the order the protocol checks them.
    pub(super) async fn admit(
        request: &'r HttpRequest,
        payload: web::Payload,
        broker: &Broker,
    ) -> Result<Self, Fault> {
        let query = query::parse(request.query_string())
            .ok_or_else(|| Fault::bad("The query string is not UTF-8"))?;
        check_unique(&query)?;
        let app = match request.match_info().get("app") {
            Some(text) => Some(text.parse().map(AppId).map_err(|_| no_such_app(text))?),
            None => None,
        };
        let id = signature::value(&query, "auth_key");
        let (app, key) = find(&broker.authority, app, id).await?;
        let body = body(payload, &app).await?;
        let signed = Signed {
            method: request.method().as_str(),
            path: path(request),
            query: &query,
            body: &body,
        };
        let key = signature::verify(signed, &key, broker.authority.now().cluster_ms)?;
        check_app(&app)?;
        // A server speaks with all the rights of the key it signed with, and no others.
        let principal = key.principal(broker.authority.view().revision);
        Ok(Self {
            app,
            key,
            query,
            body,
            principal,
        })
    }

    /// A query parameter.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        signature::value(&self.query, name)
    }

    /// Refuses query parameters that mean nothing here.
    ///
    /// # Errors
    /// 400 naming them.
    pub(super) fn check_parameters(&self, known: &[&str]) -> Result<(), Fault> {
        check_parameters(&self.query, known)
    }

    /// Asks whether the key may do this to a channel or inbox.
    ///
    /// # Errors
    /// 403 with the reason, or 503 while this node may not answer.
    pub(super) async fn authorize(
        &self,
        authority: &Authority,
        channel: &ChannelKey,
        needs: Operations,
    ) -> Result<Pass, Fault> {
        let ask = ask(channel, needs);
        Ok(authority.authorize(&self.principal, None, ask).await?)
    }

    /// The same for a listing, on the view as it stands.
    pub(super) fn may(
        &self,
        authority: &Authority,
        channel: &ChannelKey,
        needs: Operations,
    ) -> bool {
        let ask = ask(channel, needs);
        authority.decide(&self.principal, None, ask).is_ok()
    }
}

fn ask(channel: &ChannelKey, needs: Operations) -> AccessQuery<'_> {
    let resource = match channel.space {
        Space::Channel | Space::Wildcard => Resource::Channel,
        Space::User | Space::Status | Space::DeadLetters => Resource::User,
    };
    AccessQuery {
        resource,
        name: &channel.name,
        needs,
        wants: Operations::NONE,
        speaks_for: None,
    }
}

/// The signed path: libraries leave out what a server has in front of it.
fn path(request: &HttpRequest) -> &str {
    let path = request.uri().path();
    let prefix = request.app_data::<web::Data<Prefix>>();
    let rest = prefix.and_then(|prefix| path.strip_prefix(&*prefix.0));
    rest.filter(|rest| rest.starts_with('/')).unwrap_or(path)
}

/// The app named in the path, or the key's own when none is, and the key.
async fn find(
    authority: &Authority,
    app: Option<AppId>,
    key: Option<&str>,
) -> Result<(Arc<App>, Arc<ApiKey>), Fault> {
    let now_ms = authority.now().cluster_ms;
    // The app or key may be newer than this node's view.
    authority
        .look(|state| lookup(state, app, key, now_ms), |_| key.is_some())
        .await
}

fn lookup(
    state: &State,
    app: Option<AppId>,
    key: Option<&str>,
    now_ms: u64,
) -> Result<(Arc<App>, Arc<ApiKey>), Fault> {
    let unknown = || Fault::unauthorized("Unknown auth_key").because(Rule::UnknownKey);
    let id = key.unwrap_or_default();
    let app = app.or_else(|| state.keys.get(id).map(|key| key.app));
    let app = app.ok_or_else(unknown)?;
    let app = state
        .apps
        .get(&app)
        .ok_or_else(|| no_such_app(&app.to_string()))?;
    let key = key.ok_or_else(missing_key)?;
    let key = auth::usable_key(state, app.id, key, now_ms).ok_or_else(unknown)?;
    Ok((app.clone(), key.clone()))
}

fn no_such_app(id: &str) -> Fault {
    let id = crate::adapters::pusher::codes::clip(id, 40);
    Fault::new(404, format!("No app with id {id}")).because(Rule::NoSuchApp)
}

fn missing_key() -> Fault {
    Fault::unauthorized("Missing auth_key").because(Rule::CredentialMissing)
}

fn disabled() -> Fault {
    Fault::new(403, "Application is disabled").because(Rule::AppDisabled)
}

fn check_app(app: &App) -> Result<(), Fault> {
    if !app.enabled {
        return Err(disabled());
    }
    if !app
        .protocols
        .iter()
        .any(|protocol| &*protocol.name == DIALECT)
    {
        let text = "The Pusher protocol is not enabled for this application";
        return Err(Fault::new(403, text).because(Rule::ProtocolOff));
    }
    Ok(())
}

fn check_unique(query: &[Pair<'_>]) -> Result<(), Fault> {
    let mut names: Vec<&str> = query.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    let twice = names.windows(2).any(|pair| pair.first() == pair.last());
    match twice {
        true => Err(Fault::bad(
            "A query string parameter is given more than once",
        )),
        false => Ok(()),
    }
}

fn check_parameters(query: &[Pair<'_>], known: &[&str]) -> Result<(), Fault> {
    let signing = |name: &str| name.starts_with("auth_") || name == "body_md5";
    let extra: Vec<&str> = query
        .iter()
        .map(|(name, _)| &**name)
        .filter(|name| !signing(name) && !known.contains(name))
        .collect();
    if extra.is_empty() {
        return Ok(());
    }
    let text = format!(
        "The following query string parameters are extraneous: {}",
        extra.join(", ")
    );
    Err(Fault::bad(text))
}

async fn body(payload: web::Payload, app: &App) -> Result<Bytes, Fault> {
    let max = limits::BODY_BYTES.of(app);
    let limit = usize::try_from(max).unwrap_or(usize::MAX);
    let read = tokio::time::timeout(BODY_WITHIN, payload.to_bytes_limited(limit)).await;
    let read = read.map_err(|_| Fault::new(408, "The body did not arrive in time"))?;
    let read = read.map_err(|_| {
        Fault::new(
            413,
            format!("The body exceeds the allowed maximum ({max} bytes)"),
        )
    })?;
    read.map_err(|_| Fault::bad("The body could not be read"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::pusher::fixture;

    #[test]
    fn apps_and_keys_are_found_together() {
        let state = fixture::state(|_| {});
        let find = |app: Option<u64>, key: Option<&str>| {
            lookup(&state, app.map(AppId), key, 0).map(|(app, _)| app.id.0)
        };
        assert_eq!(find(Some(3), Some(fixture::KEY)), Ok(3));
        assert_eq!(find(None, Some(fixture::KEY)), Ok(3));
        assert_eq!(find(Some(4), Some(fixture::KEY)), Err(no_such_app("4")));
        let unknown = Err(Fault::unauthorized("Unknown auth_key").because(Rule::UnknownKey));
        assert_eq!(find(Some(3), Some("x")), unknown);
        assert_eq!(find(None, Some("x")), unknown);
        assert_eq!(find(Some(3), None), Err(missing_key()));
    }

    #[test]
    fn parameters_are_known_and_given_once() {
        let pairs = |text| query::parse(text).unwrap_or_default();
        let known = ["info"];
        assert_eq!(
            check_parameters(&pairs("auth_key=a&body_md5=b&info=c"), &known),
            Ok(())
        );
        let text = "The following query string parameters are extraneous: x, y";
        assert_eq!(
            check_parameters(&pairs("x=1&info=c&y=2"), &known),
            Err(Fault::bad(text))
        );
        assert!(check_unique(&pairs("a=1&b=1")).is_ok());
        assert!(check_unique(&pairs("a=1&b=1&a=2")).is_err());
    }

    #[test]
    fn disabled_apps_and_closed_doors_are_refused() {
        let mut app = fixture::app();
        assert_eq!(check_app(&app), Ok(()));
        app.protocols.clear();
        assert_eq!(check_app(&app).map_err(|fault| fault.status), Err(403));
        app = fixture::app();
        app.enabled = false;
        assert_eq!(check_app(&app), Err(disabled()));
    }
}
