//! Channels: order, history, presence, and who on this node and on others wants them.
//!
//! One actor per channel and node. On the channel's *home* it stamps and orders; on its *backup* it keeps a
//! copy; elsewhere it only knows this node's subscribers. All rules are in pure states; the actor feeds them.
//!
//! In reading order: [`messages`] (what a channel is told), [`replica`] (all rules, as pure states), [`budget`] (what all
//! histories of a node may weigh), [`wildcard`], then the shells: `shared` (what all channels of a node stand on), `fanout`,
//! `relays`, `timer`, [`actor`] with `mailbox` and `repeats`, and [`registry`].
//!
//! What is promised: one order per channel; every subscriber gets a broadcast once; nothing is delivered or
//! acknowledged before the backup has it, unless the backup is silent for longer than a lease and the home itself is
//! still counted in: then the home goes on alone, and should it die before the backup has caught up, what it acknowledged
//! meanwhile is lost. Where any
//! surviving node had seen it, a new epoch says so; where none had, a client that holds a position from then is
//! told "gap" only while that position is still ahead of the new home's.
//!
//! **Must never know:** the cluster crate, dialects, sockets, how peers are linked (it has a [`port::PeerPort`]).
//! **Why a home and not every node for itself:** one order per channel in the whole cluster, and one
//! emitter of everything that must happen once.

pub mod actor;
pub mod budget;
pub mod digest;
mod fanout;
mod mailbox;
pub mod messages;
pub mod port;
pub mod registry;
mod relays;
mod repeats;
pub mod replica;
pub(crate) mod requests;
mod shared;
mod timer;
pub mod wildcard;
