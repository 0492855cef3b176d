//! Keys of providers that a token named and nobody here knows: who wants them fetched is told to whoever has it done.
//!
//! **Must never know:** how keys are fetched, or whether it is time to: that is said by the log.
//! **Why the token does not wait:** no decision waits for a provider. It is refused, and its client shows it again.

use crate::core::access::{AppId, Text};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Notify;

/// What is wanted and not yet taken up: at most every provider once.
#[derive(Debug, Default)]
pub(super) struct KeyWishes {
    wanted: Mutex<BTreeSet<(AppId, Text)>>,
    rung: Notify,
}

impl KeyWishes {
    /// Wants this provider's keys fetched.
    pub(super) fn want(&self, app: AppId, provider: Text) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.insert((app, provider)) {
            self.rung.notify_one();
        }
    }

    fn take(&self) -> BTreeSet<(AppId, Text)> {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *wanted)
    }

    /// Waits until something is wanted, and takes all of it up.
    pub(super) async fn wanted(&self) -> BTreeSet<(AppId, Text)> {
        loop {
            let rung = self.rung.notified();
            let taken = self.take();
            if !taken.is_empty() {
                return taken;
            }
            rung.await;
        }
    }
}
