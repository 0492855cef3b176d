//! Tokens of identity providers: read, verified, and turned into whoever bears them; and the key sets they are verified with.
//!
//! In reading order: `compact` (the three parts of a signed token), `token` (whose it is and what it says), `rights`,
//! `logout`, `events` and `subject` (what has happened, and to whom), `once`, `keys` (key sets), `wanted` (a key that nobody knows), `refused`.
//!
//! **Must never know:** a dialect, HTTP, how a right is judged.
//! **Why a room of its own:** every dialect takes the same tokens, and none of them may be the one that takes more.

mod compact;
#[cfg(test)]
mod event_tests;
pub mod events;
#[cfg(test)]
mod group_tests;
mod groups;
pub mod keys;
pub mod logout;
mod once;
pub mod refused;
mod rights;
mod subject;
pub mod token;
mod wanted;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod hostile_tests;

pub use compact::is_meant;
pub use refused::{Refused, Remedy};
pub use token::{Borne, presented, read};
pub use wanted::want_key;
