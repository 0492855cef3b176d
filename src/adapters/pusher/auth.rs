//! Signatures: HMAC-SHA256 in lower-case hex under an app key's secret.
//!
//! **Must never know:** what a valid signature allows; that is a [`Proof`], judged by the authority.
//! **Why a request is told from what a client shows:** who signs a request has the key; who shows a signature was given it.

use crate::core::authority::{
    ApiKey, AppId, Capability, Holder, Issued, Millis, Operations, Pattern, Principal, Proof,
    Resource, Revision, Right, Signer, State,
};
use crate::core::ids::ConnectionId;
use std::sync::Arc;

/// Everything a channel signature gives on its channel.
const ON_CHANNEL: Operations = Operations::SUBSCRIBE
    .or(Operations::PUBLISH)
    .or(Operations::PRESENCE)
    .or(Operations::PRESENCE_READ);

/// How Pusher prints a connection.
pub(super) fn socket_id(id: ConnectionId) -> String {
    format!("{}.{}", id.0, id.1)
}

/// Reads `socket_id`. `Err` = not of the form `digits.digits`; `Ok(None)` = well-formed, but no connection
/// of ours can have it.
pub(super) fn parse_socket_id(text: &str) -> Result<Option<ConnectionId>, ()> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (left, right) = text.split_once('.').ok_or(())?;
    if !digits(left) || !digits(right) {
        return Err(());
    }
    let numbers = left.parse().ok().zip(right.parse().ok());
    Ok(numbers.map(|(left, right)| ConnectionId(left, right)))
}

fn tag(signature: &str) -> Option<[u8; 32]> {
    let mut tag = [0_u8; 32];
    hex::decode_to_slice(signature, &mut tag).ok().map(|()| tag)
}

/// Who made a request that carries its `signature` (hex) over itself.
pub(super) fn holder(key: &ApiKey, parts: &[&str], signature: &str) -> Option<Holder> {
    let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
    Holder::by_mac(key, &parts, &tag(signature)?)
}

/// Whose `signature` (hex) a client shows.
pub(super) fn signer(key: &ApiKey, text: &str, signature: &str) -> Option<Signer> {
    Signer::by_mac(key, &[text.as_bytes()], &tag(signature)?)
}

/// The text a channel signature covers: `channel_data` counts whenever the client sent it.
pub(super) fn channel_text(socket_id: &str, channel: &str, channel_data: Option<&str>) -> String {
    match channel_data {
        Some(data) => format!("{socket_id}:{channel}:{data}"),
        None => format!("{socket_id}:{channel}"),
    }
}

/// The text a sign-in signature covers.
pub(super) fn user_text(socket_id: &str, user_data: &str) -> String {
    format!("{socket_id}::user::{user_data}")
}

/// The app's key of that id, while it may be used.
pub(super) fn usable_key<'s>(
    state: &'s State,
    app: AppId,
    id: &str,
    now_ms: Millis,
) -> Option<&'s Arc<ApiKey>> {
    state.keys.get(id).filter(|key| {
        key.app == app && key.enabled && key.expires_ms.is_none_or(|end| now_ms < end)
    })
}

/// What a valid channel signature proves, when the view stood as it does now.
pub(super) fn channel_proof(state: &State, signer: &Signer, channel: &str) -> Proof {
    let capability = Capability::channel(channel, ON_CHANNEL);
    signer.proof(Issued::Seen(state.revision), None, capability)
}

/// Who has signed in: with her own inbox, and that she is there.
pub(super) fn user(seen: Revision, signer: &Signer, user: &str) -> Principal {
    let on_user = on_user(user, Operations::SUBSCRIBE | Operations::PRESENCE);
    let rights = vec![on_user];
    Principal {
        user: Some(user.into()),
        ..signer.principal(Issued::Seen(seen), None, Capability { rights })
    }
}

/// What a signed watchlist proves of each user on it.
pub(super) fn watch_proof(seen: Revision, signer: &Signer, user: &str) -> Proof {
    signer.right(seen, on_user(user, Operations::PRESENCE_READ))
}

fn on_user(user: &str, operations: Operations) -> Right {
    Right {
        resource: Resource::User,
        pattern: Pattern::Exact(user.into()),
        operations,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::adapters::pusher::fixture;

    const VECTORS: [(&str, &str); 4] = [
        (
            "1234.1234:private-foobar",
            "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4",
        ),
        (
            "1234.1234:private-foobar:{\"user_id\":10}",
            "496d367857f5416a7f929c50af102f208f65bf5a00dfe4c146ef113eb5f6a5c7",
        ),
        (
            "1234.1234::user::{\"id\":\"12345\"}",
            "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba",
        ),
        (
            "1234.1234:presence-foobar:{\"user_id\":10,\"user_info\":{\"name\":\"Mr. Channels\"}}",
            "31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80",
        ),
    ];

    #[test]
    fn documented_vectors_verify_and_others_do_not() {
        let key = fixture::key();
        for (text, signature) in VECTORS {
            let verify = |parts: &[&str], signature: &str| {
                let holder = holder(&key, parts, signature).is_some();
                assert_eq!(signer(&key, &parts.concat(), signature).is_some(), holder);
                holder
            };
            assert!(verify(&[text], signature), "{text}");
            assert!(!verify(&[text, " "], signature), "{text}");
            assert!(!verify(&[text], &signature[1..]));
            assert!(!verify(&[text], &signature.replace('a', "b")));
            assert!(!verify(&["x"], "") && !verify(&["x"], "zz"));
        }
    }

    #[test]
    fn signed_texts_are_as_documented() {
        let socket = socket_id(ConnectionId(1234, 1234));
        assert_eq!(channel_text(&socket, "private-foobar", None), VECTORS[0].0);
        let data = Some("{\"user_id\":10}");
        assert_eq!(channel_text(&socket, "private-foobar", data), VECTORS[1].0);
        assert_eq!(user_text(&socket, "{\"id\":\"12345\"}"), VECTORS[2].0);
    }

    #[test]
    fn socket_ids_are_two_numbers() {
        assert_eq!(parse_socket_id("12.34"), Ok(Some(ConnectionId(12, 34))));
        assert_eq!(parse_socket_id("99999999999999999999.1"), Ok(None));
        for bad in [
            "", ".", "1.", ".1", "1.2.3", "1", "a.1", "1.2:x", " 1.2", "+1.2",
        ] {
            assert_eq!(parse_socket_id(bad), Err(()), "{bad}");
        }
    }

    #[test]
    fn keys_of_others_disabled_or_ended_are_not_usable() {
        let state = fixture::state(|_| {});
        let app = fixture::APP;
        assert!(usable_key(&state, app, fixture::KEY, 0).is_some());
        assert!(usable_key(&state, AppId(99), fixture::KEY, 0).is_none());
        assert!(usable_key(&state, app, "other", 0).is_none());
        let mut key = fixture::key();
        key.expires_ms = Some(100);
        let mut ended = state.clone();
        ended.keys.insert(key.id.clone(), key.clone().into());
        assert!(usable_key(&ended, app, fixture::KEY, 99).is_some());
        assert!(usable_key(&ended, app, fixture::KEY, 100).is_none());
        key.expires_ms = None;
        key.enabled = false;
        ended.keys.insert(key.id.clone(), key.into());
        assert!(usable_key(&ended, app, fixture::KEY, 0).is_none());
    }
}
