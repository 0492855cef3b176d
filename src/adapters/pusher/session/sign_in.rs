//! Signing in: the app server vouches for who the user is.
//!
//! **Must never know:** whether the user may: blocks and revocations are the core's answer.

use super::subscribe_auth::Unclaimed;
use super::unsure::NoKey;
use super::{Arriving, PusherSession, SigningIn, Turn, User, subscribe_auth};
use crate::adapters::pusher::codes::{self, ClosingError};
use crate::adapters::pusher::frame::{client, json, server};
use crate::adapters::pusher::{auth, limits};
use crate::core::authority::{Principal, Signer};
use crate::core::error::Refusal;
use crate::core::ids::Text;
use crate::core::refusals::Rule;
use crate::core::session::Intent;
use crate::identity::{self, Borne};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct UserData<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    user_info: Option<&'a RawValue>,
    #[serde(borrow, default)]
    watchlist: Option<&'a RawValue>,
}

impl PusherSession {
    pub(super) fn sign_in(&mut self, ask: client::SignIn, turn: &mut Turn<'_>) {
        if !limits::USER_SIGN_IN.on(turn.app) {
            let text = "To sign users in, enable user_sign_in in the settings of your app.";
            return turn.fail(Rule::SignInOff, "", text);
        }
        if self.signing_in.is_some() || self.arriving.is_some() {
            return turn.fail(Rule::AlreadyDone, "", "A sign-in is in progress");
        }
        let word = match verify(&ask, turn) {
            Ok(word) => word,
            Err(Unsigned::NoKey { id, why, text }) => {
                let closing = match self.no_key() {
                    NoKey::Later => return,
                    NoKey::Unknown => ClosingError::new(codes::UNAUTHORIZED, text).because(why),
                    NoKey::Refused(refusal) => codes::identify(&refusal, &id, false),
                };
                return self.leave(&closing, turn.out);
            }
            Err(Unsigned::Wrong(rule, text)) => {
                // A wrong signature will not become right: the client must not try again by itself.
                let closing = ClosingError::new(codes::UNAUTHORIZED, text).because(rule);
                return self.leave(&closing, turn.out);
            }
        };
        let (user, watchlist) = match user(&ask.user_data, turn) {
            Ok(read) => read,
            Err(text) => return turn.fail(Rule::BadValue, "", &text),
        };
        if self.user.as_ref().is_some_and(|known| known.id != user.id) {
            let text = "Connection already signed in as another user";
            return turn.fail(Rule::WrongUser, "", text);
        }
        let (signer, principal) = match word {
            Word::Key(signer) => {
                let principal = auth::user(turn.state.revision, &signer, &user.id);
                (Some(signer), principal)
            }
            Word::Token(borne) if borne.user == user.id => (None, borne.principal),
            Word::Token(_) => {
                let text = "Invalid user_data: `id` is not the user of the token";
                return turn.fail(Rule::WrongUser, "", text);
            }
        };
        // What nobody signed says nothing beyond her id.
        let (user, watchlist) = match signer {
            Some(_) => (user, watchlist),
            None => (User::named(user.id), Vec::new()),
        };
        let principal = self.opened(principal);
        self.signing_in = Some(SigningIn {
            user,
            user_data: ask.user_data,
            signer,
            watchlist,
        });
        turn.ask(Intent::Identify(principal.into()));
    }

    /// Whoever signs in on this connection. The key that signed vouches for her; the end of the one in the address
    /// still ends the connection.
    pub(super) fn opened(&self, principal: Principal) -> Principal {
        Principal {
            opened_under: Some(self.hello.key.as_str().into()),
            ..principal
        }
    }
}

/// Whose word it is who she is.
enum Word {
    /// A key has signed it.
    Key(Signer),
    /// An identity provider's.
    Token(Box<Borne>),
}

impl PusherSession {
    /// The core knows the user. She comes online, then her inbox opens, and then she is told: what is sent to her, or asked of
    /// her, through any node from then on finds her.
    pub(super) fn arrive(&mut self, signing_in: SigningIn, turn: &mut Turn<'_>) {
        let SigningIn {
            user,
            user_data,
            signer,
            watchlist,
        } = signing_in;
        let id = user.id.clone();
        if self.user.replace(user).is_some() {
            return turn.send(server::signed_in(&user_data));
        }
        // A token need not open its user's inbox, and she is signed in without it.
        let Some(signer) = signer else {
            turn.send(server::signed_in(&user_data));
            return self.open_inbox(&id, false, turn);
        };
        let status = limits::WATCHLIST
            .on(turn.app)
            .then(|| self.appear(&id, turn));
        if status.is_none() {
            self.open_inbox(&id, false, turn);
        }
        self.arriving = Some(Arriving {
            user_data,
            signer,
            watchlist,
            status,
        });
    }

    /// She is online, or cannot be.
    pub(super) fn appeared(&mut self, tag: u64, refusal: Option<&Refusal>, turn: &mut Turn<'_>) {
        let waits = self.arriving.as_mut();
        let Some(arriving) = waits.filter(|one| one.status == Some(tag)) else {
            return;
        };
        arriving.status = None;
        match (refusal, self.user.as_ref().map(|user| user.id.clone())) {
            (Some(refusal), _) if passes(refusal) => self.turn_back(refusal, turn),
            (_, Some(id)) => self.open_inbox(&id, false, turn),
            (_, None) => {}
        }
    }

    /// Her inbox stands.
    pub(super) fn arrived(&mut self, turn: &mut Turn<'_>) {
        if let Some(arriving) = self.arriving.take() {
            turn.send(server::signed_in(&arriving.user_data));
            self.watch(&arriving.signer, arriving.watchlist, turn);
        }
    }

    /// What belongs to her being here cannot be had: the connection ends as after a refused sign-in.
    pub(super) fn turn_back(&mut self, refusal: &Refusal, turn: &mut Turn<'_>) {
        self.arriving = None;
        let retry = limits::QUOTA_RETRY.on(turn.app);
        let closing = codes::identify(refusal, &self.hello.key, retry);
        self.leave(&closing, turn.out);
    }
}

/// Whether what was refused can be had when it is asked for again. What the key that vouches for her does not allow she is
/// signed in without.
pub(super) fn passes(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Unavailable(_) | Refusal::OutcomeUnknown)
}

/// Why nobody is known to have signed it.
enum Unsigned {
    /// No key of this id may be used, or no provider stands for it, as far as this view goes; what to say if that is so.
    NoKey { id: String, why: Rule, text: String },
    /// For this reason, whatever the view.
    Wrong(Rule, String),
}

/// Checks the signature; gives who made it.
fn verify(ask: &client::SignIn, turn: &Turn<'_>) -> Result<Word, Unsigned> {
    if identity::is_meant(&ask.auth) {
        let borne = subscribe_auth::borne(&ask.auth, turn).map_err(|why| match why {
            Unclaimed::NoKey(error) => Unsigned::NoKey {
                id: String::new(),
                why: error.why.rule,
                text: error.text,
            },
            Unclaimed::Wrong(error) => Unsigned::Wrong(error.why.rule, error.text),
        });
        return borne.map(|borne| Word::Token(Box::new(borne)));
    }
    let wrong = |rule, text: &str| Unsigned::Wrong(rule, text.to_owned());
    let no_pair = "Invalid sign-in: `auth` should be of format 'key:signature'";
    let pair = ask.auth.split_once(':');
    let (id, signature) = pair.ok_or_else(|| wrong(Rule::CredentialMalformed, no_pair))?;
    let key = auth::usable_key(turn.state, turn.app.id, id, turn.cx.now.cluster_ms);
    let key = key.ok_or_else(|| {
        let id = codes::clip(id, 60).to_owned();
        let text = format!("Invalid key in sign-in auth data: '{id}'");
        let why = Rule::UnknownKey;
        Unsigned::NoKey { id, why, text }
    })?;
    let text = auth::user_text(&auth::socket_id(turn.cx.id), &ask.user_data);
    let signer = auth::signer(key, &text, signature);
    let forged = || wrong(Rule::WrongSecret, "Invalid signature of the sign-in");
    signer.map(Word::Key).ok_or_else(forged)
}

/// The user that signed data names, and whom she watches.
fn user(data: &str, turn: &Turn<'_>) -> Result<(User, Vec<Text>), String> {
    let data: UserData<'_> = json::object(data).ok_or("Invalid user_data: not a JSON object")?;
    let id = data
        .id
        .and_then(json::string)
        .filter(|id| !id.is_empty())
        .ok_or("Invalid user_data: `id` must be a non-empty string")?;
    let user = subscribe_auth::user(&id, data.user_info, turn).map_err(|error| error.text)?;
    let watchlist: Option<Vec<String>> = match data.watchlist {
        Some(list) if list.get() != "null" => serde_json::from_str(list.get()).ok(),
        Some(_) | None => Some(Vec::new()),
    };
    let watchlist = watchlist.ok_or("Invalid user_data: `watchlist` must be a list of user ids")?;
    let max = turn.limit(limits::USER_ID_BYTES);
    if watchlist
        .iter()
        .any(|id| id.is_empty() || id.len() as u64 > max)
    {
        return Err("Invalid user_data: `watchlist` has an id that no user can have".into());
    }
    Ok((user, watchlist.into_iter().map(Text::from).collect()))
}
