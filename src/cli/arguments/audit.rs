//! What can be typed about the audit.

use super::millis;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What can be done with the record of who changed what.
#[derive(Subcommand)]
pub enum AuditCommand {
    /// Shows the last records, once or as they come
    Tail(TailArgs),
    /// Prints every record that is kept as JSON lines, and at the end the hash that stands for all
    Export,
    /// Checks an export; without one, every record that is kept, and that all nodes have the same
    Verify {
        /// The export, or - for what is piped in
        file: Option<PathBuf>,
        /// A hash that was kept elsewhere: of the last record, or INDEX:HASH
        #[arg(long)]
        head: Option<String>,
    },
    /// Prints the records of a revision with the way from each to the hash that stands for all
    Prove {
        /// The revision, as a write was answered with
        revision: u64,
    },
    /// Says how much is kept
    Retention {
        /// Records at most
        #[arg(long)]
        records: Option<u64>,
        /// Bytes at most; they are in the memory of every node
        #[arg(long)]
        bytes: Option<u64>,
        /// Nothing older: 90d; 0 = however old
        #[arg(long, value_parser = millis)]
        age: Option<u64>,
    },
}

/// Which records are shown, and for how long.
#[derive(Args)]
pub struct TailArgs {
    /// Only of this app
    #[arg(long)]
    pub app: Option<u64>,
    /// Only what names this user or reached her
    #[arg(long)]
    pub user: Option<String>,
    /// Only what was asked for by: operator, cluster, "key ID" or "provider ID"
    #[arg(long)]
    pub actor: Option<String>,
    /// Only this kind: revoke, "grant set"
    #[arg(long)]
    pub kind: Option<String>,
    /// Only since then, cluster milliseconds
    #[arg(long)]
    pub since_ms: Option<u64>,
    /// Only before then, cluster milliseconds
    #[arg(long)]
    pub until_ms: Option<u64>,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    pub limit: u32,
    /// Goes on with what is recorded from now on, until it is interrupted
    #[arg(long)]
    pub follow: bool,
}
