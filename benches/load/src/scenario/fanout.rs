//! One channel, many subscribers: every message goes to all of them.
//!
//! **Must never know:** frames. Saturated runs keep a *named* number of messages in flight: a server that
//! gathers writes gathers just that many, so a figure without its window says nothing.

use super::Figures;
use super::pace::Pace;
use super::tally::Tally;
use crate::Failure;
use crate::meter::Meter;
use crate::options::Target;
use crate::receipts::Receipts;
use crate::stamp::Stamp;
use crate::world::{Event, World};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

const CHANNEL: &str = "private-fanout";

/// How the fan-out is driven.
pub(super) struct Shape {
    pub(super) subscribers: usize,
    /// Messages per second; 0: as `in_flight` allows.
    pub(super) rate: f64,
    pub(super) in_flight: u64,
    pub(super) publishers: u16,
}

/// An HTTP connection that publishes, one request at a time.
struct Publisher {
    id: usize,
    busy: bool,
    sent: u32,
    /// Due times of messages that wait for the connection.
    waiting: VecDeque<u64>,
}

struct Fanout<'a> {
    world: &'a mut World,
    shape: &'a Shape,
    size: usize,
    publishers: Vec<Publisher>,
    tally: Tally,
    published: u64,
}

pub(super) fn play(world: &mut World, target: &Target, shape: &Shape) -> Result<Figures, Failure> {
    let opened = world.open(shape.subscribers, target.at_once, |_| {
        vec![CHANNEL.to_owned()]
    })?;
    let first = opened.first().map_or(0, |(id, _)| *id);
    let lanes = usize::from(shape.publishers);
    let receipts = opened.iter().map(|_| Receipts::new(0, lanes)).collect();
    let mut publishers = Vec::new();
    for _ in 0..lanes {
        let id = world.http(target.server)?;
        publishers.push(Publisher {
            id,
            busy: false,
            sent: 0,
            waiting: VecDeque::new(),
        });
    }
    let tally = Tally::new(first, receipts);
    let mut fanout = Fanout {
        world,
        shape,
        size: target.size,
        publishers,
        tally,
        published: 0,
    };
    fanout.stretch(target.warmup)?;
    let (meter, began) = (Meter::start(&target.pids), Instant::now());
    fanout.stretch(target.seconds)?;
    let sent = |lane: u16| {
        fanout
            .publishers
            .get(usize::from(lane))
            .map_or(0, |p| p.sent)
    };
    Ok(fanout.tally.figures(&meter, began, sent))
}

impl Fanout<'_> {
    /// Publishes for `seconds`, then waits until all has arrived.
    fn stretch(&mut self, seconds: f64) -> Result<(), Failure> {
        self.tally.begin(self.due(), self.world.now());
        self.published = 0;
        let end = self.world.now() + (seconds * 1e9) as u64;
        let mut pace =
            (self.shape.rate > 0.0).then(|| Pace::new(self.world.now(), self.shape.rate));
        let mut turn = 0;
        loop {
            let now = self.world.now();
            if now >= end {
                break;
            }
            let wait = match &mut pace {
                Some(pace) => {
                    while let Some(due) = pace.due(now) {
                        let lanes = self.publishers.len().max(1);
                        if let Some(publisher) = self.publishers.get_mut(turn % lanes) {
                            publisher.waiting.push_back(due);
                            self.published += 1;
                        }
                        turn += 1;
                    }
                    pace.wait(now)
                }
                None => {
                    self.fill_window(now);
                    Duration::from_millis(100)
                }
            };
            self.publish_waiting();
            self.turn(wait.min(Duration::from_nanos(end - now)))?;
        }
        while !self.tally.settled(self.due()) || self.publishers.iter().any(|p| p.busy) {
            self.publish_waiting();
            self.turn(Duration::from_millis(50))?;
            if self.tally.settled(u64::MAX) {
                break;
            }
        }
        Ok(())
    }

    fn due(&self) -> u64 {
        self.published * self.shape.subscribers as u64
    }

    /// Lets every free publisher publish while the window has room.
    fn fill_window(&mut self, now: u64) {
        let window = (self.shape.in_flight - 1) * self.shape.subscribers as u64;
        for at in 0..self.publishers.len() {
            if self.due() > window + self.tally.delivered() {
                return;
            }
            if let Some(free) = self.publishers.get_mut(at).filter(|p| !p.busy) {
                free.waiting.push_back(now);
                self.published += 1;
            }
            self.publish_waiting();
        }
    }

    fn publish_waiting(&mut self) {
        for (lane, publisher) in (0..).zip(&mut self.publishers) {
            if publisher.busy {
                continue;
            }
            let Some(due) = publisher.waiting.pop_front() else {
                continue;
            };
            let data = Stamp {
                due,
                lane,
                number: publisher.sent,
            }
            .payload(self.size);
            let request = self.world.credential().trigger(CHANNEL, &data);
            self.world.send(publisher.id, request.as_bytes());
            publisher.sent += 1;
            publisher.busy = true;
        }
    }

    fn turn(&mut self, wait: Duration) -> Result<(), Failure> {
        let events = self.world.turn(wait)?;
        let now = self.world.now();
        for event in events {
            match event {
                Event::Message(id, stamp) => self.tally.arrived(id, stamp, now),
                Event::Answered(_, status, body) if status != 200 => {
                    return Err(format!("a trigger was answered {status}: {body}").into());
                }
                Event::Answered(id, ..) => {
                    if let Some(publisher) = self.publishers.iter_mut().find(|p| p.id == id) {
                        publisher.busy = false;
                    }
                }
                Event::Ready(_) => {}
            }
        }
        Ok(())
    }
}
