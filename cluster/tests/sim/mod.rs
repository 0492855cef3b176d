//! Whole clusters in one thread, in virtual time, from a seed.
//!
//! Each seed is one process: everything random in it, tokio's and the engine's choices included, follows from
//! the seed, so a failing run can be played again:
//!
//! `GATECAST_SEED=17 cargo test -p gatecast-cluster --lib sim:: -- --nocapture`
//!
//! `GATECAST_SEEDS=5000` plays more of them, `GATECAST_FIRST_SEED` others.
//!
//! **Must never know:** sockets, files. **Why inside the crate:** nodes are put together from parts that have
//! no business in the public interface.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    dead_code
)]

mod chance;
mod checker;
mod checker_tests;
pub(crate) mod disk;
mod fences;
pub(crate) mod life;
mod seeds;
mod story;
mod wire;
mod world;
