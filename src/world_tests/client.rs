//! What a world needs of a dialect: how its sessions are made, and a client that speaks it.
//!
//! **Why the client is modelled and the session is real:** what is proven is what a client can see. So it is given the bytes
//! that the outbox lets out, and believes only those.

use crate::core::authority::Authority;
use crate::core::clock::Now;
use crate::core::delivery::encoding::Encoder;
use crate::core::ids::{ChannelKey, ConnectionId};
use crate::core::session::Session;
use std::any::Any;
use std::collections::BTreeSet;
use std::fmt::Debug;

/// A dialect, as a world plays it.
pub(crate) trait DialectModel: Debug {
    /// Its name.
    fn name(&self) -> &'static str;
    /// How it writes broadcasts.
    fn encoder(&self) -> Box<dyn Encoder>;
    /// What it keeps on a node beside its sessions.
    fn node(&self) -> Box<dyn Any>;
    /// A client of that number that wants this; in its presence set, if it says so.
    fn client(&self, number: u64, channel: &ChannelKey, present: bool) -> Box<dyn Model>;
}

/// Where a client connects to.
pub(crate) struct Site<'a> {
    pub(crate) authority: &'a Authority,
    pub(crate) now: Now,
    /// What the dialect keeps there.
    pub(crate) kept: &'a dyn Any,
}

/// A session for a new socket.
pub(crate) struct Opened {
    pub(crate) session: Box<dyn Session>,
    /// The connection that it carries on.
    pub(crate) resumes: Option<ConnectionId>,
}

/// A client of one channel.
pub(crate) trait Model: Debug {
    /// Opens a socket.
    fn open(&mut self, site: &Site<'_>) -> Opened;
    /// Its socket is open: what it says before the server does.
    fn opened(&self, _out: &mut Vec<Act>) {}
    /// The server says this.
    fn hear(&mut self, frame: &str, out: &mut Vec<Act>);
    /// Its socket is gone.
    fn closed(&mut self);
    /// Publishes over its own socket; whether it can.
    fn publish(&mut self, text: &str, out: &mut Vec<Act>) -> bool;
    /// Publishes these as one; whether it can.
    fn publish_batch(&mut self, _texts: &[String], _out: &mut Vec<Act>) -> bool {
        false
    }
    /// How long it waits before it opens its next socket, ms.
    fn patience_ms(&self) -> (u64, u64) {
        (20, 600)
    }
    /// What it has let pass, and has to get again.
    fn owed(&self) -> BTreeSet<String> {
        BTreeSet::new()
    }
    /// As which user it has signed in, or is about to.
    fn user(&self) -> Option<String> {
        None
    }
    /// Which users it believes to be online, if it watches any.
    fn watches(&self) -> Option<BTreeSet<String>> {
        None
    }
    /// Whom it believes to be in the presence set, if it is told.
    fn present(&self) -> Option<BTreeSet<String>> {
        None
    }
    /// As whom it is in the presence set itself.
    fn is(&self) -> Option<String> {
        None
    }
    /// What is not acknowledged comes again, and may come twice.
    fn may_repeat(&self) -> bool {
        false
    }
    /// It may what everybody may, and nothing else.
    fn needs_open(&self) -> bool {
        true
    }
    /// Its dialect has no word for a gap: what it holds is a place in time, which a new stream does not make void.
    fn is_silent(&self) -> bool {
        false
    }
}

/// What a client does, or has seen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Act {
    /// Sends this.
    Say(String),
    /// Drops its socket.
    Hangup,
    /// It has seen this.
    Saw(Seen),
}

/// What a client can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Its subscription stands; `true` = nothing is missing since it last stood.
    Stands(bool),
    /// Its subscription is over, or refused.
    Ended,
    /// It was refused for want of a right, and does not come back before it is told to.
    GaveUp,
    /// A message.
    Got(String),
    /// What no client may see.
    Wrong(String),
    /// What it published was accepted.
    Accepted(String),
    /// What it published was refused, or its outcome is unknown.
    Refused(String),
}
