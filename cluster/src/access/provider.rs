//! Identity providers: whose signature makes somebody a user of an app, by which keys, and up to which ceiling.
//!
//! **Must never know:** how a token or a key set looks on a wire: both are taken apart at the edge, and keys stand here
//! as plain bytes. **Why keys are in the log and not fetched by each node:** two nodes that asked at different moments
//! would judge the same token differently, and nobody could say when a key that was taken out is out everywhere.

use super::{AppId, Millis, Revision, State, Text};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How a provider signs. Taken from its record and never from a token alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSA, PKCS #1 v1.5, SHA-256.
    Rs256,
    /// RSA, PSS, SHA-256.
    Ps256,
    /// ECDSA on P-256, SHA-256.
    Es256,
    /// ECDSA on P-384, SHA-384.
    Es384,
    /// Ed25519, as EdDSA names it.
    EdDsa,
}

impl Algorithm {
    /// Each with its name in JSON Web Signatures.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("RS256", Self::Rs256),
        ("PS256", Self::Ps256),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("EdDSA", Self::EdDsa),
    ];

    /// Its name in JSON Web Signatures.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.into_iter().find(|(_, one)| *one == self);
        found.map_or("", |(name, _)| name)
    }

    /// The algorithm of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let found = Self::NAMES.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, one)| one)
    }
}

/// What kind of public key some bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum KeyKind {
    /// DER of an `RSAPublicKey` (RFC 8017, A.1.1).
    Rsa,
    /// An uncompressed point of P-256.
    P256,
    /// An uncompressed point of P-384.
    P384,
    /// A public key of Ed25519.
    Ed25519,
}

impl KeyKind {
    /// Whether such keys sign so.
    #[must_use]
    pub fn signs(self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => self == Self::Rsa,
            Algorithm::Es256 => self == Self::P256,
            Algorithm::Es384 => self == Self::P384,
            Algorithm::EdDsa => self == Self::Ed25519,
        }
    }
}

/// A public key of a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey {
    /// Its id among the provider's keys.
    pub kid: Text,
    /// What its bytes are.
    pub kind: KeyKind,
    /// The one algorithm it is for, where the provider says so.
    pub algorithm: Option<Algorithm>,
    /// The public key itself.
    pub bytes: Vec<u8>,
}

/// A public key, and since when it is the provider's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderKey {
    /// The public key itself.
    pub key: PublicKey,
    /// When it was stored, or the way changed in which tokens signed with it are read: what was vouched for before
    /// that does not stand on it.
    pub since: Revision,
}

/// Where a provider's keys come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeySource {
    /// Whoever changes the provider gives them.
    Given,
    /// A key set at this address.
    KeySet(Text),
    /// A key set whose address stands in the metadata of the issuer at this address.
    Discovery(Text),
}

impl KeySource {
    /// The address, if there is one.
    #[must_use]
    pub fn url(&self) -> Option<&Text> {
        match self {
            Self::Given => None,
            Self::KeySet(url) | Self::Discovery(url) => Some(url),
        }
    }
}

/// What a token of the provider may do beside what is granted to its user; never more than the ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CarriedRights {
    /// Nothing by itself.
    Grants,
    /// Whatever the ceiling may do.
    Ceiling,
    /// What its rich authorization details say.
    Details,
    /// What its capability claim says.
    Capability,
}

/// Which claim of a token is what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The user of the token.
    pub user: Text,
    /// The session in which she signed in.
    pub session: Text,
    /// Path of the groups she is in.
    pub groups: Option<Text>,
    /// What the token may do by itself.
    pub rights: CarriedRights,
}

/// A new provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderSpec {
    /// Its id, unused so far in the app.
    pub id: Text,
    /// How it names itself in tokens.
    pub iss: Text,
    /// For whom its tokens are, if they are for this app. One audience of one issuer is one provider's in the cluster.
    pub audiences: Vec<Text>,
    /// How it signs.
    pub algorithms: Vec<Algorithm>,
    /// Its keys, each with another id.
    pub keys: Vec<PublicKey>,
    /// Where they come from.
    pub source: KeySource,
    /// Which claim is what.
    pub claims: Claims,
    /// How far its clock may be from the cluster's.
    pub leeway_ms: Millis,
    /// The key whose capability its tokens never exceed.
    pub ceiling: Text,
}

/// A change to a provider; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderChange {
    /// Only while its keys come from there: what was fetched from elsewhere meanwhile is not stored.
    pub if_source: Option<KeySource>,
    /// On or off.
    pub enabled: Option<bool>,
    /// How it names itself.
    pub iss: Option<Text>,
    /// All audiences it has.
    pub audiences: Option<Vec<Text>>,
    /// All algorithms it uses.
    pub algorithms: Option<Vec<Algorithm>>,
    /// All keys it has.
    pub keys: Option<Vec<PublicKey>>,
    /// Where keys come from. Those of another source go, unless new ones are given with it.
    pub source: Option<KeySource>,
    /// Which claim is what.
    pub claims: Option<Claims>,
    /// How far its clock may be off.
    pub leeway_ms: Option<Millis>,
    /// The key that is the ceiling.
    pub ceiling: Option<Text>,
}

/// An identity provider of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// The app it belongs to.
    pub app: AppId,
    /// Its id in the app.
    pub id: Text,
    /// A disabled provider vouches for nobody.
    pub enabled: bool,
    /// How it names itself in tokens.
    pub iss: Text,
    /// For whom its tokens are.
    pub audiences: Vec<Text>,
    /// How it signs.
    pub algorithms: Vec<Algorithm>,
    /// The keys it signs with.
    pub keys: Vec<ProviderKey>,
    /// Where they come from.
    pub source: KeySource,
    /// Which claim is what.
    pub claims: Claims,
    /// How far its clock may be from the cluster's.
    pub leeway_ms: Millis,
    /// The key whose capability its tokens never exceed.
    pub ceiling: Text,
    /// When it last changed.
    pub revision: Revision,
}

/// By what a provider has vouched for somebody. As long as all of it is the provider's, that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// Which provider it is.
    pub provider: Text,
    /// Id of its key.
    pub kid: Text,
    /// Since when that id was that key, as the key was found.
    pub since: Revision,
    /// How it was signed.
    pub algorithm: Algorithm,
    /// For whom it was said to be.
    pub audience: Text,
    /// The user groups that it says its user is in, in order: as long as it is vouched for so, she is.
    pub groups: Arc<[Text]>,
}

impl Provider {
    /// The key of that id.
    #[must_use]
    pub fn key(&self, kid: &str) -> Option<&ProviderKey> {
        self.keys.iter().find(|one| *one.key.kid == *kid)
    }

    /// Whether a key of its may sign so.
    #[must_use]
    pub fn signs(&self, key: &PublicKey, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
            && key.kind.signs(algorithm)
            && key.algorithm.is_none_or(|only| only == algorithm)
    }

    /// Whether what it vouched for so still stands.
    #[must_use]
    pub fn vouches(&self, by: &Vouched) -> bool {
        let key = self.key(&by.kid).filter(|one| one.since == by.since);
        self.enabled
            && key.is_some_and(|one| self.signs(&one.key, by.algorithm))
            && self.audiences.contains(&by.audience)
    }
}

impl State {
    /// The provider of that id in an app.
    #[must_use]
    pub fn provider(&self, app: AppId, id: &str) -> Option<&Provider> {
        self.providers.get(&(app, Text::from(id)))
    }

    /// The providers of an app, in order of their ids.
    pub fn providers_of(&self, app: AppId) -> impl Iterator<Item = &Provider> {
        self.providers
            .range((app, Text::default())..)
            .take_while(move |((owner, _), _)| *owner == app)
            .map(|(_, provider)| provider)
    }

    /// Whose tokens say this of themselves: there is at most one for each audience.
    #[must_use]
    pub fn provider_for(&self, iss: &str, audience: &str) -> Option<&Provider> {
        let place = (Text::from(iss), Text::from(audience));
        self.providers.get(self.audiences.get(&place)?)
    }

    /// Whether no other app has an audience of this issuer.
    pub(super) fn is_only_of(&self, iss: &Text, app: AppId) -> bool {
        let first = (iss.clone(), Text::default());
        let all = self.audiences.range(first..);
        let mut all = all.take_while(|((of, _), _)| of == iss);
        all.all(|(_, (owner, _))| *owner == app)
    }

    /// Whether what a provider vouched for still stands under this ceiling, or under the key that has taken its place.
    pub(super) fn still_vouched(&self, app: AppId, ceiling: &Text, by: &Vouched) -> bool {
        let provider = self.providers.get(&(app, by.provider.clone()));
        provider.is_some_and(|provider| {
            let successor = self.key_successors.get(ceiling).unwrap_or(ceiling);
            (provider.ceiling == *ceiling || provider.ceiling == *successor) && provider.vouches(by)
        })
    }

    pub(super) fn put_provider(&mut self, provider: Provider) {
        self.drop_provider(provider.app, &provider.id);
        let place = (provider.app, provider.id.clone());
        for audience in &provider.audiences {
            let named = (provider.iss.clone(), audience.clone());
            self.audiences.insert(named, place.clone());
        }
        self.providers.insert(place, provider);
    }

    pub(super) fn drop_provider(&mut self, app: AppId, id: &Text) -> Option<Provider> {
        let gone = self.providers.remove(&(app, id.clone()))?;
        for audience in &gone.audiences {
            self.audiences.remove(&(gone.iss.clone(), audience.clone()));
        }
        Some(gone)
    }
}
