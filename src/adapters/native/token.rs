//! Tokens as they are given to `/v1`: the text of a token of any dialect, or the name of a stored one.
//!
//! **Must never know:** any dialect's encoding: the catalog's protocols read their own.
//! **Why a signed token of somebody else is refused:** it is void here already, and "done" about a token that goes on
//! working where it belongs would be believed.

use super::auth::Call;
use super::codes::{ApiError, Code};
use super::text::{SubjectText, TargetText, name};
use crate::core::authority::{AppId, Presented, Principal, Subject, Target, Text};

/// Longest text that is looked at.
const MAX_TOKEN: usize = 64 << 10;

/// A token that is understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// How grants, blocks and revocations name it.
    pub id: Text,
    /// Who bears it, where it says so itself.
    pub bearer: Option<Box<Principal>>,
}

/// What a text is, given as a token.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    /// One that has a name.
    Known(Known),
    /// A signed one without a name of its own, and who bears it.
    Nameless(Box<Principal>),
    /// A signed one that does not count now and may later: it can be ended, and opens nothing. Its dialect and its name.
    Unproven(&'static str, Text),
    /// One as this dialect signs them, signed by nobody here, or over.
    Foreign(&'static str),
}

/// Reads what is given as a token. A node that may not know its key yet catches up first.
///
/// # Errors
/// `bad_value` or `bad_name` when it is no token at all.
pub async fn shown(call: &Call, app: AppId, text: &str) -> Result<Shown, ApiError> {
    if text.len() > MAX_TOKEN {
        let message = format!("a token has at most {MAX_TOKEN} bytes");
        return Err(ApiError::new(Code::BadValue, message));
    }
    let authority = &call.broker.authority;
    let read = || {
        let now_ms = authority.now().cluster_ms;
        call.native
            .catalog
            .token(&authority.view(), app, text, now_ms)
    };
    let mut found = read();
    if matches!(found, (_, Presented::Foreign | Presented::Unproven(_))) {
        authority.catch_up().await?;
        found = read();
    }
    Ok(match found {
        (_, Presented::Signed(bearer)) => match bearer.token.clone() {
            Some(id) => Shown::Known(Known {
                id,
                bearer: Some(bearer),
            }),
            None => Shown::Nameless(bearer),
        },
        (dialect, Presented::Unproven(id)) => Shown::Unproven(dialect, id),
        (dialect, Presented::Foreign) => Shown::Foreign(dialect),
        (_, Presented::Other) => Shown::Known(Known {
            id: plain(text)?,
            bearer: None,
        }),
    })
}

/// As [`shown`], for those who need its name.
///
/// # Errors
/// `bad_value` when it is a signed token of nobody here, one without a name, or no token at all.
pub async fn known(call: &Call, app: AppId, text: &str) -> Result<Known, ApiError> {
    shown(call, app, text).await?.known()
}

impl Shown {
    /// The token, if it counts and has a name.
    fn known(self) -> Result<Known, ApiError> {
        match self {
            Self::Known(known) => Ok(known),
            Self::Nameless(_) => Err(nameless()),
            Self::Foreign(dialect) => {
                let message = format!(
                    "this is a token as {dialect} signs them, but no enabled key of this app has signed it, or it has ended: \
                 check the app, and that the whole token was given"
                );
                Err(ApiError::new(Code::BadValue, message))
            }
            Self::Unproven(dialect, _) => {
                let message = format!(
                    "this is a token as {dialect} signs them, and it does not count now: its time has not come, or its key or provider \
                 is disabled or not known yet. It can be revoked all the same"
                );
                Err(ApiError::new(Code::BadValue, message))
            }
        }
    }
}

/// What is said of a signed token that nothing can name.
pub(super) fn nameless() -> ApiError {
    let message =
        "this token has no name of its own: revoke its user, its revocation key or its key";
    ApiError::new(Code::BadValue, message)
}

/// The name of a stored token or an auth key. It may be unknown here (the rights of one that still is connected may
/// have ended), but it is nothing that contains a token.
fn plain(text: &str) -> Result<Text, ApiError> {
    let id = name("token", text)?;
    if text.contains(|c: char| c.is_whitespace() || "{}\"".contains(c)) {
        let message = "this is no token: give the text of the token alone, without the object or header around it";
        return Err(ApiError::new(Code::BadValue, message));
    }
    Ok(id)
}

/// What a call is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Whose credentials it names.
    pub target: Target,
    /// It is a token whose text nobody signs: any text could be one.
    pub plain: bool,
}

impl From<Target> for Named {
    fn from(target: Target) -> Self {
        let plain = false;
        Self { target, plain }
    }
}

/// The target that a revocation names.
///
/// # Errors
/// `bad_name`, or as [`known`].
pub async fn target(call: &Call, app: AppId, target: &TargetText) -> Result<Named, ApiError> {
    match target {
        TargetText::Token(text) => {
            let named = match shown(call, app, text).await? {
                Shown::Unproven(_, id) => Target::Token(id).into(),
                other @ (Shown::Known(_) | Shown::Nameless(_) | Shown::Foreign(_)) => {
                    let known = other.known()?;
                    let plain = known.bearer.is_none();
                    let target = Target::Token(known.id);
                    Named { target, plain }
                }
            };
            Ok(named)
        }
        TargetText::User(_)
        | TargetText::RevocationKey(_)
        | TargetText::Channel(_)
        | TargetText::Key(_)
        | TargetText::Group(_)
        | TargetText::App => Ok(target.read()?.into()),
    }
}

/// The subject of a grant.
///
/// # Errors
/// `bad_name`, or as [`known`].
pub async fn subject(call: &Call, app: AppId, subject: &SubjectText) -> Result<Subject, ApiError> {
    match subject {
        SubjectText::Token(text) => Ok(Subject::Token(known(call, app, text).await?.id)),
        SubjectText::Everyone
        | SubjectText::User(_)
        | SubjectText::Key(_)
        | SubjectText::Group(_) => subject.read(),
    }
}
