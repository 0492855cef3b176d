//! A new epoch for what is shown before the backup has it.
//!
//! **Why not the epoch in which it was stamped:** the backup's copy ends before it, in that epoch. Should the home be
//! lost, the backup goes on from there with entries of the same numbers, and whoever has seen the others would take them
//! for the same. So what leaves a home that goes on alone is of an epoch that no other copy can go on with.

use crate::core::ids::Position;
use crate::core::message::{Broadcast, PresenceChange, Publication, Receipt};
use std::sync::Arc;

/// Everything behind a place of an epoch belongs to a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Renewal {
    /// The epoch it was stamped in.
    pub(super) former: u64,
    /// The last entry that stays in that.
    pub(super) entry: u64,
    /// The last publication that stays in it.
    pub(super) seq: u64,
    /// The new epoch.
    pub(super) epoch: u64,
}

impl Renewal {
    pub(super) fn position(&self, position: &mut Position) {
        if position.epoch == self.former && position.seq > self.seq {
            position.epoch = self.epoch;
        }
    }

    pub(super) fn publication(&self, publication: &mut Arc<Publication>) {
        let mut position = publication.position;
        self.position(&mut position);
        if position != publication.position {
            Arc::make_mut(publication).position = position;
        }
    }

    pub(super) fn receipt(&self, receipt: &mut Receipt) {
        self.position(&mut receipt.position);
    }

    /// Of an entry behind the cut.
    pub(super) fn change(&self, change: &mut Arc<PresenceChange>) {
        Arc::make_mut(change).position.epoch = self.epoch;
    }

    /// Of an entry behind the cut.
    pub(super) fn broadcast(&self, broadcast: &mut Broadcast) {
        match broadcast {
            Broadcast::Message(publication) => self.publication(publication),
            Broadcast::Presence(change) => self.change(change),
            Broadcast::Count(_) => {}
        }
    }
}
