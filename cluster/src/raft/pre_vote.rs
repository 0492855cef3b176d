//! A pre-vote, for an engine that has none: a node asks a majority before it stands for election.
//!
//! A node that comes back from isolation with an expired timer would depose a healthy leader. So a node may
//! start an election only while it hears its leader (then it will not), or while a majority of voters,
//! itself included, has said for a whole shortest election time-out that it hears none either. It can
//! cost time, never safety.

use super::core::Core;
use super::lock;
use super::rpc::{PeerRequest, PeerResponse};
use futures_util::future::join_all;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// How often is looked while no leader is heard; half as often while one is.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long it is normal that this node may not stand for election.
const WARN_AFTER: Duration = Duration::from_secs(10);
/// How often it is said again that it still may not.
const WARN_INTERVAL: Duration = crate::seldom::PAUSE;

/// When this node last heard a leader.
#[derive(Debug, Default)]
pub(crate) struct PreVote {
    heard: Mutex<Option<Instant>>,
}

impl PreVote {
    /// A leader has replicated to this node.
    pub(super) fn hear_leader(&self) {
        *lock(&self.heard) = Some(Instant::now());
    }

    fn heard_within(&self, time: Duration) -> bool {
        lock(&self.heard).is_some_and(|at| at.elapsed() < time)
    }
}

impl Core {
    /// Whether this node would let another start an election: it hears no leader and is none that a
    /// majority has lately confirmed.
    pub(super) fn may_elect(&self) -> bool {
        let patience = self.config.election.0;
        let metrics = self.metrics();
        let confirmed = metrics.current_leader == Some(self.me)
            && metrics
                .millis_since_quorum_ack
                .is_some_and(|ms| Duration::from_millis(ms) < patience);
        !confirmed && !self.pre_vote.heard_within(patience)
    }
}

/// Permits and forbids elections of this node, for ever.
pub(super) async fn run(core: Arc<Core>) {
    let mut willing_since: Option<Instant> = None;
    let mut shut_since: Option<Instant> = None;
    let mut alarmed: Option<Instant> = None;
    loop {
        let led = !core.may_elect();
        let open = if led {
            willing_since = None;
            true
        } else if is_majority_willing(&core).await {
            let since = *willing_since.get_or_insert_with(Instant::now);
            core.voters().len() <= 1 || since.elapsed() >= core.config.election.0
        } else {
            willing_since = None;
            false
        };
        // Whoever stands back neither holds on to leading nor asks for it, as long as somebody else can.
        let defers_leadership = core.defers_leadership();
        core.raft.runtime_config().elect(open && !defers_leadership);
        core.raft.runtime_config().heartbeat(!defers_leadership);
        match open {
            true => shut_since = None,
            false => {
                let since = *shut_since.get_or_insert_with(Instant::now);
                let due = alarmed.is_none_or(|at| at.elapsed() > WARN_INTERVAL);
                if since.elapsed() > WARN_AFTER && due {
                    alarmed = Some(Instant::now());
                    tracing::warn!(
                        "no leader is heard, and no majority that would elect one is reachable"
                    );
                }
            }
        }
        core.ticks
            .next(if led { INTERVAL * 2 } else { INTERVAL })
            .await;
    }
}

async fn is_majority_willing(core: &Core) -> bool {
    let voters = core.voters();
    if !voters.contains(&core.me) {
        return false;
    }
    let others = voters.iter().filter(|node| **node != core.me);
    let asked = join_all(
        others.map(|node| core.ask(*node, &PeerRequest::MayElect, core.config.election.0)),
    )
    .await;
    let willing = asked
        .iter()
        .filter(|answer| matches!(answer, Ok(PeerResponse::MayElect(true))))
        .count();
    (willing + 1) * 2 > voters.len()
}
