//! Pollers between two requests of one client, found again by its uuid and cursor.
//!
//! **Why by the cursor:** clients name no session. Two tabs of one uuid that stand at the same cursor are the same to
//! us: either poller serves either.

use crate::core::authority::{AppId, Principal};
use crate::core::ids::{Text, Timetoken};
use crate::core::polling::Poller;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// App, uuid, cursor.
pub(super) type Place = (AppId, Text, Timetoken);
/// After so many, those that ended by themselves are forgotten.
const SWEEP_AFTER: usize = 1_024;

#[derive(Debug, Default)]
struct Inner {
    parked: HashMap<Place, Vec<Arc<Poller>>>,
    since_sweep: usize,
}

/// The parked pollers of this node.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<Inner>);

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a poller for the client's next request.
    pub(super) fn park(&self, place: Place, poller: Arc<Poller>) {
        if !poller.park(true) {
            return poller.close();
        }
        let mut inner = self.lock();
        inner.parked.entry(place).or_default().push(poller);
        inner.since_sweep += 1;
        if inner.since_sweep >= SWEEP_AFTER {
            inner.since_sweep = 0;
            inner.parked.retain(|_, pollers| {
                pollers.retain(|poller| !poller.is_over());
                !pollers.is_empty()
            });
        }
    }

    /// Takes it up again, if it stands and speaks for the same.
    pub(super) fn take(&self, place: &Place, principal: &Principal) -> Option<Arc<Poller>> {
        let mut inner = self.lock();
        let pollers = inner.parked.get_mut(place)?;
        let at = pollers
            .iter()
            .position(|one| same(one.principal(), principal));
        let taken = at.map(|at| pollers.swap_remove(at));
        if pollers.is_empty() {
            inner.parked.remove(place);
        }
        drop(inner);
        taken.filter(|poller| {
            let stands = poller.park(false);
            if !stands {
                poller.close();
            }
            stands
        })
    }
}

fn same(one: &Principal, other: &Principal) -> bool {
    one.app == other.app
        && one.token == other.token
        && one.user == other.user
        && one.vouched_by == other.vouched_by
}
