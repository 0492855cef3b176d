//! Frames that wait until the view is up to date: one was signed with a key that is not known here.
//!
//! **Why those behind it wait too:** a client may take a request back, or publish where it has just subscribed. In order,
//! they mean what it meant.

use super::{PusherSession, Turn};
use crate::adapters::pusher::codes::{self, ClosingError};
use crate::core::authority::UNCONFIRMED;
use crate::core::error::Refusal;
use crate::core::session::{Frame, Intent};
use std::collections::VecDeque;

/// Most frames that wait.
const MAX_FRAMES: usize = 1_000;
/// Most bytes that wait.
const BYTES: usize = 1 << 20;

/// How much the view can be relied on when a key is not in it.
#[derive(Debug, Default)]
pub(super) enum Certainty {
    /// No frame is being heard.
    #[default]
    Idle,
    /// It may be old; nobody has been asked.
    Unsure,
    /// A newer one was asked for; these frames wait for it, the first of them because of its key.
    Asked(Waiting),
    /// For this frame a majority has confirmed it.
    Confirmed,
    /// For this frame no majority has answered.
    Unconfirmed,
}

/// The frames, in order.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl Waiting {
    /// False when there is no room for it.
    fn push(&mut self, frame: Frame) -> bool {
        let bytes = match &frame {
            Frame::Text(text) => text.len(),
            Frame::Binary(bytes) => bytes.len(),
        };
        self.bytes = self.bytes.saturating_add(bytes);
        let room = self.frames.len() < MAX_FRAMES && self.bytes <= BYTES;
        if room {
            self.frames.push_back(frame);
        }
        room
    }
}

/// Why a key is not taken.
pub(super) enum NoKey {
    /// This frame is heard again when the view is up to date.
    Later,
    /// There is none such that may be used.
    Unknown,
    /// Nobody could say.
    Refused(Refusal),
}

impl PusherSession {
    /// What to do about a key that this view lacks.
    pub(super) fn no_key(&mut self) -> NoKey {
        match self.certainty {
            Certainty::Unsure | Certainty::Asked(_) => {
                self.certainty = Certainty::Asked(Waiting::default());
                NoKey::Later
            }
            Certainty::Idle | Certainty::Confirmed => NoKey::Unknown,
            Certainty::Unconfirmed => NoKey::Refused(UNCONFIRMED),
        }
    }

    /// Hears a frame, or lets it wait behind others.
    pub(super) fn in_turn(&mut self, frame: &Frame, turn: &mut Turn<'_>) {
        if matches!(self.certainty, Certainty::Asked(_)) {
            return self.wait(frame, turn);
        }
        self.certainty = Certainty::Unsure;
        self.frame(frame, turn);
        match self.certainty {
            Certainty::Asked(_) => {
                turn.ask(Intent::CatchUp);
                self.wait(frame, turn);
            }
            Certainty::Idle | Certainty::Unsure | Certainty::Confirmed | Certainty::Unconfirmed => {
                self.certainty = Certainty::Idle
            }
        }
    }

    fn wait(&mut self, frame: &Frame, turn: &mut Turn<'_>) {
        if let Certainty::Asked(waiting) = &mut self.certainty
            && !waiting.push(frame.clone())
        {
            let text = "Too many messages while a key was looked for, please reconnect";
            self.leave(&ClosingError::new(codes::RECONNECT, text), turn.out);
        }
    }

    /// The view is as new as it could be had: hears what has waited.
    pub(super) fn caught_up(&mut self, answer: &Result<(), Refusal>, turn: &mut Turn<'_>) {
        let Certainty::Asked(waiting) = std::mem::take(&mut self.certainty) else {
            return;
        };
        let mut frames = waiting.frames.into_iter();
        let Some(first) = frames.next() else { return };
        self.certainty = match answer {
            Ok(()) => Certainty::Confirmed,
            Err(_) => Certainty::Unconfirmed,
        };
        self.frame(&first, turn);
        self.certainty = Certainty::Idle;
        for frame in frames {
            if self.is_closed() {
                return;
            }
            self.in_turn(&frame, turn);
        }
    }
}
