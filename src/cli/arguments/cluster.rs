//! What can be typed about the cluster's nodes and about backups.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What can be done with the cluster.
#[derive(Subcommand)]
pub enum ClusterCommand {
    /// Shows the nodes
    Status,
    /// Makes a node that was started with --join a voter, wherever it is
    Add {
        /// Its number, never used before
        node: u64,
        /// Where its peers reach it, host:port
        peer_addr: String,
        /// Also where no majority of the voters that are left answers
        #[arg(long)]
        force: bool,
    },
    /// Makes a node that follows a voter
    Promote {
        /// Its number
        node: u64,
        /// Also where no majority of the voters that are left answers
        #[arg(long)]
        force: bool,
    },
    /// Makes a voter one that only follows
    Demote {
        /// Its number
        node: u64,
        /// Also where no majority of the voters that are left answers
        #[arg(long)]
        force: bool,
    },
    /// Removes a node for good
    Remove {
        /// Its number
        node: u64,
        /// Also where no majority of the voters that are left answers
        #[arg(long)]
        force: bool,
    },
    /// Adds a node, then removes another
    Replace {
        /// Number of the node that goes
        old: u64,
        /// Number of the one that comes, never used before
        new: u64,
        /// Where its peers reach it, host:port
        peer_addr: String,
        /// Also where no majority of the voters that are left answers
        #[arg(long)]
        force: bool,
    },
    /// Empties a node before it is stopped: no new channels or clients, and another leads
    Drain {
        /// Its number
        node: u64,
    },
    /// Begins a new cluster with one data folder that is left, when the majority was lost for good; offline
    Recover(Recover),
}

/// What to recover from.
#[derive(Args)]
pub struct Recover {
    /// The data folder that is left; its node must not be running
    #[arg(long)]
    pub data: PathBuf,
    /// Only shows what the folder knows; of several, recover from the one with the greatest last term, then last index
    #[arg(long)]
    pub dry_run: bool,
    /// Where peers will reach the node, host:port; without it where they did
    #[arg(long)]
    pub peer_addr: Option<String>,
    /// Honours tokens issued before the recovery, although some may have been revoked without this folder
    #[arg(long)]
    pub accept_tokens_issued_before: bool,
}

/// What can be done with backups.
#[derive(Subcommand)]
pub enum BackupCommand {
    /// Writes everything that is agreed to a file; it holds every secret
    Create {
        /// The file; must not exist
        file: PathBuf,
    },
    /// Checks a file from end to end
    Verify {
        /// The file
        file: PathBuf,
    },
    /// Makes the data folder of the first node of a new cluster
    Restore {
        /// The file
        file: PathBuf,
        /// Folder of the new node's data; empty or missing
        #[arg(long)]
        data: PathBuf,
        /// Number of the new node
        #[arg(long, default_value_t = 1)]
        node: u64,
        /// Where its peers will reach it, host:port
        #[arg(long, default_value = "127.0.0.1:7601")]
        peer_addr: String,
        /// Honours tokens issued before the restore, although some may have been revoked after the backup
        #[arg(long)]
        accept_tokens_issued_before: bool,
    },
}
