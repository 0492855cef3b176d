//! PubNub's long polls: what one weighs that waits, and what a message costs that ends many of them.
//!
//! **Must never know:** how the server keeps them. Each poll is a connection of its own, as it is with the SDKs; its next
//! request, which is part of the price, goes out with the answer to the last.

use super::Figures;
use super::pace::Pace;
use super::tally::Tally;
use crate::Failure;
use crate::meter::{Meter, resident_kib, rounded};
use crate::options::Target;
use crate::receipts::Receipts;
use crate::stamp::Stamp;
use crate::world::{Event, World};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long memory is given to settle after the last poll has begun.
const SETTLE: Duration = Duration::from_secs(3);
/// How long nothing may come of a poll that begins.
const PATIENCE: Duration = Duration::from_secs(30);

/// How it is driven.
pub(super) struct Shape<'a> {
    pub(super) polls: usize,
    /// The polls are spread over so many.
    pub(super) channels: u16,
    /// Messages per second in all; 0: only wait.
    pub(super) rate: f64,
    pub(super) publish_key: &'a str,
    pub(super) subscribe_key: &'a str,
}

/// Publishes to one channel, one request at a time.
struct Publisher {
    id: usize,
    busy: bool,
    sent: u32,
    /// Due times of messages that wait for the connection.
    waiting: VecDeque<u64>,
}

struct Polls<'a> {
    world: &'a mut World,
    shape: &'a Shape<'a>,
    size: usize,
    /// Connection of the first poll; the others follow.
    first: usize,
    began: usize,
    publishers: Vec<Publisher>,
    tally: Tally,
    due: u64,
}

pub(super) fn play(
    world: &mut World,
    target: &Target,
    shape: &Shape<'_>,
) -> Result<Figures, Failure> {
    let empty = resident_kib(&target.pids);
    let receipts = (0..shape.polls).map(|poll| Receipts::new(shape.channel(poll), 1));
    let mut polls = Polls {
        size: target.size,
        first: 0,
        began: 0,
        publishers: Vec::new(),
        tally: Tally::new(0, receipts.collect()),
        due: 0,
        world,
        shape,
    };
    polls.open(target)?;
    let mut figures = polls.wait(target, empty)?;
    if shape.rate > 0.0 {
        for _ in 0..shape.channels {
            let id = polls.world.http(target.server)?;
            polls.publishers.push(Publisher {
                id,
                busy: false,
                sent: 0,
                waiting: VecDeque::new(),
            });
        }
        polls.stretch(target.warmup)?;
        let (meter, began) = (Meter::start(&target.pids), Instant::now());
        polls.stretch(target.seconds)?;
        let publishers = &polls.publishers;
        let sent = |lane: u16| publishers.get(usize::from(lane)).map_or(0, |p| p.sent);
        figures.extend(polls.tally.figures(&meter, began, sent));
    }
    Ok(figures)
}

impl Shape<'_> {
    fn channel(&self, poll: usize) -> u16 {
        u16::try_from(poll % usize::from(self.channels.max(1))).unwrap_or(0)
    }

    pub(super) fn poll(&self, poll: usize, (timetoken, region): (&str, &str)) -> String {
        let (key, channel) = (self.subscribe_key, self.channel(poll));
        format!(
            "GET /v2/subscribe/{key}/polls-{channel}/0?tt={timetoken}&tr={region}&uuid=load-{poll} HTTP/1.1\r\n\
             host: 127.0.0.1\r\n\r\n"
        )
    }

    pub(super) fn publish(&self, channel: u16, data: &str) -> String {
        let (publish, subscribe) = (self.publish_key, self.subscribe_key);
        format!(
            "GET /publish/{publish}/{subscribe}/0/polls-{channel}/0/%22{data}%22?uuid=load HTTP/1.1\r\n\
             host: 127.0.0.1\r\n\r\n"
        )
    }

    /// Polls of a channel.
    fn listening(&self, channel: u16) -> u64 {
        let polls = (0..self.polls).filter(|poll| self.channel(*poll) == channel);
        polls.count() as u64
    }
}

impl Polls<'_> {
    /// Begins all polls, some at a time.
    fn open(&mut self, target: &Target) -> Result<(), Failure> {
        let (mut dialled, mut last) = (0, Instant::now());
        while self.began < self.shape.polls {
            while dialled < self.shape.polls && dialled - self.began < target.at_once {
                let id = self.world.http(target.server)?;
                if dialled == 0 {
                    self.first = id;
                }
                let request = self.shape.poll(dialled, ("0", "0"));
                self.world.send(id, request.as_bytes());
                dialled += 1;
            }
            let before = self.began;
            self.turn(Duration::from_millis(100))?;
            if self.began > before {
                last = Instant::now();
            }
            if last.elapsed() > PATIENCE {
                return Err(format!("{} of {} polls began", self.began, self.shape.polls).into());
            }
        }
        Ok(())
    }

    /// Lets them wait.
    fn wait(&mut self, target: &Target, empty: u64) -> Result<Figures, Failure> {
        self.rest(SETTLE)?;
        let full = resident_kib(&target.pids);
        let each = full.saturating_sub(empty) as f64 / self.shape.polls.max(1) as f64;
        let meter = Meter::start(&target.pids);
        self.rest(Duration::from_secs_f64(target.seconds))?;
        let spent = meter.spent(self.shape.polls as u64, "idle_poll");
        let kept = |name: &str| spent.get(name).cloned().unwrap_or(Value::Null);
        Ok(Figures::from_iter([
            ("polls".to_owned(), json!(self.shape.polls)),
            ("resident_empty_kib".to_owned(), json!(empty)),
            ("resident_polls_kib".to_owned(), json!(full)),
            ("kib_per_poll".to_owned(), json!(rounded(each))),
            (
                "server_us_per_idle_poll".to_owned(),
                kept("server_us_per_idle_poll"),
            ),
            (
                "idle_server_cpu_percent".to_owned(),
                kept("server_cpu_percent"),
            ),
        ]))
    }

    fn rest(&mut self, time: Duration) -> Result<(), Failure> {
        let end = Instant::now() + time;
        while let Some(left) = end
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
        {
            self.turn(left)?;
        }
        Ok(())
    }

    /// Publishes for `seconds`, then waits until all has arrived.
    fn stretch(&mut self, seconds: f64) -> Result<(), Failure> {
        self.tally.begin(self.due, self.world.now());
        self.due = 0;
        let end = self.world.now() + (seconds * 1e9) as u64;
        let mut pace = Pace::new(self.world.now(), self.shape.rate);
        let mut turn: u16 = 0;
        loop {
            let now = self.world.now();
            if now >= end {
                break;
            }
            while let Some(due) = pace.due(now) {
                let lane = turn % self.shape.channels.max(1);
                turn = turn.wrapping_add(1);
                self.due += self.shape.listening(lane);
                if let Some(publisher) = self.publishers.get_mut(usize::from(lane)) {
                    publisher.waiting.push_back(due);
                }
            }
            self.publish_waiting();
            self.turn(pace.wait(now).min(Duration::from_nanos(end - now)))?;
        }
        let busy = |one: &Publisher| one.busy || !one.waiting.is_empty();
        while !self.tally.settled(self.due) || self.publishers.iter().any(busy) {
            self.publish_waiting();
            self.turn(Duration::from_millis(50))?;
            if self.tally.settled(u64::MAX) {
                break;
            }
        }
        Ok(())
    }

    fn publish_waiting(&mut self) {
        for (lane, publisher) in (0..).zip(&mut self.publishers) {
            if publisher.busy {
                continue;
            }
            let Some(due) = publisher.waiting.pop_front() else {
                continue;
            };
            let number = publisher.sent;
            let data = Stamp { due, lane, number }.payload(self.size);
            let request = self.shape.publish(lane, &data);
            self.world.send(publisher.id, request.as_bytes());
            publisher.sent += 1;
            publisher.busy = true;
        }
    }

    fn turn(&mut self, wait: Duration) -> Result<(), Failure> {
        let events = self.world.turn(wait)?;
        let now = self.world.now();
        for event in events {
            let Event::Answered(id, status, body) = event else {
                continue;
            };
            if status != 200 {
                return Err(format!("answered {status}: {body}").into());
            }
            match id.checked_sub(self.first) {
                Some(poll) if poll < self.shape.polls => self.answered(id, poll, &body, now)?,
                _ => {
                    if let Some(one) = self.publishers.iter_mut().find(|one| one.id == id) {
                        one.busy = false;
                    }
                }
            }
        }
        Ok(())
    }

    /// A poll was answered: what it brought, and the next one.
    fn answered(&mut self, id: usize, poll: usize, body: &str, now: u64) -> Result<(), Failure> {
        let (cursor, messages) =
            cursor(body).ok_or_else(|| format!("an answer without a cursor: {body}"))?;
        let stamps = stamps(messages);
        if stamps.is_empty() && self.began < self.shape.polls {
            self.began += 1;
        }
        for stamp in stamps {
            self.tally.arrived(poll, stamp, now);
        }
        let request = self.shape.poll(poll, cursor);
        self.world.send(id, request.as_bytes());
        Ok(())
    }
}

/// The cursor of an answer (timetoken, region), and what follows it.
pub(super) fn cursor(body: &str) -> Option<((&str, &str), &str)> {
    let rest = body.strip_prefix(r#"{"t":{"t":""#)?;
    let (timetoken, rest) = rest.split_once(r#"","r":"#)?;
    let (region, messages) = rest.split_once('}')?;
    Some(((timetoken, region), messages))
}

/// All stamps in a text, in their order.
fn stamps(mut text: &str) -> Vec<Stamp> {
    let mut found = Vec::new();
    while let Some(at) = text.find("~T") {
        let Some(rest) = text.get(at..) else { break };
        found.extend(Stamp::find(rest.as_bytes()));
        text = rest.get(2..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape<'_> = Shape {
        polls: 5,
        channels: 2,
        rate: 0.0,
        publish_key: "pub",
        subscribe_key: "sub",
    };

    #[test]
    fn polls_are_spread_over_the_channels() {
        let channels: Vec<u16> = (0..5).map(|poll| SHAPE.channel(poll)).collect();
        assert_eq!(channels, [0, 1, 0, 1, 0]);
        assert_eq!((SHAPE.listening(0), SHAPE.listening(1)), (3, 2));
        assert!(
            SHAPE
                .poll(3, ("17", "2"))
                .starts_with("GET /v2/subscribe/sub/polls-1/0?tt=17&tr=2&uuid=load-3 ")
        );
    }

    #[test]
    fn an_answer_gives_its_cursor_and_all_its_messages() {
        let stamp = |number| Stamp {
            due: 9,
            lane: 1,
            number,
        };
        let body = format!(
            r#"{{"t":{{"t":"17953525498620000","r":3}},"m":[{{"d":"{}"}},{{"d":"{}"}}]}}"#,
            stamp(0).payload(40),
            stamp(1).payload(40)
        );
        let read = cursor(&body);
        assert_eq!(read.map(|(at, _)| at), Some(("17953525498620000", "3")));
        assert_eq!(
            read.map(|(_, rest)| stamps(rest)),
            Some(vec![stamp(0), stamp(1)])
        );
        assert_eq!(cursor(r#"{"message":"Forbidden"}"#), None);
        assert!(stamps("~T12").is_empty());
    }
}
