//! Commands and replies: the machine's whole vocabulary, but for what it tells connections to do.
//!
//! Variants are only ever appended; they are stored.

use super::records::{EnabledProtocol, Issuer, OpenRule, Secret, SettingValue, Subject, Target};
use super::{
    AppId, AuditRetention, Capability, Fetched, Millis, NodeId, Operations, Pattern,
    ProviderChange, ProviderSpec, Resource, Signal, SignalsSpec, Text, Token, UserGroupChange,
    UserGroupDeletion,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A change to the access state. Random ids and secrets are already in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Moves the machine's time and forgets what has expired.
    Tick,
    /// Allows command kinds up to this version; proposed once every member can read them.
    SetClusterVersion(u16),
    /// A member's life.
    Member(MemberCommand),
    /// A new app.
    CreateApp(AppSpec),
    /// Changes an app.
    UpdateApp {
        /// The app that is changed.
        app: AppId,
        /// The change that is asked for.
        change: AppChange,
    },
    /// Removes an app and everything in it.
    DeleteApp {
        /// The app that is changed.
        app: AppId,
    },
    /// A new key.
    CreateKey(KeySpec),
    /// Changes a key.
    UpdateKey {
        /// The id of the key.
        key: Text,
        /// The change that is asked for.
        change: KeyChange,
    },
    /// Makes `new` with the old key's capability; the old key works until the overlap ends.
    RotateKey {
        /// The key to replace.
        key: Text,
        /// Its successor; `capability` is taken from the old key.
        new: KeySpec,
        /// How long both work.
        overlap_ms: Millis,
    },
    /// Removes a key; everything done under it ends.
    DeleteKey {
        /// The id of the key.
        key: Text,
    },
    /// Writes grants for one subject.
    SetGrants {
        /// The app it is about.
        app: AppId,
        /// Who asks; may not exceed it.
        issuer: Issuer,
        /// Who gets the rights.
        subject: Subject,
        /// Beside or instead of what is there.
        mode: GrantMode,
        /// The entries that are granted.
        entries: Vec<GrantEntry>,
    },
    /// Deletes grants of one subject; no names = all of them.
    DeleteGrants {
        /// The app it is about.
        app: AppId,
        /// In whose name it is asked for; judged by the machine.
        issuer: Issuer,
        /// Whose grants are deleted.
        subject: Subject,
        /// Which; empty = all.
        names: Vec<(Resource, Pattern)>,
    },
    /// Stores an issued token.
    IssueToken {
        /// The id of the token.
        id: Text,
        /// The token; `revision` is filled in.
        token: Token,
    },
    /// Voids credentials of a target, deletes the grants stored for it and cuts its connections.
    Revoke {
        /// The app it is about.
        app: AppId,
        /// In whose name it is asked for; judged by the machine.
        issuer: Issuer,
        /// Whose credentials are revoked.
        target: Target,
        /// Only credentials issued before this; none = before now.
        issued_before_ms: Option<Millis>,
        /// How long the target may still be used, so that clients can renew.
        margin_ms: Millis,
    },
    /// Closes a target's connections without voiding anything: they may come back.
    Disconnect {
        /// The app it is about.
        app: AppId,
        /// In whose name it is asked for; judged by the machine.
        issuer: Issuer,
        /// Whose connections are ended.
        target: Target,
    },
    /// Keeps a subject out.
    Block {
        /// The app it is about.
        app: AppId,
        /// In whose name it is asked for; judged by the machine.
        issuer: Issuer,
        /// Whom (not [`Subject::Everyone`]: disable the app for that).
        subject: Subject,
        /// How long; none = until unblocked.
        for_ms: Option<Millis>,
        /// Why, in words for people.
        reason: Text,
    },
    /// Lets a subject back in.
    Unblock {
        /// The app it is about.
        app: AppId,
        /// In whose name it is asked for; judged by the machine.
        issuer: Issuer,
        /// Who is blocked, or given the right.
        subject: Subject,
    },
    /// Uses up a nonce: succeeds once per (app, key, nonce) in the whole cluster.
    UseNonce {
        /// The app it is about.
        app: AppId,
        /// The key the nonce belongs to.
        key: Text,
        /// The nonce that is used up.
        nonce: Text,
        /// When it may be forgotten, cluster time.
        expires_ms: Millis,
    },
    /// Switches a named flag of one channel on or off.
    SetChannelFlag(ChannelFlag),
    /// Changes a channel group. The right to do so is judged before it is proposed.
    SetGroup(GroupChange),
    /// Changes an app or its keys in somebody's name, who may open nothing by it that it may not give.
    Administer(Administration),
    /// Voids the credentials that a target has by now and cuts its connections, as [`Self::Revoke`] does, but leaves what is
    /// stored for it: whoever signs in again has what she had.
    SignOut(SignOut),
    /// Puts members into a user group and takes others out.
    SetUserGroup(UserGroupChange),
    /// Takes a user group away: who is in it, what it is in, and the grants stored for it.
    DeleteUserGroup(UserGroupDeletion),
    /// Carries out what an identity provider has told of somebody, once. What is stored for her stays.
    Signal(Signal),
    /// Another command, and what is said about it in the audit.
    Asked(Box<Asked>),
    /// How much of the audit is kept.
    KeepAudit(AuditRetention),
}

impl Command {
    /// What is to be done, without what is said about it.
    #[must_use]
    pub fn plain(&self) -> &Self {
        if let Self::Asked(asked) = self {
            return &asked.command;
        }
        self
    }
}

/// A command, and what is said about it in the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The identity provider on whose word it is done.
    pub provider: Option<Text>,
    /// Why, in words for people.
    pub reason: Option<Text>,
    /// What is to be done; not again one of these.
    pub command: Command,
}

/// Who is signed out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignOut {
    /// The app in which.
    pub app: AppId,
    /// Who asks for it.
    pub issuer: Issuer,
    /// Whom, or which sessions: all of them at one revision.
    pub targets: Vec<Target>,
}

/// A change to an app or its keys, and who asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Administration {
    /// The app it is about.
    pub app: AppId,
    /// Who asks; may not exceed it.
    pub issuer: Issuer,
    /// What it hands on to others beside what is seen here: what a setting means is the broker's.
    pub hands_on: Capability,
    /// The change that is asked for.
    pub change: Administered,
}

/// What is changed in an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Administered {
    /// The app itself is changed.
    App(AppChange),
    /// A key is made.
    NewKey(KeySpec),
    /// A key is changed.
    Key {
        /// The id of the key.
        key: Text,
        /// The change that is asked for.
        change: KeyChange,
    },
    /// A key is replaced, as by [`Command::RotateKey`].
    Rotated {
        /// The key to replace.
        key: Text,
        /// The key that succeeds it.
        new: KeySpec,
        /// How long both work.
        overlap_ms: Millis,
    },
    /// A key goes.
    NoKey {
        /// The id of the key.
        key: Text,
    },
    /// A provider is made.
    NewProvider(Box<ProviderSpec>),
    /// A provider is changed.
    Provider {
        /// Which provider it is.
        id: Text,
        /// What becomes of it.
        change: Box<ProviderChange>,
    },
    /// A provider goes.
    NoProvider {
        /// Which provider it is.
        id: Text,
    },
    /// The keys of a provider are to be fetched, unless they were asked for or came a moment ago.
    AskForKeys {
        /// Which provider it is.
        id: Text,
        /// How long that moment is.
        pause_ms: Millis,
    },
    /// Somebody has tried to fetch them.
    KeysFetched {
        /// Which provider it is.
        id: Text,
        /// What came of it.
        fetched: Box<Fetched>,
    },
    /// How a provider's signals come is said anew.
    Signals {
        /// Which provider it is.
        id: Text,
        /// How they are to be.
        spec: Box<SignalsSpec>,
    },
    /// A provider's signals are no longer asked for, and mean what they do by themselves.
    NoSignals {
        /// Which provider it is.
        id: Text,
    },
}

/// A flag of a channel to be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelFlag {
    /// The app it is about.
    pub app: AppId,
    /// In whose name it is asked for; judged by the machine.
    pub issuer: Issuer,
    /// The channel it is about.
    pub channel: Text,
    /// The flag; opaque here.
    pub flag: Text,
    /// On or off; off is what every flag is by itself.
    pub on: bool,
}

/// A channel group to be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupChange {
    /// The app it is about.
    pub app: AppId,
    /// Who answers for it.
    pub issuer: Issuer,
    /// The group that is changed.
    pub group: Text,
    /// Channels that come in.
    pub add: Vec<Text>,
    /// Channels that go.
    pub remove: Vec<Text>,
    /// All others go as well.
    pub clear: bool,
}

/// What happens to members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberCommand {
    /// A node has started (again) and may carry channels; its epoch becomes one more than before.
    Up {
        /// The node it is about.
        node: NodeId,
        /// Where its peers reach it.
        peer_addr: Text,
        /// Where clients reach it.
        public_url: Text,
        /// Highest command version it can read.
        reads_version: u16,
    },
    /// The leader has not heard from this start of the node for longer than a lease.
    Down {
        /// The node it is about.
        node: NodeId,
        /// The start that went silent; a later one is not touched.
        epoch: u64,
    },
    /// The node asks for no new channels.
    Drain {
        /// The node it is about.
        node: NodeId,
    },
    /// The node has left for good.
    Remove {
        /// The node it is about.
        node: NodeId,
    },
}

/// A new app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppSpec {
    /// Its id, unused so far.
    pub id: AppId,
    /// A name for people; nothing is looked up by it.
    pub name: Text,
    /// Dialects it accepts.
    pub protocols: Vec<EnabledProtocol>,
    /// What it declares open.
    pub open: Vec<OpenRule>,
    /// Limits and switches.
    pub settings: BTreeMap<Text, SettingValue>,
    /// Names under which dialects know the app.
    pub aliases: Vec<(Text, Text)>,
    /// Its first keys; `app` must be this app.
    pub keys: Vec<KeySpec>,
}

/// A change to an app; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppChange {
    /// A name for people; nothing is looked up by it.
    pub name: Option<Text>,
    /// On or off.
    pub enabled: Option<bool>,
    /// Dialects, as a whole.
    pub protocols: Option<Vec<EnabledProtocol>>,
    /// Open rules, as a whole.
    pub open: Option<Vec<OpenRule>>,
    /// Settings to set (`Some`) or to drop back to the default (`None`).
    pub settings: BTreeMap<Text, Option<SettingValue>>,
}

/// A new key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySpec {
    /// Its id, unused so far in the cluster.
    pub id: Text,
    /// The app it is about.
    pub app: AppId,
    /// A name for people; nothing is looked up by it.
    pub name: Text,
    /// The secret that signatures and tokens are made with.
    pub secret: Secret,
    /// What it may do.
    pub capability: Capability,
    /// Whether its tokens may be revoked one by one.
    pub revocable_tokens: bool,
}

/// A change to a key; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyChange {
    /// A name for people; nothing is looked up by it.
    pub name: Option<Text>,
    /// On or off.
    pub enabled: Option<bool>,
    /// The whole capability. Narrowing reaches live connections.
    pub capability: Option<Capability>,
    /// Whether its tokens may be revoked one by one.
    pub revocable_tokens: Option<bool>,
}

/// Whether a write stands beside what the subject has or replaces all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GrantMode {
    /// Entries overwrite the same (resource, pattern) and leave the rest.
    Merge,
    /// The subject has exactly these entries afterwards.
    Replace,
    /// As `Replace`, for a dialect whose connections keep what a token could do when they were made: what they took
    /// stays theirs, and only connections made from here on have the new entries.
    Renew,
}

/// One line of a grant. No operations = delete the line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantEntry {
    /// On what kind of thing.
    pub resource: Resource,
    /// Which names the right is for.
    pub pattern: Pattern,
    /// What may be done.
    pub operations: Operations,
    /// How long from the stamp on; none = until deleted.
    pub ttl_ms: Option<Millis>,
}

/// What a command came to. The revision is the stamp's index and is not repeated here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It was done.
    Done,
    /// Done; this many records were touched.
    Changed(u64),
    /// A member was (re)started with this epoch.
    MemberUp {
        /// Counts the node's starts.
        epoch: u64,
    },
    /// Not done, and why. Rejections change nothing.
    Rejected(Rejection),
    /// Done; this many records were touched, and somebody may do less than before, or has been told to go. Said by
    /// the machine, because only the log's order tells what was overwritten. Whoever asked waits until no node
    /// serves by the old state.
    ///
    /// A command that states a ceiling (a whole capability, a line without operations, a subject's lines as a
    /// whole) is answered so also when it finds the ceiling already there: the command that put it there may still
    /// be on its way to the other nodes.
    Narrowed(u64),
}

/// Why a command was not carried out. Deterministic: the same on every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rejection {
    /// No such app.
    NoSuchApp,
    /// No such key.
    NoSuchKey,
    /// No such member.
    NoSuchMember,
    /// Nothing by that name to delete, unblock or change.
    NotFound,
    /// The id, key id or alias is taken.
    Taken(Text),
    /// The nonce was used before.
    NonceUsed,
    /// The issuer may not do this; names the pattern or operation that exceeds it.
    BeyondIssuer(Text),
    /// A bound of [`super::Limits`] would be exceeded; names it.
    LimitReached(Text),
    /// The command contradicts itself; says how.
    Invalid(Text),
    /// Needs a newer cluster version than has been agreed.
    VersionNotEnabled(u16),
}
