//! What was broken by whoever was refused, and what to do about it: one table, so that four dialects and our own API say
//! the same of the same mistake.
//!
//! **Must never know:** any dialect's numbers or texts; each names the rule where it names its number.
//! **Why a rule beside the reason that the client is told:** that is worded as the vendor words it, often says less than
//! is known, and repeats what the client sent.

use crate::core::access::{Cut, Reason};
use crate::core::close::{Abuse, End};
use crate::core::error::Refusal;
use crate::core::ids::Text;

macro_rules! rules {
    ($($variant:ident $name:literal $advice:literal,)*) => {
        /// A rule that somebody broke.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $(
                #[doc = concat!("`", $name, "`: ", $advice)]
                $variant,
            )*
        }

        impl Rule {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name, and what to do, as a sentence.
            #[must_use]
            pub const fn row(self) -> (&'static str, &'static str) {
                match self { $(Self::$variant => ($name, $advice)),* }
            }
        }
    };
}

rules! {
    UnknownKey "unknown_key" "Use a key of an app of this cluster, which `gatecast app show APP` lists, and check that the SDK's host is this cluster and not the vendor's.",
    NoSuchApp "no_such_app" "Use the id of an app of this cluster; `gatecast app list` shows them all.",
    KeyDisabled "key_disabled" "Enable the key again, or give the client another one; `gatecast app show APP` says which keys are enabled and when they end.",
    AppDisabled "app_disabled" "Enable the app again with `gatecast app update APP --enabled true`.",
    ProtocolOff "protocol_off" "Add this dialect to the app's protocols with `gatecast app update`, or use the SDK of a dialect that the app speaks.",
    TlsOnly "tls_only" "Connect with TLS (wss or https), which this app demands; a proxy that ends TLS has to set X-Forwarded-Proto.",
    CredentialMissing "credential_missing" "Send a credential: a key, a token, or for a protected channel what the app's own auth endpoint answers.",
    CredentialMalformed "credential_malformed" "Send the credential exactly as it was issued; this one is cut off, encoded twice or of another kind.",
    WrongSecret "wrong_secret" "Sign with the secret that belongs to this key, which `gatecast app show APP` shows, and sign exactly the bytes that are sent; a proxy must not change path, query or body.",
    ClockOff "clock_off" "Set the clock of the machine that signs, best by NTP: its timestamp is too far from the cluster's time.",
    TokenUnknown "token_unknown" "Issue the token anew: it is none of this app's, was never authenticated here, or has expired and was forgotten.",
    TokenExpired "token_expired" "Issue a new token, and let the client renew it before it ends.",
    TokenRevoked "token_revoked" "Issue a new token if the client may come back; this one was revoked and stays so.",
    TokenNotYet "token_not_yet" "Set the clock of the machine that issues tokens: this one begins to count only later.",
    TokenTooLong "token_too_long" "Let the token live for a shorter time; what its key may issue has a longest life.",
    ProviderUnknown "provider_unknown" "Make an identity provider with the token's issuer and audience with `gatecast provider create`, or enable it; `gatecast provider list` shows what is there.",
    ProviderKey "provider_key" "Give the identity provider's present key set and algorithms with `gatecast provider update`: the token is signed with another key, or in another way.",
    NotVouched "not_vouched" "Fetch a new token: the identity provider, or the key, audience or ceiling that this one stood on, was taken away.",
    NonceUsed "nonce_used" "Sign a fresh request with a new nonce for each token: this one was sent before.",
    WrongUser "wrong_user" "Act as the user that the credential names, or issue a credential for the other user.",
    UserName "user_name" "Use a user or client id that the dialect allows: not empty, not a wildcard, and not longer than the app's limit.",
    Blocked "blocked" "Unblock the user with `gatecast user unblock APP USER` if she may come back; the block was an operator's or the app server's decision.",
    BeyondKey "beyond_key" "Widen the capability of the key that vouches for this credential, or issue the credential with another key.",
    NotGranted "not_granted" "Grant what is missing with `gatecast grant set`, or issue a token that carries it; `gatecast explain` shows what was asked.",
    KeyNeeded "key_needed" "Use the key itself for this call, from a server: a token or an unsigned request is not enough.",
    OperatorToken "operator_token" "Use this node's admin token on the internal port; on the public port only keys of apps count.",
    Ended "ended" "Nothing is wrong with the client: an operator or the app's server ended this connection, and it may come back.",
    ChannelName "channel_name" "Use a channel name that the dialect allows: not empty, without forbidden characters, and not longer than the app's limit.",
    ChannelPrefix "channel_prefix" "Use a channel whose name begins with private- or presence-: client events are not carried on any other.",
    MemberMissing "member_missing" "Sign channel_data with a user_id for a presence channel, or let the user sign in first.",
    ClientEventsOff "client_events_off" "Switch client events on in the app's settings with `gatecast app update`, or send the event from the app's server.",
    SignInOff "sign_in_off" "Switch user_sign_in on in the app's settings with `gatecast app update` before users sign in.",
    BadMessage "bad_message" "Send a message that can be parsed and has the dialect's shape: this one is no JSON (or MessagePack) of it.",
    BadValue "bad_value" "Correct the value that the answer names and send the request again; the dialect's page says what it may be.",
    MessageTooLarge "message_too_large" "Send a smaller message, or raise the app's limit for messages with `gatecast app update`.",
    BodyTooLarge "body_too_large" "Send less in one request, or raise the app's limit for bodies with `gatecast app update`.",
    LimitReached "limit_reached" "Use less of what the detail names, or raise that limit in the app's settings with `gatecast app update`.",
    TooFast "too_fast" "Send more slowly, or raise the app's rate for this with `gatecast app update`.",
    AlreadyDone "already_done" "Do this once: it is done or under way already on this connection.",
    NotSubscribed "not_subscribed" "Subscribe to the channel and wait for the answer before this is done on it.",
    ModeMissing "mode_missing" "Attach to the channel with the mode that this needs, such as PUBLISH or PRESENCE.",
    Unsupported "unsupported" "Do without this call or feature: the dialect's page says what this server does not support.",
    ProtocolVersion "protocol_version" "Use an SDK of a version that this server speaks, and do not cut the version out of the address.",
    NoUpgrade "no_upgrade" "Let the proxy speak HTTP/1.1 to this server and pass on the Upgrade and Connection headers: a WebSocket was not asked for.",
    NoSuchPath "no_such_path" "Check the path, the port and any prefix that a proxy adds or takes; operators' calls are on the internal port.",
    WrongMethod "wrong_method" "Use a method that this path knows; the dialect's page lists them.",
    TooSlow "too_slow" "Send the whole request at once: its body did not arrive in time.",
    Silent "silent" "Let the client answer pings, and let no proxy on the way cut idle connections sooner than the client is heard of.",
    SlowReader "slow_reader" "Let the client read faster, or send it less: too much was waiting for it; the app's outbox limit says how much may.",
    BrokenFrame "broken_frame" "Look for a proxy or client that writes broken WebSocket frames, or text that is not UTF-8.",
    Nothing "nothing_there" "Check the name: there is nothing by it to read or change.",
    Conflict "conflict" "Look at what is there already, choose another name or finish what the answer names first.",
    Unavailable "unavailable" "Nothing is wrong with the request: this node could not serve it then; look at its /ready if this lasts.",
    OutcomeUnknown "outcome_unknown" "Find out whether it happened before it is repeated: the time ran out after the request was handed on.",
}

impl Rule {
    /// The rule of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.row().0 == name)
    }

    /// What is known of an HTTP answer that nobody has named a rule for.
    #[must_use]
    pub const fn of_status(status: u16) -> Self {
        match status {
            401 => Self::CredentialMalformed,
            403 => Self::NotGranted,
            404 => Self::NoSuchPath,
            405 => Self::WrongMethod,
            408 => Self::TooSlow,
            409 => Self::Conflict,
            413 => Self::BodyTooLarge,
            426 => Self::NoUpgrade,
            429 => Self::TooFast,
            500 | 503 | 507 => Self::Unavailable,
            504 => Self::OutcomeUnknown,
            _ => Self::BadValue,
        }
    }

    /// Whether it says that a client could not show who it is.
    #[must_use]
    pub const fn is_of_credentials(self) -> bool {
        matches!(
            self,
            Self::UnknownKey
                | Self::KeyDisabled
                | Self::AppDisabled
                | Self::CredentialMissing
                | Self::CredentialMalformed
                | Self::WrongSecret
                | Self::ClockOff
                | Self::TokenUnknown
                | Self::TokenExpired
                | Self::TokenRevoked
                | Self::TokenNotYet
                | Self::TokenTooLong
                | Self::ProviderUnknown
                | Self::ProviderKey
                | Self::NotVouched
                | Self::NonceUsed
                | Self::Blocked
                | Self::WrongUser
                | Self::OperatorToken
        )
    }

    /// What a connection was ended for by the core, if that was its client's doing or an operator's.
    #[must_use]
    pub const fn of_end(end: End) -> Option<Self> {
        Some(match end {
            End::Cut(Cut::Revoked { .. }) => Self::TokenRevoked,
            End::Cut(Cut::Blocked) => Self::Blocked,
            End::Cut(Cut::Disconnected) => Self::Ended,
            End::Cut(Cut::Disabled) => Self::KeyDisabled,
            End::Slow => Self::SlowReader,
            End::Abuse(Abuse::TooLarge) => Self::MessageTooLarge,
            End::Abuse(Abuse::Protocol | Abuse::NotUtf8) => Self::BrokenFrame,
            End::Silent => Self::Silent,
            End::Draining | End::Stale | End::Missed | End::Gone => return None,
        })
    }
}

/// A rule, and what of it: the limit's name, the operations that are missing. Never what the client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// What was broken.
    pub rule: Rule,
    /// Which part of it; empty = there are none.
    pub detail: Text,
}

impl From<Rule> for Why {
    fn from(rule: Rule) -> Self {
        let detail = "".into();
        Self { rule, detail }
    }
}

impl From<&Reason> for Why {
    fn from(reason: &Reason) -> Self {
        let rule = match reason {
            Reason::NoSuchApp(_) => Rule::NoSuchApp,
            Reason::AppDisabled => Rule::AppDisabled,
            Reason::NoSuchKey(_) => Rule::UnknownKey,
            Reason::KeyDisabled(_) => Rule::KeyDisabled,
            Reason::Blocked { .. } => Rule::Blocked,
            Reason::Expired { .. } => Rule::TokenExpired,
            Reason::NotYet { .. } => Rule::TokenNotYet,
            Reason::Revoked { .. } => Rule::TokenRevoked,
            Reason::BeyondKey(_) => Rule::BeyondKey,
            Reason::NotVouched(_) => Rule::NotVouched,
            Reason::NotGranted(operations) => {
                let detail = operations.names().join(", ").into();
                let rule = Rule::NotGranted;
                return Self { rule, detail };
            }
        };
        rule.into()
    }
}

impl From<&Refusal> for Why {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Denied(reason) => reason.into(),
            Refusal::Limit { limit, max } => Self {
                rule: Rule::LimitReached,
                detail: format!("{limit}, {max}").into(),
            },
            Refusal::Rate { limit, .. } => Self {
                rule: Rule::TooFast,
                detail: (*limit).into(),
            },
            Refusal::AlreadySubscribed => Rule::AlreadyDone.into(),
            Refusal::NotSubscribed => Rule::NotSubscribed.into(),
            Refusal::Invalid(_) => Rule::BadValue.into(),
            Refusal::Unavailable(what) => Self {
                rule: Rule::Unavailable,
                detail: (*what).into(),
            },
            Refusal::OutcomeUnknown => Rule::OutcomeUnknown.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_rule_has_its_own_name_and_a_whole_sentence_to_do() {
        let mut names = BTreeSet::new();
        for rule in Rule::ALL {
            let (name, advice) = rule.row();
            assert!(names.insert(name), "{name} twice");
            assert_eq!(Rule::by_name(name), Some(*rule));
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            let begins = advice.starts_with(|letter: char| letter.is_ascii_uppercase());
            assert!(
                begins && advice.ends_with('.') && advice.len() > 40,
                "{name}"
            );
        }
        assert_eq!(Rule::by_name("nonsense"), None);
    }

    #[test]
    fn what_is_missing_is_said_and_what_a_client_sent_is_not() {
        use crate::core::access::Operations;
        let why = Why::from(&Refusal::Denied(Reason::NotGranted(Operations::PUBLISH)));
        assert_eq!((why.rule, &*why.detail), (Rule::NotGranted, "publish"));
        let why = Why::from(&Refusal::Invalid("their text".into()));
        assert_eq!((why.rule, &*why.detail), (Rule::BadValue, ""));
        let limit = Refusal::Limit {
            limit: "connections_per_node",
            max: 7,
        };
        assert_eq!(&*Why::from(&limit).detail, "connections_per_node, 7");
    }
}
