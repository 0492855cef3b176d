//! The command line: what can be typed, and the help that is printed of it.

mod audit;
mod cluster;
mod group;
mod key;
mod provider;
mod ssf;
mod traffic;

pub use audit::{AuditCommand, TailArgs};
pub use cluster::{BackupCommand, ClusterCommand, Recover};
pub use group::{GroupCommand, MemberArgs};
pub use key::KeyCommand;
pub use provider::{ProviderArgs, ProviderCommand};
pub use ssf::{SsfArgs, SsfCommand};
pub use traffic::{ChannelCommand, ConnCommand, RefusalsArgs, WebhookCommand};

use super::duration::millis;
use crate::adapters::ALL;
use crate::config::Flags;
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Version, commit and build.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("GATECAST_COMMIT"),
    ", ",
    env!("GATECAST_BUILD"),
    ")"
);

/// A self-hosted realtime messaging broker whose access control is a replicated truth.
#[derive(Parser)]
#[command(name = "gatecast", version = VERSION, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Where to do it.
    #[command(flatten)]
    pub remote: Remote,
}

/// Which node is asked, and how its answer is shown.
#[derive(Args, Clone)]
pub struct Remote {
    /// Base URL of a node's internal port; of several, parted by commas, the first that answers is asked
    #[arg(
        long,
        global = true,
        env = "GATECAST_SERVER",
        default_value = "http://127.0.0.1:9601"
    )]
    pub server: String,
    /// Admin token of the internal port
    #[arg(
        long,
        global = true,
        env = "GATECAST_ADMIN_TOKEN",
        hide_env_values = true,
        default_value = ""
    )]
    pub token: String,
    /// File that holds the admin token
    #[arg(long, global = true, env = "GATECAST_ADMIN_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// How answers are shown
    #[arg(
        short = 'o',
        long,
        global = true,
        env = "GATECAST_OUTPUT",
        default_value = "table"
    )]
    pub output: Output,
    /// Does not ask before something is destroyed
    #[arg(short = 'y', long, global = true)]
    pub yes: bool,
    /// Makes a repeated write happen once; made up when left out
    #[arg(long, global = true)]
    pub idempotency_key: Option<String>,
    /// Why it is changed, for people: told in the audit
    #[arg(long, global = true, value_name = "WHY")]
    pub reason: Option<String>,
    /// Longest wait for an answer, seconds
    #[arg(long, global = true, default_value_t = 30)]
    pub timeout: u64,
}

impl Remote {
    /// The node there, asked with this token.
    #[must_use]
    pub fn at(server: String, token: String) -> Self {
        Self {
            server,
            token,
            token_file: None,
            output: Output::Json,
            yes: true,
            idempotency_key: None,
            reason: None,
            timeout: 30,
        }
    }
}

/// How answers are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// The answer as it came.
    Json,
}

/// The nouns.
#[derive(Subcommand)]
pub enum Command {
    /// Runs one node for developing: open, on loopback, with settings to paste into SDKs
    Dev(Dev),
    /// Runs a node
    Serve(Box<Serve>),
    /// Shows and checks the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Apps and their keys
    #[command(subcommand)]
    App(AppCommand),
    /// An app's keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Stored grants
    #[command(subcommand)]
    Grant(GrantCommand),
    /// Voids credentials and ends their connections, everywhere, before it returns
    Revoke(RevokeCommand),
    /// Users of an app
    #[command(subcommand)]
    User(UserCommand),
    /// User groups of an app: who is in them has what is granted to them
    #[command(subcommand)]
    Group(GroupCommand),
    /// Identity providers of an app
    #[command(subcommand)]
    Provider(ProviderCommand),
    /// The cluster's nodes
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Backups of what is agreed: apps, keys, grants, revocations
    #[command(subcommand)]
    Backup(BackupCommand),
    /// Connections
    #[command(subcommand)]
    Conn(ConnCommand),
    /// Channels
    #[command(subcommand)]
    Channel(ChannelCommand),
    /// Who changed what: a chain of records that is the same on every node
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Who was refused what lately, on every node, and what to do about it
    Refusals(RefusalsArgs),
    /// What became of webhooks
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// Prints what was built
    Version,
    /// Prints the completions of a shell: gatecast completion bash > /etc/bash_completion.d/gatecast
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Writes a manual page for every command
    Man {
        /// The folder, which is made
        folder: PathBuf,
    },
}

/// A node for developing.
#[derive(Args)]
pub struct Dev {
    /// Folder that keeps its data and credentials; deleting it begins anew
    #[arg(long, default_value = ".gatecast")]
    pub data: PathBuf,
    /// Port of clients and app servers
    #[arg(long, default_value_t = 6001)]
    pub port: u16,
    /// Port of operators and metrics
    #[arg(long, default_value_t = 9601)]
    pub internal_port: u16,
    /// Port for other nodes; nothing connects to it here
    #[arg(long, default_value_t = 7601)]
    pub peer_port: u16,
}

/// A node's configuration: flags over GATECAST_… in the environment over the file over defaults.
#[derive(Args)]
pub struct Serve {
    /// Configuration file (TOML)
    #[arg(long, env = "GATECAST_CONFIG")]
    pub config: Option<PathBuf>,
    /// Its keys.
    #[command(flatten)]
    pub flags: Flags,
}

/// What can be done with the configuration.
#[derive(Subcommand)]
#[allow(clippy::large_enum_variant)] // Made once per process; clap takes no box here.
pub enum ConfigCommand {
    /// Prints every key with its meaning and default
    #[command(visible_alias = "default")]
    Doc,
    /// Checks a configuration without starting anything
    Check(Box<Serve>),
}

/// The names of the dialects of this build.
fn protocols() -> PossibleValuesParser {
    let names = ALL.iter().map(|dialect| dialect.name());
    names.collect::<Vec<_>>().into()
}

/// What can be done with apps.
#[derive(Subcommand)]
pub enum AppCommand {
    /// Makes an app with one key
    Create {
        /// Name, for people
        #[arg(long)]
        name: Option<String>,
        /// Id, if it must be a certain one
        #[arg(long)]
        id: Option<u64>,
        /// Protocols it accepts; all when left out
        #[arg(long = "protocol", alias = "door", value_parser = protocols())]
        protocols: Vec<String>,
        /// What is open to anyone: pattern=operation,…
        #[arg(long = "open")]
        open: Vec<String>,
        /// Settings: name=value
        #[arg(long = "set")]
        settings: Vec<String>,
    },
    /// Makes an app as SOKETI_…, REVERB_… or PUSHER_… variables describe it, with its key and secret
    ImportEnv {
        /// File with the variables, such as .env; without it the environment
        #[arg(long)]
        file: Option<PathBuf>,
        /// App id, if not the one in the variables; SDKs insist on a number
        #[arg(long)]
        id: Option<u64>,
        /// Name, for people
        #[arg(long)]
        name: Option<String>,
    },
    /// Lists apps
    List,
    /// Shows an app, with its credentials in every dialect
    Show {
        /// App id
        app: u64,
        /// Leave the secrets out
        #[arg(long)]
        no_secrets: bool,
    },
    /// Changes an app
    Update {
        /// App id
        app: u64,
        /// Name, for people
        #[arg(long)]
        name: Option<String>,
        /// On or off
        #[arg(long)]
        enabled: Option<bool>,
        /// Protocols, as a whole
        #[arg(long = "protocol", alias = "door", value_parser = protocols())]
        protocols: Vec<String>,
        /// Open rules, as a whole: pattern=operation,…
        #[arg(long = "open")]
        open: Vec<String>,
        /// Settings: name=value, or name= for the default
        #[arg(long = "set")]
        settings: Vec<String>,
    },
    /// Replaces a key; the old one works until the overlap ends
    RotateKey {
        /// App id
        app: u64,
        /// Key id
        key: String,
        /// How long both keys work: 1h, 30d
        #[arg(long, alias = "overlap-ms", value_parser = millis, default_value = "0")]
        overlap: u64,
    },
    /// Removes an app and everything in it
    Delete {
        /// App id
        app: u64,
    },
}

/// Whom a grant is for.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct SubjectArgs {
    /// A user id
    #[arg(long)]
    pub user: Option<String>,
    /// A token or auth key
    #[arg(long, value_name = "TOKEN")]
    pub auth_token: Option<String>,
    /// A key id
    #[arg(long)]
    pub key: Option<String>,
    /// A user group: whoever is in it
    #[arg(long)]
    pub group: Option<String>,
    /// Anyone connected to the app
    #[arg(long)]
    pub everyone: bool,
}

/// What can be done with grants.
#[derive(Subcommand)]
pub enum GrantCommand {
    /// Grants operations on a pattern
    Set {
        /// App id
        app: u64,
        /// Whom.
        #[command(flatten)]
        subject: SubjectArgs,
        /// Channel pattern: room, *, public-*, main:*, a.*, /regex/, !a-,b-
        #[arg(long, required = true)]
        pattern: Vec<String>,
        /// Operations, comma separated; * = all
        #[arg(long, value_delimiter = ',', required = true)]
        can: Vec<String>,
        /// How long: 1h, 30d; left out = until deleted
        #[arg(long, alias = "ttl-ms", value_parser = millis)]
        ttl: Option<u64>,
        /// The subject has exactly these grants afterwards
        #[arg(long)]
        replace: bool,
    },
    /// Lists a subject's grants
    List {
        /// App id
        app: u64,
        /// Whose.
        #[command(flatten)]
        subject: SubjectArgs,
    },
    /// Deletes a subject's grants
    Delete {
        /// App id
        app: u64,
        /// Whose.
        #[command(flatten)]
        subject: SubjectArgs,
        /// Which; left out = all
        #[arg(long)]
        pattern: Vec<String>,
    },
    /// Says whether somebody may do something, and by which rule
    Explain {
        /// App id
        app: u64,
        /// Who.
        #[command(flatten)]
        subject: SubjectArgs,
        /// On which channel
        #[arg(long)]
        channel: String,
        /// Operations, comma separated
        #[arg(long, value_delimiter = ',', required = true)]
        can: Vec<String>,
    },
}

/// How far a command waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum WaitArg {
    /// Until every node has enforced it or provably stopped serving
    #[default]
    All,
    /// As all, but silent nodes are reported as pending
    Strict,
    /// Until it is committed
    None,
}

impl WaitArg {
    /// As `/v1` spells it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Strict => "strict",
            Self::None => "none",
        }
    }
}

/// What to revoke.
#[derive(Args)]
pub struct RevokeCommand {
    /// App id
    pub app: u64,
    /// Kind of target
    pub kind: TargetKind,
    /// Its name
    pub name: String,
    /// Only credentials issued before this, cluster milliseconds
    #[arg(long)]
    pub issued_before_ms: Option<u64>,
    /// How long clients may still use it while they renew: 30s
    #[arg(long, alias = "margin-ms", value_parser = millis, default_value = "0")]
    pub margin: u64,
    /// How far to wait
    #[arg(long, default_value = "all")]
    pub wait: WaitArg,
}

/// What a revocation can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TargetKind {
    /// Every credential of a user
    User,
    /// One token or auth key
    Token,
    /// Every credential carrying a revocation key
    RevocationKey,
    /// Every credential naming exactly this channel
    Channel,
    /// Everything issued under a key
    Key,
    /// Every credential of whoever is in a user group
    Group,
}

/// What can be done with users.
#[derive(Subcommand)]
pub enum UserCommand {
    /// Ends a user's connections; they may come back
    Disconnect {
        /// App id
        app: u64,
        /// User id
        user: String,
        /// How far to wait
        #[arg(long, default_value = "all")]
        wait: WaitArg,
    },
    /// Ends a user's connections and keeps them out
    Block {
        /// App id
        app: u64,
        /// User id
        user: String,
        /// How long: 1h, 30d; left out = until unblocked
        #[arg(long = "for", alias = "for-ms", value_parser = millis)]
        for_ms: Option<u64>,
        /// How far to wait
        #[arg(long, default_value = "all")]
        wait: WaitArg,
    },
    /// Shows a user's groups, and whether she is kept out, until when and why
    Show {
        /// App id
        app: u64,
        /// User id
        user: String,
    },
    /// Lets a user back in
    Unblock {
        /// App id
        app: u64,
        /// User id
        user: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
