//! What has been seen and said in a world, in order: all that the judges look at.

use super::client::Seen;
use super::rights::Write;
use super::world::Task;
use crate::core::ids::Position;
use crate::core::lifecycle::{EventId, LifecycleKind};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;

/// What came of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nobody has said yet.
    Open,
    /// It was acknowledged, with its place.
    Stamped(Position),
    /// It was acknowledged.
    Acknowledged,
    Refused,
    Unknown,
}

/// A publication that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) channel: usize,
    /// When, in the order of everything.
    pub(crate) at: u64,
    pub(crate) outcome: Outcome,
    /// When it was answered.
    pub(crate) answered: Option<u64>,
}

impl Asked {
    pub(crate) fn new(channel: usize) -> Self {
        Self {
            channel,
            at: 0,
            outcome: Outcome::Open,
            answered: None,
        }
    }

    pub(crate) fn is_acknowledged(&self) -> bool {
        matches!(self.outcome, Outcome::Stamped(_) | Outcome::Acknowledged)
    }
}

/// What a client has seen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sight {
    Seen(Seen),
    /// It has opened a socket.
    Opened,
    /// Its socket ended.
    Closed,
}

/// See the head of the file.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Counts everything that is noted.
    order: u64,
    pub(crate) asked: Vec<Asked>,
    /// From which of them on they were asked for when everything had been mended for long.
    pub(crate) last_words: usize,
    pub(crate) sights: BTreeMap<usize, Vec<(u64, Sight)>>,
    /// Where each message stands, by whoever delivered it: a message may come to stand in two places, a place may not hold
    /// two messages.
    pub(crate) stamps: BTreeMap<(usize, u64, u64), String>,
    /// The same of the streams that nobody publishes to: wildcards, and places.
    pub(crate) aside: BTreeMap<(usize, u64, u64), String>,
    /// The numbers of messages that were published as one.
    pub(crate) batches: Vec<Range<usize>>,
    pub(crate) told: Vec<(u64, usize, LifecycleKind)>,
    /// Where a channel began anew because nobody had anything of it any more, and how much had been told then.
    pub(crate) begun_anew: Vec<(usize, usize)>,
    /// What was told of the lifecycle has a name: told again, it is no news.
    pub(crate) told_ids: BTreeSet<EventId>,
    /// Messages that were acknowledged, and lost with every node that held them.
    pub(crate) lost: BTreeSet<usize>,
    pub(crate) broken: Vec<String>,
    pub(crate) writes: Vec<Write>,
    /// Requests that were refused for want of a right that everybody had.
    pub(crate) refused: Vec<String>,
    pub(crate) reached: BTreeMap<&'static str, u64>,
    pub(crate) trace: Option<Vec<String>>,
    digest: DefaultHasher,
}

impl History {
    pub(crate) fn tick(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// Something is published; its number.
    pub(crate) fn asked(&mut self, mut asked: Asked) -> u64 {
        asked.at = self.tick();
        self.asked.push(asked);
        self.asked.len() as u64 - 1
    }

    pub(crate) fn text(&self, number: u64) -> String {
        format!("m{number}")
    }

    pub(crate) fn next_text(&self) -> String {
        format!("m{}", self.asked.len())
    }

    pub(crate) fn of(&self, text: &str) -> Option<&Asked> {
        let number: usize = text.strip_prefix('m')?.parse().ok()?;
        self.asked.get(number)
    }

    pub(crate) fn answered(&mut self, text: &str, outcome: Outcome) {
        let at = self.tick();
        let number = text
            .strip_prefix('m')
            .and_then(|text| text.parse::<usize>().ok());
        if let Some(asked) = number.and_then(|number| self.asked.get_mut(number))
            && !asked.is_acknowledged()
        {
            asked.outcome = outcome;
            asked.answered = Some(at);
        }
    }

    pub(crate) fn saw(&mut self, client: usize, seen: Seen) {
        let at = self.tick();
        self.sights
            .entry(client)
            .or_default()
            .push((at, Sight::Seen(seen)));
    }

    pub(crate) fn closed(&mut self, client: usize) {
        let at = self.tick();
        self.sights
            .entry(client)
            .or_default()
            .push((at, Sight::Closed));
    }

    pub(crate) fn opened(&mut self, client: usize) {
        let at = self.tick();
        self.sights
            .entry(client)
            .or_default()
            .push((at, Sight::Opened));
    }

    /// A node hands this to its subscribers as the message of that place.
    pub(crate) fn stamped(&mut self, channel: usize, position: Position, text: &str, aside: bool) {
        let place = (channel, position.epoch, position.seq);
        let stamps = match aside {
            true => &mut self.aside,
            false => &mut self.stamps,
        };
        let own = stamps.entry(place).or_insert_with(|| text.to_owned());
        if own != text {
            let what = format!("{own} and {text} both stand at {place:?}: two nodes have ordered");
            self.broken.push(what);
        }
    }

    pub(crate) fn digest(&mut self, now_ms: u64, task: &Task) {
        now_ms.hash(&mut self.digest);
        task.hash(&mut self.digest);
    }

    /// The same for the same story.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.digest.finish()
    }
}
