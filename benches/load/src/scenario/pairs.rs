//! Client events 1:1: every pair has a private channel of its own.
//!
//! **Must never know:** frames. This is where a broker pays for reading, checking and routing, since each
//! message has one reader only.

use super::Figures;
use super::pace::Pace;
use super::tally::Tally;
use crate::Failure;
use crate::meter::Meter;
use crate::options::Target;
use crate::receipts::Receipts;
use crate::session::Session;
use crate::stamp::Stamp;
use crate::world::{Event, World};
use std::time::{Duration, Instant};

struct Pairs<'a> {
    world: &'a mut World,
    size: usize,
    rate: f64,
    /// Connection id of each pair's sender, and what it has sent.
    senders: Vec<(usize, u32)>,
    tally: Tally,
    sent: u64,
}

pub(super) fn play(
    world: &mut World,
    target: &Target,
    pairs: u16,
    rate: f64,
) -> Result<Figures, Failure> {
    // First all senders, then all receivers: a receiver's lane is its place in the second half.
    let half = usize::from(pairs);
    let channel = |i: usize| vec![name(i % half.max(1))];
    let opened = world.open(half * 2, target.at_once, channel)?;
    let (senders, receivers) = opened.split_at(half);
    let tally = Tally::new(
        receivers.first().map_or(0, |(id, _)| *id),
        (0..pairs).map(|lane| Receipts::new(lane, 1)).collect(),
    );
    let senders = senders.iter().map(|(id, _)| (*id, 0)).collect();
    let mut pairs = Pairs {
        world,
        size: target.size,
        rate,
        senders,
        tally,
        sent: 0,
    };
    pairs.stretch(target.warmup)?;
    let (meter, began) = (Meter::start(&target.pids), Instant::now());
    pairs.stretch(target.seconds)?;
    let sent = |lane: u16| {
        pairs
            .senders
            .get(usize::from(lane))
            .map_or(0, |(_, sent)| *sent)
    };
    Ok(pairs.tally.figures(&meter, began, sent))
}

fn name(pair: usize) -> String {
    format!("private-pair-{pair}")
}

impl Pairs<'_> {
    fn stretch(&mut self, seconds: f64) -> Result<(), Failure> {
        self.tally.begin(self.sent, self.world.now());
        self.sent = 0;
        let begin = self.world.now();
        let end = begin + (seconds * 1e9) as u64;
        let mut pace = (self.rate > 0.0).then(|| Pace::new(begin, self.rate));
        if pace.is_none() {
            // One message on its way in every pair: its receipt sends the next.
            (0..self.senders.len()).for_each(|pair| self.send(pair, begin));
        }
        let mut turn = 0;
        loop {
            let now = self.world.now();
            if now >= end {
                break;
            }
            let mut wait = Duration::from_nanos(end - now);
            if let Some(pace) = &mut pace {
                while let Some(due) = pace.due(now) {
                    self.send(turn % self.senders.len().max(1), due);
                    turn += 1;
                }
                wait = wait.min(pace.wait(now));
            }
            self.turn(wait, pace.is_none())?;
        }
        while !self.tally.settled(self.sent) {
            self.turn(Duration::from_millis(50), false)?;
        }
        Ok(())
    }

    fn send(&mut self, pair: usize, due: u64) {
        let Some((id, number)) = self.senders.get_mut(pair) else {
            return;
        };
        let stamp = Stamp {
            due,
            lane: pair as u16,
            number: *number,
        };
        *number += 1;
        self.sent += 1;
        let bytes = Session::client_event(&name(pair), &stamp.payload(self.size));
        self.world.send(*id, &bytes);
    }

    fn turn(&mut self, wait: Duration, go_on: bool) -> Result<(), Failure> {
        let events = self.world.turn(wait)?;
        let now = self.world.now();
        for event in events {
            let Event::Message(id, stamp) = event else {
                continue;
            };
            self.tally.arrived(id, stamp, now);
            if go_on {
                self.send(usize::from(stamp.lane), self.world.now());
            }
        }
        Ok(())
    }
}
