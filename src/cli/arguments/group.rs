//! What can be typed about user groups.

use super::super::duration::millis;
use super::WaitArg;
use clap::{Args, Subcommand};

/// What can be done with user groups.
#[derive(Subcommand)]
pub enum GroupCommand {
    /// Lists an app's user groups
    List {
        /// App id
        app: u64,
    },
    /// Shows a group: what it is in, how many are below it, whether it is kept out
    Show {
        /// App id
        app: u64,
        /// The group
        group: String,
    },
    /// Lists who is in a group itself
    Members {
        /// App id
        app: u64,
        /// The group
        group: String,
    },
    /// Puts users and groups into a group
    Add {
        /// App id
        app: u64,
        /// The group
        group: String,
        /// Who comes in.
        #[command(flatten)]
        members: MemberArgs,
    },
    /// Takes users and groups out; what that takes from whom is taken everywhere before this returns
    Remove {
        /// App id
        app: u64,
        /// The group
        group: String,
        /// Who goes.
        #[command(flatten)]
        members: MemberArgs,
        /// How far to wait
        #[arg(long, default_value = "all")]
        wait: WaitArg,
    },
    /// Removes a group: who is in it, what it is in, and the grants stored for it
    Delete {
        /// App id
        app: u64,
        /// The group
        group: String,
    },
    /// Ends the connections of whoever is in a group; they may come back
    Disconnect {
        /// App id
        app: u64,
        /// The group
        group: String,
        /// How far to wait
        #[arg(long, default_value = "all")]
        wait: WaitArg,
    },
    /// Keeps whoever is in a group out, and whoever comes into it
    Block {
        /// App id
        app: u64,
        /// The group
        group: String,
        /// How long: 1h, 30d; left out = until unblocked
        #[arg(long = "for", alias = "for-ms", value_parser = millis)]
        for_ms: Option<u64>,
        /// How far to wait
        #[arg(long, default_value = "all")]
        wait: WaitArg,
    },
    /// Lets a group back in
    Unblock {
        /// App id
        app: u64,
        /// The group
        group: String,
    },
}

/// Members of a group.
#[derive(Args)]
#[group(required = true, multiple = true)]
pub struct MemberArgs {
    /// Users, comma separated
    #[arg(long = "user", value_delimiter = ',')]
    pub users: Vec<String>,
    /// Groups inside it, comma separated
    #[arg(long = "group", value_name = "GROUP", value_delimiter = ',')]
    pub groups: Vec<String>,
}
