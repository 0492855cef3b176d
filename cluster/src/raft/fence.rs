//! When a member that stays silent was last able to prove that its view is current.
//!
//! For a revision R and a silent member X, asked of the leader N. N must have applied R. Then every proof that X
//! can have without enforcing R came
//!
//! * through N: then N noted X's question before it began the round. A question that is noted after N has
//!   looked begins a round after R was applied, whose index covers R; or
//! * through a leader before N: bounded by what the voters kept ([`super::proofs`]); or
//! * through a leader after N: it has R in its log, because R was committed before, so its indexes cover R.
//!
//! X's lease therefore ends a lease after the later of the two instants, whenever N learned of X's death. After a
//! change of leader that is the moment the old one fell silent, instead of the end of the election.
//!
//! X may be a learner: it asks for proofs, and helps with none. Voters and majorities are those at N's election:
//! a group becomes final only after a majority of it has stored it, and storing is noted as well. N keeps them
//! while its own log changes who follows ([`note_electors`]).
//!
//! N says nothing, and the barrier waits as if it had not asked, when its own log has changed who votes since it
//! was elected (majorities of different groups need not meet), when that group is a joint one, when it has heard
//! too few voters, and about itself.
//!
//! Ages travel, not instants: an age is counted back from when the answer arrived, shortened by the drift that
//! two clocks may have. A message on its way, a pause or a suspended machine makes the bound later, never earlier.

use super::core::{Core, DRIFT};
use super::engine::{LeaderId, Peer};
use super::lock;
use super::proofs::{self, LeaderContacts};
use super::rpc::{PeerRequest, PeerResponse};
use crate::access::{NodeId, Revision};
use futures_util::future::join_all;
use openraft::RaftMetrics;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// How long a member may take to enforce before anybody asks after its proofs, and pause between questions.
const QUESTION_INTERVAL: Duration = Duration::from_millis(100);
/// How long a voter is waited for.
const VOTER_TIMEOUT: Duration = Duration::from_millis(250);
/// How long the leader is.
const LEADER_TIMEOUT: Duration = Duration::from_millis(500);

/// What this node has helped to prove, and heard of the others.
#[derive(Debug)]
pub(crate) struct QuorumContacts {
    began: Instant,
    helped: Mutex<LeaderContacts>,
    /// When each node last asked this one for an index.
    asked: Mutex<BTreeMap<u64, Instant>>,
    /// As which leader this node was elected by which voters.
    electors: Mutex<(LeaderId, BTreeSet<u64>)>,
    /// As which leader this node asked the voters, and the instants they named: final for that leader.
    voter_reports: Mutex<(LeaderId, BTreeMap<u64, Instant>)>,
}

impl QuorumContacts {
    /// Of a process that has just started, and of which nobody has been asked or told yet.
    pub(crate) fn new() -> Self {
        let began = Instant::now();
        Self {
            began,
            helped: Mutex::new(LeaderContacts::new(began)),
            asked: Mutex::default(),
            electors: Mutex::default(),
            voter_reports: Mutex::default(),
        }
    }

    /// A request of `leader` has arrived. To be called before the engine gets it.
    pub(super) fn help(&self, leader: LeaderId) {
        // Inside the lock, so that nobody reads between the clock and the note.
        let mut helped = lock(&self.helped);
        helped.note(leader, Instant::now());
    }

    /// `node` asks for an index. To be called before the round begins.
    pub(super) fn ask(&self, node: u64) {
        let mut asked = lock(&self.asked);
        asked.insert(node, Instant::now());
    }

    fn asked(&self, node: u64) -> Instant {
        lock(&self.asked).get(&node).copied().unwrap_or(self.began)
    }
}

/// Ends when `node`'s lease has provably ended unless it has enforced `revision`. Perhaps never.
pub(super) async fn passed(core: &Core, node: NodeId, revision: Revision) {
    loop {
        tokio::time::sleep(QUESTION_INTERVAL).await;
        if let Some(latest) = ask_leader(core, node.0, revision).await {
            tokio::time::sleep_until(latest + core.fence_window()).await;
            return;
        }
    }
}

async fn ask_leader(core: &Core, node: u64, revision: Revision) -> Option<Instant> {
    let leader = core.leader()?;
    if leader == core.me {
        return latest_proof(core, node, revision).await;
    }
    let ask = PeerRequest::LatestProof { node, revision };
    match core.ask(leader, &ask, LEADER_TIMEOUT).await {
        Ok(PeerResponse::LatestProof(Some(age_us))) => ago(age_us),
        Ok(_) | Err(_) => None,
    }
}

/// As the leader: no proof of `node` that does not cover `revision` began later.
pub(super) async fn latest_proof(core: &Core, node: u64, revision: Revision) -> Option<Instant> {
    let metrics = core.metrics();
    let leader = metrics.vote.leader_id;
    // The vote is the stored one, the term the one acted upon.
    let leads = metrics.current_leader == Some(core.me)
        && metrics.vote.committed
        && (leader.term, leader.node_id) == (metrics.current_term, core.me);
    let applied = metrics.last_applied.is_some_and(|at| at.index >= revision);
    let voters = electors(core, &metrics)?;
    if !leads || !applied || node == core.me {
        return None;
    }
    // From here on every question of its begins a round that covers the revision.
    let asked = core.contacts.asked(node);
    join_all(voters.iter().map(|voter| learn(core, leader, *voter))).await;
    let voter_reports = lock(&core.contacts.voter_reports);
    if voter_reports.0 != leader {
        return None;
    }
    let helped = voter_reports
        .1
        .iter()
        .filter(|(voter, _)| voters.contains(voter));
    let latest = proofs::latest(helped.map(|(_, at)| *at).collect(), voters.len());
    latest.map(|latest| latest.max(asked))
}

/// Who voted when the present leader was elected: in a group that its own log has not touched, or of which this
/// node noted the same voters before it was touched.
fn electors(core: &Core, metrics: &RaftMetrics<u64, Peer>) -> Option<BTreeSet<u64>> {
    let leader = metrics.vote.leader_id;
    let group = &metrics.membership_config;
    let [voters] = group.membership().get_joint_config().as_slice() else {
        return None;
    };
    let untouched = group.log_id().is_none_or(|at| at.leader_id < leader);
    let noted = || *lock(&core.contacts.electors) == (leader, voters.clone());
    (untouched || noted()).then(|| voters.clone())
}

/// As the leader, now and then: keeps who voted at its election.
pub(super) fn note_electors(core: &Core, metrics: &RaftMetrics<u64, Peer>) {
    let leader = metrics.vote.leader_id;
    if leader.node_id == core.me
        && lock(&core.contacts.electors).0 < leader
        && let Some(voters) = electors(core, metrics)
    {
        *lock(&core.contacts.electors) = (leader, voters);
    }
}

/// Asks a voter, unless it has answered this leader before.
async fn learn(core: &Core, leader: LeaderId, voter: u64) {
    {
        let voter_reports = lock(&core.contacts.voter_reports);
        if voter_reports.0 == leader && voter_reports.1.contains_key(&voter) {
            return;
        }
    }
    let at = if voter == core.me {
        Some(lock(&core.contacts.helped).before(leader))
    } else {
        let ask = PeerRequest::HelpedBefore {
            term: leader.term,
            node: leader.node_id,
        };
        match core.ask(voter, &ask, VOTER_TIMEOUT).await {
            Ok(PeerResponse::HelpedBefore(Some(age_us))) => ago(age_us),
            Ok(_) | Err(_) => None,
        }
    };
    let mut voter_reports = lock(&core.contacts.voter_reports);
    if voter_reports.0 < leader {
        *voter_reports = (leader, BTreeMap::new());
    }
    if let Some(at) = at.filter(|_| voter_reports.0 == leader) {
        voter_reports.1.insert(voter, at);
    }
}

/// As a voter: how long ago a leader before this one last asked for help, microseconds; none before this node has
/// taken its vote, because it might help another one yet.
pub(super) fn helped_before(core: &Core, leader: LeaderId) -> Option<u64> {
    // The vote first: a request that arrives later is refused, one that arrived earlier has been noted.
    let bound = core.metrics().vote.leader_id >= leader;
    bound.then(|| age_us(lock(&core.contacts.helped).before(leader)))
}

/// Rounded down: too young is safe.
pub(super) fn age_us(at: Instant) -> u64 {
    u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// The latest instant on this clock that was so long ago on another one; none before this clock began.
fn ago(age_us: u64) -> Option<Instant> {
    let age = Duration::from_micros(age_us);
    Instant::now().checked_sub(age.saturating_sub(age.mul_f64(DRIFT)))
}
