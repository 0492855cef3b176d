//! What a subscription brings with it: a signature, or nothing but the user who signed in.
//!
//! **Must never know:** whether that is enough; the core decides on the proof made here.

use super::{Turn, User};
use crate::adapters::pusher::channel_name::Class;
use crate::adapters::pusher::codes::{SubscriptionError, clip};
use crate::adapters::pusher::frame::{client, json};
use crate::adapters::pusher::{auth, limits};
use crate::core::authority::{Principal, Proof, SpokenFor};
use crate::core::refusals::Rule;
use crate::identity::{self, Borne};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Longest text repeated to a client.
const ECHO_BYTES: usize = 2_048;

/// A claim whose signature, if it has one, is right.
#[derive(Debug, Default)]
pub(super) struct SubscribeAuth {
    /// What the signature proves.
    pub(super) proof: Option<Box<Proof>>,
    /// Who enters, on a presence channel.
    pub(super) member: Option<User>,
    /// Whom the signature says this is, if it is not the user who signed in.
    pub(super) speaks_for: Option<Box<SpokenFor>>,
    /// Who signs in by what came with it: the bearer of an identity provider's token.
    pub(super) signs_in: Option<(User, Box<Principal>)>,
}

/// Why a claim is not taken.
#[derive(Debug)]
pub(super) enum Unclaimed {
    /// It is signed with a key of which this view has none that may be used; what to say if that is so.
    NoKey(SubscriptionError),
    /// For this reason, whatever the view.
    Wrong(SubscriptionError),
}

impl From<SubscriptionError> for Unclaimed {
    fn from(error: SubscriptionError) -> Self {
        Self::Wrong(error)
    }
}

/// Checks what came with a subscription.
pub(super) fn check(
    ask: &client::Subscribe,
    class: Class,
    user: Option<&User>,
    turn: &Turn<'_>,
) -> Result<SubscribeAuth, Unclaimed> {
    if class == Class::Public {
        return Ok(SubscribeAuth::default());
    }
    if let Some(token) = ask.auth.as_deref().filter(|auth| identity::is_meant(auth)) {
        return by_token(token, ask, class, turn);
    }
    let (proof, signed) = match &ask.auth {
        Some(auth) => (Some(signature(auth, ask, turn)?), true),
        None => (None, false),
    };
    if !signed && (user.is_none() || !limits::GRANTS_OPEN_CHANNELS.on(turn.app)) {
        let text = format!("Auth info required to subscribe to {}", ask.channel);
        let error = SubscriptionError::auth(401, text).because(Rule::CredentialMissing);
        return Err(error.into());
    }
    // What nobody signed says nothing about who this is.
    let data = ask.channel_data.as_deref().filter(|_| signed);
    let member = match (class, data) {
        (Class::Public | Class::Private, _) => None,
        (Class::Presence, Some(data)) => Some(member(data, turn)?),
        (Class::Presence, None) => Some(user.cloned().ok_or_else(nobody)?),
    };
    let signed_in = user.map(|known| &known.id);
    let other = member.as_ref().filter(|one| Some(&one.id) != signed_in);
    let speaks_for = other.zip(proof.as_ref()).map(|(member, proof)| SpokenFor {
        user: member.id.clone(),
        issued: proof.issued,
    });
    Ok(SubscribeAuth {
        proof: proof.map(Box::new),
        member,
        speaks_for: speaks_for.map(Box::new),
        signs_in: None,
    })
}

/// A token in place of a signature: the connection becomes its bearer's, and is judged as she is. What else came with
/// the subscription nobody has signed; her id is repeated there by clients that enter her into a presence set.
fn by_token(
    token: &str,
    ask: &client::Subscribe,
    class: Class,
    turn: &Turn<'_>,
) -> Result<SubscribeAuth, Unclaimed> {
    let borne = borne(token, turn)?;
    let user = user(&borne.user, None, turn)?;
    let named = match (class, ask.channel_data.as_deref()) {
        (Class::Presence, Some(data)) => Some(member(data, turn)?),
        (Class::Public | Class::Private | Class::Presence, _) => None,
    };
    if named.is_some_and(|named| named.id != user.id) {
        let text = "Invalid channel_data: `user_id` is not the user of the token";
        let error = SubscriptionError::auth(401, text.into()).because(Rule::WrongUser);
        return Err(error.into());
    }
    Ok(SubscribeAuth {
        member: (class == Class::Presence).then(|| user.clone()),
        signs_in: Some((user, Box::new(borne.principal))),
        ..SubscribeAuth::default()
    })
}

/// Who bears a token of an identity provider.
pub(super) fn borne(token: &str, turn: &Turn<'_>) -> Result<Borne, Unclaimed> {
    let read = identity::read(turn.state, Some(turn.app.id), token, turn.cx.now.cluster_ms);
    read.map_err(|why| {
        let error = SubscriptionError::auth(401, format!("Invalid token: {why}"));
        let error = error.because(why.rule());
        identity::want_key(turn.cx.authority, Some(turn.app.id), token);
        match why.may_be_lifted() {
            true => Unclaimed::NoKey(error),
            false => Unclaimed::Wrong(error),
        }
    })
}

fn signature(given: &str, ask: &client::Subscribe, turn: &Turn<'_>) -> Result<Proof, Unclaimed> {
    let error = |text: String| SubscriptionError::auth(401, text);
    let Some((id, signature)) = given.split_once(':') else {
        let text = format!(
            "Auth value for subscription to {} is invalid: should be of format 'key:signature'",
            ask.channel
        );
        return Err(error(text).into());
    };
    let Some(key) = auth::usable_key(turn.state, turn.app.id, id, turn.cx.now.cluster_ms) else {
        let id = clip(id, 200);
        let text = format!("Invalid key in subscription auth data: '{id}'");
        return Err(Unclaimed::NoKey(error(text).because(Rule::UnknownKey)));
    };
    let socket_id = auth::socket_id(turn.cx.id);
    let text = auth::channel_text(&socket_id, &ask.channel, ask.channel_data.as_deref());
    let Some(signer) = auth::signer(key, &text, signature) else {
        let text = format!(
            "Invalid signature: Expected HMAC SHA256 hex digest of {}, but got {}",
            clip(&text, ECHO_BYTES),
            clip(signature, 128),
        );
        return Err(error(text).because(Rule::WrongSecret).into());
    };
    Ok(auth::channel_proof(turn.state, &signer, &ask.channel))
}

#[derive(Deserialize)]
struct ChannelData<'a> {
    #[serde(borrow, default)]
    user_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    user_info: Option<&'a RawValue>,
}

/// The member that `channel_data` names. An id may be a number; it is a string from here on.
fn member(data: &str, turn: &Turn<'_>) -> Result<User, SubscriptionError> {
    let data: ChannelData<'_> = json::object(data).ok_or_else(|| {
        SubscriptionError::auth(400, "Invalid channel_data: not a JSON object".into())
    })?;
    let id = data.user_id.and_then(json::id).ok_or_else(|| {
        let text = "Invalid channel_data: `user_id` must be a non-empty string or a number";
        SubscriptionError::auth(400, text.into())
    })?;
    user(&id, data.user_info, turn)
}

/// A user within the limits.
pub(super) fn user(
    id: &str,
    info: Option<&RawValue>,
    turn: &Turn<'_>,
) -> Result<User, SubscriptionError> {
    let max = turn.limit(limits::USER_ID_BYTES);
    if id.len() as u64 > max {
        let text = format!("The user id exceeds the allowed maximum ({max} bytes)");
        return Err(SubscriptionError::limit(4301, text).because(Rule::UserName));
    }
    let info = info.map_or("", RawValue::get);
    let max = turn.limit(limits::MEMBER_BYTES);
    if info.len() as u64 > max {
        let text = format!("The user info exceeds the allowed maximum ({max} bytes)");
        return Err(SubscriptionError::limit(4301, text));
    }
    Ok(User {
        id: id.into(),
        info: Bytes::copy_from_slice(info.as_bytes()),
    })
}

fn nobody() -> SubscriptionError {
    let text = "A presence channel needs channel_data with a user_id, or a signed-in user";
    SubscriptionError::auth(400, text.into()).because(Rule::MemberMissing)
}
