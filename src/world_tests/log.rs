//! The agreed log of the access plane: every command once, with the state and the effects that the real machine makes of it.
//!
//! **Must never know:** how a majority agrees. That is simulated in the cluster crate; here it is given, and what is played
//! with is when each node gets to know of it.

use super::world::APP;
use crate::core::authority::fixture::{Stamp, apply};
use crate::core::authority::{Command, Effect, EffectBatch, Reply, Revision, Scope, State};
use std::sync::Arc;

/// One entry.
#[derive(Debug)]
struct Entry {
    state: Arc<State>,
    effects: Arc<[Effect]>,
}

/// The log. Entry 1 is the first.
#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: Vec<Entry>,
    newest: State,
}

impl Log {
    /// Agrees on one more.
    pub(crate) fn append(&mut self, command: &Command, time_ms: u64) -> Reply {
        let index = self.len() + 1;
        let outcome = apply(&mut self.newest, command, Stamp { index, time_ms });
        self.entries.push(Entry {
            state: Arc::new(self.newest.clone()),
            effects: outcome.effects.into(),
        });
        outcome.reply
    }

    pub(crate) fn len(&self) -> Revision {
        self.entries.len() as u64
    }

    /// The state after so many entries.
    pub(crate) fn state(&self, index: Revision) -> Arc<State> {
        match index.checked_sub(1) {
            Some(at) => self.entries[at as usize].state.clone(),
            None => Arc::default(),
        }
    }

    /// What a broker has to do about a snapshot of so many entries: nobody knows what they took.
    pub(crate) fn snapshot(&self, index: Revision) -> EffectBatch {
        let recheck = Effect::Recheck {
            app: APP,
            scope: Scope::App,
        };
        EffectBatch {
            effects: [Effect::MembersChanged, Effect::AppChanged(APP), recheck].into(),
            skipped: true,
            ..self.batch(index)
        }
    }

    /// What a broker has to do about an entry.
    pub(crate) fn batch(&self, index: Revision) -> EffectBatch {
        let entry = &self.entries[index as usize - 1];
        EffectBatch {
            revision: index,
            effects: entry.effects.clone(),
            state: entry.state.clone(),
            skipped: false,
        }
    }
}
