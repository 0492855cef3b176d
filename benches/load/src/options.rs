//! The command line of `gatecast-load`.
//!
//! **Must never know:** how a scenario is played. Secrets come by environment, since command lines are
//! public on a machine.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;

/// Measures a broker on this machine and prints one line of JSON.
#[derive(Parser)]
pub struct Options {
    /// What to measure.
    #[command(subcommand)]
    pub scenario: Scenario,
    /// Where, and with what.
    #[command(flatten)]
    pub target: Target,
}

/// What every scenario needs.
#[derive(Args)]
pub struct Target {
    /// The server's public address; only loopback is accepted.
    #[arg(long, global = true, default_value = "127.0.0.1:6001")]
    pub server: SocketAddr,
    /// App id, for HTTP paths.
    #[arg(long, global = true, env = "LOAD_APP_ID", default_value = "1")]
    pub app: String,
    /// App key.
    #[arg(long, global = true, env = "LOAD_KEY", default_value = "key")]
    pub key: String,
    /// App secret.
    #[arg(
        long,
        global = true,
        env = "LOAD_SECRET",
        default_value = "secret",
        hide_env_values = true
    )]
    pub secret: String,
    /// Processes of the server; their descendants count as well.
    #[arg(long, global = true, value_delimiter = ',')]
    pub pids: Vec<u32>,
    /// Bytes of a message's data.
    #[arg(long, global = true, default_value_t = 200)]
    pub size: usize,
    /// How long to measure.
    #[arg(long, global = true, default_value_t = 8.0)]
    pub seconds: f64,
    /// How long to do the same unmeasured before.
    #[arg(long, global = true, default_value_t = 1.5)]
    pub warmup: f64,
    /// Handshakes under way at a time.
    #[arg(long, global = true, default_value_t = 64)]
    pub at_once: usize,
    /// Private channels that 100 bystanders hold open meanwhile.
    #[arg(long, global = true, default_value_t = 0)]
    pub other_channels: usize,
}

/// An operation that is done so many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Step {
    /// A signed trigger to a channel that `--receivers` connections are subscribed to.
    Fanout,
    /// A client event from one connection to another.
    Event,
    /// A connection with a private channel of its own; it stays.
    Connect,
    /// A signed trigger to a channel that nobody is subscribed to.
    Trigger,
    /// The same by `/v1`.
    Publish,
    /// A PubNub publish that ends `--receivers` polls, and their next polls.
    Poll,
}

/// What is done step by step.
#[derive(Args, Clone)]
pub struct Steps {
    /// Which.
    #[arg(value_enum)]
    pub step: Step,
    /// How many.
    #[arg(long, default_value_t = 100)]
    pub operations: u32,
    /// Connections that get each message of a fan-out, or polls that each publish ends.
    #[arg(long, default_value_t = 100)]
    pub receivers: usize,
    /// The `Authorization` header of `/v1`.
    #[arg(
        long,
        env = "LOAD_AUTHORIZATION",
        default_value = "",
        hide_env_values = true
    )]
    pub authorization: String,
    /// The PubNub keyset's publish key.
    #[arg(long, env = "LOAD_PUBLISH_KEY", default_value = "")]
    pub publish_key: String,
    /// Its subscribe key.
    #[arg(long, env = "LOAD_SUBSCRIBE_KEY", default_value = "")]
    pub subscribe_key: String,
}

/// The scenarios.
#[derive(Clone, Subcommand)]
pub enum Scenario {
    /// One channel, many subscribers, signed HTTP triggers.
    Fanout {
        /// Subscribers.
        #[arg(long, default_value_t = 1000)]
        subscribers: usize,
        /// Messages per second; 0: as fast as `--in-flight` allows.
        #[arg(long, default_value_t = 20.0)]
        rate: f64,
        /// At rate 0: messages that not everybody has received yet.
        #[arg(long, default_value_t = 4)]
        in_flight: u64,
        /// HTTP connections that publish.
        #[arg(long, default_value_t = 4)]
        publishers: u16,
    },
    /// Client events 1:1, one private channel per pair.
    Pairs {
        /// Pairs of connections.
        #[arg(long, default_value_t = 500)]
        pairs: u16,
        /// Messages per second in all; 0: one on its way in every pair, always.
        #[arg(long, default_value_t = 5000.0)]
        rate: f64,
    },
    /// Handshake, greeting, signed private subscription.
    Connect {
        /// Connections.
        #[arg(long, default_value_t = 5000)]
        connections: usize,
    },
    /// Resident memory per idle subscribed connection.
    Idle {
        /// Connections at which to look.
        #[arg(long, value_delimiter = ',', default_value = "1000,5000,10000")]
        steps: Vec<usize>,
    },
    /// Signed triggers on a channel nobody listens to.
    Triggers {
        /// HTTP connections.
        #[arg(long, default_value_t = 8)]
        publishers: u16,
    },
    /// PubNub's long polls: many that wait, then messages that end some of them.
    Polls {
        /// Open polls.
        #[arg(long, default_value_t = 10_000)]
        polls: usize,
        /// Channels over which they are spread.
        #[arg(long, default_value_t = 100)]
        channels: u16,
        /// Messages per second in all; 0: only wait.
        #[arg(long, default_value_t = 20.0)]
        rate: f64,
        /// The keyset's publish key.
        #[arg(long, env = "LOAD_PUBLISH_KEY")]
        publish_key: String,
        /// Its subscribe key.
        #[arg(long, env = "LOAD_SUBSCRIBE_KEY")]
        subscribe_key: String,
    },
    /// Exactly so many operations, one after the other, to count their instructions.
    Steps(Steps),
    /// Grants through `/v1`, each to another user.
    Grants {
        /// Servers, taken in turn; without any, `--server`.
        #[arg(long, value_delimiter = ',')]
        servers: Vec<SocketAddr>,
        /// The `Authorization` header.
        #[arg(long, env = "LOAD_AUTHORIZATION", hide_env_values = true)]
        authorization: String,
        /// Callers, each waiting for its answer.
        #[arg(long, default_value_t = 64)]
        callers: usize,
        /// Channel patterns per call.
        #[arg(long, default_value_t = 1)]
        patterns: usize,
        /// End after so many calls instead of `--seconds`.
        #[arg(long)]
        calls: Option<u64>,
        /// What the users' names begin with.
        #[arg(long, default_value = "u")]
        prefix: String,
        /// The servers are etcd: as many bytes go to its `put` instead.
        #[arg(long)]
        etcd: bool,
    },
}
