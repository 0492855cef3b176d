//! From written keys to a configuration that holds together. Refuses what would be unsafe or could never work,
//! before anything is opened.

use super::Raw;
use gatecast_cluster::FirstStart;
use gatecast_cluster::access::NodeId;
use ipnet::IpNet;
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Shortest secret that is accepted.
const SECRET_CHARS: usize = 16;

/// Why a configuration is refused, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object per line.
    Json,
    /// Lines for people to read.
    Pretty,
}

/// Where and with what TLS is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// A port of its own; none = the public one.
    pub port: Option<SocketAddr>,
    /// The file of the certificate chain.
    pub cert: PathBuf,
    /// The file of the certificate's key.
    pub key: PathBuf,
}

/// A configuration that holds together.
#[derive(Clone)]
pub struct Config {
    /// The number of this node in the cluster.
    pub node: u64,
    /// Folder of its data.
    pub data: PathBuf,
    /// Where clients connect.
    pub public: SocketAddr,
    /// Where operators connect.
    pub internal: SocketAddr,
    /// Where peers connect.
    pub peer: SocketAddr,
    /// How peers reach this node.
    pub peer_addr: Arc<str>,
    /// How clients reach it; none = as bound.
    pub public_url: Option<Arc<str>>,
    /// TLS of the public side.
    pub tls: Option<Tls>,
    /// In front of Pusher's paths; empty = nothing.
    pub path_prefix: Arc<str>,
    /// Whose word on a client's address is taken.
    pub trusted_proxies: Arc<[IpNet]>,
    /// What to do when the data folder is new.
    pub first_start: FirstStart,
    /// Shared by all nodes.
    pub cluster_secret: Arc<str>,
    /// Of the internal port.
    pub admin_token: Arc<str>,
    /// The admin token was made up for this run, because everything is on loopback and alone.
    pub dev_token: bool,
    /// Threads that serve clients; 0 = one per core but one.
    pub workers: usize,
    /// Which lines are logged, as a filter of `tracing`.
    pub log: String,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Idle HTTP connections.
    pub keep_alive: Duration,
    /// How long a client may take for the head of a request.
    pub request_timeout: Duration,
    /// Most connections of one worker thread.
    pub max_connections: usize,
    /// Of the public port.
    pub backlog: u32,
    /// Longest orderly stop.
    pub drain: Duration,
    /// The lease: how old a node's proven view may be while it serves.
    pub lease: Duration,
    /// Between read indexes.
    pub lease_renewal: Duration,
    /// Of the leader.
    pub heartbeat: Duration,
    /// Shortest and longest.
    pub election: (Duration, Duration),
    /// Of one change.
    pub propose_timeout: Duration,
    /// Changes between snapshots.
    pub snapshot_after: u64,
    /// Log entries kept behind a snapshot.
    pub keep_entries: u64,
    /// Bytes of the disk kept free.
    pub disk_reserve: u64,
    /// Bytes that all histories may weigh together.
    pub history_memory: u64,
    /// Whether peers may link beyond loopback without encryption.
    pub allow_plaintext_peers: bool,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (node, public, internal) = (self.node, self.public, self.internal);
        write!(
            f,
            "Config(node {node}, public {public}, internal {internal}, peers {})",
            self.peer_addr
        )
    }
}

impl Config {
    /// Checks what was written.
    ///
    /// # Errors
    /// The first thing that is wrong, with what to do.
    pub fn check(raw: Raw) -> Result<Self, ConfigError> {
        timing(&raw)?;
        addresses(&raw)?;
        let peer_addr = match raw.peer_addr.is_empty() {
            true => raw.peer.to_string(),
            false => host_port("peer_addr", &raw.peer_addr)?.to_owned(),
        };
        if !raw.peer.ip().is_loopback() && !raw.allow_plaintext_peers {
            return wrong(
                "`peer` is beyond loopback, where links between nodes are not encrypted yet: set `allow_plaintext_peers` if that network is private",
            );
        }
        if !raw.internal.ip().is_loopback() && !raw.allow_plaintext_internal {
            return wrong(
                "`internal` is beyond loopback, where the admin token travels without encryption: set `allow_plaintext_internal` if that network is private",
            );
        }
        let first_start = first_start(&raw, &peer_addr)?;
        let tls = tls(&raw)?;
        let (cluster_secret, admin_token) = secrets(&raw)?;
        let dev_token = admin_token.is_none();
        let admin_token = admin_token.unwrap_or_else(made_up);
        let ms = Duration::from_millis;
        Ok(Self {
            node: raw.node,
            data: raw.data,
            public: raw.public,
            internal: raw.internal,
            peer: raw.peer,
            peer_addr: peer_addr.into(),
            public_url: (!raw.public_url.is_empty()).then(|| raw.public_url.into()),
            tls,
            path_prefix: path_prefix(&raw.path_prefix)?,
            trusted_proxies: networks(&raw.trusted_proxies)?,
            first_start,
            cluster_secret: cluster_secret.into(),
            admin_token: admin_token.into(),
            dev_token,
            workers: bounded("workers", raw.workers, 0, 1024)?,
            log: raw.log,
            log_format: raw.log_format,
            keep_alive: ms(raw.keep_alive_ms),
            request_timeout: ms(raw.request_timeout_ms),
            max_connections: bounded("max_connections", raw.max_connections, 1, 10_000_000)?,
            backlog: bounded("backlog", raw.backlog, 1, 65_535)?,
            drain: ms(raw.drain_ms),
            lease: ms(raw.lease_ms),
            lease_renewal: ms(raw.lease_renewal_ms),
            heartbeat: ms(raw.heartbeat_ms),
            election: (ms(raw.election_min_ms), ms(raw.election_max_ms)),
            propose_timeout: ms(raw.propose_timeout_ms),
            snapshot_after: raw.snapshot_after,
            disk_reserve: raw.disk_reserve_mb.saturating_mul(1 << 20),
            keep_entries: raw.keep_entries,
            history_memory: match raw.history_memory_mb {
                0 => u64::MAX,
                mb => mb.saturating_mul(1 << 20),
            },
            allow_plaintext_peers: raw.allow_plaintext_peers,
        })
    }
}

fn wrong<T>(message: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError(message.into()))
}

fn bounded<T: TryFrom<u64>>(
    key: &str,
    value: u64,
    least: u64,
    most: u64,
) -> Result<T, ConfigError> {
    let inside = (least..=most).contains(&value);
    let value = T::try_from(value).ok().filter(|_| inside);
    value.ok_or_else(|| ConfigError(format!("`{key}` is between {least} and {most}")))
}

/// The cluster's secret and the admin token; no admin token = one may be made up.
fn secrets(raw: &Raw) -> Result<(String, Option<String>), ConfigError> {
    let alone = raw.join.is_empty() && raw.cluster.split(',').count() <= 1;
    let local = |addr: &SocketAddr| addr.ip().is_loopback();
    let cluster = match secret(
        "cluster_secret",
        &raw.cluster_secret,
        &raw.cluster_secret_file,
    )? {
        Some(secret) => secret,
        None if alone && local(&raw.peer) => made_up(),
        None => {
            return wrong(
                "`cluster_secret` is missing: every node of a cluster, and every node whose peer port is not on loopback, needs the same one",
            );
        }
    };
    let admin = secret("admin_token", &raw.admin_token, &raw.admin_token_file)?;
    let private = alone && [raw.public, raw.internal, raw.peer].iter().all(local);
    match admin.is_some() || private {
        true => Ok((cluster, admin)),
        false => wrong(
            "`admin_token` is missing: only a single node with every port on loopback makes one up",
        ),
    }
}

fn timing(raw: &Raw) -> Result<(), ConfigError> {
    let rules = [
        (raw.heartbeat_ms >= 10, "`heartbeat_ms` is at least 10"),
        (
            raw.election_min_ms >= 3 * raw.heartbeat_ms,
            "`election_min_ms` is at least three heartbeats",
        ),
        (
            raw.election_max_ms > raw.election_min_ms,
            "`election_max_ms` is above `election_min_ms`",
        ),
        (
            raw.lease_renewal_ms >= 20,
            "`lease_renewal_ms` is at least 20",
        ),
        (
            raw.lease_ms > raw.election_max_ms && raw.lease_ms >= 5 * raw.lease_renewal_ms,
            "`lease_ms` is above `election_max_ms` and at least five renewals, or every election stops the service",
        ),
        (
            raw.propose_timeout_ms >= 100,
            "`propose_timeout_ms` is at least 100",
        ),
        (
            raw.request_timeout_ms >= 100,
            "`request_timeout_ms` is at least 100",
        ),
        (
            raw.snapshot_after >= 100,
            "`snapshot_after` is at least 100",
        ),
    ];
    match rules.iter().find(|(holds, _)| !holds) {
        None => Ok(()),
        Some((_, rule)) => wrong(*rule),
    }
}

fn addresses(raw: &Raw) -> Result<(), ConfigError> {
    if raw.node == 0 {
        return wrong("`node` is at least 1");
    }
    let ports = [
        ("public", raw.public),
        ("internal", raw.internal),
        ("peer", raw.peer),
    ];
    for (at, (name, addr)) in ports.iter().enumerate() {
        let same = ports
            .iter()
            .skip(at + 1)
            .find(|(_, other)| other.port() != 0 && other == addr);
        if let Some((other, _)) = same {
            return wrong(format!(
                "`{name}` and `{other}` are the same address {addr}"
            ));
        }
    }
    Ok(())
}

fn first_start(raw: &Raw, peer_addr: &str) -> Result<FirstStart, ConfigError> {
    let own = NodeId(raw.node);
    match (raw.cluster.is_empty(), raw.join.is_empty()) {
        (false, false) => {
            wrong("`cluster` forms a new cluster and `join` joins an old one: set one of them")
        }
        (true, true) => Ok(FirstStart::Form(vec![(own, peer_addr.into())])),
        (true, false) => {
            let peers = raw
                .join
                .split(',')
                .map(|addr| host_port("join", addr.trim()));
            let peers = peers.map(|addr| addr.map(Into::into));
            Ok(FirstStart::Join(peers.collect::<Result<_, _>>()?))
        }
        (false, true) => {
            let nodes = members(&raw.cluster)?;
            match nodes.get(&own) {
                None => wrong(format!("`cluster` does not name this node, {own}")),
                Some(addr) if **addr != *peer_addr => wrong(format!(
                    "`cluster` says that node {own} is at {addr}, but it listens on {peer_addr}; set `peer` or `peer_addr`"
                )),
                Some(_) => Ok(FirstStart::Form(nodes.into_iter().collect())),
            }
        }
    }
}

fn members(list: &str) -> Result<BTreeMap<NodeId, Arc<str>>, ConfigError> {
    let mut nodes = BTreeMap::new();
    for entry in list.split(',') {
        let Some((node, addr)) = entry.trim().split_once('=') else {
            return wrong(format!("`cluster`: `{entry}` is not number=host:port"));
        };
        let addr: Arc<str> = host_port("cluster", addr)?.into();
        let Some(node) = node.parse().ok().filter(|node| *node > 0) else {
            return wrong(format!("`cluster`: `{node}` is no node number"));
        };
        if nodes.values().any(|other| *other == addr) {
            return wrong(format!("`cluster` names {addr} twice"));
        }
        if nodes.insert(NodeId(node), addr).is_some() {
            return wrong(format!("`cluster` names node {node} twice"));
        }
    }
    Ok(nodes)
}

fn tls(raw: &Raw) -> Result<Option<Tls>, ConfigError> {
    let given = |path: &Path| !path.as_os_str().is_empty();
    let port = match raw.public_tls.as_str() {
        "" => None,
        text => match text.parse::<SocketAddr>() {
            Ok(addr) if addr.port() != 0 && addr == raw.public => {
                return wrong(
                    "`public_tls` and `public` are the same address: leave `public_tls` out",
                );
            }
            Ok(addr) => Some(addr),
            Err(_) => return wrong(format!("`public_tls`: `{text}` is not address:port")),
        },
    };
    match (given(&raw.tls_cert), given(&raw.tls_key)) {
        (true, true) => Ok(Some(Tls {
            port,
            cert: raw.tls_cert.clone(),
            key: raw.tls_key.clone(),
        })),
        (false, false) if port.is_none() => Ok(None),
        (false, false) => wrong("`public_tls` needs `tls_cert` and `tls_key`"),
        (true, false) | (false, true) => wrong("`tls_cert` and `tls_key` go together"),
    }
}

/// Addresses and networks, parted by commas.
fn networks(text: &str) -> Result<Arc<[IpNet]>, ConfigError> {
    let named = text.split(',').map(str::trim).filter(|one| !one.is_empty());
    let network = |one: &str| {
        let address = one.parse().map(|address: IpAddr| IpNet::from(address));
        let network = address.or_else(|_| one.parse());
        let wrong = format!(
            "`trusted_proxies` names addresses and networks such as 10.0.0.0/8; `{one}` is neither"
        );
        network.map_err(|_| ConfigError(wrong))
    };
    named.map(network).collect()
}

fn path_prefix(text: &str) -> Result<Arc<str>, ConfigError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let path = text.trim_end_matches('/');
    let good = path.is_empty() || (path.starts_with('/') && !path.contains("//"));
    match good && path.bytes().all(plain) {
        true => Ok(path.into()),
        false => wrong("`path_prefix` begins with / and holds letters, digits and -._~/ only"),
    }
}

fn host_port<'a>(key: &str, text: &'a str) -> Result<&'a str, ConfigError> {
    let parts = text.rsplit_once(':');
    match parts.filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
        Some(_) => Ok(text),
        None => wrong(format!("`{key}`: `{text}` is not host:port")),
    }
}

/// A secret from its key or its file. Never part of an error.
fn secret(key: &str, value: &str, file: &Path) -> Result<Option<String>, ConfigError> {
    let from_file = !file.as_os_str().is_empty();
    if from_file && !value.is_empty() {
        return wrong(format!("`{key}` and `{key}_file` are both set: keep one"));
    }
    let text = match from_file {
        true => match std::fs::read_to_string(file) {
            Ok(text) => text.trim_end().to_owned(),
            Err(error) => return wrong(format!("`{key}_file` {}: {error}", file.display())),
        },
        false if value.is_empty() => return Ok(None),
        false => value.to_owned(),
    };
    let printable = text.bytes().all(|b| b.is_ascii_graphic());
    match printable && text.len() >= SECRET_CHARS {
        true => Ok(Some(text)),
        false => wrong(format!(
            "`{key}` is at least {SECRET_CHARS} printable characters without spaces"
        )),
    }
}

fn made_up() -> String {
    let letters = rand::rng().sample_iter(rand::distr::Alphanumeric);
    letters.take(32).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn checked(change: impl FnOnce(&mut Raw)) -> Result<Config, String> {
        let mut raw = Raw::default();
        change(&mut raw);
        Config::check(raw).map_err(|error| error.0)
    }

    #[test]
    fn alone_on_loopback_nothing_has_to_be_said() {
        let config = checked(|_| {}).unwrap();
        assert!(config.dev_token && config.admin_token.len() == 32);
        assert!(config.internal.ip().is_loopback() && config.public.ip().is_loopback());
        assert!(matches!(&config.first_start, FirstStart::Form(nodes) if nodes.len() == 1));
    }

    #[test]
    fn whatever_others_can_reach_needs_its_secrets() {
        let three = "1=127.0.0.1:7601,2=127.0.0.1:7602,3=127.0.0.1:7603";
        let error = |change: fn(&mut Raw)| checked(change).err().unwrap_or_default();
        let wide: SocketAddr = "0.0.0.0:7601".parse().unwrap();
        assert!(error(|raw| raw.peer = "0.0.0.0:7601".parse().unwrap()).contains("plaintext"));
        let private = checked(|raw| (raw.peer, raw.allow_plaintext_peers) = (wide, true));
        assert!(private.err().unwrap_or_default().contains("cluster_secret"));
        assert!(error(|raw| raw.join = "a:1".into()).contains("cluster_secret"));
        assert!(error(|raw| raw.public = "0.0.0.0:6001".parse().unwrap()).contains("admin_token"));
        let internal = |raw: &mut Raw| raw.internal = "0.0.0.0:9601".parse().unwrap();
        assert!(error(internal).contains("allow_plaintext_internal"));
        let private = checked(|raw| {
            internal(raw);
            raw.allow_plaintext_internal = true;
        });
        assert!(private.err().unwrap_or_default().contains("admin_token"));
        assert!(checked(|raw| raw.cluster = three.into()).is_err());
        let config = checked(|raw| {
            raw.cluster = three.into();
            raw.cluster_secret = SECRET.into();
            raw.admin_token = SECRET.into();
        });
        let config = config.unwrap();
        assert!(!config.dev_token);
        assert!(matches!(&config.first_start, FirstStart::Form(nodes) if nodes.len() == 3));
    }

    #[test]
    fn contradictions_are_named() {
        let cluster = |text: &str| {
            checked(|raw| {
                raw.cluster = text.into();
                raw.cluster_secret = SECRET.into();
                raw.admin_token = SECRET.into();
            })
            .err()
            .unwrap_or_default()
        };
        assert!(cluster("2=127.0.0.1:7602").contains("does not name this node"));
        assert!(cluster("1=127.0.0.1:9999").contains("listens on"));
        assert!(cluster("1=127.0.0.1:7601,1=127.0.0.1:7602").contains("twice"));
        assert!(cluster("1:127.0.0.1:7601").contains("number=host:port"));
        assert!(checked(|raw| raw.internal = raw.public).is_err());
        let checked_proxies = |text: &str| checked(|raw| raw.trusted_proxies = text.into());
        let nets = checked_proxies("10.0.0.0/8, ::1").unwrap().trusted_proxies;
        assert_eq!(nets.len(), 2);
        let wrong = checked_proxies("10.0.0.0/8,nginx").unwrap_err();
        assert!(wrong.contains("`nginx` is neither"), "{wrong}");
        assert!(checked(|raw| raw.lease_ms = 900).is_err());
        assert!(checked(|raw| raw.node = 0).is_err());
        assert!(checked(|raw| raw.admin_token = "short".into()).is_err());
    }

    #[test]
    fn a_secret_comes_from_its_file_and_never_into_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{SECRET}\n")).unwrap();
        let config = checked(|raw| raw.admin_token_file = file.path().into()).unwrap();
        assert_eq!(&*config.admin_token, SECRET);
        std::fs::write(file.path(), "hush hush hush hush").unwrap();
        let error = checked(|raw| raw.admin_token_file = file.path().into())
            .err()
            .unwrap();
        assert!(!error.contains("hush"), "{error}");
        let both = checked(|raw| {
            raw.admin_token = SECRET.into();
            raw.admin_token_file = file.path().into();
        });
        assert!(both.is_err());
    }
}
