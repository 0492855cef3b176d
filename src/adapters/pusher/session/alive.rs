//! The two clocks of a connection: silence, and the time to authorize.
//!
//! Nothing is armed per message: a wake-up looks back at when something was last heard and moves itself.

/// How long a connection of an app with authorized connections may stay unauthorized.
const AUTHORIZE_WITHIN_MS: u64 = 30_000;

/// How long a ping may stay unanswered.
const PONG_WITHIN_MS: u64 = 30_000;

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Alive {
    heard_ms: u64,
    pinged_ms: Option<u64>,
    authorize_by_ms: Option<u64>,
}

/// What a wake-up came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// It came early.
    Nothing,
    /// It is time to ping.
    Ping,
    /// The ping was not answered.
    Silent,
    /// The time to authorize is over.
    Unauthorized,
}

impl Alive {
    /// Something was received.
    pub(super) fn heard(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
        self.pinged_ms = None;
    }

    /// From now on the time to authorize runs.
    pub(super) fn must_authorize(&mut self, now_ms: u64) {
        self.authorize_by_ms = Some(now_ms + AUTHORIZE_WITHIN_MS);
    }

    /// It is authorized, for good.
    pub(super) fn authorized(&mut self) {
        self.authorize_by_ms = None;
    }

    /// What to do now. A ping counts as sent.
    pub(super) fn due(&mut self, now_ms: u64, timeout_ms: u64) -> Due {
        if self.authorize_by_ms.is_some_and(|by| now_ms >= by) {
            return Due::Unauthorized;
        }
        match self.pinged_ms {
            Some(pinged) if now_ms >= pinged + PONG_WITHIN_MS => Due::Silent,
            Some(_) => Due::Nothing,
            None if now_ms >= self.heard_ms.saturating_add(timeout_ms) => {
                self.pinged_ms = Some(now_ms);
                Due::Ping
            }
            None => Due::Nothing,
        }
    }

    /// When to look again.
    pub(super) fn next(&self, timeout_ms: u64) -> u64 {
        let silence = match self.pinged_ms {
            Some(pinged) => pinged + PONG_WITHIN_MS,
            None => self.heard_ms.saturating_add(timeout_ms),
        };
        self.authorize_by_ms.map_or(silence, |by| by.min(silence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_pinged_then_ended() {
        let mut alive = Alive::default();
        alive.heard(1_000);
        assert_eq!(alive.next(120_000), 121_000);
        assert_eq!(alive.due(120_999, 120_000), Due::Nothing);
        assert_eq!(alive.due(121_000, 120_000), Due::Ping);
        assert_eq!(alive.next(120_000), 151_000);
        assert_eq!(alive.due(150_999, 120_000), Due::Nothing);
        assert_eq!(alive.due(151_000, 120_000), Due::Silent);
    }

    #[test]
    fn anything_heard_starts_again() {
        let mut alive = Alive::default();
        assert_eq!(alive.due(120_000, 120_000), Due::Ping);
        alive.heard(130_000);
        assert_eq!(alive.due(150_000, 120_000), Due::Nothing);
        assert_eq!(alive.next(120_000), 250_000);
    }

    #[test]
    fn the_time_to_authorize_ends_first() {
        let mut alive = Alive::default();
        alive.must_authorize(0);
        assert_eq!(alive.next(120_000), 30_000);
        alive.heard(29_000);
        assert_eq!(alive.due(30_000, 120_000), Due::Unauthorized);
        alive.authorized();
        assert_eq!(alive.due(30_000, 120_000), Due::Nothing);
    }
}
