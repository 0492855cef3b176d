//! What can be typed about what goes through a cluster: connections, channels, webhooks, refusals.

use clap::{Args, Subcommand};

/// What can be done with connections.
#[derive(Subcommand)]
pub enum ConnCommand {
    /// Lists an app's connections on every node
    List {
        /// App id
        app: u64,
        /// Only of this user
        #[arg(long)]
        user: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
}

/// What can be done with channels.
#[derive(Subcommand)]
pub enum ChannelCommand {
    /// Shows one channel: subscribers, clients, members
    Show {
        /// App id
        app: u64,
        /// Channel name
        channel: String,
    },
    /// Publishes a message
    Publish {
        /// App id
        app: u64,
        /// Channel name
        channel: String,
        /// Event name
        event: String,
        /// What: JSON, or a text
        data: String,
    },
    /// Lists an app's occupied channels
    List {
        /// App id
        app: u64,
        /// Only names that start so
        #[arg(long, default_value = "")]
        prefix: String,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Shows who is in a channel's presence set
    Members {
        /// App id
        app: u64,
        /// Its name
        channel: String,
    },
}

/// What can be done with webhooks.
#[derive(Subcommand)]
pub enum WebhookCommand {
    /// Lists an app's last deliveries on every node
    List {
        /// App id
        app: u64,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Lists an app's deliveries that were given up
    Dead {
        /// App id
        app: u64,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Delivers after all what was given up
    Replay {
        /// App id
        app: u64,
        /// Which, as `dead` lists them; left out = all
        #[arg(long = "id")]
        ids: Vec<String>,
    },
}

/// Which refusals are shown, and for how long.
#[derive(Args)]
pub struct RefusalsArgs {
    /// App id; left out, those of all apps and of none
    pub app: Option<u64>,
    /// Only of this user
    #[arg(long)]
    pub user: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    pub limit: u32,
    /// Goes on with what is refused from now on, until it is interrupted
    #[arg(long)]
    pub follow: bool,
}
