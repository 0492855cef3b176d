//! What members tell each other every half second: what their wall clock says, and whether they could lead.
//!
//! **Why every node asks everybody and not only the leader:** a leader must know the others' clocks before its first
//! stamp, and whom it can hand over to before it is asked.

use super::clock;
use super::core::Core;
use super::lock;
use super::rpc::{PeerRequest, PeerResponse};
use crate::access::{MemberState, Millis, NodeId};
use crate::contract::Freshness;
use crate::store::{DiskSpace, Space};
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// How often is asked.
const INTERVAL: Duration = Duration::from_millis(500);
/// An answer that took longer says too little about a clock.
const MAX_ROUND_TRIP: Duration = Duration::from_millis(500);
/// How long an answer counts.
const READING_MAX_AGE: Duration = Duration::from_secs(10);
/// How long it counts for handing over to its sender.
const CAN_LEAD_MAX_AGE: Duration = Duration::from_secs(2);
/// How often a clock that is off is complained about.
const WARN_INTERVAL: Duration = Duration::from_secs(60);
/// How long the first stamp ever waits for other clocks.
const FIRST_STAMP_WAIT: Duration = Duration::from_secs(2);

/// What one peer said last.
#[derive(Clone, Copy, Debug)]
struct Reading {
    wall_ms: Millis,
    can_lead: bool,
    at: Instant,
    /// Whether it came fast enough to judge a clock by it.
    timely: bool,
}

/// What is known of the others, and of this node itself.
#[derive(Debug, Default)]
pub(crate) struct NodeHealth {
    readings: Mutex<BTreeMap<u64, Reading>>,
    /// The process is on its way out, or the member list says Draining.
    leaving: AtomicBool,
    /// The member list says so.
    drained: AtomicBool,
    /// Entries of this node as the leader that have no answer yet.
    writing: AtomicUsize,
    space: Arc<Space>,
    off_ms: AtomicI64,
}

/// An entry on its way; see [`Core::begin_writing`].
pub(super) struct Writing<'a>(&'a AtomicUsize);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl NodeHealth {
    /// From now on this node leads only if nobody else can.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// Whether that is so.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire) || self.drained.load(Ordering::Acquire)
    }

    /// With the room on this disk.
    pub(super) fn new(space: Arc<Space>) -> Self {
        Self {
            space,
            ..Self::default()
        }
    }

    /// Room on this node's disk, as it was seen last.
    pub(crate) fn space(&self) -> DiskSpace {
        self.space.seen()
    }

    /// Room on this node's disk now.
    pub(super) fn room(&self) -> DiskSpace {
        self.space.look()
    }

    /// How far this node's wall clock is ahead of the right time, milliseconds.
    pub(crate) fn off_ms(&self) -> i64 {
        self.off_ms.load(Ordering::Acquire)
    }

    /// Whether the wall clock is so far off that this node may not serve.
    pub(crate) fn clock_is_wrong(&self) -> bool {
        self.off_ms().unsigned_abs() > clock::WRONG_MS
    }

    /// Whether this node could lead as well as any other.
    pub(super) fn can_lead(&self) -> bool {
        !self.is_leaving() && self.space() == DiskSpace::Enough
    }

    /// The clocks of these nodes as they stand now.
    fn walls(&self, of: impl Fn(u64) -> bool) -> Vec<Millis> {
        let readings = lock(&self.readings);
        let known = readings
            .iter()
            .filter(|(node, one)| of(**node) && one.timely && one.at.elapsed() < READING_MAX_AGE);
        known
            .map(|(_, one)| {
                let since = u64::try_from(one.at.elapsed().as_millis()).unwrap_or(u64::MAX);
                one.wall_ms.saturating_add(since)
            })
            .collect()
    }

    fn others_that_can_lead(&self, of: impl Fn(u64) -> bool) -> Vec<u64> {
        let readings = lock(&self.readings);
        let able = readings.iter().filter(|(node, one)| {
            of(**node) && one.can_lead && one.at.elapsed() < CAN_LEAD_MAX_AGE
        });
        able.map(|(node, _)| *node).collect()
    }
}

impl Core {
    /// Voters that could lead in this node's place.
    pub(super) fn successors(&self) -> Vec<u64> {
        let voters = self.voters();
        let me = self.me;
        self.health
            .others_that_can_lead(|node| node != me && voters.contains(&node))
    }

    /// Whether this node leaves leading to others: it stands back, and somebody else can.
    pub(super) fn defers_leadership(&self) -> bool {
        !self.health.can_lead() && !self.successors().is_empty()
    }

    /// Whether the member list says that this very start of this node is to leave.
    pub(crate) fn is_drained(&self) -> bool {
        let (state, epoch) = (self.view.state(), self.lease.epoch());
        let own = state.members.get(&NodeId(self.me));
        own.is_some_and(|own| own.epoch == epoch && own.state == MemberState::Draining)
    }

    /// Counts an entry until what is returned is dropped; none while leading is left to others. A successor is
    /// asked only when none is on its way: it would lack that entry, and this node could not vote for it.
    pub(super) fn begin_writing(&self) -> Option<Writing<'_>> {
        self.health.writing.fetch_add(1, Ordering::AcqRel);
        let writing = Writing(&self.health.writing);
        (!self.defers_leadership()).then_some(writing)
    }

    /// The leader's time for the next entry.
    pub(super) async fn stamp(&self, last_ms: Millis) -> Millis {
        let began = Instant::now();
        loop {
            let reached = self.reached();
            // A cluster's very first stamp has nothing to be carried on from.
            let first = self.view.state().time_ms == 0 && reached.is_none();
            if !first {
                return clock::stamp(self.view.now_ms(), reached, last_ms);
            }
            if began.elapsed() > FIRST_STAMP_WAIT {
                return clock::stamp(self.view.now_ms(), Some(self.wall_ms()), last_ms);
            }
            tokio::time::sleep(INTERVAL / 25).await;
        }
    }

    /// Whether a majority's wall clocks are so far ahead of cluster time that nothing else need happen for it to
    /// follow.
    pub(super) fn is_behind_the_clocks(&self) -> bool {
        let carried = self.view.now_ms().saturating_add(clock::ALARM_MS);
        self.reached().is_some_and(|reached| reached > carried)
    }

    fn reached(&self) -> Option<Millis> {
        let voters = self.voters();
        let mut walls = self.health.walls(|node| voters.contains(&node));
        if voters.contains(&self.me) {
            walls.push(self.wall_ms());
        }
        clock::reached(&mut walls, voters.len())
    }

    fn wall_ms(&self) -> Millis {
        self.config.wall_clock.now_ms()
    }
}

/// What this node answers.
pub(super) fn answer(core: &Core) -> PeerResponse {
    PeerResponse::Vitals {
        wall_ms: core.wall_ms(),
        can_lead: core.health.can_lead(),
    }
}

/// Asks everybody, and looks after itself, for ever.
pub(super) async fn run(core: Arc<Core>) {
    let mut complained: Option<Instant> = None;
    loop {
        let others: Vec<u64> = core
            .peers()
            .into_keys()
            .filter(|node| *node != core.me)
            .collect();
        join_all(others.iter().map(|node| ask(&core, *node))).await;
        look_at_clock(&core, &mut complained);
        let space = Arc::clone(&core.health.space);
        let _ = crate::task::blocking(move || space.tend()).await;
        // Faster until the first clocks are known: somebody may be waiting for the first stamp.
        let pause = match core.reached() {
            Some(_) => INTERVAL,
            None => INTERVAL / 10,
        };
        core.ticks.next(pause).await;
    }
}

/// Hands leadership over as long as this node defers it, for ever.
pub(super) async fn leadership_transfer(core: Arc<Core>) {
    loop {
        core.health
            .drained
            .store(core.is_drained(), Ordering::Release);
        let defers_leadership = core.defers_leadership();
        if core.leads() && defers_leadership {
            hand_over(&core).await;
        }
        core.ticks
            .next(if defers_leadership {
                INTERVAL / 10
            } else {
                INTERVAL / 5
            })
            .await;
    }
}

async fn ask(core: &Core, node: u64) {
    let began = Instant::now();
    let Ok(PeerResponse::Vitals { wall_ms, can_lead }) =
        core.ask(node, &PeerRequest::Vitals, INTERVAL).await
    else {
        return;
    };
    let took = began.elapsed();
    let reading = Reading {
        wall_ms,
        can_lead,
        // It was read somewhere between the question and the answer.
        at: began + took / 2,
        timely: took < MAX_ROUND_TRIP,
    };
    lock(&core.health.readings).insert(node, reading);
}

fn look_at_clock(core: &Core, complained: &mut Option<Instant>) {
    // Those by whom cluster time goes: whoever merely follows can drive nobody out of service.
    let voters = core.voters();
    let others = core.health.walls(|node| voters.contains(&node));
    if core.view.state().time_ms == 0 {
        return;
    }
    // Behind after a long stop, until the first entries after it are applied here.
    let current =
        matches!(core.lease.freshness(), Freshness::Fresh(_)) && !core.is_behind_the_clocks();
    let cluster_ms = current.then(|| core.view.now_ms());
    let Some(off_ms) = clock::deviation(core.wall_ms(), &others, cluster_ms) else {
        return;
    };
    core.health.off_ms.store(off_ms, Ordering::Release);
    let due = complained.is_none_or(|at| at.elapsed() > WARN_INTERVAL);
    if off_ms.unsigned_abs() > clock::ALARM_MS && due {
        *complained = Some(Instant::now());
        let leaves = core.health.clock_is_wrong();
        tracing::warn!(
            off_ms,
            leaves_service = leaves,
            "this node's wall clock is off"
        );
    }
}

/// Has a caught-up voter stand for election. This node has stopped writing and sending heartbeats by then, and
/// votes for it, so that it costs one round of votes instead of a silence.
async fn hand_over(core: &Core) {
    if core.health.writing.load(Ordering::Acquire) > 0 {
        return;
    }
    let metrics = core.metrics();
    let last = metrics.last_log_index.unwrap_or(0);
    if metrics.last_applied.is_none_or(|at| at.index < last) {
        return;
    }
    let caught_up = |node: &u64| {
        let at = metrics
            .replication
            .as_ref()
            .and_then(|all| all.get(node).copied().flatten());
        at.is_some_and(|at| at.index >= last)
    };
    let Some(successor) = core.successors().into_iter().find(caught_up) else {
        return;
    };
    tracing::info!(successor, "leading is handed over");
    if let Err(error) = core.ask(successor, &PeerRequest::TakeOver, INTERVAL).await {
        tracing::debug!(successor, %error, "a successor could not be asked");
        return;
    }
    // Asking again would start its election over; on a slow disk it would never end.
    let elected = core.leader_changes(core.me);
    let _ = tokio::time::timeout(core.config.election.0, elected).await;
}

/// The process ends soon: Draining in the member list, and somebody else leads. Best effort, in bounded time.
pub(crate) async fn prepare_shutdown(core: &Core) {
    core.health.leave();
    let wait = core.config.election.1 * 3;
    let drain = super::changes::drain(core, NodeId(core.me));
    if let Err(error) = tokio::time::timeout(wait, drain).await.unwrap_or(Ok(())) {
        tracing::info!(%error, "this node could not be marked draining");
    }
    // The node leaves leading to others by now; see `leadership_transfer`.
    let led_by_other = async {
        while core.leads() && !core.successors().is_empty() {
            tokio::time::sleep(INTERVAL / 25).await;
        }
    };
    let _ = tokio::time::timeout(wait, led_by_other).await;
}
