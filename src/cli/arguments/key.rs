//! What can be typed about an app's keys.

use super::super::duration::millis;
use clap::Subcommand;

/// What can be done with keys.
#[derive(Subcommand)]
pub enum KeyCommand {
    /// Makes a key; the answer shows its secret
    Create {
        /// App id
        app: u64,
        /// Name, for people
        #[arg(long)]
        name: Option<String>,
        /// Id, if it must be a certain one
        #[arg(long)]
        id: Option<String>,
        /// What it may do: pattern=operation,…; everything when left out
        #[arg(long = "can")]
        capability: Vec<String>,
    },
    /// Lists an app's keys, without their secrets
    List {
        /// App id
        app: u64,
    },
    /// Changes a key; what is narrowed holds on every node when this returns
    Update {
        /// App id
        app: u64,
        /// Key id
        key: String,
        /// Name, for people
        #[arg(long)]
        name: Option<String>,
        /// On or off
        #[arg(long)]
        enabled: Option<bool>,
        /// What it may do, as a whole: pattern=operation,…
        #[arg(long = "can")]
        capability: Vec<String>,
    },
    /// Replaces a key; the old one works until the overlap ends
    Rotate {
        /// App id
        app: u64,
        /// Key id
        key: String,
        /// How long both keys work: 1h, 30d
        #[arg(long, value_parser = millis, default_value = "0")]
        overlap: u64,
    },
    /// Deletes a key; everything done under it ends
    Delete {
        /// App id
        app: u64,
        /// Key id
        key: String,
    },
}
