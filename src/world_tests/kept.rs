//! What was acknowledged is in the stream that follows: by who holds it, and not by the epoch in which it stands.
//!
//! **Why holders are looked at:** a new epoch tells whoever hears of epochs that something may be missing. It excuses nobody who
//! could have gone on with what was there. So a message counts as lost with its holders only when neither who orders the
//! channel, or is about to, nor its backup has it any more, of the nodes that the others count in.

use super::judges::{Broken, Promise};
use super::world::World;
use crate::core::authority::MemberState;
use crate::core::channel::replica::Replica;
use crate::core::ids::NodeId;
use crate::core::nodes::Members;
use std::collections::BTreeSet;

/// So many of the newest messages of a channel are judged: its history keeps a few more.
const JUDGED: usize = 90;

impl World {
    /// The numbers of the acknowledged messages of a channel, of those that its history keeps.
    fn recent(&self, channel: usize) -> Vec<usize> {
        let all = self.history.asked.iter().enumerate().rev();
        let its = all.filter(|(_, one)| one.channel == channel);
        let newest = its.take(JUDGED);
        let acknowledged = newest.filter(|(_, one)| one.is_acknowledged());
        acknowledged.map(|(number, _)| number).collect()
    }

    /// Whether the others count this process in.
    fn is_counted_in(&self, at: usize) -> bool {
        let process = &self.processes[at];
        let newest = self.log.state(self.log.len());
        let own = newest.members.get(&NodeId(process.node));
        let its = own.filter(|one| one.epoch == process.access.epoch);
        process.alive && its.is_some_and(|one| one.state != MemberState::Down)
    }

    /// A node was lost, or the list has changed: what nobody holds any more is lost with its holders.
    pub(super) fn note_lost(&mut self) {
        for channel in 0..self.channels {
            let holders = (0..self.processes.len()).filter(|at| self.is_counted_in(*at));
            let newest = self.log.state(self.log.len());
            let list = Members::of(&newest, NodeId(0), 0);
            let place = list.place(&self.keys[channel]);
            let named =
                |node| place.is_some_and(|one| one.home == node || one.backup == Some(node));
            let keeps = |at: usize| {
                let process = &self.processes[at];
                let replica = process.channels.get(&channel)?.replica.as_ref()?;
                let orders = replica.role_name() != "follower";
                (orders || named(NodeId(process.node))).then_some(replica)
            };
            let held = holders.filter_map(keeps).flat_map(Replica::held_messages);
            let held: BTreeSet<Vec<u8>> = held.map(|one| one.draft.data.to_vec()).collect();
            for number in self.recent(channel) {
                let text = self.history.text(number as u64);
                if !held.contains(text.as_bytes()) && self.history.lost.insert(number) {
                    self.reached("what was acknowledged is lost with all that held it");
                    self.note(|| format!("nobody holds {text} any more"));
                }
            }
        }
    }

    /// What was acknowledged, and held by somebody at all times, is in the history of the home at the end.
    pub(super) fn judge_kept(&self, broken: &mut Vec<Broken>) {
        for channel in 0..self.channels {
            let replicas = self.running.values().filter_map(|at| {
                let actor = self.processes[*at].channels.get(&channel)?;
                actor.replica.as_ref().filter(|one| one.is_home())
            });
            let held = replicas.flat_map(|one| one.home_history());
            let held: BTreeSet<Vec<u8>> = held.map(|one| one.draft.data.to_vec()).collect();
            for number in self.recent(channel) {
                let text = self.history.text(number as u64);
                if !held.contains(text.as_bytes()) && !self.history.lost.contains(&number) {
                    let what = format!(
                        "{text}, acknowledged on channel {channel} and held at all times, is in no history"
                    );
                    broken.push((Promise::Kept, what));
                }
            }
        }
    }
}
