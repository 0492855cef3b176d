//! The one way to change the access state: proposed, applied here, and fenced where something was taken away.
//!
//! **Why the fence is not the caller's:** whether a change took something is said by the log's order and by nothing
//! else. A caller that looked at its own view before it asked would miss what was given through another node a moment
//! ago; a caller that had to remember the fence would forget it in one of many places.

use super::facade::{Authority, Source};
use crate::core::access::{
    BarrierMode, BarrierReport, Command, Committed, NodeId, ProposeError, Rejection, Reply,
    RequestId, Revision, Subject,
};
use crate::core::limits::SHORTEST_TOKEN_BYTES;
use futures_util::stream::{self, StreamExt as _};
use std::time::Duration;
use tokio::time::Instant;

/// Longest wait until this node has applied what it was told.
const APPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// Changes of one call that are on their way at once; they share log entries.
const MAX_CONCURRENT: usize = 64;

/// A change that is true, here and (if it took something away) everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// When it became true.
    pub revision: Revision,
    /// What it came to.
    pub reply: Reply,
    /// Whether it took something away.
    pub narrowed: bool,
    /// Who enforces what was taken; nobody is named where nothing was.
    pub report: BarrierReport,
    /// How long the fence took.
    pub fence: Duration,
}

/// Why a write is not done. None of them may be answered with success.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// It was not made, or nobody knows.
    #[error(transparent)]
    Refused(#[from] ProposeError),
    /// It is made and will hold, and a node may still serve by the old state.
    #[error("{}", pending(.0))]
    Pending(Box<Written>),
}

/// What is told of a change that not every node has confirmed.
fn pending(written: &Written) -> String {
    let nodes = written.report.pending.iter();
    let nodes: Vec<String> = nodes.map(|NodeId(node)| node.to_string()).collect();
    let who = match nodes.is_empty() {
        true => "no node has".to_owned(),
        false => format!("node {} has not", nodes.join(", node ")),
    };
    format!(
        "the change is stored at revision {}, but {who} confirmed yet that it no longer serves by the old state",
        written.revision
    )
}

impl Authority {
    /// Changes the access state through whichever node leads, waits until it is applied here, and (where it took
    /// something away) until no node serves by the state before, as far as `mode` says.
    ///
    /// # Errors
    /// See [`WriteError`]: a change that is made but not yet enforced is no success.
    pub async fn write(
        &self,
        request: RequestId,
        command: Command,
        mode: BarrierMode,
    ) -> Result<Written, WriteError> {
        let committed = self.change(request, command).await?;
        self.settled(vec![committed], mode)
            .await?
            .pop()
            .ok_or(WriteError::Refused(ProposeError::Stopping))
    }

    /// As [`Self::write`], several at once and with one fence for all. When one of them is refused, the others may
    /// have been made; what they took is fenced before the refusal is told.
    ///
    /// # Errors
    /// The first refusal in the order given, else as [`Self::write`].
    pub async fn write_all(
        &self,
        writes: Vec<(RequestId, Command)>,
        mode: BarrierMode,
    ) -> Result<Vec<Written>, WriteError> {
        let changes = writes
            .into_iter()
            .map(|(request, command)| self.change(request, command));
        let outcomes: Vec<_> = stream::iter(changes)
            .buffered(MAX_CONCURRENT)
            .collect()
            .await;
        let mut refused = None;
        let mut made = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            match outcome {
                Ok(committed) => made.push(committed),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        let settled = self.settled(made, mode).await;
        match refused {
            Some(error) => Err(error.into()),
            None => settled,
        }
    }

    /// Waits for what was committed, and fences it if it took something.
    async fn settled(
        &self,
        made: Vec<Committed>,
        mode: BarrierMode,
    ) -> Result<Vec<Written>, WriteError> {
        let narrows = |one: &&Committed| matches!(one.reply, Reply::Narrowed(_));
        let newest = made.iter().map(|one| one.revision).max();
        let narrowing = made.iter().filter(narrows).map(|one| one.revision).max();
        if let Some(newest) = newest {
            // Every other node follows by itself; this one shows what it was told.
            let _ = self.at_least(newest, APPLY_TIMEOUT).await;
        }
        let began = Instant::now();
        let report = match narrowing {
            Some(revision) => self.barrier(revision, mode).await,
            None => BarrierReport::default(),
        };
        let fence = began.elapsed();
        let open = mode == BarrierMode::None || !report.pending.is_empty();
        let written = made.into_iter().map(|one| {
            let narrowed = matches!(one.reply, Reply::Narrowed(_));
            Written {
                revision: one.revision,
                narrowed,
                reply: one.reply,
                report: match narrowed {
                    true => report.clone(),
                    false => BarrierReport::default(),
                },
                fence,
            }
        });
        let mut written: Vec<Written> = written.collect();
        if open && let Some(at) = written.iter().rposition(|one| one.narrowed) {
            return Err(WriteError::Pending(Box::new(written.swap_remove(at))));
        }
        Ok(written)
    }

    /// Proposes, and nothing else. Private to this module's folder, so that a write without its fence does not compile.
    pub(super) async fn change(
        &self,
        request: RequestId,
        command: Command,
    ) -> Result<Committed, ProposeError> {
        self.no_short_token(&command)?;
        match &self.source {
            Source::Cluster(cluster) => cluster.propose(request, command).await,
            #[cfg(test)]
            Source::Fixed(_) => self.change_fixed(&command),
        }
    }

    /// Refuses to store rights for a token string that is shorter than its app wants them: whoever guesses it has them,
    /// in whichever dialect it was written.
    fn no_short_token(&self, command: &Command) -> Result<(), ProposeError> {
        let Command::SetGrants {
            app,
            subject: Subject::Token(token),
            entries,
            ..
        } = command.plain()
        else {
            return Ok(());
        };
        let gives = entries.iter().any(|entry| !entry.operations.is_empty());
        let least = self.limit(*app, &SHORTEST_TOKEN_BYTES);
        if !gives || token.len() as u64 >= least {
            return Ok(());
        }
        let why =
            format!("a token of this app has at least {least} bytes, so that nobody guesses it");
        Err(ProposeError::Rejected(Rejection::Invalid(why.into())))
    }

    /// Waits until every node that may still be serving has enforced `revision`.
    pub async fn barrier(&self, revision: Revision, mode: BarrierMode) -> BarrierReport {
        match &self.source {
            Source::Cluster(cluster) => cluster.barrier(revision, mode).await,
            #[cfg(test)]
            Source::Fixed(_) => self.barrier_fixed(mode),
        }
    }
}
