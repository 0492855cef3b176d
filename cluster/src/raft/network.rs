//! openraft's network over the links.
//!
//! Snapshot chunks take the bulk lane so that heartbeats never wait behind them.

use super::core::LastContact;
use super::engine::{Engine, Peer};
use super::rpc::{self, PeerRequest, PeerResponse};
use crate::net::{AskError, Lane, Links};
use crate::versions::NegotiatedVersion;
use openraft::error::{
    InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Pause before asking an unreachable peer again.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// Makes one client per peer.
pub(crate) struct Network {
    /// The links that requests go over.
    pub(crate) links: Arc<Links>,
    /// Where signs of life are noted.
    pub(crate) last_contact: Arc<LastContact>,
    /// Which versions are spoken.
    pub(crate) version: Arc<NegotiatedVersion>,
}

/// Asks one peer.
pub(crate) struct Client {
    links: Arc<Links>,
    last_contact: Arc<LastContact>,
    version: Arc<NegotiatedVersion>,
    target: u64,
    addr: String,
}

impl RaftNetworkFactory<Engine> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, node: &Peer) -> Client {
        Client {
            links: Arc::clone(&self.links),
            last_contact: Arc::clone(&self.last_contact),
            version: Arc::clone(&self.version),
            target,
            addr: node.addr.to_string(),
        }
    }
}

type Failure<E = openraft::error::Infallible> = RPCError<u64, Peer, RaftError<u64, E>>;

impl Client {
    async fn ask<E: std::error::Error>(
        &self,
        lane: Lane,
        ask: &PeerRequest,
        timeout: Duration,
    ) -> Result<PeerResponse, Failure<E>> {
        let body = rpc::encode(&self.version, ask).map_err(|error| unreachable(&error))?;
        let answer = self
            .links
            .ask(self.target, &self.addr, lane, body, timeout)
            .await
            .map_err(|error| match error {
                AskError::NotSent => unreachable(&error),
                AskError::Lost | AskError::TimedOut => network(&error),
            })?;
        self.last_contact.note(self.target);
        let answer = rpc::decode(self.version.ours(), &answer).map_err(|error| network(&error))?;
        if let PeerResponse::Failed(text) = answer {
            return Err(unreachable(&io::Error::other(text)));
        }
        Ok(answer)
    }
}

fn unreachable<E: std::error::Error>(error: &(impl std::error::Error + 'static)) -> Failure<E> {
    RPCError::Unreachable(Unreachable::new(error))
}

fn network<E: std::error::Error>(error: &(impl std::error::Error + 'static)) -> Failure<E> {
    RPCError::Network(NetworkError::new(error))
}

fn unexpected<E: std::error::Error>() -> Failure<E> {
    network(&io::Error::other("an answer to another question"))
}

impl RaftNetwork<Engine> for Client {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Engine>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Failure> {
        let answer = self
            .ask(Lane::Fast, &PeerRequest::Append(rpc), option.hard_ttl())
            .await?;
        let PeerResponse::Append(answer) = answer else {
            return Err(unexpected());
        };
        Ok(answer)
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<Engine>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, Failure<InstallSnapshotError>> {
        let answer = self
            .ask(Lane::Bulk, &PeerRequest::Snapshot(rpc), option.hard_ttl())
            .await?;
        let PeerResponse::Snapshot(answer) = answer else {
            return Err(unexpected());
        };
        answer.map_err(|error| {
            RPCError::RemoteError(RemoteError::new(self.target, RaftError::APIError(error)))
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, Failure> {
        let answer = self
            .ask(Lane::Fast, &PeerRequest::Vote(rpc), option.hard_ttl())
            .await?;
        let PeerResponse::Vote(answer) = answer else {
            return Err(unexpected());
        };
        Ok(answer)
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(RETRY_DELAY))
    }
}
