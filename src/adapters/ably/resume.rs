//! Resuming: connection keys that any node can check, and which connections ended here and when.
//!
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
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Endings remembered at most, of 24 bytes each and as much again for their order; what came before them is answered
/// as another node would answer it.
const MAX_REMEMBERED: usize = 200_000;

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
    (closed_connections, now): (&ClosedConnections, Millis),
) -> Result<ConnectionId, NoResume> {
    let id = verify(text, key, identity.client.as_deref()).ok_or(NoResume::Unknown)?;
    match closed_connections.allow(id, now) {
        true => Ok(id),
        false => Err(NoResume::Expired),
    }
}

/// When connections of this node lost their sockets. Clones share it; locked when a connection ends or resumes.
#[derive(Clone, Debug, Default)]
pub(super) struct ClosedConnections(Arc<Mutex<Ring>>);

/// The newest endings. Whoever can end connections cannot make it grow, nor make one ending cost more than another.
#[derive(Debug, Default)]
struct Ring {
    /// Until when each may be carried on, and which ending of the connection that was.
    until: HashMap<ConnectionId, (Millis, u64)>,
    /// All of them in their order; those that were carried on since are still in it.
    order: VecDeque<(ConnectionId, u64)>,
    /// How many there have been.
    count: u64,
}

impl Ring {
    fn put(&mut self, id: ConnectionId, until: Millis, most: usize) {
        if self.order.len() >= most
            && let Some((oldest, number)) = self.order.pop_front()
            && self.until.get(&oldest).is_some_and(|(_, of)| *of == number)
        {
            self.until.remove(&oldest);
        }
        self.count = self.count.wrapping_add(1);
        self.until.insert(id, (until, self.count));
        self.order.push_back((id, self.count));
    }

    fn allow(&mut self, id: ConnectionId, now: Millis) -> bool {
        let ended = self.until.get(&id);
        if ended.is_some_and(|(until, _)| *until <= now) {
            return false;
        }
        self.until.remove(&id);
        true
    }
}

impl ClosedConnections {
    /// It may be carried on until then (0 = it was closed).
    pub(super) fn ended(&self, id: ConnectionId, until: Millis) {
        self.ring().put(id, until, MAX_REMEMBERED);
    }

    fn allow(&self, id: ConnectionId, now: Millis) -> bool {
        self.ring().allow(id, now)
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let closed_connections = ClosedConnections::default();
        let id = ConnectionId(1, 1);
        closed_connections.ended(id, until(1_000));
        assert!(closed_connections.allow(id, 1_000 + STATE_MS - 1));
        closed_connections.ended(id, until(1_000));
        assert!(!closed_connections.allow(id, 1_000 + STATE_MS));
        closed_connections.ended(id, 0);
        assert!(!closed_connections.allow(id, 1));
    }

    #[test]
    fn endings_are_a_ring_however_many_there_are() {
        const MOST: usize = 8;
        let mut ring = Ring::default();
        // None of them is over, so that time lets go of nothing.
        for n in 0..10 * MOST as u64 {
            ring.put(ConnectionId(1, n), 0, MOST);
            assert!(ring.until.len() <= MOST && ring.order.len() <= MOST);
        }
        let last = 10 * MOST as u64;
        assert!(!ring.allow(ConnectionId(1, last - MOST as u64), 1));
        assert!(!ring.allow(ConnectionId(1, last - 1), 1));
        assert!(
            ring.allow(ConnectionId(1, 0), 1),
            "as a node that never knew"
        );
    }

    #[test]
    fn one_that_ends_again_and_again_is_remembered_by_its_last_ending() {
        let mut ring = Ring::default();
        let id = ConnectionId(1, 1);
        for _ in 0..100 {
            ring.put(id, 5, 4);
            assert!(ring.allow(id, 1), "carried on");
            assert!(ring.until.is_empty() && ring.order.len() <= 4);
        }
        ring.put(id, 0, 4);
        // Its former endings leave the ring, and take the last one not with them.
        for n in 2..5 {
            ring.put(ConnectionId(1, n), 0, 4);
        }
        assert!(!ring.allow(id, 1), "closed");
    }
}
