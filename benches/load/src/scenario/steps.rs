//! Exactly so many operations, one after the other: for whoever counts instructions instead of seconds.
//!
//! **Must never know:** frames and signatures, or how long anything takes. Each operation is whole at the client before the
//! next begins, so that a server never finds two at once and does the same work in every run.

use super::Figures;
use super::polls;
use crate::Failure;
use crate::options::{Step, Steps, Target};
use crate::session::Session;
use crate::stamp::Stamp;
use crate::world::{Event, World};
use serde_json::json;
use std::time::{Duration, Instant};

/// How long nothing may come of an operation.
const PATIENCE: Duration = Duration::from_secs(30);
/// The channel of the operations that need one.
const CHANNEL: &str = "private-steps";

/// What is done, by whom and to whom.
struct Play<'a> {
    world: &'a mut World,
    target: &'a Target,
    how: &'a Steps,
    /// The connection that publishes.
    from: usize,
    /// The first connection that receives; the others follow.
    first: usize,
}

pub(super) fn play(world: &mut World, target: &Target, how: &Steps) -> Result<Figures, Failure> {
    let mut steps = Play {
        world,
        target,
        how,
        from: 0,
        first: 0,
    };
    steps.prepare()?;
    (0..how.operations).try_for_each(|number| steps.one(number))?;
    Ok(Figures::from_iter([(
        "operations".to_owned(),
        json!(how.operations),
    )]))
}

impl Play<'_> {
    /// Whoever publishes and receives.
    fn prepare(&mut self) -> Result<(), Failure> {
        let receivers = match self.how.step {
            Step::Fanout => self.how.receivers,
            Step::Event => 2,
            Step::Connect | Step::Trigger | Step::Publish | Step::Poll => 0,
        };
        let opened = (self.world).open(receivers, 1, |_| vec![CHANNEL.to_owned()])?;
        self.first = opened.last().map_or(0, |(id, _)| id + 1 - receivers);
        match self.how.step {
            Step::Event => self.from = self.first,
            Step::Fanout | Step::Trigger | Step::Publish => {
                self.from = self.world.http(self.target.server)?;
            }
            Step::Poll => self.begin_polls()?,
            Step::Connect => {}
        }
        Ok(())
    }

    /// One operation, whole.
    fn one(&mut self, number: u32) -> Result<(), Failure> {
        let stamp = Stamp {
            due: self.world.now(),
            lane: 0,
            number,
        };
        let data = stamp.payload(self.target.size);
        match self.how.step {
            Step::Connect => {
                let own = |_| vec![format!("private-steps-{number}")];
                self.world.open(1, 1, own)?;
                Ok(())
            }
            Step::Event => {
                let event = Session::client_event(CHANNEL, &data);
                self.world.send(self.from, &event);
                self.until(1, 0)
            }
            Step::Fanout => {
                self.trigger(CHANNEL, &data);
                self.until(self.how.receivers, 1)
            }
            Step::Trigger => {
                self.trigger("private-nobody", &data);
                self.until(0, 1)
            }
            Step::Publish => {
                self.publish(&data);
                self.until(0, 1)
            }
            Step::Poll => {
                let request = self.polls().publish(0, &data);
                self.world.send(self.from, request.as_bytes());
                self.until(0, self.how.receivers + 1)
            }
        }
    }

    fn trigger(&mut self, channel: &str, data: &str) {
        let request = self.world.credential().trigger(channel, data);
        self.world.send(self.from, request.as_bytes());
    }

    fn publish(&mut self, data: &str) {
        let body = format!(r#"{{"channel":"private-nobody","name":"m","data":"{data}"}}"#);
        let request = format!(
            "POST /v1/apps/{}/publish HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.target.app,
            self.how.authorization,
            body.len()
        );
        self.world.send(self.from, request.as_bytes());
    }

    /// Waits until so many messages and so many answers have come.
    fn until(&mut self, messages: usize, answers: usize) -> Result<(), Failure> {
        let (mut arrived, mut answered) = (0, 0);
        let mut last = Instant::now();
        while arrived < messages || answered < answers {
            for event in self.world.turn(Duration::from_millis(100))? {
                last = Instant::now();
                match event {
                    Event::Message(..) => arrived += 1,
                    Event::Answered(_, status, body) if status != 200 => {
                        return Err(format!("answered {status}: {body}").into());
                    }
                    Event::Answered(id, _, body) => {
                        answered += 1;
                        self.poll_again(id, &body)?;
                    }
                    Event::Ready(_) => {}
                }
            }
            if let Some(trouble) = self.world.troubles.first() {
                return Err(trouble.clone().into());
            }
            if last.elapsed() > PATIENCE {
                let words = format!(
                    "{arrived} of {messages} messages, {answered} of {answers} answers came"
                );
                return Err(words.into());
            }
        }
        Ok(())
    }

    fn polls(&self) -> polls::Shape<'_> {
        polls::Shape {
            polls: self.how.receivers,
            channels: 1,
            rate: 0.0,
            publish_key: &self.how.publish_key,
            subscribe_key: &self.how.subscribe_key,
        }
    }

    /// Every poll has its first answer, and asks again.
    fn begin_polls(&mut self) -> Result<(), Failure> {
        self.from = self.world.http(self.target.server)?;
        self.first = self.from + 1;
        for poll in 0..self.how.receivers {
            let id = self.world.http(self.target.server)?;
            let request = self.polls().poll(poll, ("0", "0"));
            self.world.send(id, request.as_bytes());
        }
        self.until(0, self.how.receivers)
    }

    /// A poll that was answered asks for what comes next.
    fn poll_again(&mut self, id: usize, body: &str) -> Result<(), Failure> {
        let poll = match id.checked_sub(self.first) {
            Some(poll) if self.how.step == Step::Poll => poll,
            Some(_) | None => return Ok(()),
        };
        let (cursor, _) =
            polls::cursor(body).ok_or_else(|| format!("an answer without a cursor: {body}"))?;
        let request = self.polls().poll(poll, cursor);
        self.world.send(id, request.as_bytes());
        Ok(())
    }
}
