//! Group commit: whatever was proposed during the last fsync becomes the next log entry.
//!
//! openraft writes and syncs one entry at a time, so the entry has to be big: up to 256 operations. Those
//! that take rights away are drained first. A follower batches the same way and hands its batches to the
//! leader, whose own proposer merges them with what else it has.
//!
//! **Why retrying is safe:** every operation carries its request id, and the machine applies an id once.

use super::core::Core;
use super::engine::{Answers, Payload};
use super::machine::{self, MAX_OP};
use super::rpc::{PeerRequest, PeerResponse, ProposalOutcome};
use crate::access::{Batch, Command, Millis, Op, Reply};
use crate::codec;
use crate::contract::{Committed, ProposeError, RequestId};
use crate::net::AskError;
use crate::store::DiskSpace;
use crate::task;
use openraft::error::RaftError;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

/// Operations in one entry.
const BATCH_OPS: usize = 256;
/// Bytes in one entry.
const BATCH_BYTES: usize = 48 * 1024;
/// Entries being proposed at once: one syncing here, one on its way to a majority.
const IN_FLIGHT: usize = 2;
/// Operations that wait.
const QUEUE_CAPACITY: usize = 16 * 1024;
/// Pause before trying again without a leader.
const RETRY_DELAY: Duration = Duration::from_millis(25);

/// One waiting operation.
pub(super) struct Waiting {
    op: Op,
    bytes: usize,
    deadline: Instant,
    /// Handed over at least once, so that its outcome may be unknown.
    tried: bool,
    /// Came from a peer: not forwarded again.
    forwarded: bool,
    reply: oneshot::Sender<ProposalOutcome>,
}

/// Where operations are put.
#[derive(Clone, Debug)]
pub(crate) struct Proposer {
    urgent: mpsc::Sender<Waiting>,
    normal: mpsc::Sender<Waiting>,
    timeout: Duration,
}

/// Where they are taken from.
pub(super) struct Queues {
    urgent: mpsc::Receiver<Waiting>,
    normal: mpsc::Receiver<Waiting>,
    /// Did not fit into the last batch.
    left_over: Option<Waiting>,
}

impl Proposer {
    /// The two ends.
    pub(super) fn new(timeout: Duration) -> (Self, Queues) {
        let (urgent, urgent_queue) = mpsc::channel(QUEUE_CAPACITY);
        let (normal, normal_queue) = mpsc::channel(QUEUE_CAPACITY);
        let queues = Queues {
            urgent: urgent_queue,
            normal: normal_queue,
            left_over: None,
        };
        (
            Self {
                urgent,
                normal,
                timeout,
            },
            queues,
        )
    }

    /// Proposes and waits. Needs no runtime of the caller.
    pub(crate) async fn propose(
        &self,
        request: RequestId,
        command: Command,
    ) -> Result<Committed, ProposeError> {
        let op = Op {
            request: request.0,
            command,
        };
        let outcome = self.put(op, self.timeout, false)?.await;
        match outcome {
            Ok(ProposalOutcome::Committed {
                reply: Reply::Rejected(why),
                ..
            }) => Err(ProposeError::Rejected(why)),
            Ok(ProposalOutcome::Committed {
                revision,
                time_ms,
                reply,
            }) => Ok(Committed {
                revision,
                time_ms,
                reply,
            }),
            Ok(ProposalOutcome::NotProposed) => {
                Err(ProposeError::NoQuorum("no leader was found in time".into()))
            }
            Ok(ProposalOutcome::Unknown) => Err(ProposeError::OutcomeUnknown),
            Err(_) => Err(ProposeError::Stopping),
        }
    }

    /// Queues an operation.
    pub(super) fn put(
        &self,
        op: Op,
        wait: Duration,
        forwarded: bool,
    ) -> Result<oneshot::Receiver<ProposalOutcome>, ProposeError> {
        let bytes = codec::size(&op)
            .filter(|bytes| *bytes <= MAX_OP)
            .ok_or(ProposeError::TooLarge { limit: MAX_OP })?;
        let queue = match machine::is_urgent(&op.command) {
            true => &self.urgent,
            false => &self.normal,
        };
        let (reply, outcome) = oneshot::channel();
        let waiting = Waiting {
            op,
            bytes,
            deadline: Instant::now() + wait,
            tried: false,
            forwarded,
            reply,
        };
        queue.try_send(waiting).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ProposeError::Busy,
            mpsc::error::TrySendError::Closed(_) => ProposeError::Stopping,
        })?;
        Ok(outcome)
    }
}

impl Queues {
    /// The next batch: everything that waits, the urgent first, within the bounds of an entry.
    async fn next(&mut self) -> Option<Vec<Waiting>> {
        let first = match self.left_over.take() {
            Some(carried) => carried,
            None => tokio::select! {
                biased;
                Some(waiting) = self.urgent.recv() => waiting,
                Some(waiting) = self.normal.recv() => waiting,
                else => return None,
            },
        };
        let mut bytes = first.bytes;
        let mut batch = vec![first];
        while batch.len() < BATCH_OPS {
            let Ok(waiting) = self.urgent.try_recv().or_else(|_| self.normal.try_recv()) else {
                break;
            };
            bytes += waiting.bytes;
            if bytes > BATCH_BYTES {
                self.left_over = Some(waiting);
                break;
            }
            batch.push(waiting);
        }
        Some(batch)
    }
}

/// Proposes batches until the node stops.
pub(super) async fn run(core: Arc<Core>, mut queues: Queues) {
    let permits = Arc::new(Semaphore::new(IN_FLIGHT));
    let stamp = Arc::new(AtomicU64::new(0));
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
        let Some(batch) = queues.next().await else {
            return;
        };
        let (core, stamp) = (Arc::clone(&core), Arc::clone(&stamp));
        task::spawn(async move {
            drive(&core, &stamp, batch).await;
            drop(permit);
        });
    }
}

/// Tries until every operation has its answer or has run out of time.
async fn drive(core: &Core, stamp: &AtomicU64, mut batch: Vec<Waiting>) {
    loop {
        batch = expire(batch);
        if batch.is_empty() {
            return;
        }
        if core.failure.borrow().is_some() {
            return;
        }
        let leader = core.leader();
        batch = match leader {
            // Led because nobody else can; what is written must not be what fills the disk.
            Some(leader) if leader == core.me && core.health.room() == DiskSpace::Full => {
                give_back(batch)
            }
            Some(leader) if leader == core.me => match core.begin_writing() {
                Some(_writing) => write(core, stamp, batch).await,
                None => give_back(batch),
            },
            Some(leader) => forward(core, leader, give_back(batch)).await,
            None => batch,
        };
        if batch.is_empty() {
            return;
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

/// Answers those whose time is up.
fn expire(batch: Vec<Waiting>) -> Vec<Waiting> {
    let now = Instant::now();
    let (late, batch): (Vec<_>, Vec<_>) = batch
        .into_iter()
        .partition(|waiting| waiting.deadline <= now);
    for waiting in late {
        let outcome = match waiting.tried {
            true => ProposalOutcome::Unknown,
            false => ProposalOutcome::NotProposed,
        };
        let _ = waiting.reply.send(outcome);
    }
    batch
}

/// Operations of peers are not forwarded: their node looks for the leader itself.
fn give_back(batch: Vec<Waiting>) -> Vec<Waiting> {
    let (foreign, own): (Vec<_>, Vec<_>) = batch.into_iter().partition(|waiting| waiting.forwarded);
    for waiting in foreign {
        let outcome = match waiting.tried {
            true => ProposalOutcome::Unknown,
            false => ProposalOutcome::NotProposed,
        };
        let _ = waiting.reply.send(outcome);
    }
    own
}

/// Time left for the batch as a whole.
fn left(batch: &[Waiting]) -> Duration {
    let deadline = batch.iter().map(|waiting| waiting.deadline).max();
    deadline.map_or(Duration::ZERO, |deadline| {
        deadline.saturating_duration_since(Instant::now())
    })
}

/// Puts the batch into the log of this node; returns what has to be tried again.
async fn write(core: &Core, stamp: &AtomicU64, mut batch: Vec<Waiting>) -> Vec<Waiting> {
    let encoded = machine::encode(&Batch {
        time_ms: next_stamp(core, stamp).await,
        ops: batch.iter().map(|waiting| waiting.op.clone()).collect(),
    });
    let payload: Payload = match encoded {
        Ok(payload) => payload,
        Err(error) => {
            tracing::error!(%error, "a batch could not be encoded");
            return Vec::new();
        }
    };
    let written = tokio::select! {
        written = core.raft.client_write(payload) => Some(written),
        () = tokio::time::sleep(left(&batch)) => None,
        () = core.leader_changes(core.me) => None,
    };
    match written {
        Some(Ok(response)) => answer(batch, response.data),
        Some(Err(RaftError::Fatal(error))) => {
            core.fail(format!("the consensus engine has stopped: {error}"));
            Vec::new()
        }
        // Being sent elsewhere most likely means "not in the log", but the engine does not promise it.
        Some(Err(RaftError::APIError(_))) | None => {
            batch.iter_mut().for_each(|waiting| waiting.tried = true);
            batch
        }
    }
}

fn answer(batch: Vec<Waiting>, answers: Answers) -> Vec<Waiting> {
    for (waiting, (revision, reply)) in batch.into_iter().zip(answers.outcomes) {
        let _ = waiting.reply.send(ProposalOutcome::Committed {
            revision,
            time_ms: answers.time_ms,
            reply,
        });
    }
    Vec::new()
}

/// Hands the batch to the leader; returns what has to be tried again.
async fn forward(core: &Core, leader: u64, mut batch: Vec<Waiting>) -> Vec<Waiting> {
    if batch.is_empty() {
        return batch;
    }
    let wait = left(&batch);
    let ask = PeerRequest::Propose {
        ops: batch.iter().map(|waiting| waiting.op.clone()).collect(),
        wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
    };
    let asked = tokio::select! {
        asked = core.ask(leader, &ask, wait) => asked,
        () = core.leader_changes(leader) => Err(AskError::Lost),
    };
    match asked {
        Ok(PeerResponse::Proposed(Ok(fates))) if fates.len() == batch.len() => {
            let mut again = Vec::new();
            for (mut waiting, outcome) in batch.into_iter().zip(fates) {
                match outcome {
                    ProposalOutcome::Committed { .. } => {
                        let _ = waiting.reply.send(outcome);
                    }
                    ProposalOutcome::NotProposed => again.push(waiting),
                    ProposalOutcome::Unknown => {
                        waiting.tried = true;
                        again.push(waiting);
                    }
                }
            }
            again
        }
        Ok(PeerResponse::Proposed(Err(_))) | Err(AskError::NotSent) => batch,
        Ok(_) | Err(AskError::Lost | AskError::TimedOut) => {
            batch.iter_mut().for_each(|waiting| waiting.tried = true);
            batch
        }
    }
}

/// The leader's time for the next entry, never behind the last stamp; see [`super::clock`].
async fn next_stamp(core: &Core, last: &AtomicU64) -> Millis {
    let stamp = core.stamp(last.load(Ordering::Acquire)).await;
    last.fetch_max(stamp, Ordering::AcqRel).max(stamp)
}
