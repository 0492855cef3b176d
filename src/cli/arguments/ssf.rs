//! What `gatecast provider ssf …` takes.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What can be done with a provider's security events (Shared Signals).
#[derive(Subcommand)]
pub enum SsfCommand {
    /// Makes a stream of events at a provider, and has it prove that it works
    Connect {
        /// App id
        app: u64,
        /// The provider's id
        provider: String,
        /// The transmitter's issuer: the provider itself
        #[arg(long)]
        transmitter: String,
        /// The client that makes and reads the stream
        #[arg(long)]
        client_id: String,
        /// File with its secret, and nothing else
        #[arg(long)]
        client_secret_file: PathBuf,
        /// `poll`: the node that leads asks for events; `push`: they are sent
        #[arg(long, default_value = "poll")]
        delivery: String,
        /// Base URL under which the transmitter reaches this cluster, for push
        #[arg(long)]
        receiver: Option<String>,
        /// Where access tokens come from; by itself, as the provider's metadata say
        #[arg(long)]
        token_endpoint: Option<String>,
        /// The scope that is asked for
        #[arg(long)]
        scope: Option<String>,
        /// What events mean.
        #[command(flatten)]
        args: SsfArgs,
    },
    /// Shows how a provider's events come, and what they mean
    Show {
        /// App id
        app: u64,
        /// The provider's id
        provider: String,
    },
    /// Has the stream prove that it works: a text of ours comes back through it
    Verify {
        /// App id
        app: u64,
        /// The provider's id
        provider: String,
    },
    /// Changes what a provider's events mean; what is left out stays
    Set {
        /// App id
        app: u64,
        /// The provider's id
        provider: String,
        /// File with what has to be shown with every event that is sent; an empty one = nothing
        #[arg(long)]
        bearer_file: Option<PathBuf>,
        /// What events mean.
        #[command(flatten)]
        args: SsfArgs,
    },
    /// Takes the stream away, here and at the provider, and every setting with it
    Disconnect {
        /// App id
        app: u64,
        /// The provider's id
        provider: String,
    },
}

/// What events mean.
#[derive(Args)]
pub struct SsfArgs {
    /// For whom events may be beside the provider's audiences; all of them
    #[arg(long = "audience")]
    pub audiences: Vec<String>,
    /// A device that no longer complies: `ignore` or `block-until-newer-token`
    #[arg(long)]
    pub device_compliance: Option<String>,
    /// A log-in that counts for less: `ignore` or `block-until-newer-token`
    #[arg(long)]
    pub assurance_level: Option<String>,
}
