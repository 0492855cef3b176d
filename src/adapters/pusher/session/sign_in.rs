//! Signing in: the app server vouches for who the user is.
//!
//! **Must never know:** whether the user may: blocks and revocations are the core's answer.

use super::unsure::NoKey;
use super::{PusherSession, SigningIn, Turn, User, subscribe_auth};
use crate::adapters::pusher::codes::{self, Goodbye};
use crate::adapters::pusher::frame::{client, json};
use crate::adapters::pusher::{auth, limits};
use crate::core::authority::{Principal, Signer};
use crate::core::ids::Text;
use crate::core::refusals::Rule;
use crate::core::session::Intent;
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
        if self.signing_in.is_some() {
            return turn.fail(Rule::AlreadyDone, "", "A sign-in is in progress");
        }
        let signer = match verify(&ask, turn) {
            Ok(signer) => signer,
            Err(Unsigned::NoKey(id)) => {
                let goodbye = match self.no_key() {
                    NoKey::Later => return,
                    NoKey::Unknown => unknown_key(&id),
                    NoKey::Refused(refusal) => codes::identify(&refusal, &id, false),
                };
                return self.leave(&goodbye, turn.out);
            }
            Err(Unsigned::Wrong(rule, text)) => {
                // A wrong signature will not become right: the client must not try again by itself.
                let goodbye = Goodbye::new(codes::UNAUTHORIZED, text).because(rule);
                return self.leave(&goodbye, turn.out);
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
        let revision = turn.state.revision;
        // The key that signed vouches for her; the end of the one in the address still ends the connection.
        let principal = Principal {
            opened_under: Some(self.hello.key.as_str().into()),
            ..auth::user(revision, &signer, &user.id)
        };
        self.signing_in = Some(SigningIn {
            user,
            user_data: ask.user_data,
            signer,
            watchlist,
        });
        turn.ask(Intent::Identify(principal.into()));
    }
}

/// Why nobody is known to have signed it.
enum Unsigned {
    /// No key of this id may be used, as far as this view goes.
    NoKey(String),
    /// For this reason, whatever the view.
    Wrong(Rule, &'static str),
}

/// Checks the signature; gives who made it.
fn verify(ask: &client::SignIn, turn: &Turn<'_>) -> Result<Signer, Unsigned> {
    let no_pair = "Invalid sign-in: `auth` should be of format 'key:signature'";
    let no_pair = Unsigned::Wrong(Rule::CredentialMalformed, no_pair);
    let (id, signature) = ask.auth.split_once(':').ok_or(no_pair)?;
    let key = auth::usable_key(turn.state, turn.app.id, id, turn.cx.now.cluster_ms);
    let key = key.ok_or_else(|| Unsigned::NoKey(codes::clip(id, 60).into()))?;
    let text = auth::user_text(&auth::socket_id(turn.cx.id), &ask.user_data);
    let signer = auth::signer(key, &text, signature);
    let forged = "Invalid signature of the sign-in";
    signer.ok_or(Unsigned::Wrong(Rule::WrongSecret, forged))
}

fn unknown_key(id: &str) -> Goodbye {
    let text = format!("Invalid key in sign-in auth data: '{id}'");
    Goodbye::new(codes::UNAUTHORIZED, text).because(Rule::UnknownKey)
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
