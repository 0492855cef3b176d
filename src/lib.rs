//! Gatecast: a self-hosted realtime messaging broker whose access control is a replicated truth.
//!
//! The map, in reading order: [`core`] (connections, channels, delivery, what asks the cluster),
//! [`transport`] (sockets to frames), [`identity`] (tokens of identity providers), [`outbound`] (requests of our own to addresses that others named), [`adapters`] (one folder per dialect), [`peers`] (links between nodes),
//! `server` (wiring). Every arrow points inward: `server -> adapters -> transport -> core -> cluster`,
//! `adapters -> outbound -> identity -> core` and `peers -> core`; a structure test holds them.
//!
//! **Must never know:** anything; this is the list of the rooms.

pub mod adapters;
pub mod cli;
pub mod config;
pub mod console;
pub mod core;
pub mod identity;
pub mod outbound;
pub mod peers;
pub mod server;
pub mod transport;
#[cfg(test)]
mod world_tests;
