//! Read index: an index that covers everything any node had acknowledged when the question was asked.
//!
//! The leader confirms itself with a majority for it. That costs a round of messages, so questions that
//! arrive during a round share the next one, on the asking node and again on the leader.

use super::core::Core;
use super::rpc::{PeerRequest, PeerResponse};
use crate::access::Revision;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Questions that wait for the next round.
const QUEUE_CAPACITY: usize = 4096;
/// How long one round may take.
const ROUND_TIMEOUT: Duration = Duration::from_millis(1000);

/// Pause after a round without an answer.
const RETRY_DELAY: Duration = Duration::from_millis(25);

/// One that waits.
pub(super) struct Question {
    /// It came from a peer: answered by this node as the leader or not at all, because only the leader that a
    /// member asks itself can say when it did (see [`super::fence`]).
    here: bool,
    reply: oneshot::Sender<Option<Revision>>,
}

/// Where questions are taken from.
pub(super) type Questions = mpsc::Receiver<Question>;

/// Where questions are put.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    questions: mpsc::Sender<Question>,
}

impl Reader {
    /// The two ends.
    pub(super) fn new() -> (Self, Questions) {
        let (questions, queue) = mpsc::channel(QUEUE_CAPACITY);
        (Self { questions }, queue)
    }

    /// One round; none if no leader confirmed itself in it.
    pub(crate) async fn index(&self) -> Option<Revision> {
        self.put(false).await
    }

    /// The same; none as well if it was not this node that confirmed itself.
    pub(super) async fn index_here(&self) -> Option<Revision> {
        self.put(true).await
    }

    async fn put(&self, here: bool) -> Option<Revision> {
        let (reply, answer) = oneshot::channel();
        self.questions.send(Question { here, reply }).await.ok()?;
        answer.await.ok().flatten()
    }
}

/// Answers questions until the node stops.
pub(super) async fn run(core: Arc<Core>, mut queue: Questions) {
    let mut waiting = Vec::new();
    while queue.recv_many(&mut waiting, QUEUE_CAPACITY).await > 0 {
        let leader = core.leader();
        let index = match leader {
            Some(leader) => tokio::time::timeout(ROUND_TIMEOUT, round(&core, leader)).await,
            None => Ok(None),
        };
        let index = index.ok().flatten();
        let by_me = leader == Some(core.me);
        for question in waiting.drain(..) {
            let _ = question
                .reply
                .send(index.filter(|_| by_me || !question.here));
        }
    }
}

async fn round(core: &Core, leader: u64) -> Option<Revision> {
    if leader == core.me {
        // A round would be heard as a sign of leading.
        return match core.defers_leadership() {
            true => None,
            false => local(core).await,
        };
    }
    tokio::select! {
        answer = core.ask(leader, &PeerRequest::ReadIndex, ROUND_TIMEOUT) => match answer {
            Ok(PeerResponse::ReadIndex(Ok(index))) => Some(index),
            Ok(_) | Err(_) => None,
        },
        () = core.leader_changes(leader) => None,
    }
}

/// As the leader. A deposed one finds no majority and says so.
async fn local(core: &Core) -> Option<Revision> {
    // A leader is in every majority that confirms it. Metrics are never ahead of the engine: too low a vote is safe.
    core.contacts.help(core.metrics().vote.leader_id);
    match core.raft.get_read_log_id().await {
        Ok((read, _)) => read.map(|id| id.index),
        Err(error) => {
            tracing::debug!(%error, "no read index");
            None
        }
    }
}

/// Waits until everything acknowledged anywhere before the call is applied here.
pub(crate) async fn catch_up(core: &Core) -> Revision {
    loop {
        if let Some(index) = core.reader.index().await {
            core.view.wait_applied(index).await;
            return core.view.applied();
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}
