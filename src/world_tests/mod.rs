//! The whole cluster in one seed: access plane and message plane, connections and clients of every dialect, in one thread.
//!
//! Real are the access machine, the replicas of channels, the tables and outboxes of a node, the states of connections and
//! the sessions of all dialects. Modelled are the shells around them (mailboxes, timers), the links, the clients, and that
//! a majority agrees. One scheduler, driven by one seed, chooses every next step.
//!
//! `cargo test --lib world_tests` plays 200 seeds. One of them again, with what happened:
//!
//! `GATECAST_WORLD_SEED=17 cargo test --lib world_tests::seeds::every -- --nocapture`
//!
//! `GATECAST_SEEDS=5000` plays more of them, `GATECAST_FIRST_SEED` others; `scripts/search` does so for as long as it is told to.
//!
//! In reading order: `world` (the scheduler), `chance`, `log` and `nodes` (the access plane as each node knows it), `process`,
//! `links`, `wires` and `digests`, `channel` and `answers`, `connection`, `actor` and `intents` (the shells), `client` and `people`, `story`, `faults` and `membership`, `clocks`, `history`,
//! `judges`, `lifecycle`, `kept` and `together`, `seeds`.
//!
//! **Must never know:** any dialect by its name: each brings its own client.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    missing_docs
)]

mod actor;
mod answers;
mod chance;
mod channel;
pub(crate) mod client;
mod clocks;
mod connection;
mod digests;
mod faults;
mod history;
mod intents;
mod judges;
mod kept;
mod lifecycle;
mod links;
mod log;
mod membership;
mod nodes;
pub(crate) mod people;
mod process;
mod repeats;
mod rights;
mod seeds;
pub(crate) mod story;
mod together;
mod wires;
pub(crate) mod world;
