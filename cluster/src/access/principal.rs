//! Who a connection or request speaks for, and what its credential proves.
//!
//! By the time a [`Proof`] exists, its MAC has been verified at the edge.

use super::{AppId, Capability, Millis, Revision, Text, Vouched};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// When a credential came to be; decides whether a revocation reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Issued {
    /// It states its own time of issue (a JWT's `iat`, a minted token): reached by a revocation whose
    /// `issued_before_ms` is later than this, and not honoured before it. It is what the credential says and
    /// never what the clock said when it was shown: a time that moved would move past a revocation.
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
    /// When it was issued, as far as it says.
    pub issued: Issued,
    /// When it ends, cluster time.
    pub expires_ms: Option<Millis>,
    /// What it says.
    pub capability: Capability,
    /// The identity provider that signed it, where it was no key: the key is its ceiling then.
    pub vouched: Option<Arc<Vouched>>,
}

impl Proof {
    /// The user groups that its bearer is in, as its provider says.
    #[must_use]
    pub fn claimed(&self) -> &[Text] {
        self.vouched.as_ref().map_or(&[], |by| &by.groups)
    }
}

/// Somebody for whom a connection speaks on one channel without being her: an app server has signed that this is her
/// name there, or a client that may use any name has given hers. It takes from its connection what a block or a
/// revocation of her takes, and gives it nothing: only who signs a user in vouches for the grants stored for her.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpokenFor {
    /// Her user / client id.
    pub user: Text,
    /// When it was said.
    pub issued: Issued,
}

/// The key behind an identity, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Voucher {
    /// Its secret was shown, or a MAC under it was verified: it vouches for the identity, which is never worth
    /// more than the key itself.
    Held(Text),
    /// Somebody said its public id. It vouches for nobody and no grants to the key are used; its end still
    /// ends what was opened under it.
    Named(Text),
}

impl Voucher {
    /// The id of the key that vouches.
    #[must_use]
    pub fn key(&self) -> &Text {
        match self {
            Self::Held(key) | Self::Named(key) => key,
        }
    }
}

/// Who asks. Every field that is set is a subject that grants, revocations and blocks can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The app whose channels are asked about.
    pub app: AppId,
    /// The key that stands behind the user and token below. A disabled or deleted key ends everything done
    /// under it. Without one that was held, the user is nobody's word and has no stored grants.
    pub vouched_by: Option<Voucher>,
    /// The key that the connection named before another vouched for its user: its end ends the connection too.
    pub opened_under: Option<Text>,
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
    /// The token whose stored grants it took along as a proof of its own. Whoever holds such a copy does not see what
    /// is taken from the token later.
    #[must_use]
    pub fn copied_from(&self) -> Option<&Text> {
        let copy = self.proof.as_ref().is_some_and(|proof| match proof.issued {
            Issued::Seen(_) => true,
            Issued::At(_) => false,
        });
        self.token.as_ref().filter(|_| copy)
    }

    /// Nobody in particular, connected to `app` when the view stood at `seen`; of the key it is known only that
    /// it was `named`.
    #[must_use]
    pub fn anonymous(app: AppId, named: Option<Text>, seen: Revision) -> Self {
        Self {
            app,
            vouched_by: named.map(Voucher::Named),
            opened_under: None,
            user: None,
            token: None,
            revocation_key: None,
            issued: Issued::Seen(seen),
            expires_ms: None,
            proof: None,
        }
    }

    /// Whoever this proof makes of its bearer: its key vouches, and the identity ends with it.
    #[must_use]
    pub fn proven(app: AppId, proof: Proof) -> Self {
        Self {
            app,
            vouched_by: Some(Voucher::Held(proof.key.clone())),
            opened_under: None,
            user: None,
            token: None,
            revocation_key: None,
            issued: proof.issued,
            expires_ms: proof.expires_ms,
            proof: Some(proof),
        }
    }

    /// The key that vouches for the identity: one that was held.
    #[must_use]
    pub fn held(&self) -> Option<&Text> {
        match &self.vouched_by {
            Some(Voucher::Held(key)) => Some(key),
            Some(Voucher::Named(_)) | None => None,
        }
    }

    /// The key that the connection was opened under, held or named.
    #[must_use]
    pub fn key(&self) -> Option<&Text> {
        let voucher = self.vouched_by.as_ref().map(Voucher::key);
        self.opened_under.as_ref().or(voucher)
    }

    /// The user groups that its credential says its user is in.
    #[must_use]
    pub fn claimed(&self) -> &[Text] {
        self.proof.as_ref().map_or(&[], Proof::claimed)
    }

    /// Every key whose end ends this, held or named.
    pub fn keys(&self) -> impl Iterator<Item = &Text> {
        let voucher = self.vouched_by.as_ref().map(Voucher::key);
        let opened = self.opened_under.as_ref();
        let other = opened.filter(move |opened| voucher != Some(*opened));
        voucher.into_iter().chain(other)
    }
}
