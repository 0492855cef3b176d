//! A backup: one consistent state in one file that proves its own wholeness.
//!
//! `gatecast backup 1\n`, then `[head length u32 BE][head][state]`. The head says whose state it is and of when, and
//! carries the SHA-256 of the state; it ends with a checksum of itself.
//!
//! **Why not the data directory itself:** a copy of a directory in use is torn, and one node's promises (its vote, its
//! number) must never come to life twice.

use crate::access::{self, Millis, NodeId, Revision, State, Text};
use crate::codec;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

const MAGIC: &[u8] = b"gatecast backup 1\n";
const VERSION: u8 = 1;
const MAX_HEAD: u64 = 4096;

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupInfo {
    /// Id of the cluster it was made from.
    pub cluster: Text,
    /// The node that made it.
    pub node: NodeId,
    /// The last revision in it.
    pub revision: Revision,
    /// Cluster time at which it was made.
    pub time_ms: Millis,
    /// Bytes of the state.
    pub length: u64,
    /// SHA-256 of the state.
    pub sha256: [u8; 32],
    /// Apps in it.
    pub apps: u64,
    /// Keys in it.
    pub keys: u64,
    /// Grants in it.
    pub grants: u64,
    /// Revocations in it.
    pub revocations: u64,
}

/// Why bytes are not a backup that can be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is something else, or made by a newer version.
    #[error("this is not a backup that this version can read")]
    Unknown,
    /// It is damaged.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// It cannot be restored there.
    #[error("{0}")]
    Refused(String),
}

/// The file's bytes.
pub(crate) fn write(
    state: &State,
    cluster: Text,
    node: NodeId,
    time_ms: Millis,
) -> Result<Vec<u8>, BackupError> {
    let bytes = access::snapshot(state);
    let head = BackupInfo {
        cluster,
        node,
        revision: state.revision,
        time_ms,
        length: bytes.len() as u64,
        sha256: Sha256::digest(&bytes).into(),
        apps: state.apps.len() as u64,
        keys: state.keys.len() as u64,
        grants: state.grants.len() as u64,
        revocations: state.revocations.len() as u64,
    };
    let mut head = codec::encode(VERSION, &head, MAX_HEAD)
        .map_err(|error| BackupError::Damaged(error.to_string()))?;
    head.extend_from_slice(&crc32fast::hash(&head).to_be_bytes());
    let mut file = Vec::with_capacity(MAGIC.len() + 4 + head.len() + bytes.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&u32::try_from(head.len()).unwrap_or(0).to_be_bytes());
    file.extend_from_slice(&head);
    file.extend_from_slice(&bytes);
    Ok(file)
}

/// Checks a backup from end to end.
///
/// # Errors
/// When it is no backup, or not whole.
pub fn verify_backup(file: &[u8]) -> Result<BackupInfo, BackupError> {
    read(file).map(|(info, _)| info)
}

/// What it says of itself, and the state.
pub(crate) fn read(file: &[u8]) -> Result<(BackupInfo, State), BackupError> {
    let damaged = |what: &str| BackupError::Damaged(what.to_owned());
    let rest = file.strip_prefix(MAGIC).ok_or(BackupError::Unknown)?;
    let (length, rest) = rest
        .split_first_chunk::<4>()
        .ok_or_else(|| damaged("it is cut short"))?;
    let (head, bytes) = rest
        .split_at_checked(u32::from_be_bytes(*length) as usize)
        .ok_or_else(|| damaged("it is cut short"))?;
    let (head, sum) = head
        .split_last_chunk::<4>()
        .ok_or_else(|| damaged("its head is cut short"))?;
    if crc32fast::hash(head) != u32::from_be_bytes(*sum) {
        return Err(damaged("the checksum of its head does not match"));
    }
    let info: BackupInfo = codec::decode(VERSION, head, MAX_HEAD)
        .map_err(|error| BackupError::Damaged(error.to_string()))?;
    if bytes.len() as u64 != info.length {
        return Err(damaged("it is cut short, or something follows it"));
    }
    if <[u8; 32]>::from(Sha256::digest(bytes)) != info.sha256 {
        return Err(damaged("its checksum does not match"));
    }
    let state = access::restore(bytes).map_err(|error| BackupError::Damaged(error.to_string()))?;
    Ok((info, state))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn any_damage_anywhere_is_noticed() {
        let mut state = State::default();
        let stamp = access::Stamp {
            index: 9,
            time_ms: 70,
        };
        access::apply(&mut state, &access::Command::Tick, stamp);
        let file = write(&state, "c".into(), NodeId(2), 77).unwrap();
        let info = verify_backup(&file).unwrap();
        assert_eq!((info.revision, info.time_ms, info.node), (9, 77, NodeId(2)));
        for at in 0..file.len() {
            let mut other = file.clone();
            other[at] ^= 1;
            assert!(verify_backup(&other).is_err(), "byte {at}");
            assert!(verify_backup(&file[..at]).is_err(), "cut at {at}");
        }
        assert!(verify_backup(&[&file[..], b"x"].concat()).is_err());
    }
}
