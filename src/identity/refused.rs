//! Why a token of a provider is not taken, each with a sentence of its own.
//!
//! **Why kinds and not texts:** a dialect has to know which of them a newer view may lift, and which ends by itself when
//! the client fetches another token.

use crate::core::authority::{Limits, Unattested};
use crate::core::refusals::Rule;

/// Why it is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is longer than is looked at.
    #[error("the token is too long")]
    TooLong,
    /// It is not three parts of base64url with JSON in them.
    #[error("this is no signed token")]
    Malformed,
    /// It names an algorithm that providers do not sign with.
    #[error("the token's algorithm is none that is accepted")]
    NoAlgorithm,
    /// It has an extension that whoever reads it has to understand.
    #[error("the token asks for an extension that is not known")]
    Critical,
    /// It is of another kind: a logout token, a security event.
    #[error("this is a token of another kind")]
    Kind,
    /// It lacks a claim, or the claim is not of its type.
    #[error("the token has no usable claim `{0}`")]
    Claim(&'static str),
    /// It lacks the claim that the provider's record takes for the user.
    #[error("the token names no user")]
    NoUser,
    /// No provider has that issuer and audience.
    #[error("no identity provider here has the token's issuer and audience")]
    NoProvider,
    /// Several providers have.
    #[error("the token is for several identity providers here")]
    Ambiguous,
    /// The provider is switched off.
    #[error("the token's identity provider is disabled")]
    Disabled,
    /// The provider has no such key.
    #[error("the token's identity provider has no key of that id")]
    NoKey,
    /// The provider, or that key, does not sign so.
    #[error("the token's identity provider does not sign so")]
    WrongAlgorithm,
    /// The signature is not that key's.
    #[error("the token's signature is wrong")]
    Signature,
    /// It is over.
    #[error("the token has expired")]
    Expired,
    /// It does not count yet.
    #[error("the token is not valid yet")]
    NotYet,
    /// What it says of rights cannot be read.
    #[error("the token's rights cannot be read")]
    Rights,
    /// It claims more groups than are looked at, or what it claims are none.
    #[error(
        "the token's groups cannot be read: a provider's record names a claim that is a list of texts, of at most {} groups",
        Limits::CLAIMED_GROUPS
    )]
    Groups,
    /// A logout token that names neither a user nor a session, or is not one.
    #[error("this is no logout token: {0}")]
    NoLogout(&'static str),
    /// A security event that cannot be acted on, or is none.
    #[error("this event is not taken: {0}")]
    NoEvent(&'static str),
    /// An event of another issuer than the provider that it was told as.
    #[error("the event's issuer is not this provider's")]
    Issuer,
    /// An event for nobody here.
    #[error("the event's audience is neither the provider's nor its stream's")]
    Audience,
    /// A verification of a stream that nobody has asked for so.
    #[error("the verification's state is not the one that was asked for")]
    State,
}

/// What a client can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Fetch another token: this one is over.
    Renew,
    /// Wait a moment.
    Wait,
    /// Nothing: it is none, or none that counts here.
    Nothing,
}

/// What is at fault: from this, everything else about a refusal follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The token is none that anybody could take.
    Token,
    /// It is over.
    Over,
    /// It does not count yet.
    Early,
    /// There is no provider for it.
    Provider,
    /// Its provider's keys do not speak for it.
    Key,
}

impl Refused {
    fn fault(self) -> Fault {
        match self {
            Self::Expired => Fault::Over,
            Self::NotYet => Fault::Early,
            Self::NoProvider
            | Self::Ambiguous
            | Self::Disabled
            | Self::Issuer
            | Self::Audience
            | Self::State => Fault::Provider,
            Self::NoKey | Self::WrongAlgorithm | Self::Signature => Fault::Key,
            Self::TooLong
            | Self::Malformed
            | Self::NoAlgorithm
            | Self::Critical
            | Self::Kind
            | Self::Claim(_)
            | Self::NoUser
            | Self::Rights
            | Self::Groups
            | Self::NoLogout(_)
            | Self::NoEvent(_) => Fault::Token,
        }
    }

    /// What a client can do about it.
    #[must_use]
    pub fn remedy(self) -> Remedy {
        match self.fault() {
            Fault::Over => Remedy::Renew,
            Fault::Early => Remedy::Wait,
            Fault::Token | Fault::Provider | Fault::Key => Remedy::Nothing,
        }
    }

    /// The rule that it breaks, for operators.
    #[must_use]
    pub fn rule(self) -> Rule {
        match self.fault() {
            Fault::Over => Rule::TokenExpired,
            Fault::Early => Rule::TokenNotYet,
            Fault::Provider => Rule::ProviderUnknown,
            Fault::Key => Rule::ProviderKey,
            Fault::Token => Rule::CredentialMalformed,
        }
    }

    /// Whether a newer view may lift it: the provider, or a key of its, may be new.
    #[must_use]
    pub fn may_be_lifted(self) -> bool {
        match self.fault() {
            Fault::Provider | Fault::Key => true,
            Fault::Token | Fault::Over | Fault::Early => false,
        }
    }
}

impl Refused {
    /// Whether the same token may be taken later: its time comes, its provider is switched on, its key is fetched.
    #[must_use]
    pub fn is_for_now(self) -> bool {
        matches!(self, Self::NotYet | Self::Disabled | Self::NoKey)
    }
}

impl From<Unattested> for Refused {
    fn from(why: Unattested) -> Self {
        match why {
            Unattested::Disabled => Self::Disabled,
            Unattested::NoKey => Self::NoKey,
            Unattested::Algorithm => Self::WrongAlgorithm,
            Unattested::Audience => Self::NoProvider,
            Unattested::Signature => Self::Signature,
        }
    }
}
