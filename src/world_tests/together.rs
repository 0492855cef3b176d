//! What must hold of several at once: messages that were published as one, and users who watch each other.

use super::judges::{Broken, Promise};
use super::world::World;
use std::collections::{BTreeMap, BTreeSet};

impl World {
    /// A batch is shown whole in one place of a stream, with nothing of others in between, or not at all.
    pub(super) fn judge_batches(&mut self, broken: &mut Vec<Broken>) {
        let mut places: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
        for ((_, epoch, seq), text) in &self.history.stamps {
            places.entry(text).or_default().push((*epoch, *seq));
        }
        let mut whole = 0;
        for batch in &self.history.batches {
            let mut by_epoch: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
            for number in batch.clone() {
                let text = self.history.text(number as u64);
                for (epoch, seq) in places.get(text.as_str()).into_iter().flatten() {
                    by_epoch.entry(*epoch).or_default().push(*seq);
                }
            }
            let asked = self.history.asked[batch.clone()].iter();
            let acknowledged = asked.filter(|one| one.is_acknowledged()).count();
            let first = |seqs: &[u64]| seqs.first().copied().unwrap_or_default();
            let stands = |seqs: &Vec<u64>| {
                let from = first(seqs);
                seqs.iter().copied().eq(from..from + batch.len() as u64)
            };
            whole += usize::from(by_epoch.values().any(stands));
            let torn = by_epoch.iter().find(|(_, seqs)| !stands(seqs));
            if let Some((epoch, seqs)) = torn {
                let what = format!("of {batch:?}, published as one, {seqs:?} stand in {epoch}");
                broken.push((Promise::Whole, what));
            }
            if acknowledged != 0 && acknowledged != batch.len() {
                let what = format!("of {batch:?}, published as one, {acknowledged} were accepted");
                broken.push((Promise::Whole, what));
            }
        }
        if whole > 0 {
            self.reached("what is published as one stands as one");
        }
    }

    /// Whoever has signed in sees who else has.
    pub(super) fn judge_watchlists(&self, broken: &mut Vec<Broken>) {
        let here = self.clients.iter().filter(|one| one.at.is_some());
        let online: BTreeSet<String> = here.filter_map(|one| one.model.user()).collect();
        for (number, client) in self.clients.iter().enumerate() {
            let sees = client.model.watches().filter(|_| client.at.is_some());
            if let Some(sees) = sees.filter(|sees| *sees != online) {
                let what = format!("client {number} sees {sees:?} online, there are {online:?}");
                broken.push((Promise::Watched, what));
            }
        }
    }
}
