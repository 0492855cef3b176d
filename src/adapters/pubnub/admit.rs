//! From a request to a caller: which app, under which credential.
//!
//! **Why the client's `uuid` is no identity:** anyone may write any. Only a token that names its user proves one.

use super::codes::{Denied, Fault, no_keyset};
use super::presence_leases::{Guest, Owner};
use super::query::Query;
use super::signature::{self, Signed};
use super::token::{self, Known};
use super::{DIALECT, PUBLISH_KEY, SUBSCRIBE_KEY, limits};
use crate::core::authority::{
    AccessQuery, ApiKey, App, Authority, Holder, Issuer, Operations, Pass, Principal, Reason,
    Resource, State, Text,
};
use crate::core::error::Refusal;
use crate::core::polling::Requirement;
use crate::core::refusals::Rule;
use crate::identity::{self, Refused, Remedy};
use bytes::Bytes;
use std::sync::Arc;

/// Longest auth key that a grant can name, bytes.
const AUTH_BYTES: usize = 1_024;

/// A request, taken apart.
#[derive(Clone, Debug)]
pub(super) struct Ctx<'a> {
    /// The HTTP method in capitals.
    pub(super) method: &'a str,
    /// The path as it was received, still escaped.
    pub(super) path: &'a str,
    /// All parameters of the query.
    pub(super) query: &'a Query<'a>,
    /// Unpacked; empty where none counts.
    pub(super) body: Bytes,
}

/// Who asks: the app and what was shown.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The app it is about.
    pub(super) app: Arc<App>,
    /// Who signed the request, if anybody did.
    pub(super) key: Option<Holder>,
    /// As the access plane knows it.
    pub(super) principal: Principal,
    /// Who it says it is.
    pub(super) uuid: Text,
    /// The signature, if there is one, covers all of the request. Clients leave out the body of a publish.
    pub(super) covered: bool,
    /// The token names another user than the request.
    stranger: bool,
}

/// The app of a subscribe key.
fn app_of(state: &State, subscribe_key: &str) -> Option<Arc<App>> {
    let alias = (SUBSCRIBE_KEY.kind.into(), subscribe_key.into());
    let app = state.apps.get(state.aliases.get(&alias)?)?;
    let spoken = app
        .protocols
        .iter()
        .any(|protocol| &*protocol.name == DIALECT);
    (spoken && app.enabled).then(|| app.clone())
}

fn usable<'s>(state: &'s State, app: &App, now_ms: u64) -> impl Iterator<Item = &'s ApiKey> {
    state
        .keys_of(app.id)
        .filter(move |key| key.enabled && key.expires_ms.is_none_or(|end| now_ms < end))
}

/// Finds the app and judges the credential.
pub(super) async fn admit(
    authority: &Authority,
    known: &Known,
    subscribe_key: &str,
    ctx: &Ctx<'_>,
) -> Result<Caller, Fault> {
    match on_view(authority, known, subscribe_key, ctx) {
        // The app, key or token may be newer than this node's view.
        Err((_, true)) => {}
        Err((fault, false)) => return Err(fault),
        Ok(caller) => return Ok(caller),
    }
    let caught_up = authority.catch_up().await;
    let result = on_view(authority, known, subscribe_key, ctx);
    match caught_up {
        Ok(_) => result.map_err(|(fault, _)| fault),
        Err(_) => result.map_err(|_| Fault::unavailable()),
    }
}

/// The flag says that a newer view may change the refusal.
pub(super) fn on_view(
    authority: &Authority,
    known: &Known,
    subscribe_key: &str,
    ctx: &Ctx<'_>,
) -> Result<Caller, (Fault, bool)> {
    let (state, now_ms) = (authority.view(), authority.now().cluster_ms);
    let app = app_of(&state, subscribe_key).ok_or_else(|| (no_keyset(), true))?;
    let uuid: Text = ctx.query.get("uuid").unwrap_or_default().into();
    if uuid.chars().count() as u64 > limits::NAME_CHARACTERS.of(&app) {
        let fault = Fault::bad("Invalid uuid").because(Rule::UserName);
        return Err((fault, false));
    }
    let caller = |principal, key, stranger| Caller {
        app: app.clone(),
        key,
        principal,
        uuid: uuid.clone(),
        covered: true,
        stranger,
    };
    let anonymous = Principal::anonymous(app.id, None, state.revision);
    if let Some(signature) = ctx.query.given("signature") {
        if !signature::timely(ctx.query, now_ms) {
            let fault = Fault::bad("Invalid Timestamp").because(Rule::ClockOff);
            return Err((fault, false));
        }
        let signed = Signed {
            method: ctx.method,
            path: ctx.path,
            query: ctx.query,
            body: &ctx.body,
            subscribe_key,
            publish_key: PUBLISH_KEY.of(&app),
        };
        let key = signature::signer(&signed, signature, usable(&state, &app, now_ms));
        let (key, covered) = key.ok_or_else(|| (Fault::signature(), true))?;
        let principal = key.principal(state.revision);
        return Ok(Caller {
            covered,
            ..caller(principal, Some(key), false)
        });
    }
    let Some(auth) = ctx.query.given("auth") else {
        return Ok(caller(anonymous, None, false));
    };
    if identity::is_meant(auth) {
        let borne = identity::read(&state, Some(app.id), auth, now_ms);
        let borne = borne.map_err(|why| {
            identity::want_key(authority, Some(app.id), auth);
            (of_provider(why), why.may_be_lifted())
        })?;
        let stranger = *borne.user != *uuid;
        return Ok(caller(borne.principal, None, stranger));
    }
    match known.read(app.id, auth, usable(&state, &app, now_ms)) {
        token::Read::Other => {
            let token = (auth.len() <= AUTH_BYTES).then(|| auth.into());
            Ok(caller(Principal { token, ..anonymous }, None, false))
        }
        token::Read::Foreign => {
            let fault = Fault::service(403, "Invalid token").because(Rule::TokenUnknown);
            Err((fault, true))
        }
        token::Read::Token(token) => {
            let stranger = token.user.as_ref().is_some_and(|user| **user != *uuid);
            Ok(caller(token.principal(), None, stranger))
        }
    }
}

/// Why a token of an identity provider is not taken, in the words that clients know.
fn of_provider(why: Refused) -> Fault {
    let fault = match why.remedy() {
        Remedy::Renew => Fault::service(403, "Token is expired."),
        Remedy::Wait => Fault::service(403, "Token is not valid yet"),
        Remedy::Nothing => Fault::service(403, &format!("Invalid token: {why}")),
    };
    fault.because(why.rule())
}

/// Whether the app asks for no grants at all.
pub(super) fn is_open(app: &App) -> bool {
    app.protocols.len() == 1 && !limits::ACCESS_MANAGER.on(app)
}

impl Caller {
    /// As one who enters presence sets and leaves them.
    pub(super) fn guest(&self) -> Guest {
        let owner = match (&self.principal.user, &self.key, &self.principal.token) {
            (Some(_), _, _) => Owner::User,
            (None, Some(key), _) => Owner::Credential(format!("key {}", key.id).into()),
            (None, None, Some(token)) => Owner::Credential(format!("token {token}").into()),
            (None, None, None) => Owner::Nobody,
        };
        Guest {
            uuid: self.uuid.clone(),
            owner,
        }
    }

    /// Whether its token says that it is this user.
    pub(super) fn is_proven(&self, uuid: &str) -> bool {
        !self.stranger && self.principal.user.as_deref() == Some(uuid)
    }

    /// Refuses to let a token that names its user speak for another one.
    ///
    /// # Errors
    /// 403 with the uuid.
    pub(super) fn may_speak_for(&self, uuid: &str) -> Result<(), Fault> {
        let other = self
            .principal
            .user
            .as_deref()
            .is_some_and(|user| user != uuid);
        match self.stranger || other {
            true => {
                let fault = Fault::forbidden(&[(Resource::User, uuid.into())]);
                Err(fault.because(Rule::WrongUser))
            }
            false => Ok(()),
        }
    }

    /// Refuses a credential that no longer stands, where no right to a name is asked for.
    ///
    /// # Errors
    /// 403 as the credential deserves, 503 while this node may not answer.
    pub(super) async fn stands(&self, authority: &Authority) -> Result<(), Fault> {
        match authority.admit(&self.principal).await {
            Err(Refusal::Denied(reason)) => {
                let fault = of_credential(&self.principal, &reason);
                let fault = fault.unwrap_or_else(|| Fault::forbidden(&[]));
                Err(fault.because(&reason))
            }
            outcome => Ok(outcome?),
        }
    }

    /// Asks for the right to each of these; all of them, or the names that are refused.
    pub(super) async fn allow(
        &self,
        authority: &Authority,
        requirements: &[Requirement],
        wants: Operations,
    ) -> Result<Vec<Pass>, Fault> {
        if self.stranger {
            return Err(refused(requirements.iter()).because(Rule::WrongUser));
        }
        allow(authority, &self.principal, requirements, wants).await
    }

    /// Those of these names that it may see who is on (channels) or hear (groups): for listings, which leave out
    /// what they may not tell.
    ///
    /// # Errors
    /// 403 for another user's token, 503 while this node may not answer.
    pub(super) async fn sees(
        &self,
        authority: &Authority,
        resource: Resource,
        names: Vec<Text>,
    ) -> Result<Vec<Text>, Fault> {
        self.may_speak_for(&self.uuid)?;
        let needs = match resource {
            Resource::Group => Operations::SUBSCRIBE,
            Resource::Channel | Resource::User => Operations::PRESENCE_READ,
        };
        Ok(authority
            .visible(&self.principal, (resource, needs), names)
            .await?)
    }

    /// The same for one channel.
    pub(super) async fn channel(
        &self,
        authority: &Authority,
        name: &str,
        needs: Operations,
    ) -> Result<Pass, Fault> {
        let requirements = [requirement(Resource::Channel, name, needs)];
        let passes = self
            .allow(authority, &requirements, Operations::NONE)
            .await?;
        passes.into_iter().next().ok_or_else(Fault::unavailable)
    }

    /// The same for one group; an app that asks for no grants asks for none here.
    pub(super) async fn group(
        &self,
        authority: &Authority,
        name: &str,
        needs: Operations,
    ) -> Result<(), Fault> {
        if is_open(&self.app) {
            return Ok(());
        }
        let requirements = [requirement(Resource::Group, name, needs)];
        let passes = self
            .allow(authority, &requirements, Operations::NONE)
            .await?;
        drop(passes);
        Ok(())
    }

    /// Who answers for a change, if the request was signed.
    pub(super) fn issuer(&self) -> Result<(&Holder, Issuer), Fault> {
        let key = self.key.as_ref();
        let key = key.ok_or_else(Fault::unsigned)?;
        Ok((key, key.issuer()))
    }

    /// A limit of its app.
    pub(super) fn limit(&self, limit: crate::core::limits::Setting) -> u64 {
        limit.of(&self.app)
    }
}

/// A name to be judged.
pub(super) fn requirement(resource: Resource, name: &str, needs: Operations) -> Requirement {
    Requirement {
        resource,
        name: name.into(),
        needs,
    }
}

fn refused<'c>(requirements: impl Iterator<Item = &'c Requirement>) -> Fault {
    let denied: Vec<Denied> = requirements
        .map(|requirement| (requirement.resource, requirement.name.clone()))
        .collect();
    Fault::forbidden(&denied)
}

/// Judges all names at once; a no is final only on a fresh view, and one is fetched for all.
pub(super) async fn allow(
    authority: &Authority,
    principal: &Principal,
    requirements: &[Requirement],
    wants: Operations,
) -> Result<Vec<Pass>, Fault> {
    let mut asks: Vec<AccessQuery<'_>> = requirements.iter().map(Requirement::ask).collect();
    for ask in &mut asks {
        ask.wants = wants;
    }
    let answers = authority.authorize_all(principal, None, &asks).await?;
    let mut passes = Vec::with_capacity(requirements.len());
    let (mut denied, mut why) = (Vec::new(), None);
    for (requirement, answer) in requirements.iter().zip(answers) {
        match answer {
            Ok(pass) => passes.push(pass),
            Err(reason) => {
                if let Some(fault) = of_credential(principal, &reason) {
                    return Err(fault);
                }
                denied.push(requirement);
                why.get_or_insert(reason);
            }
        }
    }
    match why {
        None => Ok(passes),
        Some(reason) => Err(refused(denied.into_iter()).because(&reason)),
    }
}

/// Only a token is told that it is over: an auth key never ends by itself.
fn of_credential(principal: &Principal, reason: &Reason) -> Option<Fault> {
    let token = principal.proof.is_some() && principal.token.is_some();
    let gone = matches!(reason, Reason::NoSuchApp(_) | Reason::AppDisabled);
    (token || gone)
        .then(|| Fault::of_credential(reason))
        .flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::fixture::{self, APP, NARROW, SECRET, granted, token};
    use super::*;
    use crate::core::authority::{Capability, CarriedRights, Subject};
    use crate::identity::fixture as idp;

    #[actix_web::test]
    async fn a_call_with_many_refused_names_costs_one_round() {
        let commands = fixture::commands(&[("access_manager", true)]);
        let authority = Authority::fixed(fixture::state(&commands), 1_000);
        let nobody = Principal::anonymous(APP, None, 1);
        let names = (0..100).map(|n| format!("room-{n}"));
        let requirements: Vec<_> = names
            .map(|name| requirement(Resource::Channel, &name, Operations::SUBSCRIBE))
            .collect();
        let refused = allow(&authority, &nobody, &requirements, Operations::NONE).await;
        assert_eq!(refused.unwrap_err().status, 403);
        assert_eq!(authority.rounds(), 1);
    }

    #[test]
    fn a_tokens_user_is_worth_no_more_than_the_key_that_signed_it() {
        let mut commands = fixture::commands(&[("access_manager", true)]);
        let capability = Capability::channel("private-x", Operations::SUBSCRIBE);
        commands.push(fixture::narrow(capability));
        let board = (Resource::Channel, "private-board", Operations::SUBSCRIBE);
        for subject in [
            Subject::User("ana".into()),
            Subject::Token("auth-key".into()),
        ] {
            commands.push(granted(Issuer::Operator, subject, board));
        }
        let authority = Authority::fixed(fixture::state(&commands), 1_000);
        let may = |auth: &str| {
            let caller = fixture::caller(&authority, auth);
            let (resource, name, needs) = board;
            let ask = requirement(resource, name, needs);
            authority
                .decide(&caller.principal, None, ask.ask())
                .map(|_| ())
        };
        assert_eq!(may(&token(&fixture::key("k1", SECRET), &[])), Ok(()));
        let beyond = Err(Reason::BeyondKey("narrow".into()));
        let narrow = fixture::key("narrow", NARROW);
        assert_eq!(may(&token(&narrow, &[])), beyond);
        assert_eq!(may("auth-key"), Ok(()), "an auth key is the right itself");
        // She says a name, and nobody vouches for it.
        assert!(may("").is_err());
    }

    #[test]
    fn a_providers_token_is_its_users_alone_and_every_bad_one_is_refused() {
        let mut commands = fixture::commands(&[("access_manager", true)]);
        commands.extend(idp::commands(APP, "k1", CarriedRights::Ceiling));
        let now_s = 1_700_000_000;
        let authority = Authority::fixed(fixture::state(&commands), now_s * 1_000);
        let ask = |uuid: &str, auth: &str| {
            let query = format!("uuid={uuid}&auth={auth}");
            let query = Query::parse(&query).unwrap();
            let ctx = Ctx {
                method: "GET",
                path: "/",
                query: &query,
                body: Bytes::new(),
            };
            on_view(&authority, &Known::default(), fixture::SUB, &ctx)
        };
        let good = idp::token(now_s, serde_json::json!({}));
        let ana = ask("ana", &good).unwrap();
        assert!(ana.is_proven("ana") && ana.may_speak_for("ana").is_ok());
        let requirement = requirement(Resource::Channel, "room", Operations::SUBSCRIBE);
        assert!(
            authority
                .decide(&ana.principal, None, requirement.ask())
                .is_ok()
        );
        assert!(ask("eve", &good).unwrap().may_speak_for("eve").is_err());
        for (what, text, why) in idp::hostile(now_s) {
            match ask("ana", &text) {
                // What providers do not sign with is an auth key, to which nothing was granted.
                Ok(caller) => {
                    assert!(!identity::is_meant(&text), "{what}");
                    assert!(caller.principal.proof.is_none(), "{what}");
                }
                Err((fault, lifts)) => {
                    assert_eq!((fault.status, lifts), (403, why.may_be_lifted()), "{what}");
                }
            }
        }
    }
}
