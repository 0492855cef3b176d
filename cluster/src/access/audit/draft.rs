//! A record in the making: what a command names, and whom its effects reach, in words and bounded.
//!
//! **Must never know:** the text of a token beyond this file: it is named by its fingerprint, as listings name it.

use super::super::records::{Issuer, Subject, Target};
use super::super::{AppId, Effect, Reply, Scope, State, Text};
use super::AuditRecord;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// Subjects of one record, and effects of one.
const NAMED: usize = 16;

type Pairs = Vec<(String, String)>;

/// A record in the making: what is known of it from the command alone.
#[derive(Default)]
pub(in super::super) struct Draft {
    kind: &'static str,
    actor: String,
    app: Option<AppId>,
    reason: Option<String>,
    subjects: Pairs,
    /// Subjects that were left out.
    more: u64,
}

impl Draft {
    pub(super) fn of(kind: &'static str, app: AppId, issuer: &Issuer) -> Self {
        Self {
            kind,
            actor: match issuer {
                Issuer::Operator => "operator".into(),
                Issuer::Key(key) => format!("key {key}"),
            },
            app: Some(app),
            ..Self::default()
        }
    }

    /// About the whole cluster, by an operator or (`cluster`) in nobody's name.
    pub(in super::super) fn by(actor: &str, kind: &'static str) -> Self {
        Self {
            kind,
            actor: actor.to_owned(),
            ..Self::default()
        }
    }

    /// About this app.
    pub(super) fn in_app(mut self, app: AppId) -> Self {
        self.app = Some(app);
        self
    }

    /// Who asked in truth, and why.
    pub(in super::super) fn asked(
        mut self,
        provider: Option<&Text>,
        reason: Option<&Text>,
    ) -> Self {
        if let Some(provider) = provider {
            self.actor = format!("provider {provider}");
        }
        if let Some(reason) = reason {
            self.reason = Some(reason.to_string());
        }
        self
    }

    pub(super) fn name(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.push(name, value);
        self
    }

    pub(super) fn name_all<T: std::fmt::Display>(
        mut self,
        name: &str,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        values.into_iter().for_each(|value| self.push(name, value));
        self
    }

    pub(super) fn name_some(self, name: &str, value: Option<impl std::fmt::Display>) -> Self {
        self.name_all(name, value)
    }

    pub(super) fn push(&mut self, name: &str, value: impl std::fmt::Display) {
        if self.subjects.len() >= NAMED {
            self.more = self.more.saturating_add(1);
            return;
        }
        self.subjects.push((name.to_owned(), value.to_string()));
    }

    /// The record, once it is known what came of it.
    pub(in super::super) fn record(
        mut self,
        state: &State,
        reply: &Reply,
        effects: &[Effect],
    ) -> AuditRecord {
        if self.more > 0 {
            let more = self.more.to_string();
            self.subjects.push(("more".into(), more));
        }
        let (touched, narrowed) = match reply {
            Reply::Narrowed(records) => (*records, true),
            Reply::Changed(records) => (*records, false),
            Reply::Done | Reply::MemberUp { .. } | Reply::Rejected(_) => (0, false),
        };
        AuditRecord {
            index: 0,
            revision: state.revision,
            time_ms: state.time_ms,
            actor: self.actor,
            app: self.app,
            kind: self.kind.into(),
            touched,
            narrowed,
            reason: self.reason,
            subjects: self.subjects,
            effects: reached(effects),
        }
    }
}

/// What identifies a token without being one: what listings show as well.
pub(super) fn hidden(token: &str) -> String {
    let digest = Sha256::digest(token.as_bytes());
    let mut text = String::from("sha256:");
    for byte in digest.iter().take(4) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

pub(super) fn subject_words(subject: &Subject) -> (&'static str, String) {
    match subject {
        Subject::Everyone => ("everyone", String::new()),
        Subject::User(user) => ("user", user.to_string()),
        Subject::Token(token) => ("token", hidden(token)),
        Subject::Key(key) => ("key", key.to_string()),
        Subject::Group(group) => ("group", group.to_string()),
    }
}

pub(super) fn target_words(target: &Target) -> (&'static str, String) {
    match target {
        Target::Token(token) => ("token", hidden(token)),
        Target::User(user) => ("user", user.to_string()),
        Target::RevocationKey(key) => ("revocation key", key.to_string()),
        Target::Channel(channel) => ("channel", channel.to_string()),
        Target::Key(key) => ("key", key.to_string()),
        Target::App => ("app", String::new()),
        Target::Group(group) => ("group", group.to_string()),
    }
}

/// Whom the effects reach: the first by their names, of the rest how many they are.
fn reached(effects: &[Effect]) -> Pairs {
    let mut named = Pairs::new();
    let mut more = 0u64;
    let mut push = |verb: &str, (name, value): (&str, String)| match named.len() < NAMED {
        true => named.push((format!("{verb} {name}"), value)),
        false => more = more.saturating_add(1),
    };
    for effect in effects {
        match effect {
            Effect::AppChanged(_) | Effect::MembersChanged => {}
            Effect::Cut { target, .. } => push("cut", target_words(target)),
            Effect::CutAll { whom, .. } => {
                whom.users
                    .iter()
                    .for_each(|user| push("cut", ("user", user.to_string())));
                whom.groups
                    .iter()
                    .for_each(|group| push("cut", ("group", group.to_string())));
            }
            Effect::Recheck { scope, .. } => match scope {
                Scope::App => push("recheck", ("everyone", String::new())),
                Scope::Subject(subject) => push("recheck", subject_words(subject)),
                Scope::Copies(token) => push("recheck", ("copies of token", hidden(token))),
                Scope::Provider(id) => push("recheck", ("provider", id.to_string())),
                Scope::Affected(whom) => {
                    let users = whom.users.iter();
                    users.for_each(|user| push("recheck", ("user", user.to_string())));
                    let groups = whom.groups.iter();
                    groups.for_each(|group| push("recheck", ("group", group.to_string())));
                }
            },
        }
    }
    if more > 0 {
        named.push(("more".into(), more.to_string()));
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_named_as_listings_name_it() {
        assert_eq!(hidden("abc"), "sha256:ba7816bf");
    }
}
