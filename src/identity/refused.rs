//! Why a token of a provider is not taken, each with a sentence of its own.
//!
//! **Must never know:** how a dialect tells its client.
//! **Why kinds and not texts:** a dialect has to know which of them a newer view may lift, and which ends by itself when
//! the client fetches another token.

use crate::core::authority::Unattested;
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
    /// A logout token that names neither a user nor a session, or is not one.
    #[error("this is no logout token: {0}")]
    NoLogout(&'static str),
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

impl Refused {
    /// What a client can do about it.
    #[must_use]
    pub fn remedy(self) -> Remedy {
        match self {
            Self::Expired => Remedy::Renew,
            Self::NotYet => Remedy::Wait,
            Self::TooLong
            | Self::Malformed
            | Self::NoAlgorithm
            | Self::Critical
            | Self::Kind
            | Self::Claim(_)
            | Self::NoUser
            | Self::NoProvider
            | Self::Ambiguous
            | Self::Disabled
            | Self::NoKey
            | Self::WrongAlgorithm
            | Self::Signature
            | Self::Rights
            | Self::NoLogout(_) => Remedy::Nothing,
        }
    }

    /// The rule that it breaks, for operators.
    #[must_use]
    pub fn rule(self) -> Rule {
        match self {
            Self::Expired => Rule::TokenExpired,
            Self::NotYet => Rule::TokenNotYet,
            Self::NoProvider | Self::Ambiguous | Self::Disabled => Rule::ProviderUnknown,
            Self::NoKey | Self::WrongAlgorithm | Self::Signature => Rule::ProviderKey,
            Self::TooLong
            | Self::Malformed
            | Self::NoAlgorithm
            | Self::Critical
            | Self::Kind
            | Self::Claim(_)
            | Self::NoUser
            | Self::Rights
            | Self::NoLogout(_) => Rule::CredentialMalformed,
        }
    }

    /// Whether a newer view may lift it: the provider, or a key of its, may be new.
    #[must_use]
    pub fn may_be_lifted(self) -> bool {
        match self {
            Self::NoProvider
            | Self::Ambiguous
            | Self::Disabled
            | Self::NoKey
            | Self::WrongAlgorithm
            | Self::Signature => true,
            Self::TooLong
            | Self::Malformed
            | Self::NoAlgorithm
            | Self::Critical
            | Self::Kind
            | Self::Claim(_)
            | Self::NoUser
            | Self::Expired
            | Self::NotYet
            | Self::Rights
            | Self::NoLogout(_) => false,
        }
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
