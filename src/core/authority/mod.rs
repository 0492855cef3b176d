//! The access plane as everything above it sees it: every decision, every change, every wait for freshness.
//!
//! In reading order: `pass` (the proof of a decision), `facade` (the [`Authority`]), `decide`, `newer`, `ceiling` and
//! `stale` (how it decides), `write` (how it changes something), `holder`, `attested`, `issue`, `presented`, `nonce` and `key_wishes` (who showed
//! what), `operator`.
//!
//! **Must never know:** wire formats; who asked over which transport.

mod attested;
mod catchup;
mod ceiling;
mod decide;
mod facade;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod holder;
mod issue;
mod key_wishes;
mod newer;
mod nonce;
mod operator;
mod pass;
mod presented;
mod stale;
#[cfg(test)]
mod tests;
mod write;

pub use crate::core::access::*;
pub use attested::{
    Attested, Bearer, SaidBy, Unattested, session_key, sessionless_key, signed_by, whole_ceiling,
};
pub use decide::MAX_AHEAD_MS;
pub use facade::Authority;
pub use holder::{Holder, Signer, server_proof};
pub use newer::UNCONFIRMED;
pub use nonce::{NonceRefused, Signed};
pub use operator::{DiskSpace, JoinError, Member, NodeChange, NodeStatus};
pub use pass::{AccessQuery, Pass};
pub use presented::{Presented, ReadToken};
pub use write::{WriteError, Written};
