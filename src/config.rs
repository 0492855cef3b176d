//! Configuration: every key in one table; flags over environment over file over defaults; checked once.
//!
//! Nothing below `server` sees this module.
//! **Why the table is written once, by a macro:** a key that exists as a flag but not in the environment, or is
//! documented with another default than it has, cannot be written down here.

mod check;
mod layers;

pub use check::{Config, ConfigError, LogFormat, Tls};
pub use layers::load;

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// What a key's value is, for the environment, where everything is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text, path or address.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Switch,
    /// A text that is never shown.
    Secret,
}

/// One key, as `gatecast config doc` shows it.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As in the file; `--with-dashes` as a flag, `GATECAST_` and upper case in the environment.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// What it is for.
    pub doc: &'static str,
}

macro_rules! keys {
    ($($name:ident: $type:ty = $default:expr, $kind:ident, $doc:literal;)*) => {
        /// The keys as they are written, before they are checked.
        #[derive(Clone, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Raw { $(#[doc = $doc] pub $name: $type,)* }

        impl Default for Raw {
            fn default() -> Self { Self { $($name: $default,)* } }
        }

        /// The keys as flags of `serve`.
        #[derive(Clone, Default, Serialize, clap::Args)]
        pub struct Flags { $(
            #[doc = $doc]
            #[arg(long, hide_env_values = true, num_args = values(Kind::$kind), default_missing_value = "true")]
            #[serde(skip_serializing_if = "Option::is_none")]
            pub $name: Option<$type>,
        )* }

        /// Every key that a configuration may hold.
        pub const KEYS: &[Key] = &[$(
            Key { name: stringify!($name), kind: Kind::$kind, doc: $doc },
        )*];
    };
}

/// A switch may stand without a value.
fn values(kind: Kind) -> clap::builder::ValueRange {
    match kind {
        Kind::Switch => (0..=1).into(),
        Kind::Text | Kind::Number | Kind::Secret => (1..=1).into(),
    }
}

keys! {
    node: u64 = 1, Number, "Number of this node, from 1, never reused";
    data: PathBuf = "data".into(), Text, "Folder of this node's data";
    public: SocketAddr = loopback(6001), Text, "Where clients and app servers connect";
    internal: SocketAddr = loopback(9601), Text, "Where operators and metrics connect; never expose it";
    peer: SocketAddr = loopback(7601), Text, "Where this node listens for its peers";
    peer_addr: String = String::new(), Text, "host:port at which peers reach this node, if not `peer`";
    public_url: String = String::new(), Text, "Base URL at which clients reach this node, if not http://`public`; where `public` is every address, that of `peer_addr` stands for it";
    public_tls: String = String::new(), Text, "Where clients connect with TLS besides `public`; empty = `public` itself speaks TLS when there is a certificate";
    tls_cert: PathBuf = PathBuf::new(), Text, "Certificate chain of the public port (PEM); read again on SIGHUP";
    tls_key: PathBuf = PathBuf::new(), Text, "Private key of `tls_cert` (PEM)";
    trusted_proxies: String = String::new(), Text, "Proxies in front of `public` whose word on the client's address is taken (X-Forwarded-For, PROXY protocol 2): addresses and networks, parted by commas; empty = nobody's";
    path_prefix: String = String::new(), Text, "Path under which Pusher's paths are served as well, such as /ws; for clients with wsPath";
    cluster: String = String::new(), Text, "All nodes of a new cluster: 1=host:port,2=host:port,…; empty = alone";
    join: String = String::new(), Text, "Peers of an existing cluster to join: host:port,…";
    cluster_secret: String = String::new(), Secret, "Proof between nodes that they belong together; at least 16 characters";
    cluster_secret_file: PathBuf = PathBuf::new(), Text, "File that holds `cluster_secret`";
    admin_token: String = String::new(), Secret, "Token of the internal port; at least 16 characters";
    admin_token_file: PathBuf = PathBuf::new(), Text, "File that holds `admin_token`";
    workers: u64 = 0, Number, "Threads that serve clients; 0 = one per core but one";
    log: String = "info,actix_server=warn".into(), Text, "What is logged: a level, or module=level,…; the consensus engine and the HTTP library only where named (openraft=warn, actix_http=error)";
    log_format: LogFormat = LogFormat::Auto, Text, "json, pretty, or auto: pretty on a terminal";
    keep_alive_ms: u64 = 75_000, Number, "How long an idle HTTP connection is kept";
    request_timeout_ms: u64 = 5_000, Number, "How long a client may take to send a request's head";
    max_connections: u64 = 25_000, Number, "Connections accepted per worker thread";
    backlog: u64 = 2_048, Number, "Connections the kernel holds until they are accepted";
    drain_ms: u64 = 30_000, Number, "Longest orderly stop";
    lease_ms: u64 = 3_000, Number, "How old a node's proven view may be while it serves protected data";
    lease_renewal_ms: u64 = 200, Number, "How often a node proves its view";
    heartbeat_ms: u64 = 100, Number, "The leader's heartbeat";
    election_min_ms: u64 = 500, Number, "Shortest silence before a node stands for election";
    election_max_ms: u64 = 1_000, Number, "Longest silence before a node stands for election";
    propose_timeout_ms: u64 = 5_000, Number, "Longest wait for a change before its outcome is called unknown";
    snapshot_after: u64 = 20_000, Number, "Changes since the last snapshot that trigger a new one";
    keep_entries: u64 = 4_000, Number, "Log entries kept behind a snapshot, for nodes that were away briefly";
    disk_reserve_mb: u64 = 64, Number, "Megabytes of the data folder's disk kept free; below that this node takes no changes";
    history_memory_mb: u64 = 512, Number, "Megabytes that the histories of all channels on this node may weigh together; above it the largest let go of their oldest messages; 0 = no bound";
    allow_plaintext_peers: bool = false, Switch, "Peers may link beyond loopback without encryption: only on a private network";
    allow_plaintext_internal: bool = false, Switch, "`internal` may be beyond loopback, where the admin token travels in clear: only on a private network";
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The reference of all keys, as a TOML file that says what holds when nothing is said.
#[must_use]
pub fn reference() -> String {
    let defaults = serde_json::to_value(Raw::default()).unwrap_or_default();
    let mut text = String::from(
        "# Gatecast configuration. Flags win over GATECAST_… in the environment, that over this file.\n",
    );
    for key in KEYS {
        let default = defaults.get(key.name).map(ToString::to_string);
        let (env, default) = (key.name.to_uppercase(), default.unwrap_or_default());
        text += &format!(
            "\n# {}. GATECAST_{env}\n# {} = {default}\n",
            key.doc, key.name
        );
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use figment::providers::{Format as _, Toml};

    #[test]
    fn the_reference_names_every_key_and_is_a_file_of_the_defaults() {
        let text = reference();
        let uncommented: String = text
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| {
                let key = line.split_once(" = ").map(|(key, _)| key);
                KEYS.iter().any(|known| Some(known.name) == key)
            })
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(uncommented.lines().count(), KEYS.len());
        let read: Raw = figment::Figment::from(Toml::string(&uncommented))
            .extract()
            .unwrap();
        let (read, defaults) = (
            serde_json::to_value(read),
            serde_json::to_value(Raw::default()),
        );
        assert_eq!(read.unwrap(), defaults.unwrap());
    }
}
