//! Credentials: from what a client presents to who it speaks for.
//!
//! Whether it *still* stands (revoked, blocked, expired meanwhile) is asked of the authority whenever it is used.

use super::capability::Wanted;
use super::codes::{self, Fault};
use super::key_name::key_of;
use super::token::{self, Claims};
use super::{DIALECT, jwt, limits};
use crate::core::authority::{
    ApiKey, AppId, Holder, Issued, MAX_AHEAD_MS, Millis, Presented, Principal, Signer, State,
};
use crate::core::ids::Text;
use crate::core::refusals::Rule as Broken;
use crate::identity::{self, Refused, Remedy};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const DAY_MS: Millis = 24 * 3_600_000;
const HOUR_MS: Millis = 3_600_000;

/// What was presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    /// A key as it is written: `appId.keyId:secret`.
    Key(String),
    /// A token of any kind.
    Token(String),
}

/// What a credential says about client ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// May assume any.
    Any,
    /// Is this one.
    Is(Text),
    /// Has none and may not have one.
    None,
}

impl Rule {
    /// By a token's claim.
    ///
    /// # Errors
    /// 40012 for one that nobody can be.
    pub(super) fn of(client: Option<String>) -> Result<Self, Fault> {
        match client.as_deref() {
            None => Ok(Self::None),
            Some("*") => Ok(Self::Any),
            Some(id) => Ok(Self::Is(client_id(id)?)),
        }
    }
}

/// A client id that somebody can have.
///
/// # Errors
/// 40012.
pub(super) fn client_id(id: &str) -> Result<Text, Fault> {
    let usable = !id.is_empty() && id != "*" && id.len() <= limits::NAME_BYTES;
    match usable {
        true => Ok(id.into()),
        false => Err(Fault::new(40012, 400, "Invalid client id")),
    }
}

/// Who a connection or request speaks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Identity {
    /// As the core knows it.
    pub(super) principal: Box<Principal>,
    /// The key's name as Ably writes it: `appId.keyId`.
    pub(super) key_name: Text,
    /// Its client id; none = unidentified.
    pub(super) client: Option<Text>,
    /// Without a client id of its own it may name any.
    pub(super) any_client: bool,
    /// A token, and not the key itself.
    pub(super) by_token: bool,
    /// When it ends, cluster time.
    pub(super) expires_ms: Option<Millis>,
    /// When it begins to count, if it says so beside its time of issue.
    pub(super) not_before_ms: Millis,
    /// It was issued in this second, and no closer than that.
    pub(super) in_second_ms: Option<Millis>,
}

impl Identity {
    /// The client id of something this identity sends.
    ///
    /// # Errors
    /// 40012 when it names one that it may not use.
    pub(super) fn stamp(&self, named: Option<&str>) -> Result<Option<Text>, Fault> {
        let Some(named) = named else {
            return Ok(self.client.clone());
        };
        let named = client_id(named)?;
        match &self.client {
            Some(own) if *own == named => Ok(Some(named)),
            None if self.any_client => Ok(Some(named)),
            Some(_) | None => Err(Fault::new(
                40012,
                400,
                "The client id is not that of the credential",
            )),
        }
    }
}

/// The key that a credential names, verified or not: for bringing the view up to date first.
fn names(credential: &Credential) -> Option<String> {
    match credential {
        Credential::Key(text) => text.split_once(':').map(|(name, _)| name.to_owned()),
        Credential::Token(text) if token::is_ours(text) => None,
        Credential::Token(text) => jwt::key_name(text),
    }
}

/// The app and the key that a credential names, whether or not they are there.
pub(super) fn named(credential: &Credential) -> Option<(AppId, Text)> {
    let name = match credential {
        Credential::Token(text) if token::is_ours(text) => token::names(text)?,
        Credential::Key(_) | Credential::Token(_) => names(credential)?,
    };
    of_name(&name)
}

/// The app and the key of a key's name.
pub(super) fn of_name(name: &str) -> Option<(AppId, Text)> {
    let (app, key) = name.split_once('.')?;
    Some((app.parse().map(AppId).ok()?, key.into()))
}

/// What is said to whoever connects of a credential that is refused: there, a token that cannot be read is a wrong one.
pub(super) fn on_connect(credential: &Credential, fault: Fault) -> Fault {
    match (credential, fault.code) {
        (Credential::Token(_), 40005) => Fault::credentials(fault.message),
        (Credential::Token(_) | Credential::Key(_), _) => fault,
    }
}

/// The longest time a token of this key may live.
pub(super) fn longest_ttl(key: &ApiKey) -> Millis {
    match key.revocable_tokens {
        true => HOUR_MS,
        false => DAY_MS,
    }
}

/// Verifies a credential. `asks` is the client id that the client wants to have.
///
/// # Errors
/// As the protocol lists them; 40102 when the client id is not the credential's.
pub(super) fn check(
    credential: &Credential,
    asks: Option<&str>,
    state: &State,
    now: Millis,
) -> Result<Identity, Fault> {
    let (mut identity, rule) = match credential {
        Credential::Key(text) => (by_key(text, state, now)?, Rule::Any),
        Credential::Token(text) => by_token(text, state, now)?,
    };
    accepts(state, identity.principal.app)?;
    let wrong = || Fault::new(40102, 401, "Invalid clientId for credentials");
    identity.client = match (rule, asks) {
        (Rule::Any, None | Some("*")) => {
            identity.any_client = true;
            None
        }
        (Rule::Any, Some(id)) => Some(client_id(id)?),
        (Rule::Is(id), None) => Some(id),
        (Rule::Is(id), Some(asked)) if *id == *asked || asked == "*" => Some(id),
        (Rule::None, None) => None,
        (Rule::Is(_) | Rule::None, Some(_)) => return Err(wrong()),
    };
    identity.principal.user.clone_from(&identity.client);
    Ok(identity)
}

/// What a text given as a token is here: the token alone, or as a request's header carries it.
pub(super) fn presented(state: &State, app: AppId, text: &str, now: Millis) -> Presented {
    if !token::is_one(text) && !jwt::is_one(text) {
        let carried = STANDARD.decode(text).ok();
        let carried = carried.and_then(|bytes| String::from_utf8(bytes).ok());
        return match carried {
            Some(inner) if token::is_one(&inner) || jwt::is_one(&inner) => {
                presented(state, app, &inner, now)
            }
            Some(_) | None => Presented::Other,
        };
    }
    match by_token(text, state, now) {
        Ok((identity, rule)) if identity.principal.app == app => {
            let mut bearer = identity.principal;
            if let Rule::Is(id) = rule {
                bearer.user = Some(id);
            }
            Presented::Signed(bearer)
        }
        Ok(_) => Presented::Foreign,
        Err(_) => match unproven(text, state, now) {
            Some((of, id)) if of == app => Presented::Unproven(id),
            Some(_) | None => Presented::Foreign,
        },
    }
}

/// The app and the name of a token that one of its keys has signed and that has not ended, whether or not it counts now.
fn unproven(text: &str, state: &State, now: Millis) -> Option<(AppId, Text)> {
    if text.len() > token::MAX_BYTES {
        return None;
    }
    let embedded = jwt::embedded(text);
    let text = embedded.as_ref().map_or(text, |outer| &outer.token);
    let (app, expires, id) = match token::is_ours(text) {
        true => {
            let (claims, _, key) = token::verify(text, state).ok()?;
            (key.app, claims.expires, claims.id.as_str().into())
        }
        false => {
            let (claims, _, key) = jwt::verify(text, state).ok()?;
            (key.app, claims.expires, jwt::id(text))
        }
    };
    (expires > now).then_some((app, id))
}

/// Whether an app speaks this protocol, and speaks at all.
///
/// # Errors
/// 40400, 40300.
pub(super) fn accepts(state: &State, app: AppId) -> Result<(), Fault> {
    let app = state.apps.get(&app);
    let no_app = || Fault::new(40400, 404, "No such app").because(Broken::NoSuchApp);
    let app = app.ok_or_else(no_app)?;
    if !app.enabled {
        return Err(Fault::new(40300, 403, "The app is disabled"));
    }
    match app
        .protocols
        .iter()
        .any(|protocol| &*protocol.name == DIALECT)
    {
        true => Ok(()),
        false => {
            let text = "The app does not speak this protocol";
            Err(Fault::new(40300, 403, text).because(Broken::ProtocolOff))
        }
    }
}

/// Who shows a live key: `appId.keyId:secret`.
///
/// # Errors
/// 40005 for what is no key, 40101 when it is not right, 40131 when it is disabled.
pub(super) fn holder(text: &str, state: &State, now: Millis) -> Result<Holder, Fault> {
    let (name, secret) = text
        .split_once(':')
        .ok_or_else(|| Fault::new(40005, 400, "Invalid key"))?;
    let key = key_of(state, name);
    let holder = Holder::by_secret(key, secret.as_bytes());
    let rule = match key {
        Some(_) => Broken::WrongSecret,
        None => Broken::UnknownKey,
    };
    let holder = holder.ok_or_else(|| Fault::credentials("Invalid credentials").because(rule))?;
    live(&holder, now).map(|()| holder)
}

/// Whether a view newer than this state may lift this refusal: the key that the credential names is not there, or may
/// not be used.
pub(super) fn may_be_lifted(
    fault: &Fault,
    credential: &Credential,
    state: &State,
    now: Millis,
) -> bool {
    let key = names(credential).and_then(|name| key_of(state, &name));
    let usable = key.is_some_and(|key| live(key, now).is_ok() && accepts(state, key.app).is_ok());
    !usable && is_of_credentials(fault)
}

/// Whether this is said of a credential by what is known of its key or app.
pub(super) fn is_of_credentials(fault: &Fault) -> bool {
    matches!(fault.code, 40101 | 40131 | 40143 | 40144 | 40300 | 40400)
}

/// Whether a key is named that its app does not have.
pub(super) fn names_nobody(credential: &Credential, state: &State) -> bool {
    let Credential::Key(text) = credential else {
        return false;
    };
    let name = text.split_once(':').map_or("", |(name, _)| name);
    let app = name.split_once('.').and_then(|(app, _)| app.parse().ok());
    app.is_some_and(|app| state.apps.contains_key(&AppId(app))) && key_of(state, name).is_none()
}

/// Whether a key may be used.
///
/// # Errors
/// 40131.
pub(super) fn live(key: &ApiKey, now: Millis) -> Result<(), Fault> {
    match key.enabled && key.expires_ms.is_none_or(|end| now < end) {
        true => Ok(()),
        false => Err(Fault::new(40131, 401, "The key is disabled")),
    }
}

fn by_key(text: &str, state: &State, now: Millis) -> Result<Identity, Fault> {
    let holder = holder(text, state, now)?;
    Ok(identity(&holder, holder.principal(state.revision), false))
}

fn identity(key: &ApiKey, principal: Principal, by_token: bool) -> Identity {
    Identity {
        key_name: format!("{}.{}", key.app, key.id).into(),
        client: None,
        any_client: false,
        by_token,
        expires_ms: principal.expires_ms,
        principal: Box::new(principal),
        not_before_ms: 0,
        in_second_ms: None,
    }
}

fn by_token(text: &str, state: &State, now: Millis) -> Result<(Identity, Rule), Fault> {
    if text.len() > token::MAX_BYTES {
        return Err(Fault::new(40005, 400, "The token is too long"));
    }
    if token::is_ours(text) {
        return ours(text, state, now);
    }
    let Some(embedded) = jwt::embedded(text) else {
        return match identity::is_meant(text) {
            true => by_provider(text, state, now),
            false => by_jwt(text, state, now),
        };
    };
    let inner = &embedded.token;
    // One level: a token in a token in a token would be somebody playing.
    let (identity, rule) = match token::is_ours(inner) {
        true => ours(inner, state, now)?,
        false => by_jwt(inner, state, now)?,
    };
    if embedded.outer_expires > identity.expires_ms {
        return Err(Fault::new(40144, 401, "The JWT outlives the token inside"));
    }
    if embedded.outer_expires.is_some_and(|end| end <= now) {
        return Err(codes::expired());
    }
    Ok((identity, rule))
}

fn ours(text: &str, state: &State, now: Millis) -> Result<(Identity, Rule), Fault> {
    let (claims, signer, key) = token::verify(text, state)?;
    live(key, now)?;
    if claims.expires <= now {
        return Err(codes::expired());
    }
    minted(&claims, &signer, key)
}

/// Whom a token of ours speaks for.
///
/// # Errors
/// 40000, 40012 for claims that nobody can have.
pub(super) fn minted(
    claims: &Claims,
    signer: &Signer,
    key: &ApiKey,
) -> Result<(Identity, Rule), Fault> {
    // What its own key had that these words cannot say is the key's: a token without lines is nobody's.
    let rights = match &*claims.capability {
        "{}" => key.capability.clone(),
        text => Wanted::parse(text)?.rights(),
    };
    let issued = Issued::At(claims.issued);
    let bearer = signer.principal(issued, Some(claims.expires), rights);
    let mut identity = identity(key, bearer, true);
    identity.principal.token = Some(claims.id.as_str().into());
    let rule = Rule::of(claims.client.clone())?;
    // As `check` does for whoever shows it.
    if let Rule::Is(client) = &rule {
        identity.principal.user = Some(client.clone());
    }
    Ok((identity, rule))
}

/// A token of an identity provider: its key is the provider's ceiling. Which app it is for says its audience.
fn by_provider(text: &str, state: &State, now: Millis) -> Result<(Identity, Rule), Fault> {
    let borne = identity::read(state, None, text, now).map_err(of_provider)?;
    let principal = borne.principal;
    let key = principal.held().and_then(|key| state.keys.get(key));
    let key = key.ok_or_else(|| Fault::new(40144, 401, "The provider's ceiling does not exist"))?;
    live(key, now)?;
    let mut identity = identity(key, principal, true);
    identity.in_second_ms = in_second(borne.issued_ms);
    Ok((identity, Rule::Is(client_id(&borne.user)?)))
}

/// Why a token of an identity provider is not taken.
fn of_provider(why: Refused) -> Fault {
    match why.remedy() {
        Remedy::Renew => codes::expired(),
        Remedy::Wait => codes::not_yet(),
        Remedy::Nothing => Fault::new(40144, 401, why.to_string()).because(why.rule()),
    }
}

/// What says its time of issue in whole seconds.
fn in_second(issued: Millis) -> Option<Millis> {
    issued.is_multiple_of(1_000).then_some(issued)
}

fn by_jwt(text: &str, state: &State, now: Millis) -> Result<(Identity, Rule), Fault> {
    let (claims, signer, key) = jwt::verify(text, state)?;
    live(key, now)?;
    let bad = |text: &'static str| Fault::new(40144, 401, text);
    if claims.expires <= now {
        return Err(codes::expired());
    }
    // What is ahead by less is waited for: the access plane honours nothing before its time of issue.
    if claims.issued.max(claims.not_before) > now + MAX_AHEAD_MS {
        return Err(bad("The JWT is issued in the future"));
    }
    if claims.expires.saturating_sub(claims.issued) > longest_ttl(key) {
        return Err(Fault::new(40003, 400, "The JWT lives too long").because(Broken::TokenTooLong));
    }
    let rights = match &claims.capability {
        None => key.capability.clone(),
        Some(text) => {
            let wanted = Wanted::parse(text).map_err(|_| bad("The JWT's capability is bad"))?;
            wanted.within(&key.capability)?.rights()
        }
    };
    let issued = Issued::At(claims.issued);
    let bearer = signer.principal(issued, Some(claims.expires), rights);
    let mut identity = identity(key, bearer, true);
    identity.not_before_ms = claims.not_before;
    identity.in_second_ms = in_second(claims.issued);
    identity.principal.token = Some(jwt::id(text));
    identity.principal.revocation_key = claims.revocation_key.map(Into::into);
    Ok((identity, Rule::of(claims.client)?))
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
