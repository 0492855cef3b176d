//! openraft's state machine over the access machine: entries in, view out, snapshots both ways.
//!
//! Beside the access state it keeps what the log says about nodes: which disk every id ever belonged to,
//! removed ones included, and from that the cluster's id. Both are the same on every node and ride in
//! snapshots.
//!
//! **Why snapshots are counted in operations:** an entry may carry one operation or 256, and the time to replay is what
//! a snapshot bounds.

use super::engine::{Answers, Engine, LogId, Membership, Payload, Peer, StorageError};
use super::log::fatal;
use super::view::View;
use super::{lock, machine};
use crate::access::{self, Effect, Reply, Scope, State};
use crate::codec::{self, CodecError};
use crate::store::{Store, StoreError};
use crate::task;
use openraft::storage::RaftStateMachine;
use openraft::{
    Entry, EntryPayload, ErrorSubject, ErrorVerb, OptionalSend, RaftSnapshotBuilder, Snapshot,
    SnapshotMeta,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor};
use std::sync::{Arc, Mutex};

const VERSION: u8 = 1;
/// Bytes of a snapshot's head: a few per node that ever was.
const MAX_HEAD: u64 = 1024 * 1024;

/// Which disk each node id belongs to, over the cluster's whole life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Register {
    /// Id of the cluster; 0 until the first leader has learned the disks of its peers.
    pub(crate) cluster: u128,
    /// Disk by node id. Ids stay when their node is removed.
    pub(crate) disks: BTreeMap<u64, u128>,
}

impl Register {
    pub(super) fn learn(&mut self, membership: &openraft::Membership<u64, Peer>) {
        for (node, peer) in membership.nodes() {
            if peer.disk != 0 {
                self.disks.entry(*node).or_insert(peer.disk);
            }
        }
        if self.cluster == 0 && !self.disks.is_empty() {
            let mut hash = Sha256::new();
            hash.update(b"gatecast cluster");
            for (node, disk) in &self.disks {
                hash.update(node.to_be_bytes());
                hash.update(disk.to_be_bytes());
            }
            if let Some(id) = hash.finalize().first_chunk::<16>() {
                self.cluster = u128::from_be_bytes(*id);
            }
        }
    }
}

/// What others watch of the applier.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// The register after the last entry.
    pub(crate) register: Mutex<Register>,
    /// The group after the last entry; unlike the engine's own view, never one that could still be undone.
    pub(crate) group: Mutex<BTreeSet<u64>>,
    /// Wakes whoever triggers snapshots.
    pub(crate) snapshot_due: tokio::sync::Notify,
}

/// Drives the access machine.
pub(crate) struct Applier {
    store: Arc<Store>,
    view: Arc<View>,
    shared: Arc<Applied>,
    state: State,
    register: Register,
    last: Option<LogId>,
    membership: Membership,
    snapshot_after: u64,
    since_snapshot: u64,
}

impl Applier {
    /// Rebuilds the state from the last snapshot; openraft replays the log behind it.
    pub(crate) fn open(
        store: Arc<Store>,
        view: Arc<View>,
        shared: Arc<Applied>,
        snapshot_after: u64,
    ) -> Result<Self, StoreError> {
        let mut applier = Self {
            store,
            view,
            shared,
            state: State::default(),
            register: Register::default(),
            last: None,
            membership: Membership::default(),
            snapshot_after: snapshot_after.max(1),
            since_snapshot: 0,
        };
        if let Some((about, bytes)) = applier.store.read_snapshot()? {
            let damaged = |error: CodecError| StoreError::Damaged(format!("the snapshot: {error}"));
            let meta = decode_meta(&about).map_err(damaged)?;
            applier.adopt(&meta, &bytes).map_err(damaged)?;
        }
        Ok(applier)
    }

    /// Last index in the state.
    pub(crate) fn last_index(&self) -> Option<u64> {
        self.last.map(|id| id.index)
    }

    /// What the state says of nodes: which disks ever belonged to the cluster, and who is in it.
    pub(super) fn nodes(&self) -> (&Register, &Membership) {
        (&self.register, &self.membership)
    }

    /// The last entry in the state.
    pub(super) fn last_id(&self) -> Option<LogId> {
        self.last
    }

    /// Applies an entry as the engine would have it done.
    pub(super) fn replay(&mut self, entry: Entry<Engine>) -> Result<(), StorageError> {
        self.apply_one(entry).map(|_| ())
    }

    /// The state after the last entry.
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    fn adopt(&mut self, meta: &SnapshotMeta<u64, Peer>, bytes: &[u8]) -> Result<(), CodecError> {
        let (register, state) = unpack(bytes)?;
        let mut effects = vec![Effect::MembersChanged];
        let apps = self.state.apps.keys().chain(state.apps.keys());
        for app in apps.copied().collect::<BTreeSet<_>>() {
            effects.push(Effect::AppChanged(app));
            effects.push(Effect::Recheck {
                app,
                scope: Scope::App,
            });
        }
        self.state = state;
        self.register = register;
        self.last = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.since_snapshot = 0;
        self.show(effects, true);
        Ok(())
    }

    fn show(&self, effects: Vec<Effect>, skipped: bool) {
        {
            let mut shown = lock(&self.shared.register);
            if *shown != self.register {
                shown.clone_from(&self.register);
            }
        }
        {
            let mut shown = lock(&self.shared.group);
            if !shown
                .iter()
                .eq(self.membership.nodes().map(|(node, _)| node))
            {
                *shown = self.membership.nodes().map(|(node, _)| *node).collect();
            }
        }
        let index = self.last.map_or(0, |id| id.index);
        self.view.publish(index, &self.state, effects, skipped);
    }

    fn apply_one(&mut self, entry: Entry<Engine>) -> Result<Answers, StorageError> {
        self.last = Some(entry.log_id);
        let (answers, effects) = match entry.payload {
            EntryPayload::Blank => (Answers::default(), Vec::new()),
            EntryPayload::Membership(membership) => {
                self.register.learn(&membership);
                self.membership = Membership::new(Some(entry.log_id), membership);
                (Answers::default(), Vec::new())
            }
            EntryPayload::Normal(payload) => self.apply_batch(entry.log_id, &payload)?,
        };
        self.show(effects, false);
        Ok(answers)
    }

    fn apply_batch(
        &mut self,
        at: LogId,
        payload: &Payload,
    ) -> Result<(Answers, Vec<Effect>), StorageError> {
        // An entry that cannot be read must stop the node: skipping it would make its state its own.
        let batch = machine::decode(payload)
            .map_err(|error| fatal(ErrorSubject::Apply(at), ErrorVerb::Read, &error))?;
        let outcomes = access::apply_batch(&mut self.state, &batch, at.index);
        self.since_snapshot += batch.ops.len() as u64;
        let mut effects = Vec::new();
        let outcomes = outcomes
            .into_iter()
            .map(|outcome| {
                effects.extend(outcome.effects);
                (outcome.revision, outcome.reply)
            })
            .collect::<Vec<(u64, Reply)>>();
        if self.since_snapshot >= self.snapshot_after.max(records(&self.state) / 2) {
            self.since_snapshot = 0;
            self.shared.snapshot_due.notify_one();
        }
        let answers = Answers {
            time_ms: self.state.time_ms,
            outcomes,
        };
        Ok((answers, effects))
    }
}

/// Records in the state: what a snapshot costs.
fn records(state: &State) -> u64 {
    let rights = state.grants.len() + state.tokens.len() + state.memberships.len();
    (rights + state.nonces.len() + state.revocations.len()) as u64
}

pub(super) fn encode_meta(meta: &SnapshotMeta<u64, Peer>) -> Result<Vec<u8>, CodecError> {
    codec::encode(VERSION, meta, MAX_HEAD)
}

fn decode_meta(bytes: &[u8]) -> Result<SnapshotMeta<u64, Peer>, CodecError> {
    codec::decode(VERSION, bytes, MAX_HEAD)
}

/// `[head length u32 BE][head][state]`.
pub(super) fn pack(register: &Register, state: &State) -> Result<Vec<u8>, CodecError> {
    let head = codec::encode(VERSION, register, MAX_HEAD)?;
    let state = access::snapshot(state);
    let mut bytes = Vec::with_capacity(4 + head.len() + state.len());
    bytes.extend_from_slice(&u32::try_from(head.len()).unwrap_or(0).to_be_bytes());
    bytes.extend_from_slice(&head);
    bytes.extend_from_slice(&state);
    Ok(bytes)
}

fn unpack(bytes: &[u8]) -> Result<(Register, State), CodecError> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(CodecError::Empty)?;
    let (head, state) = rest
        .split_at_checked(u32::from_be_bytes(*length) as usize)
        .ok_or(CodecError::Empty)?;
    let register = codec::decode(VERSION, head, MAX_HEAD)?;
    let state = access::restore(state).map_err(|error| CodecError::Malformed(error.to_string()))?;
    Ok((register, state))
}

fn snapshot_error(verb: ErrorVerb) -> impl Fn(io::Error) -> StorageError {
    move |error| fatal(ErrorSubject::Snapshot(None), verb, &error)
}

/// Runs blocking store work off the engine's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, io::Error> + Send + 'static,
) -> io::Result<T> {
    task::blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// A frozen view on its way to the store.
pub(crate) struct Builder {
    store: Arc<Store>,
    state: State,
    register: Register,
    meta: SnapshotMeta<u64, Peer>,
}

impl RaftSnapshotBuilder<Engine> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Engine>, StorageError> {
        let (store, meta) = (Arc::clone(&self.store), self.meta.clone());
        let (state, register) = (self.state.clone(), self.register.clone());
        let bytes = blocking(move || {
            let bytes = pack(&register, &state).map_err(io::Error::other)?;
            let about = encode_meta(&meta).map_err(io::Error::other)?;
            store
                .write_snapshot(&about, &bytes)
                .map_err(io::Error::other)?;
            Ok(bytes)
        })
        .await
        .map_err(snapshot_error(ErrorVerb::Write))?;
        tracing::info!(snapshot = %self.meta, bytes = bytes.len(), "snapshot written");
        Ok(Snapshot {
            meta: self.meta.clone(),
            snapshot: Box::new(Cursor::new(bytes)),
        })
    }
}

impl RaftStateMachine<Engine> for Applier {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), StorageError> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Answers>, StorageError>
    where
        I: IntoIterator<Item = Entry<Engine>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        entries
            .into_iter()
            .map(|entry| self.apply_one(entry))
            .collect()
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            store: Arc::clone(&self.store),
            state: self.state.clone(),
            register: self.register.clone(),
            meta: SnapshotMeta {
                last_log_id: self.last,
                last_membership: self.membership.clone(),
                snapshot_id: self.last.map_or_else(
                    || "empty".into(),
                    |id| format!("{}-{}", id.leader_id, id.index),
                ),
            },
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, Peer>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let bytes = snapshot.into_inner();
        // Decoded before it replaces the old one on the disk; adopted after.
        let wrong =
            |error: CodecError| fatal(ErrorSubject::Snapshot(None), ErrorVerb::Read, &error);
        unpack(&bytes).map_err(wrong)?;
        let about = encode_meta(meta).map_err(wrong)?;
        let store = Arc::clone(&self.store);
        let bytes = blocking(move || {
            store
                .write_snapshot(&about, &bytes)
                .map_err(io::Error::other)?;
            Ok(bytes)
        })
        .await
        .map_err(snapshot_error(ErrorVerb::Write))?;
        tracing::info!(snapshot = %meta, bytes = bytes.len(), "snapshot installed");
        self.adopt(meta, &bytes).map_err(wrong)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Engine>>, StorageError> {
        let store = Arc::clone(&self.store);
        let read = blocking(move || store.read_snapshot().map_err(io::Error::other))
            .await
            .map_err(snapshot_error(ErrorVerb::Read))?;
        let Some((about, bytes)) = read else {
            return Ok(None);
        };
        let meta = decode_meta(&about)
            .map_err(|error| fatal(ErrorSubject::Snapshot(None), ErrorVerb::Read, &error))?;
        Ok(Some(Snapshot {
            meta,
            snapshot: Box::new(Cursor::new(bytes)),
        }))
    }
}
