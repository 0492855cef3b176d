//! The hello: who is at the other end, proved by the cluster's secret before anything else is read.
//!
//! ```text
//! dialler  -> HELLO  magic, version, plane, node, expected peer, disk, cluster,             (fixed size)
//!                    lowest and highest version spoken, version agreed on, nonce
//! acceptor -> HELLO  the same with its own values
//! dialler  -> PROOF  HMAC-SHA256(secret, "dial"   + both hellos)
//! acceptor -> PROOF  verdict, HMAC-SHA256(secret, "accept" + both hellos + verdict)
//! ```
//!
//! The dialler proves first, so that a stranger learns nothing by knocking. Messages have a fixed size, the
//! whole exchange has five seconds. It authenticates the two ends, not each later byte: a network that
//! strangers can write to needs TLS below. What the peer says of the version agreed on is believed once it is known
//! to be of the same cluster, before its own range is judged.

use super::{LocalNode, Stream};
use crate::PeerSecret;
use crate::versions::{VersionMismatch, Versions};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const MAGIC: [u8; 4] = *b"GTCT";
/// Version of the hello and of the frames' outer form; what is in them has the version that is agreed on.
const VERSION: u8 = 2;
const HELLO_BYTES: usize = 4 + 1 + 1 + 8 + 8 + 16 + 16 + 2 + 2 + 2 + 32;
const PROOF_BYTES: usize = 32;
/// Time for the whole exchange.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a connection serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plane {
    /// Requests and answers of the access plane.
    Control,
    /// Handed to the broker.
    Message,
}

/// Who a node says it is; the secret proves only that it belongs to the cluster's operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The number of the node.
    pub(crate) node: u64,
    /// Random number written to its disk when its data directory was made.
    pub(crate) disk: u128,
    /// Id of its cluster; 0 while it does not know.
    pub(crate) cluster: u128,
    /// What its build speaks.
    pub(crate) speaks: Versions,
}

/// Why an authenticated peer is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its node id belongs to another disk.
    OtherDisk,
    /// It belongs to another cluster.
    OtherCluster,
    /// It meant to reach another node.
    NotMe,
    /// Its node id was removed from the cluster.
    Removed,
    /// Too many connections.
    Full,
    /// Its build does not speak yet what the cluster has agreed on.
    TooOld,
    /// Its build speaks it no longer.
    TooNew,
}

impl From<VersionMismatch> for Refusal {
    fn from(mismatch: VersionMismatch) -> Self {
        match mismatch {
            VersionMismatch::TooOld => Self::TooOld,
            VersionMismatch::TooNew => Self::TooNew,
        }
    }
}

impl Refusal {
    const ALL: [Self; 7] = [
        Self::OtherDisk,
        Self::OtherCluster,
        Self::NotMe,
        Self::Removed,
        Self::Full,
        Self::TooOld,
        Self::TooNew,
    ];

    fn code(self) -> u8 {
        Self::ALL
            .iter()
            .position(|r| *r == self)
            .map_or(u8::MAX, |at| at as u8 + 1)
    }

    /// For the people whose node is turned away.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::OtherDisk => {
                "this node's id belongs to another data directory. A node that lost its data must join as a new node under a new id"
            }
            Self::OtherCluster => "this node's data belongs to another cluster",
            Self::NotMe => "another node answers at the peer's address",
            Self::Removed => "this node was removed from the cluster; its id is never used again",
            Self::Full => "the peer has too many connections",
            Self::TooOld => VersionMismatch::TooOld.text(),
            Self::TooNew => VersionMismatch::TooNew.text(),
        }
    }

    /// For the people whose node turned the other away.
    fn of_the_other(self) -> &'static str {
        match self {
            Self::OtherDisk => {
                "here its number belongs to another data directory. A node that lost its data must join as a new node under a new id"
            }
            Self::OtherCluster => "its data belongs to another cluster",
            Self::NotMe => {
                "it meant to reach another node: its `cluster` or `join` has this node's address under a wrong number"
            }
            Self::Removed => "it was removed from the cluster; its id is never used again",
            Self::Full => "there are too many connections",
            Self::TooOld => "its build is older than what the cluster has agreed to speak",
            Self::TooNew => "its build no longer speaks what the cluster has agreed on",
        }
    }
}

/// A refusal inside an [`io::Error`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// The other end's of this node.
    #[error("node {by} turned this node away: {}", .why.text())]
    Ours {
        /// Who said so.
        by: u64,
        /// The reason, by the other's word or this node's.
        why: Refusal,
    },
    /// This node's of the other end.
    #[error("node {node} was turned away: {}", .why.of_the_other())]
    Theirs {
        /// Who it says it is.
        node: u64,
        /// The reason, by the other's word or this node's.
        why: Refusal,
    },
    /// Another node than the one that was dialled.
    #[error(
        "node {by} answers at that address, not node {meant}: another node answers where `cluster` says this one is"
    )]
    OtherNode {
        /// The node that answers there.
        by: u64,
        /// Who was dialled.
        meant: u64,
    },
}

impl Refused {
    fn error(self) -> io::Error {
        io::Error::new(io::ErrorKind::PermissionDenied, self)
    }

    /// Why the other end turned this node away, if it did.
    pub(crate) fn of_this_node(&self) -> Option<Refusal> {
        match self {
            Self::Ours { why, .. } => Some(*why),
            Self::OtherNode { .. } => Some(Refusal::NotMe),
            Self::Theirs { .. } => None,
        }
    }
}

/// One side's hello message.
#[derive(Clone, Copy, Debug)]
struct Hello {
    plane: Plane,
    from: Identity,
    to: u64,
    /// What is agreed on, as far as it knows; 0 = nothing.
    agreed: u16,
    nonce: [u8; 32],
}

impl Hello {
    fn new(local: &LocalNode, plane: Plane, to: u64) -> Self {
        Self {
            plane,
            from: **local.identity.load(),
            to,
            agreed: local.version.agreed(),
            nonce: rand::random(),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HELLO_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.push(VERSION);
        bytes.push(match self.plane {
            Plane::Control => 0,
            Plane::Message => 1,
        });
        bytes.extend_from_slice(&self.from.node.to_be_bytes());
        bytes.extend_from_slice(&self.to.to_be_bytes());
        bytes.extend_from_slice(&self.from.disk.to_be_bytes());
        bytes.extend_from_slice(&self.from.cluster.to_be_bytes());
        bytes.extend_from_slice(&self.from.speaks.lowest.to_be_bytes());
        bytes.extend_from_slice(&self.from.speaks.highest.to_be_bytes());
        bytes.extend_from_slice(&self.agreed.to_be_bytes());
        bytes.extend_from_slice(&self.nonce);
        bytes
    }

    fn decode(bytes: &[u8; HELLO_BYTES]) -> io::Result<Self> {
        fn take<const N: usize>(rest: &mut &[u8]) -> io::Result<[u8; N]> {
            let (head, tail) = rest
                .split_first_chunk::<N>()
                .ok_or_else(|| bad("short hello"))?;
            *rest = tail;
            Ok(*head)
        }
        let mut rest = bytes.as_slice();
        if take::<4>(&mut rest)? != MAGIC {
            return Err(bad(
                "no Gatecast node speaks there: it may be another port, or another program",
            ));
        }
        if take::<1>(&mut rest)? != [VERSION] {
            return Err(bad(
                "the peer's hello is of another version: install the same release on both nodes",
            ));
        }
        let plane = match take::<1>(&mut rest)? {
            [0] => Plane::Control,
            [1] => Plane::Message,
            _ => return Err(bad("unknown plane")),
        };
        let node = u64::from_be_bytes(take(&mut rest)?);
        let to = u64::from_be_bytes(take(&mut rest)?);
        let disk = u128::from_be_bytes(take(&mut rest)?);
        let cluster = u128::from_be_bytes(take(&mut rest)?);
        let speaks = Versions {
            lowest: u16::from_be_bytes(take(&mut rest)?),
            highest: u16::from_be_bytes(take(&mut rest)?),
        };
        Ok(Self {
            plane,
            from: Identity {
                node,
                disk,
                cluster,
                speaks,
            },
            to,
            agreed: u16::from_be_bytes(take(&mut rest)?),
            nonce: take(&mut rest)?,
        })
    }
}

/// Connects to `addr` and proves who we are. `to` is the expected node, 0 for whoever answers.
pub(crate) async fn dial(
    local: &LocalNode,
    addr: &str,
    to: u64,
    plane: Plane,
) -> io::Result<(Identity, Stream)> {
    let exchange = async {
        let mut stream = local.transport.connect(addr.to_owned()).await?;
        let mine = Hello::new(local, plane, to).encode();
        stream.write_all(&mine).await?;
        let theirs = read::<HELLO_BYTES>(&mut stream).await.map_err(silent)?;
        let hello = Hello::decode(&theirs)?;
        let by = hello.from.node;
        let dialled = mac(&local.secret, b"dial", &[&mine, &theirs])?;
        stream.write_all(&dialled.finalize().into_bytes()).await?;
        let answer = read::<{ PROOF_BYTES + 1 }>(&mut stream).await;
        let answer = answer.map_err(|error| unproven(by, error))?;
        let (verdict, proof) = answer.split_first().ok_or_else(|| bad("short proof"))?;
        mac(&local.secret, b"accept", &[&mine, &theirs, &[*verdict]])?
            .verify_slice(proof)
            .map_err(|_| {
                invalid(format!(
                    "node {by} at that address does not know this node's cluster secret"
                ))
            })?;
        match Refusal::ALL.into_iter().find(|r| r.code() == *verdict) {
            Some(Refusal::NotMe) => return Err(Refused::OtherNode { by, meant: to }.error()),
            Some(why) => return Err(Refused::Ours { by, why }.error()),
            None if to != 0 && by != to => {
                return Err(Refused::OtherNode { by, meant: to }.error());
            }
            None => {}
        }
        local.version.agree(hello.agreed);
        Ok((hello.from, stream))
    };
    timed(exchange).await
}

/// Takes the hello of a connection; `admit` judges the peer once it has proved that it knows the secret. `claims` is
/// the number that it says it has, as soon as it is known.
pub(super) async fn accept(
    local: &LocalNode,
    mut stream: Stream,
    admit: impl FnOnce(Identity) -> Result<(), Refusal>,
    claims: &mut Option<u64>,
) -> io::Result<(Identity, Plane, Stream)> {
    let exchange = async {
        let theirs = read::<HELLO_BYTES>(&mut stream).await?;
        let hello = Hello::decode(&theirs)?;
        *claims = Some(hello.from.node);
        let own = Hello::new(local, hello.plane, hello.from.node);
        let mine = own.encode();
        stream.write_all(&mine).await?;
        let proof = read::<PROOF_BYTES>(&mut stream).await?;
        mac(&local.secret, b"dial", &[&theirs, &mine])?
            .verify_slice(&proof)
            .map_err(|_| bad("it does not know this node's cluster secret"))?;
        let verdict = verify_peer(local, &own.from, &hello, admit);
        let code = verdict.err().map_or(0, Refusal::code);
        let accepted = mac(&local.secret, b"accept", &[&theirs, &mine, &[code]])?;
        let mut answer = vec![code];
        answer.extend_from_slice(&accepted.finalize().into_bytes());
        stream.write_all(&answer).await?;
        match verdict {
            Ok(()) => Ok((hello.from, hello.plane, stream)),
            Err(why) => {
                let node = hello.from.node;
                Err(Refused::Theirs { node, why }.error())
            }
        }
    };
    timed(exchange).await
}

fn verify_peer(
    local: &LocalNode,
    own: &Identity,
    hello: &Hello,
    admit: impl FnOnce(Identity) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    if hello.to != 0 && hello.to != own.node {
        return Err(Refusal::NotMe);
    }
    if own.cluster != 0 && hello.from.cluster != 0 && own.cluster != hello.from.cluster {
        return Err(Refusal::OtherCluster);
    }
    local.version.agree(hello.agreed);
    admit(hello.from)
}

async fn timed<T>(exchange: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(HANDSHAKE_TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| {
            let text = format!("no answer within {} s", HANDSHAKE_TIMEOUT.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        })
}

/// The other end said nothing before it went.
fn silent(error: io::Error) -> io::Error {
    let text = "it ended the connection before it said who it is: no Gatecast node's peer port, or a node that is stopping";
    match error.kind() == io::ErrorKind::UnexpectedEof {
        true => io::Error::new(io::ErrorKind::UnexpectedEof, text),
        false => error,
    }
}

/// The other end went when it saw this node's proof. It says no more to whoever does not know the secret.
fn unproven(by: u64, error: io::Error) -> io::Error {
    let gone = matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
    );
    if !gone {
        return error;
    }
    invalid(format!(
        "node {by} ended the connection when this node proved itself by its cluster secret: the two nodes' secrets differ"
    ))
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

async fn read<const N: usize>(stream: &mut Stream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

fn mac(secret: &PeerSecret, label: &[u8], parts: &[&[u8]]) -> io::Result<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.0.as_bytes())
        .map_err(|_| bad("the cluster's secret cannot be used as a key"))?;
    mac.update(b"gatecast peer ");
    mac.update(label);
    for part in parts {
        mac.update(part);
    }
    Ok(mac)
}

fn bad(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::super::transport::{Listener as _, Transport as _, memory::Memory};
    use super::*;
    use std::sync::Arc;

    fn local(net: &Memory, node: u64, secret: &str) -> LocalNode {
        LocalNode {
            transport: Arc::new(net.clone()),
            secret: PeerSecret(secret.into()),
            identity: Arc::new(arc_swap::ArcSwap::from_pointee(Identity {
                node,
                disk: 7,
                cluster: 0,
                speaks: Versions::OURS,
            })),
            version: Arc::new(crate::versions::NegotiatedVersion::new(Versions::OURS)),
        }
    }

    async fn meet(
        secrets: [&str; 2],
        to: u64,
        verdict: Result<(), Refusal>,
    ) -> [io::Result<()>; 2] {
        let net = Memory::default();
        let mut listener = net.listen("b");
        let (a, b) = (local(&net, 1, secrets[0]), local(&net, 2, secrets[1]));
        let accepting = async {
            let stream = listener.accept().await.unwrap();
            accept(&b, stream, |_| verdict, &mut None)
                .await
                .map(|(who, plane, _)| {
                    assert_eq!((who.node, plane), (1, Plane::Message));
                })
        };
        let dialling = async {
            dial(&a, "b", to, Plane::Message)
                .await
                .map(|(who, _)| assert_eq!(who.node, 2))
        };
        let (dialled, accepted) = tokio::join!(dialling, accepting);
        [dialled, accepted]
    }

    fn text(end: &io::Result<()>) -> String {
        end.as_ref().unwrap_err().to_string()
    }

    #[tokio::test]
    async fn both_ends_must_know_the_secret_and_the_peer_be_the_one_meant() {
        assert!(meet(["s", "s"], 2, Ok(())).await.iter().all(Result::is_ok));
        assert!(meet(["s", "s"], 0, Ok(())).await.iter().all(Result::is_ok));
        let [dialled, accepted] = meet(["s", "t"], 2, Ok(())).await;
        let (dialled, accepted) = (text(&dialled), text(&accepted));
        assert!(
            dialled.contains("node 2") && dialled.contains("secrets differ"),
            "{dialled}"
        );
        assert!(
            accepted.contains("does not know this node's cluster secret"),
            "{accepted}"
        );
        let refused = meet(["s", "s"], 3, Ok(())).await;
        assert!(
            refused[0]
                .as_ref()
                .unwrap_err()
                .to_string()
                .contains("another node")
        );
        let [dialled, accepted] = refused;
        let (dialled, accepted) = (text(&dialled), text(&accepted));
        assert!(
            dialled.contains("node 2 answers") && dialled.contains("not node 3"),
            "{dialled}"
        );
        assert!(
            accepted.contains("node 1") && accepted.contains("wrong number"),
            "{accepted}"
        );
        let [dialled, accepted] = meet(["s", "s"], 2, Err(Refusal::OtherCluster)).await;
        let (dialled, accepted) = (text(&dialled), text(&accepted));
        assert!(
            dialled.contains("node 2 turned this node away: this node's data"),
            "{dialled}"
        );
        assert!(
            accepted.contains("node 1 was turned away: its data"),
            "{accepted}"
        );
        let refused = meet(["s", "s"], 2, Err(Refusal::OtherDisk)).await;
        assert!(
            refused[0]
                .as_ref()
                .unwrap_err()
                .to_string()
                .contains("new id")
        );
        assert!(refused[1].is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stranger_is_dropped_after_the_deadline_and_noise_at_once() {
        let net = Memory::default();
        let mut listener = net.listen("b");
        let b = local(&net, 2, "s");
        let _quiet = net.connect("b".into()).await.unwrap();
        let stream = listener.accept().await.unwrap();
        let error = accept(&b, stream, |_| Ok(()), &mut None).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let mut noisy = net.connect("b".into()).await.unwrap();
        let stream = listener.accept().await.unwrap();
        noisy.write_all(&[b'x'; HELLO_BYTES]).await.unwrap();
        let error = accept(&b, stream, |_| Ok(()), &mut None).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
