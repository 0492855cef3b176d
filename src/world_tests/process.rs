//! One start of a node: its view of the access plane, its member lists, its tables, and the actors that live on it.
//!
//! **Why a start and not a node:** a node that was killed comes back with nothing but its disk. What was under way to its
//! former start must find nobody.

use super::channel::Channel;
use super::client::DialectModel;
use super::clocks::Clock;
use super::connection::Connection;
use crate::core::authority::{Authority, MemberState};
use crate::core::channel::digest::Digests;
use crate::core::clock::Now;
use crate::core::delivery::dispatch::Dispatch;
use crate::core::delivery::worker_state::WorkerState;
use crate::core::ids::{ConnectionId, NodeId};
use crate::core::nodes::Members;
use crate::peers::repair::Repair;
use std::any::Any;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// How long after a change of the member list a new channel asks its former home, ms; as in the registry.
const FORMER_HOME_MS: u64 = 10_000;
/// How long a view may be served that nobody confirms, ms.
pub(crate) const LEASE_MS: u64 = 3_000;
/// Cluster time when the world begins, ms.
pub(crate) const EPOCH_MS: u64 = 1_700_000_000_000;

/// What a start knows of the access plane.
#[derive(Debug, Default)]
pub(crate) struct Access {
    /// Its view is the state after so many entries.
    pub(crate) applied: u64,
    /// The broker has carried out so many.
    pub(crate) enforced: u64,
    /// What of the next one is still to be carried out by connections.
    pub(crate) carrying: Option<Rc<Cell<usize>>>,
    /// Up to where that goes.
    pub(crate) carries: u64,
    /// Where its own start was agreed on, and as what; before it has learnt of it.
    pub(crate) proposed: Option<(u64, u64)>,
    /// Its own start, as agreed on; 0 = not yet.
    pub(crate) epoch: u64,
    /// A proof under way: when it began, and what it covers.
    pub(crate) proving: Option<(u64, u64)>,
    /// When its last proof began.
    pub(crate) proven_ms: Option<u64>,
}

/// The member list, as the registry of channels keeps it.
#[derive(Debug)]
struct List {
    now: Arc<Members>,
    before: Option<Arc<Members>>,
    changed_ms: u64,
    first: bool,
}

/// One start of a node.
pub(crate) struct Process {
    pub(crate) node: u64,
    pub(crate) alive: bool,
    pub(crate) paused: bool,
    pub(crate) started_ms: u64,
    pub(crate) access: Access,
    pub(crate) authority: Arc<Authority>,
    pub(crate) local: Rc<WorkerState>,
    pub(crate) dispatch: Dispatch,
    pub(crate) channels: BTreeMap<usize, Channel>,
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    /// By dialect.
    pub(crate) kept: Vec<Box<dyn Any>>,
    pub(crate) digests: Arc<Digests>,
    pub(crate) repair: Repair,
    pub(crate) clock: Clock,
    list: List,
}

impl Process {
    pub(crate) fn new(node: u64, now_ms: u64, dialects: &[&dyn DialectModel]) -> Self {
        let state = crate::core::authority::State::default();
        let authority = Arc::new(Authority::fixed(state, EPOCH_MS + now_ms));
        authority.set_serving(false);
        let local = Rc::new(WorkerState::default());
        Self {
            node,
            alive: true,
            paused: false,
            started_ms: now_ms,
            access: Access::default(),
            dispatch: Dispatch::new(local.clone(), authority.clone()),
            local,
            authority,
            channels: BTreeMap::new(),
            connections: BTreeMap::new(),
            kept: dialects.iter().map(|one| one.node()).collect(),
            digests: Arc::default(),
            repair: Repair::default(),
            clock: Clock::default(),
            list: List {
                now: Arc::new(Members::alone(NodeId(node))),
                before: None,
                changed_ms: 0,
                first: true,
            },
        }
    }

    pub(crate) fn now(&self) -> Now {
        self.authority.now()
    }

    pub(crate) fn members(&self) -> Arc<Members> {
        self.list.now.clone()
    }

    /// The list before it, when a channel that starts now has to know it.
    pub(crate) fn members_before(&self) -> Option<Arc<Members>> {
        let recent = self.now().mono_ms < self.list.changed_ms + FORMER_HOME_MS;
        self.list.before.clone().filter(|_| recent)
    }

    /// Makes the list of its view; the new one, if it is another, and whom it does not name any more.
    pub(crate) fn list_anew(&mut self) -> Option<(Arc<Members>, Vec<u64>)> {
        let (view, me) = (self.authority.view(), NodeId(self.node));
        let members = Members::of(&view, me, self.access.epoch);
        let old = self.list.now.clone();
        let gone = old.nodes().filter(|node| !members.has(*node));
        let gone = gone.map(|node| node.0).collect();
        if members.revision < old.revision || members == *old {
            return None;
        }
        let before = match self.list.first {
            true => Arc::new(members.without(me)),
            false => old,
        };
        self.list = List {
            now: Arc::new(members),
            before: Some(before),
            changed_ms: self.now().mono_ms,
            first: false,
        };
        Some((self.list.now.clone(), gone))
    }

    /// Whether its view shows this very start of it in service.
    pub(crate) fn is_up(&self) -> bool {
        let view = self.authority.view();
        let own = view.members.get(&NodeId(self.node));
        let epoch = self.access.epoch;
        epoch != 0 && own.is_some_and(|one| one.epoch == epoch && one.state != MemberState::Down)
    }

    /// Whether it may serve at this time.
    pub(crate) fn holds_lease(&self, now_ms: u64) -> bool {
        let proven = self.access.proven_ms;
        proven.is_some_and(|at| now_ms.saturating_sub(at) <= LEASE_MS)
    }
}
