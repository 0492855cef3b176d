//! All connections of a run, and what the scenarios are told about them.
//!
//! **Must never know:** which scenario is played. Events are collected and handed over in a batch, not
//! called back, so that a scenario is a plain loop that can be read from top to bottom.

use crate::Failure;
use crate::credential::Credential;
use crate::http::Answers;
use crate::io::{Happening, Io};
use crate::session::{Note, Session};
use crate::stamp::Stamp;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What happened on connection `id`.
pub enum Event {
    /// A client is connected and subscribed.
    Ready(usize),
    /// A client received a message.
    Message(usize, Stamp),
    /// An HTTP request was answered with this status and body.
    Answered(usize, u16, String),
}

enum Peer {
    Client(Box<Session>),
    Http(Answers),
}

/// The connections.
pub struct World {
    io: Io,
    server: SocketAddr,
    credential: Credential,
    peers: Vec<Peer>,
    events: Vec<Event>,
    began: Instant,
    /// Connections the server ended, and frames in which it refused something.
    pub troubles: Vec<String>,
}

/// How long a handshake may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);

impl World {
    /// No connections yet; clients will connect to `server`.
    ///
    /// # Errors
    /// When the system gives no epoll instance.
    pub fn new(server: SocketAddr, credential: Credential) -> Result<Self, Failure> {
        Ok(Self {
            io: Io::new()?,
            server,
            credential,
            peers: Vec::new(),
            events: Vec::new(),
            began: Instant::now(),
            troubles: Vec::new(),
        })
    }

    /// Nanoseconds since the world began; stamps count in it.
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The app it speaks for.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Begins a client connection; `Event::Ready` follows.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn client(&mut self, channels: Vec<String>) -> Result<usize, Failure> {
        let id = self.io.dial(self.server)?;
        self.peers
            .push(Peer::Client(Box::new(Session::new(channels))));
        self.io
            .send(id, Session::request(self.credential.key()).as_bytes());
        Ok(id)
    }

    /// Begins an HTTP connection.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn http(&mut self, to: SocketAddr) -> Result<usize, Failure> {
        let id = self.io.dial(to)?;
        self.peers.push(Peer::Http(Answers::default()));
        Ok(id)
    }

    /// Opens `count` clients, `at_once` at a time, and waits for all. Gives their ids in order and each
    /// one's time from dialling to being subscribed, in ns.
    ///
    /// # Errors
    /// When one is refused or does not get through.
    pub fn open(
        &mut self,
        count: usize,
        at_once: usize,
        mut channels: impl FnMut(usize) -> Vec<String>,
    ) -> Result<Vec<(usize, u64)>, Failure> {
        let mut opened: Vec<(usize, u64)> = Vec::with_capacity(count);
        let mut underway = VecDeque::new();
        let mut ready = 0;
        let mut last = Instant::now();
        while ready < count {
            while opened.len() < count && opened.len() - ready < at_once {
                let began = self.now();
                let id = self.client(channels(opened.len()))?;
                opened.push((id, began));
                underway.push_back(id);
            }
            let first = opened.first().map_or(0, |(id, _)| *id);
            for event in self.turn(Duration::from_millis(100))? {
                let Event::Ready(id) = event else { continue };
                let now = self.now();
                if let Some((_, time)) = id.checked_sub(first).and_then(|i| opened.get_mut(i)) {
                    *time = now.saturating_sub(*time);
                    ready += 1;
                    last = Instant::now();
                }
            }
            if let Some(trouble) = self.troubles.first() {
                return Err(format!("while connecting: {trouble}").into());
            }
            if last.elapsed() > PATIENCE {
                return Err(format!("{ready} of {count} clients got through").into());
            }
        }
        Ok(opened)
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, id: usize, bytes: &[u8]) {
        self.io.send(id, bytes);
    }

    /// Waits at most `limit` for something to happen.
    ///
    /// # Errors
    /// When waiting fails, an HTTP answer cannot be read, or its connection cannot be made anew.
    pub fn turn(&mut self, limit: Duration) -> Result<Vec<Event>, Failure> {
        let (peers, credential, events) = (&mut self.peers, &self.credential, &mut self.events);
        let troubles = &mut self.troubles;
        let mut replies = Vec::new();
        let mut anew = Vec::new();
        let mut broken = None;
        self.io.turn(limit, |id, happening| {
            match (peers.get_mut(id), happening) {
                (Some(Peer::Client(session)), Happening::Bytes(bytes)) => {
                    let (mut reply, mut notes) = (Vec::new(), Vec::new());
                    session.feed(bytes, credential, &mut reply, &mut notes);
                    events.extend(notes.into_iter().filter_map(|note| match note {
                        Note::Ready => Some(Event::Ready(id)),
                        Note::Message(stamp) => Some(Event::Message(id, stamp)),
                        Note::Refused(words) => {
                            troubles.push(words);
                            None
                        }
                    }));
                    if !reply.is_empty() {
                        replies.push((id, reply));
                    }
                }
                (Some(Peer::Http(answers)), Happening::Bytes(bytes)) => {
                    answers.feed(bytes);
                    loop {
                        match answers.take() {
                            Ok(Some(answer)) => {
                                if answer.closes {
                                    anew.push(id);
                                }
                                events.push(Event::Answered(id, answer.status, answer.body));
                            }
                            Ok(None) => break,
                            Err(words) => {
                                troubles.push(words);
                                break;
                            }
                        }
                    }
                }
                // A caller whose question is never answered would wait for ever: that ends the run.
                (Some(Peer::Http(_)), Happening::Closed) => {
                    broken = Some("the server refused or ended an HTTP connection");
                }
                (_, Happening::Closed) => troubles.push(format!("connection {id} ended")),
                (None, Happening::Bytes(_)) => {}
            }
        })?;
        if let Some(words) = broken {
            return Err(words.into());
        }
        for (id, reply) in replies {
            self.io.send(id, &reply);
        }
        for id in anew {
            self.io.reconnect(id)?;
        }
        Ok(std::mem::take(&mut self.events))
    }
}
