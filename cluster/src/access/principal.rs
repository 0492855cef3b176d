//! Who a connection or request speaks for, and what its credential proves.
//!
//! **Must never know:** how a credential looks on a wire or how its signature was checked. By the time a
//! [`Proof`] exists, its MAC has been verified at the edge.

use super::{AppId, Capability, Millis, Revision, Text};
use serde::{Deserialize, Serialize};

/// When a credential came to be; decides whether a revocation reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Issued {
    /// It states its own time of issue (a JWT's `iat`, a minted token): reached by a revocation whose
    /// `issued_before_ms` is later than this.
    At(Millis),
    /// It was proved live on a node whose view stood at this revision (a signature bound to a socket, a
    /// key presented at connect): reached by every revocation committed after it.
    Seen(Revision),
}

/// A right that a credential carries in itself, verified at the edge. It never exceeds the key that
/// issued it: that is intersected live at every decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The key that signed or issued it.
    pub key: Text,
    /// When.
    pub issued: Issued,
    /// When it ends, cluster time.
    pub expires_ms: Option<Millis>,
    /// What it says.
    pub capability: Capability,
}

/// Who asks. Every field that is set is a subject that grants, revocations and blocks can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The app whose channels are asked about.
    pub app: AppId,
    /// The key this connection presented or whose app it named, if a key was named at all. A disabled
    /// or deleted key ends everything done under it.
    pub key: Option<Text>,
    /// Verified user / client id.
    pub user: Option<Text>,
    /// Token id, auth key or token string.
    pub token: Option<Text>,
    /// Revocation key carried by the token.
    pub revocation_key: Option<Text>,
    /// When the identity above was established.
    pub issued: Issued,
    /// When the identity ends, cluster time.
    pub expires_ms: Option<Millis>,
    /// Rights of the credential the connection was made with, if it carries any.
    pub proof: Option<Proof>,
}

impl Principal {
    /// Nobody in particular, connected to `app` under `key` when the view stood at `seen`.
    #[must_use]
    pub fn anonymous(app: AppId, key: Option<Text>, seen: Revision) -> Self {
        Self {
            app,
            key,
            user: None,
            token: None,
            revocation_key: None,
            issued: Issued::Seen(seen),
            expires_ms: None,
            proof: None,
        }
    }
}
