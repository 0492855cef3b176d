//! Backups, offline: checking a file, and beginning a new cluster with it.

use super::process::shell_word;
use gatecast_cluster::access::NodeId;
use gatecast_cluster::{
    BackupError, BackupInfo, RestoreTarget, WallClock, restore_backup, verify_backup,
};
use std::path::PathBuf;

/// Where and how to restore.
#[derive(Clone, Debug)]
pub struct Restore {
    /// Folder of the new node's data.
    pub data: PathBuf,
    /// The number of the node.
    pub node: u64,
    /// How its peers will reach it.
    pub peer_addr: String,
    /// Whether credentials from before the restore go on standing.
    pub accept_tokens: bool,
}

/// Checks a backup; what it says of itself.
///
/// # Errors
/// See [`BackupError`].
pub fn verify(file: &[u8]) -> Result<String, BackupError> {
    verify_backup(file).map(|info| text(&info))
}

/// Makes the data folder of a new cluster's first node; what to do next.
///
/// # Errors
/// See [`BackupError`].
pub fn restore(file: &[u8], how: Restore) -> Result<String, BackupError> {
    let target = RestoreTarget {
        node: NodeId(how.node),
        data_dir: how.data,
        peer_addr: how.peer_addr.as_str().into(),
        now_ms: WallClock::default().now_ms(),
        accept_tokens: how.accept_tokens,
    };
    let info = restore_backup(file, &target)?;
    let tokens = match how.accept_tokens {
        true => {
            "tokens issued before the restore are honoured, also those revoked after the backup"
        }
        false => "no token issued before the restore is honoured: clients have to get new ones",
    };
    let node = how.node;
    let data = shell_word(&target.data_dir.display().to_string());
    Ok(format!(
        "{}restored into {data}; {tokens}\nstart it with `gatecast serve --node {node} --data {data} …`, then \
         start the others on empty folders with --join, and make them voters with `gatecast cluster promote`\n",
        text(&info)
    ))
}

fn text(info: &BackupInfo) -> String {
    use std::fmt::Write as _;
    let mut sum = String::new();
    for byte in info.sha256 {
        let _ = write!(sum, "{byte:02x}");
    }
    format!(
        "whole\ncluster {}\nrevision {}\ntime_ms {}\napps {}\nkeys {}\ngrants {}\nrevocations {}\nbytes {}\nsha256 {sum}\n",
        info.cluster,
        info.revision,
        info.time_ms,
        info.apps,
        info.keys,
        info.grants,
        info.revocations,
        info.length,
    )
}
