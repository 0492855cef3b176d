//! When a home begins a new epoch: somebody has seen more than it has, or it shows what no other copy has.
//!
//! **Why what is said of a new epoch waits like an entry:** a backup that had not got it would go on in the old one.

use super::home::{BACKUP_RETRY_INTERVAL_MS, Home, Unacknowledged};
use super::io::Effect;
use super::stream::LogPosition;
use crate::core::clock::Now;

impl Home {
    /// What waits for the backup is shown without it, in an epoch that no other copy can go on with.
    pub(super) fn go_on_alone(
        &mut self,
        acknowledged: u64,
        fresh: u64,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if let Some(backup) = &mut self.backup {
            backup.answers = false;
            backup.retry_ms = Some(now.mono_ms + BACKUP_RETRY_INTERVAL_MS);
        }
        let renewal = self.stream.renew(acknowledged, fresh);
        let held = self.pending_ack.iter_mut();
        for effect in held.flat_map(|one| &mut one.effects) {
            renewal.effect(effect);
        }
        self.release_all(out);
    }

    /// Somebody has seen entries of an epoch that this stream does not go on from: the home before went on alone, and what
    /// it acknowledged then is not here. Nobody may take this stream for whole: everybody is told, once.
    pub(super) fn admit_loss(&mut self, epoch: u64, now: Now, out: &mut Vec<Effect>) {
        self.may_lack = false;
        let before = self.stream.log_position();
        self.stream.break_off(epoch);
        self.await_epoch(before, now, out);
        self.enqueue(Effect::Missed, out);
        self.ask_to_announce(|_| true, out);
    }

    /// Begins a new epoch. What is said from now on rests on it, so it waits until the backup has it as well.
    pub(super) fn start_new_epoch(&mut self, epoch: u64, now: Now, out: &mut Vec<Effect>) {
        let before = self.stream.log_position();
        self.stream.start_new_epoch(epoch);
        self.await_epoch(before, now, out);
    }

    fn await_epoch(&mut self, before: LogPosition, now: Now, out: &mut Vec<Effect>) {
        self.send_snapshot(out);
        let backup = self.backup.as_ref();
        if backup.is_some_and(|one| one.in_sync && one.answers) {
            let (entry, since_ms) = (self.stream.log_position().entry, now.mono_ms);
            self.pending_ack.push_back(Unacknowledged {
                before,
                entry,
                since_ms,
                effects: Vec::new(),
            });
        }
    }
}
