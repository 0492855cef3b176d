//! What a rejection is called, wherever a person reads it.
//!
//! **Why it does not say what goes beyond an issuer:** the reader may be somebody who should not learn of it.

use super::command::Rejection;
use std::fmt::{Display, Formatter, Result};

impl Display for Rejection {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::NoSuchApp => f.write_str("there is no such app"),
            Self::NoSuchKey => f.write_str("there is no such key"),
            Self::NoSuchMember => f.write_str("there is no such member"),
            Self::NotFound => f.write_str("there is nothing by that name"),
            Self::Taken(what) => write!(f, "{what} is taken"),
            Self::NonceUsed => f.write_str("the nonce has been used before"),
            Self::BeyondIssuer(_) => f.write_str("the issuing key may not do this"),
            Self::LimitReached(limit) => write!(f, "the limit is reached: {limit}"),
            Self::Invalid(how) => f.write_str(how),
            Self::VersionNotEnabled(version) => {
                write!(f, "this needs version {version} of the cluster")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rejection;

    #[test]
    fn what_goes_beyond_an_issuer_is_not_told() {
        let told = Rejection::BeyondIssuer("private-board: revoke".into()).to_string();
        assert!(!told.contains("private-board"), "{told}");
    }
}
