//! [`Cluster`]: the broker's one handle on the access plane.
//!
//! Everything behind it runs on threads of its own: two for consensus and peers, one that makes writes
//! durable, one that owns the others. The handle may be used from any thread and any runtime.
//!
//! **Must never know:** what the broker does with effects; how requests arrive.

use crate::access::{self, Command, Millis, NodeId, Revision, State};
use crate::contract::{
    BarrierMode, BarrierReport, ClusterConfig, ClusterStatus, Committed, EffectBatch, Freshness,
    JoinError, NodeChange, ProposeError, ReadError, RequestId, StartError,
};
use crate::net::{MessageLink, Plane};
use crate::raft::{self, Core};
use crate::store::DiskSpace;
use crate::task;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Threads of the consensus runtime, where there are cores for them: on a small machine two of them mostly wake each other.
const THREADS: usize = 2;
/// Cores of a machine that is not small.
const CORES: usize = 4;
/// Longest wait for its tasks at the end.
const LAST_ORDERS: Duration = Duration::from_secs(5);

/// The access plane of one node. Clones share it; dropping the last one shuts the node down.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    runtime: tokio::runtime::Handle,
    messages: Mutex<Option<mpsc::Receiver<MessageLink>>>,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    stopped: watch::Receiver<bool>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("node", &self.inner.core.me)
            .finish_non_exhaustive()
    }
}

type Begun = (
    Arc<Core>,
    mpsc::Receiver<MessageLink>,
    tokio::runtime::Handle,
);

fn threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < CORES { 1 } else { THREADS }
}

/// The thread that owns the runtime: a runtime must not be dropped inside another one.
fn own(
    config: ClusterConfig,
    begun: &std::sync::mpsc::Sender<Result<Begun, StartError>>,
    stop: oneshot::Receiver<()>,
    stopped: &watch::Sender<bool>,
) {
    let built = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads())
        .thread_name("gatecast-raft")
        .enable_all()
        .build();
    let runtime = match built {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = begun.send(Err(StartError::Config(format!("no threads: {error}"))));
            return;
        }
    };
    match runtime.block_on(raft::start(config)) {
        Err(error) => {
            runtime.shutdown_timeout(LAST_ORDERS);
            let _ = begun.send(Err(error));
        }
        Ok((raft::Started { core, messages }, sync_thread)) => {
            let (raft, stopping) = (core.raft.clone(), Arc::downgrade(&core));
            let _ = begun.send(Ok((core, messages, runtime.handle().clone())));
            let _ = runtime.block_on(stop);
            if let Some(core) = stopping.upgrade() {
                core.stop();
            }
            let _ = runtime.block_on(raft.shutdown());
            runtime.shutdown_timeout(LAST_ORDERS);
            let _ = sync_thread.join();
        }
    }
    stopped.send_replace(true);
}

impl Cluster {
    /// Opens the store, replays the log, starts Raft on its own threads, and goes on forming or joining in
    /// the background; wait for [`Self::ready`] before clients are let in. Blocks while the store is read.
    ///
    /// # Errors
    /// When the store, the port or the configuration does not allow it.
    pub fn start(config: ClusterConfig) -> Result<Self, StartError> {
        let (begun_tx, begun) = std::sync::mpsc::channel();
        let (stop, stop_rx) = oneshot::channel();
        let (stopped_tx, stopped) = watch::channel(false);
        std::thread::Builder::new()
            .name("gatecast-cluster".into())
            .spawn(move || own(config, &begun_tx, stop_rx, &stopped_tx))
            .map_err(|error| StartError::Config(format!("no thread: {error}")))?;
        let (core, messages, runtime) = begun
            .recv()
            .unwrap_or_else(|_| Err(StartError::Config("the start was interrupted".into())))?;
        Ok(Self {
            inner: Arc::new(Inner {
                core,
                runtime,
                messages: Mutex::new(Some(messages)),
                stop: Mutex::new(Some(stop)),
                stopped,
            }),
        })
    }

    /// Over a node that runs on the current runtime: for simulations. Whoever owns the runtime ends it.
    #[cfg(test)]
    pub(crate) fn over(started: raft::Started) -> Self {
        Self {
            inner: Arc::new(Inner {
                core: started.core,
                runtime: tokio::runtime::Handle::current(),
                messages: Mutex::new(Some(started.messages)),
                stop: Mutex::default(),
                stopped: watch::Sender::new(false).subscribe(),
            }),
        }
    }

    fn core(&self) -> &Arc<Core> {
        &self.inner.core
    }

    /// Runs `work` on the cluster's own threads; none if the node stops before it ends.
    async fn there<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        task::spawn_on(&self.inner.runtime, work).await.ok()
    }

    /// Resolves once a quorum-checked read index has been applied and this node is an `Up` member. Does not
    /// resolve on a node that may not take part; see [`ClusterStatus::failure`] and [`Self::failed`].
    pub async fn ready(&self) {
        self.core().lease.ready().await;
    }

    /// Resolves with the reason when this node has to stop taking part for good: its store failed, its id
    /// belongs to another disk, it was removed.
    pub async fn failed(&self) -> String {
        let mut failure = self.core().failure.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// The lease: how old a proven view may be while its node serves protected data.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.core().config.lease
    }

    /// The number of this node in the cluster.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId(self.core().me)
    }

    /// The epoch under which the cluster has agreed that this start of this node is a member, and every change of it;
    /// 0 = not yet.
    #[must_use]
    pub fn epochs(&self) -> watch::Receiver<u64> {
        self.core().lease.epochs()
    }

    /// The current view. Lock-free; a clone is a frozen state.
    #[must_use]
    pub fn view(&self) -> Arc<State> {
        self.core().view.state()
    }

    /// Digest of the current view: equal on all nodes at the same revision.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        access::fingerprint(&self.view())
    }

    /// Cluster time: last stamp plus what has passed here since, by the monotonic clock. Never runs backwards.
    #[must_use]
    pub fn now_ms(&self) -> Millis {
        self.core().view.now_ms()
    }

    /// As [`Self::now_ms`], for an instant that was read just now: who needs the machine's clock as well reads it once.
    #[must_use]
    pub fn ms_at(&self, now: tokio::time::Instant) -> Millis {
        self.core().view.ms_at(now)
    }

    /// How fresh the view provably is.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.core().lease.freshness()
    }

    /// Proposes a command through whichever node leads. Concurrent proposals share log entries and fsyncs.
    /// Without a leader it goes on trying for `propose_timeout`, so an election is waited out.
    ///
    /// # Errors
    /// See [`ProposeError`]; only [`ProposeError::OutcomeUnknown`] leaves the outcome open.
    pub async fn propose(
        &self,
        request: RequestId,
        command: Command,
    ) -> Result<Committed, ProposeError> {
        if self.core().failure.borrow().is_some() {
            return Err(ProposeError::Stopping);
        }
        if self.core().health.space() != DiskSpace::Enough {
            return Err(ProposeError::DiskFull);
        }
        self.core().proposer.propose(request, command).await
    }

    /// Waits until this node has applied everything that any node had acknowledged when the call began
    /// (quorum-checked read index; concurrent callers share one). Returns the revision reached.
    ///
    /// # Errors
    /// When no majority confirms within `propose_timeout`.
    pub async fn catch_up(&self) -> Result<Revision, ReadError> {
        let core = Arc::clone(self.core());
        self.there(async move {
            let timeout = core.config.propose_timeout;
            tokio::time::timeout(timeout, raft::catch_up(&core))
                .await
                .ok()
        })
        .await
        .flatten()
        .ok_or(ReadError::NoQuorum)
    }

    /// Waits until this node has applied `revision`.
    ///
    /// # Errors
    /// When it is not reached within `timeout`.
    pub async fn at_least(&self, revision: Revision, timeout: Duration) -> Result<(), ReadError> {
        let core = Arc::clone(self.core());
        if core.view.applied() >= revision {
            return Ok(());
        }
        let waiting = Arc::clone(&core);
        self.there(async move {
            tokio::time::timeout(timeout, waiting.view.wait_applied(revision))
                .await
                .ok()
        })
        .await
        .flatten()
        .ok_or_else(|| ReadError::Behind {
            wanted: revision,
            at: core.view.applied(),
        })
    }

    /// Waits until every member that may still be serving has enforced `revision`, which must be committed.
    ///
    /// A member that does not confirm is *fenced* once lease + 500 ppm + 50 ms have passed since the last
    /// moment at which it can have proved its view without that revision; that is before the call began, and
    /// where it is not known the call's beginning counts. A member that is Down (or removed) is fenced at the
    /// latest once as much has passed since this node saw that. Returns within that time. In strict mode no
    /// lease counts and both are *pending*.
    pub async fn barrier(&self, revision: Revision, mode: BarrierMode) -> BarrierReport {
        let core = Arc::clone(self.core());
        self.there(async move { raft::barrier(&core, revision, mode).await })
            .await
            .unwrap_or_default()
    }

    /// Effects in log order, one receiver per node: the broker's enforcer takes it once at start. Until then,
    /// and if nobody ever does, what is applied counts as enforced. Dropping the receiver does not bring that
    /// back: nothing is enforced from then on, and the node's lease runs out.
    #[must_use]
    pub fn take_effects(&self) -> Option<mpsc::UnboundedReceiver<EffectBatch>> {
        self.core().view.take_effects()
    }

    /// The broker says: everything up to `revision` is carried out on this node's connections; `closed`
    /// of them were ended for exactly this revision.
    pub fn enforced(&self, revision: Revision, closed: u64) {
        self.core().view.enforce(revision, closed);
    }

    /// Incoming message-plane links; the broker's peers room takes the receiver once.
    #[must_use]
    pub fn take_message_links(&self) -> Option<mpsc::Receiver<MessageLink>> {
        locked(&self.inner.messages).take()
    }

    /// Opens a message-plane link to a member.
    ///
    /// # Errors
    /// When the peer cannot be reached or does not prove that it belongs to the cluster.
    pub async fn dial_message_link(&self, node: NodeId) -> io::Result<MessageLink> {
        let core = self.core();
        let peer = core
            .peers()
            .remove(&node.0)
            .ok_or(io::ErrorKind::NotFound)?;
        let (_, stream) = core.links.dial(&peer.addr, node.0, Plane::Message).await?;
        Ok(MessageLink::new(node, stream))
    }

    /// What this node sees of the cluster.
    #[must_use]
    pub fn status(&self) -> ClusterStatus {
        raft::status(self.core())
    }

    /// The same with what only the leader knows, which is asked now: how far each node has got. A leader that does not
    /// answer, or that no majority follows any more, is shown as the last one and not as the leader.
    pub async fn survey(&self) -> ClusterStatus {
        let core = Arc::clone(self.core());
        let asked = self.there(async move { raft::survey(&core).await }).await;
        asked.unwrap_or_else(|| self.status())
    }

    /// A backup of everything that was acknowledged anywhere when the call began. It holds secrets.
    ///
    /// # Errors
    /// When no majority confirms that this node's view is current.
    pub async fn backup(&self) -> Result<Vec<u8>, ReadError> {
        self.catch_up().await?;
        let core = Arc::clone(self.core());
        let made = self.inner.runtime.spawn_blocking(move || {
            let cluster = format!("{:032x}", core.register().cluster).into();
            let (state, now_ms) = (core.view.state(), core.view.now_ms());
            raft::write_backup(&state, cluster, NodeId(core.me), now_ms).ok()
        });
        made.await.ok().flatten().ok_or(ReadError::NoQuorum)
    }

    /// Changes who follows and who votes; doing it twice is harmless. A node that is added must be listening
    /// (started with [`crate::FirstStart::Join`]); the number of one that is removed is never used again. Unless
    /// `force` is set, a change is refused that would leave voters of which no majority answers.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn change_nodes(&self, change: NodeChange, force: bool) -> Result<(), JoinError> {
        let core = Arc::clone(self.core());
        self.there(async move { raft::change_nodes(&core, change, force).await })
            .await
            .unwrap_or_else(|| Err(JoinError::NoQuorum("this node is stopping".into())))
    }

    /// Marks a node as leaving: it keeps its clients until they have gone, gets no new channels, and leaves
    /// leading to others. It is Up again when it starts again.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub async fn drain_node(&self, node: NodeId) -> Result<(), JoinError> {
        let core = Arc::clone(self.core());
        self.there(async move { raft::drain(&core, node).await })
            .await
            .unwrap_or_else(|| Err(JoinError::NoQuorum("this node is stopping".into())))
    }

    /// Resolves when the member list says that this start of this node is to leave.
    pub async fn asked_to_leave(&self) {
        let core = Arc::clone(self.core());
        let asked = self.there(async move {
            loop {
                // The index before the state: what is applied in between is looked at in the next turn.
                let at = core.view.applied();
                if core.is_drained() {
                    return;
                }
                core.view.wait_applied(at + 1).await;
            }
        });
        if asked.await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Before an orderly end: Draining in the member list, and leading handed to another. Best effort, in
    /// bounded time.
    pub async fn prepare_shutdown(&self) {
        let core = Arc::clone(self.core());
        let _ = self
            .there(async move { raft::prepare_shutdown(&core).await })
            .await;
    }

    /// Flushes, leaves the consensus group's threads and releases the store: after it the data directory may
    /// be opened again. Waiting proposals end with [`ProposeError::Stopping`].
    pub async fn shutdown(&self) {
        if let Some(stop) = locked(&self.inner.stop).take() {
            let _ = stop.send(());
        }
        let _ = self
            .inner
            .stopped
            .clone()
            .wait_for(|stopped| *stopped)
            .await;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Dropping the sender would do as well; said aloud.
        if let Some(stop) = locked(&self.stop).take() {
            let _ = stop.send(());
        }
    }
}

/// A poisoned lock guards plain data here; whoever panicked left it whole.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
