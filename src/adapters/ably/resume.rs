//! Resuming: connection keys that any node can check, and which connections ended here and when.
//!
//! **Must never know:** sockets, sessions.
//! **Why a key is signed and not stored:** the node that held the connection may be gone; what is needed to go on
//! (positions) is with the client, and publications are known by their ids to the channel's home.

use super::auth::Identity;
use super::limits::STATE_MS;
use super::position;
use crate::core::authority::{ApiKey, Millis};
use crate::core::ids::ConnectionId;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Endings remembered at most; the oldest answers are then those of another node.
const REMEMBERED: usize = 200_000;

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoResume {
    /// The key is not one of ours, or of other credentials.
    Unknown,
    /// Its socket was lost too long ago, or it was closed.
    Expired,
}

fn mac(key: &ApiKey, id: &str, at: &str, client: Option<&str>) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.secret.0.as_bytes()).ok()?;
    let who = match client {
        Some(client) => format!("is {client}"),
        None => "none".to_owned(),
    };
    mac.update(format!("gatecast ably connection\n{id}\n{at}\n{}\n{who}", key.id).as_bytes());
    Some(mac)
}

/// The key of a connection, new every time.
pub(super) fn connection_key(
    id: ConnectionId,
    key: &ApiKey,
    client: Option<&str>,
    now: Millis,
) -> String {
    let id = position::connection(id);
    let at = format!("{now:x}.{:08x}", rand::random::<u32>());
    let tag = mac(key, &id, &at, client).map(|mac| mac.finalize().into_bytes());
    let tag = URL_SAFE_NO_PAD.encode(tag.unwrap_or_default());
    format!("{id}!{at}.{tag}")
}

/// The connection of a key, if it was given to the same credentials.
pub(super) fn verify(text: &str, key: &ApiKey, client: Option<&str>) -> Option<ConnectionId> {
    let (id, rest) = text.split_once('!')?;
    let (at, tag) = rest.rsplit_once('.')?;
    let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
    mac(key, id, at, client)?.verify_slice(&tag).ok()?;
    position::parse_connection(id)
}

/// The connection that an identity may carry on, by this node's knowledge.
///
/// # Errors
/// Why not.
pub(super) fn resumable(
    text: &str,
    identity: &Identity,
    key: &ApiKey,
    (endings, now): (&Endings, Millis),
) -> Result<ConnectionId, NoResume> {
    let id = verify(text, key, identity.client.as_deref()).ok_or(NoResume::Unknown)?;
    match endings.allow(id, now) {
        true => Ok(id),
        false => Err(NoResume::Expired),
    }
}

/// When connections of this node lost their sockets. Clones share it; locked when a connection ends or resumes.
#[derive(Clone, Debug, Default)]
pub struct Endings(Arc<Mutex<HashMap<ConnectionId, Millis>>>);

impl Endings {
    /// It may be carried on until then (0 = it was closed).
    pub(super) fn ended(&self, id: ConnectionId, until: Millis, now: Millis) {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= REMEMBERED {
            map.retain(|_, until| *until > now);
        }
        map.insert(id, until);
    }

    fn allow(&self, id: ConnectionId, now: Millis) -> bool {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match map.get(&id) {
            Some(until) if *until <= now => false,
            Some(_) => {
                map.remove(&id);
                true
            }
            None => true,
        }
    }
}

/// Until when a connection whose socket is lost now can be carried on.
pub(super) fn until(now: Millis) -> Millis {
    now.saturating_add(STATE_MS)
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn a_key_is_good_for_its_own_credentials_only() {
        let (id, key) = (ConnectionId(5, 6), fixture::key());
        let text = connection_key(id, &key, Some("bob"), 7);
        assert_eq!(verify(&text, &key, Some("bob")), Some(id));
        assert_eq!(verify(&text, &key, None), None);
        assert_eq!(verify(&text, &key, Some("eve")), None);
        let mut other = fixture::key();
        other.id = "k2".into();
        assert_eq!(verify(&text, &other, Some("bob")), None);
        assert_eq!(verify("aaaaaaaaaaaaaaaa!bad", &key, None), None);
        assert_ne!(text, connection_key(id, &key, Some("bob"), 7));
    }

    #[test]
    fn two_minutes_and_not_after_a_close() {
        let endings = Endings::default();
        let id = ConnectionId(1, 1);
        endings.ended(id, until(1_000), 1_000);
        assert!(endings.allow(id, 1_000 + STATE_MS - 1));
        endings.ended(id, until(1_000), 1_000);
        assert!(!endings.allow(id, 1_000 + STATE_MS));
        endings.ended(id, 0, 0);
        assert!(!endings.allow(id, 1));
    }
}
