//! What the world is told of the lifecycle, and what must hold of that.
//!
//! **Must never know:** which faults there were. One thing is asked of the nodes: whether a home that begins with nothing
//! could have had something from any of them. If not, home and backup were lost together, and nobody can know what was told.

use super::judges::{Broken, Promise};
use super::world::World;
use crate::core::channel::replica::Replica;
use crate::core::channel::replica::io::Input;
use crate::core::channel::replica::lifecycle_log::Unsettled;
use crate::core::ids::{NodeId, Space};
use crate::core::lifecycle::LifecycleKind;
use std::collections::{BTreeMap, BTreeSet};

/// The channel itself, or one of its members; by the channel's number.
type Subject = (usize, String);

/// What was told last of each; none when the stream that said so was lost.
#[derive(Debug, Default)]
struct LastTold {
    of: BTreeMap<Subject, Option<bool>>,
    lost: BTreeSet<usize>,
}

impl LastTold {
    /// The stream of this channel was lost: what it had told is not known to the next.
    fn lose(&mut self, channel: usize) {
        self.lost.insert(channel);
        let its = self.of.iter_mut().filter(|((of, _), _)| *of == channel);
        its.for_each(|(_, told)| *told = None);
    }

    /// Whether it was told last that this one is there; none when nobody can know.
    fn get(&self, subject: &Subject) -> Option<bool> {
        let never = (!self.lost.contains(&subject.0)).then_some(false);
        self.of.get(subject).copied().unwrap_or(never)
    }
}

/// What an event says of whom.
fn says(channel: usize, kind: &LifecycleKind) -> Option<(Subject, bool)> {
    let (what, on) = match kind {
        LifecycleKind::Occupied => (String::new(), true),
        LifecycleKind::Vacated => (String::new(), false),
        LifecycleKind::Joined(client) => (client.to_string(), true),
        LifecycleKind::Left(client) => (client.to_string(), false),
        LifecycleKind::Published(_) | LifecycleKind::Missed | LifecycleKind::Counted(_) => {
            return None;
        }
    };
    Some(((channel, what), on))
}

impl World {
    /// The world takes it at once, and what it has had before under the same id it drops.
    pub(crate) fn lifecycle(&mut self, at: usize, channel: usize, one: Unsettled) {
        let node = self.processes[at].node;
        self.note(|| format!("node {node} tells of channel {channel}: {:?}", one.kind));
        let now = self.now_ms;
        if self.history.told_ids.insert(one.id) {
            self.history.told.push((now, channel, one.kind));
        }
        self.feed_channel(at, channel, Input::Settled(vec![one.id]));
    }

    /// A replica has begun as home. With nothing, it may do so only where nobody has anything.
    pub(crate) fn began(&mut self, at: usize, channel: usize) {
        let its = |at: usize| self.processes[at].channels.get(&channel)?.replica.as_ref();
        let anything = self.history.told.iter().any(|(_, of, _)| *of == channel);
        if !anything || !its(at).is_some_and(Replica::began_with_nothing) {
            return;
        }
        let members = self.processes[at].members();
        let others = self.running.values().copied().filter(|one| *one != at);
        let there = others.filter(|one| {
            let process = &self.processes[*one];
            !process.paused && members.has(NodeId(process.node))
        });
        let keeps = |one: &usize| its(*one).is_some_and(Replica::has_something);
        let keep: Vec<u64> = there
            .filter(keeps)
            .map(|one| self.processes[one].node)
            .collect();
        let node = self.processes[at].node;
        self.note(|| {
            format!("node {node} begins channel {channel} with nothing; {keep:?} have it")
        });
        if keep.is_empty() {
            self.reached("a stream is lost with home and backup");
            self.history
                .begun_anew
                .push((channel, self.history.told.len()));
        }
    }

    /// What is told of the lifecycle alternates, and ends with the truth. Of whom nothing was told since the stream was lost,
    /// nothing is known.
    pub(crate) fn judge_lifecycle(&self, broken: &mut Vec<Broken>) {
        let (mut last, mut lost) = (
            LastTold::default(),
            self.history.begun_anew.iter().peekable(),
        );
        for (number, (at_ms, channel, kind)) in self.history.told.iter().enumerate() {
            while let Some((channel, _)) = lost.next_if(|(_, told)| *told <= number) {
                last.lose(*channel);
            }
            let Some((subject, on)) = says(*channel, kind) else {
                continue;
            };
            if last.get(&subject) == Some(on) {
                let what = format!("at {at_ms} ms {kind:?} of channel {channel} was told again");
                broken.push((Promise::Lifecycle, what));
            }
            last.of.insert(subject, Some(on));
        }
        lost.for_each(|(channel, _)| last.lose(*channel));
        let channels = (0..self.channels).filter(|one| self.keys[*one].space == Space::Channel);
        for channel in channels {
            let clients = self.clients.iter();
            let here: Vec<_> = clients.filter(|one| one.subscribes(channel)).collect();
            let members = here.iter().filter_map(|one| one.model.is());
            let occupied = here.first().map(|_| String::new());
            let truth: BTreeSet<String> = members.chain(occupied).collect();
            let told = last.of.keys().filter(|(of, _)| *of == channel);
            let all: BTreeSet<&String> = told.map(|(_, what)| what).chain(&truth).collect();
            for what in all {
                let told = last.get(&(channel, what.clone()));
                if told.is_some_and(|told| told != truth.contains(what)) {
                    let what = format!("{what:?} of channel {channel}: {told:?} was told last");
                    broken.push((Promise::Lifecycle, what));
                }
            }
        }
    }
}
