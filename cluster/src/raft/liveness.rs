//! Up and Down: every start of a node is announced, and the leader announces the silence of others.
//!
//! A member is Down when it gave no sign of life for a lease, or sooner when nobody listens at its address
//! (refused or reset for a second) and it has been silent as long. Sooner is safe because Down names an
//! epoch: a node that lives after all finds itself Down, holds no lease from then on, and comes Up as a new
//! epoch.

use super::core::Core;
use super::fence;
use super::lease;
use crate::access::{Command, MemberCommand, MemberState, NodeId, Reply};
use crate::contract::{Freshness, RequestId};
use crate::versions;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often is looked.
const INTERVAL: Duration = Duration::from_millis(100);
/// How long nobody must have listened.
const REFUSED_TOLERANCE: Duration = Duration::from_secs(1);
/// At most one tick of the machine's time in this long.
const TIME_ENTRY_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps this node Up in the member list.
pub(super) async fn announce(core: Arc<Core>) {
    loop {
        if !lease::is_up(&core)
            && core.peers().contains_key(&core.me)
            && core.reader.index().await.is_some()
        {
            come_up(&core).await;
        }
        core.ticks.next(INTERVAL).await;
    }
}

async fn come_up(core: &Core) {
    let command = Command::Member(MemberCommand::Up {
        node: NodeId(core.me),
        peer_addr: core.config.peer_addr.clone(),
        public_url: core.config.public_url.clone(),
        reads_version: core.config.speaks.highest,
    });
    match core
        .proposer
        .propose(RequestId(rand::random()), command)
        .await
    {
        Ok(committed) => {
            if let Reply::MemberUp { epoch } = committed.reply {
                core.view.wait_applied(committed.revision).await;
                core.lease.set_epoch(epoch);
                tracing::info!(node = core.me, epoch, "this node is up");
            }
        }
        Err(error) => tracing::debug!(%error, "this node could not announce itself"),
    }
}

/// As the leader: judges the others and moves the machine's time.
pub(super) async fn watch(core: Arc<Core>) {
    let mut led_since: Option<(u64, Instant)> = None;
    let mut ticked = Instant::now();
    let mut raised = Instant::now();
    loop {
        core.ticks.next(INTERVAL).await;
        core.view.forget_departed(core.fence_window() * 2);
        follow_version(&core);
        let metrics = core.metrics();
        if metrics.current_leader != Some(core.me) {
            led_since = None;
            continue;
        }
        fence::note_electors(&core, &metrics);
        let since = match led_since {
            Some((term, since)) if term == metrics.current_term => since,
            _ => {
                led_since = Some((metrics.current_term, Instant::now()));
                Instant::now()
            }
        };
        // A leader that is not confirmed by a majority judges nobody.
        if matches!(core.lease.freshness(), Freshness::Fresh(_)) {
            mark_silent_down(&core, since).await;
            tick(&core, &mut ticked).await;
            raise_version(&core, &mut raised).await;
        }
    }
}

/// What the log says is agreed on has to be spoken here.
fn follow_version(core: &Core) {
    if let Some(why) = core.config.speaks.refuses(core.view.state().version) {
        core.fail(why.into());
    }
}

/// Proposes what every member of the group has said that it reads.
async fn raise_version(core: &Core, raised: &mut Instant) {
    if raised.elapsed() < TIME_ENTRY_INTERVAL {
        return;
    }
    *raised = Instant::now();
    let state = core.view.state();
    let peers = core.peers();
    let read = peers
        .keys()
        .map(|node| state.members.get(&NodeId(*node)))
        .map(|member| member.map(|member| member.reads_version));
    let Some(version) = versions::raised(state.version, read) else {
        return;
    };
    let raise = Command::SetClusterVersion(version);
    match core
        .proposer
        .propose(RequestId(rand::random()), raise)
        .await
    {
        Ok(_) => tracing::info!(
            version,
            "every member speaks it: the cluster's version is raised"
        ),
        Err(error) => tracing::debug!(%error, version, "the cluster's version was not raised"),
    }
}

async fn mark_silent_down(core: &Core, led_since: Instant) {
    let state = core.view.state();
    for member in state.members.values() {
        let node = member.node.0;
        if node == core.me || member.state == MemberState::Down || !is_silent(core, node, led_since)
        {
            continue;
        }
        let epoch = member.epoch;
        match member.state {
            MemberState::Draining => {
                tracing::info!(node, epoch, "a member that was leaving is down")
            }
            MemberState::Up | MemberState::Down => {
                tracing::warn!(node, epoch, "a member is silent and is marked down");
            }
        }
        let down = Command::Member(MemberCommand::Down {
            node: member.node,
            epoch: member.epoch,
        });
        if let Err(error) = core.proposer.propose(RequestId(rand::random()), down).await {
            tracing::debug!(%error, node, "a silent member could not be marked down");
        }
    }
}

fn is_silent(core: &Core, node: u64, led_since: Instant) -> bool {
    let heard = core.last_contact.last(node);
    // A fresh leader may have had no contact so far: it gives everyone a lease.
    let silent = heard.unwrap_or(led_since).max(led_since).elapsed();
    let unheard = heard.is_none_or(|heard| heard.elapsed() > REFUSED_TOLERANCE);
    let refused = core.links.state(node).refused_since;
    silent > core.config.lease
        || (unheard && refused.is_some_and(|since| since.elapsed() > REFUSED_TOLERANCE))
}

async fn tick(core: &Core, ticked: &mut Instant) {
    let now_ms = core.view.now_ms();
    let due = core
        .view
        .state()
        .next_expiry()
        .is_some_and(|due| due <= now_ms);
    if ticked.elapsed() >= TIME_ENTRY_INTERVAL && (due || core.is_behind_the_clocks()) {
        *ticked = Instant::now();
        let _ = core
            .proposer
            .propose(RequestId(rand::random()), Command::Tick)
            .await;
    }
}
