//! Hash maps for what every message looks up.
//!
//! **Why not the standard library's:** SipHash costs ten times as much, and a message asks six times. This one is seeded at
//! random as well, so that nobody can choose names that collide; it is what `hashbrown` uses by default. Maps that only
//! connecting, subscribing or administration look into keep the standard one.

use std::collections::HashMap;

/// A map for the hot path.
pub type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
