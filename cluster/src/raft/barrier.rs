//! The barrier: waiting until no node can still be serving an older truth.
//!
//! For a revision R that is committed when the wait begins, at instant `b` on this machine's monotonic clock,
//! a member counts as
//!
//! * **enforced** when it answered that it has enforced R;
//! * **fenced** when it did not, and `b` + lease + drift allowance has passed. A lease round that begins after
//!   R was committed obtains an index of at least R and renews only once that is enforced; so a member that
//!   has not enforced R last renewed with a round begun before `b`, and that lease has ended by then;
//! * **fenced** as well when it is Down or removed in the view (which contains R) and lease + drift allowance
//!   has passed since this node saw that: a node that is not Up does not renew, and one that comes Up again
//!   has applied R before;
//! * **fenced** as well when lease + drift allowance has passed since the leader can show that the member last
//!   began a round without R ([`super::fence`]): sooner than `b`, when an election came between;
//! * **pending** otherwise, in strict mode only: there a lease never counts.
//!
//! The allowance is 500 ppm of the lease plus 50 ms. It covers monotonic clocks that run at different rates,
//! not a machine whose monotonic clock stands still while it is suspended.

use super::core::Core;
use super::fence;
use super::rpc::{PeerRequest, PeerResponse};
use crate::access::{MemberState, NodeId, Revision};
use crate::contract::{BarrierMode, BarrierReport};
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// One question waits at most this long at the other end, so that a lost connection is noticed.
const QUESTION_TIMEOUT: Duration = Duration::from_millis(500);
/// Pause after a question that could not be asked.
const RETRY_DELAY: Duration = Duration::from_millis(20);

/// How one member is waited for.
enum Wait {
    /// It may serve: until it answers or this instant.
    Serving(Instant),
    /// It has left: nothing but time.
    Left(Instant),
}

/// Waits for everyone. Returns after the fence window at the latest.
pub(crate) async fn barrier(core: &Core, revision: Revision, mode: BarrierMode) -> BarrierReport {
    match mode {
        BarrierMode::None => return BarrierReport::default(),
        BarrierMode::All | BarrierMode::Strict => {}
    }
    let end = Instant::now() + core.fence_window();
    // Without R in the view, the member list may be older than R; everybody in it is then waited for.
    let _ = tokio::time::timeout_at(end, core.view.wait_applied(revision)).await;
    let waits = everyone(core, end)
        .into_iter()
        .map(
            |(node, wait)| async move { (node, wait_for(core, node, revision, wait, mode).await) },
        );
    let mut report = BarrierReport::default();
    for (node, closed) in join_all(waits).await {
        match (closed, mode) {
            (Some(closed), _) => {
                report.enforced.push(node);
                report.closed += closed;
            }
            (None, BarrierMode::Strict) => report.pending.push(node),
            (None, BarrierMode::All | BarrierMode::None) => report.fenced.push(node),
        }
    }
    report
}

/// Every member that serves, and every one that left too short a while ago or is still listed.
fn everyone(core: &Core, end: Instant) -> BTreeMap<NodeId, Wait> {
    let state = core.view.state();
    let departed = core.view.departed();
    let left = |at: Instant| Wait::Left(end.min(at + core.fence_window()));
    let mut everyone: BTreeMap<_, _> = departed
        .iter()
        .map(|(node, at)| (*node, left(*at)))
        .collect();
    for member in state.members.values() {
        match member.state {
            MemberState::Up | MemberState::Draining => {
                everyone.insert(member.node, Wait::Serving(end));
            }
            MemberState::Down => {
                everyone.entry(member.node).or_insert(Wait::Left(end));
            }
        }
    }
    everyone
}

/// The connections closed there, if the member enforced the revision in time.
async fn wait_for(
    core: &Core,
    node: NodeId,
    revision: Revision,
    wait: Wait,
    mode: BarrierMode,
) -> Option<u64> {
    let fenced = async {
        match mode {
            BarrierMode::All => fence::passed(core, node, revision).await,
            BarrierMode::Strict | BarrierMode::None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        closed = hear(core, node, revision, wait) => closed,
        () = fenced => None,
    }
}

async fn hear(core: &Core, node: NodeId, revision: Revision, wait: Wait) -> Option<u64> {
    let end = match wait {
        Wait::Left(end) => {
            tokio::time::sleep_until(end).await;
            return None;
        }
        Wait::Serving(end) => end,
    };
    if node.0 == core.me {
        return tokio::time::timeout_at(end, core.view.wait_enforced(revision))
            .await
            .ok()
            .map(|()| core.view.closed(revision));
    }
    let ask = PeerRequest::AwaitEnforced {
        revision,
        wait_ms: u64::try_from(QUESTION_TIMEOUT.as_millis()).unwrap_or(0),
    };
    loop {
        let asked =
            tokio::time::timeout_at(end, core.ask(node.0, &ask, QUESTION_TIMEOUT * 2)).await;
        match asked {
            Ok(Ok(PeerResponse::Enforced(Some(closed)))) => return Some(closed),
            Ok(Ok(_) | Err(_)) => {
                tokio::time::sleep_until(end.min(Instant::now() + RETRY_DELAY)).await
            }
            Err(_) => return None,
        }
        if Instant::now() >= end {
            return None;
        }
    }
}
