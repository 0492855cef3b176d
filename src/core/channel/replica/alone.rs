//! What waits for the backup while its home goes on alone: the same effects, of a new epoch.
//!
//! **Why the effects are changed and not decided again:** they are in order, and some of them are answers to questions
//! that are not asked twice.

use super::history::Backlog;
use super::io::Effect;
use super::lifecycle_log::Unsettled;
use super::protocol::{CatchUp, Joined, PeerMessage, Response};
use super::renewal::Renewal;
use super::stream::LogPosition;
use crate::core::lifecycle::LifecycleKind;

impl Renewal {
    fn log_position(&self, position: &mut LogPosition) {
        if position.epoch == self.former && position.entry > self.entry {
            position.epoch = self.epoch;
        }
    }

    fn backlog(&self, backlog: &mut Backlog) {
        let publications = backlog.publications.iter_mut();
        publications.for_each(|one| self.publication(one));
    }

    fn response(&self, response: &mut Response) {
        match response {
            Response::Receipt(receipt) => self.receipt(receipt),
            Response::Receipts(receipts) => receipts.iter_mut().for_each(|one| self.receipt(one)),
            Response::Joined(joined) => {
                let Joined {
                    log_position,
                    position,
                    backlog,
                    members: _,
                    occupancy: _,
                } = &mut **joined;
                self.log_position(log_position);
                self.position(position);
                self.backlog(backlog);
            }
            Response::History(page) => page.iter_mut().for_each(|one| self.publication(one)),
            Response::LastValue(last) => last.iter_mut().for_each(|one| self.publication(one)),
            Response::Done
            | Response::Occupancy(_)
            | Response::Members(_)
            | Response::PresenceLog(_) => {}
        }
    }

    fn message(&self, message: &mut PeerMessage) {
        match message {
            PeerMessage::Response {
                response: Ok(response),
                ..
            } => self.response(response),
            PeerMessage::Broadcast { epoch, entry } => {
                if *epoch == self.former && entry.number > self.entry {
                    *epoch = self.epoch;
                    entry.kind.renew(self);
                }
            }
            PeerMessage::CatchUp(CatchUp {
                position, entries, ..
            }) => {
                self.log_position(position);
                let later = entries.iter_mut().filter(|one| one.number > self.entry);
                later.for_each(|one| one.kind.renew(self));
            }
            // None of these names a place, or none of them is held back.
            PeerMessage::Response { .. }
            | PeerMessage::Request(_)
            | PeerMessage::NotHome
            | PeerMessage::Interest { .. }
            | PeerMessage::Left(_)
            | PeerMessage::Announce(_)
            | PeerMessage::AnnounceRequest
            | PeerMessage::AnnounceIfPresent
            | PeerMessage::Count(_)
            | PeerMessage::Snapshot { .. }
            | PeerMessage::Replicate { .. }
            | PeerMessage::ReplicateBatch { .. }
            | PeerMessage::ReplicateAck(_)
            | PeerMessage::SnapshotRequest
            | PeerMessage::Takeover { .. }
            | PeerMessage::NothingToHandOver
            | PeerMessage::Lifecycle(_)
            | PeerMessage::Copy { .. }
            | PeerMessage::Settled(_)
            | PeerMessage::TakenOut { .. } => {}
        }
    }

    /// Of an effect that waits for an entry behind the cut.
    pub(super) fn effect(&self, effect: &mut Effect) {
        match effect {
            Effect::Deliver(broadcast) => self.broadcast(broadcast),
            Effect::Send { message, .. } | Effect::SendAll { message, .. } => {
                self.message(message);
            }
            Effect::Respond {
                response: Ok(response),
                ..
            } => self.response(response),
            Effect::Lifecycle(Unsettled {
                kind: LifecycleKind::Published(publication),
                ..
            }) => self.publication(publication),
            Effect::Respond { .. }
            | Effect::Lifecycle(_)
            | Effect::Cancel(_)
            | Effect::Missed
            | Effect::Stop => {}
        }
    }
}
