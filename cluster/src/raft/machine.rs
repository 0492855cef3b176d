//! A log entry's payload: an encoded batch of operations for the access machine.
//!
//! **Why a limit on a batch:** one batch is one log record, and the store keeps small records much better than large
//! ones.

use super::engine::Payload;
use crate::access::{Administered, Batch, Command};
use crate::codec::{self, CodecError};

/// Version of an encoded batch.
const BATCH: u8 = 1;
/// Largest encoded batch: one log record.
pub(crate) const MAX_BATCH: usize = 56 * 1024;
/// Largest encoded operation.
pub(crate) const MAX_OP: usize = 48 * 1024;

/// Encodes a batch for the log.
pub(crate) fn encode(batch: &Batch) -> Result<Payload, CodecError> {
    codec::encode(BATCH, batch, MAX_BATCH as u64).map(|bytes| Payload(bytes.into()))
}

/// Reads a batch from the log.
pub(crate) fn decode(payload: &Payload) -> Result<Batch, CodecError> {
    codec::decode(BATCH, &payload.0, MAX_BATCH as u64)
}

/// Whether a command takes rights away: such commands overtake others in the proposer's queue.
pub(crate) fn is_urgent(command: &Command) -> bool {
    match command {
        Command::Revoke { .. }
        | Command::Disconnect { .. }
        | Command::Block { .. }
        | Command::DeleteGrants { .. }
        | Command::DeleteKey { .. }
        | Command::DeleteApp { .. }
        | Command::SignOut(_)
        | Command::Signal(_)
        | Command::DeleteUserGroup(_)
        | Command::Member(_) => true,
        Command::SetUserGroup(change) => !change.remove.is_empty(),
        Command::UpdateKey { change, .. } => {
            change.enabled == Some(false) || change.capability.is_some()
        }
        Command::UpdateApp { change, .. } => change.enabled == Some(false),
        Command::Asked(asked) => is_urgent(asked.command.plain()),
        Command::Administer(asked) => match &asked.change {
            Administered::App(change) => change.enabled == Some(false),
            Administered::Key { change, .. } => {
                change.enabled == Some(false) || change.capability.is_some()
            }
            Administered::NoKey { .. }
            | Administered::Provider { .. }
            | Administered::NoProvider { .. }
            | Administered::KeysFetched { .. } => true,
            Administered::NewKey(_)
            | Administered::Rotated { .. }
            | Administered::NewProvider(_)
            | Administered::AskForKeys { .. }
            | Administered::Signals { .. }
            | Administered::NoSignals { .. } => false,
        },
        Command::Tick
        | Command::SetClusterVersion(_)
        | Command::CreateApp(_)
        | Command::CreateKey(_)
        | Command::RotateKey { .. }
        | Command::SetGrants { .. }
        | Command::IssueToken { .. }
        | Command::Unblock { .. }
        | Command::SetChannelFlag(_)
        | Command::SetGroup(_)
        | Command::KeepAudit(_)
        | Command::UseNonce { .. } => false,
    }
}
