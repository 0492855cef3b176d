//! Requests that this broker makes of its own to where somebody else has said: where they may go, and what is read.
//!
//! In reading order: `target` (where we may connect), `read` (an answer, bounded), `key_set` (the keys of one provider),
//! `key_fetcher` (when, by whom, and what becomes of them), `hear` (an event that a provider tells),
//! `stream` (where such events come from), `poller` (asking for them).
//!
//! **Must never know:** a dialect. **Why a room of its own:** there is one answer to where a request of ours may go, and
//! webhooks are no more than one of those who ask.

pub mod hear;
pub mod key_fetcher;
mod key_set;
pub mod poller;
mod read;
pub mod stream;
pub mod target;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod key_fetcher_tests;
#[cfg(test)]
mod key_set_tests;
#[cfg(test)]
mod poller_tests;
