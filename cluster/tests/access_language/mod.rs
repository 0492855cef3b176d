//! The words of the golden scripts: one line is one command or one question.
//!
//! `time 5000` · `tick` · `version 1` · `member up|down|drain|remove N …` · `app create|update|delete ID …` ·
//! `key create|update|rotate|delete …` · `grant APP SUBJECT RIGHTS [ttl= by= mode=replace]` ·
//! `ungrant APP SUBJECT [PATTERN…] [by=]` · `token APP ID key= cap= …` · `revoke|disconnect APP TARGET …` · `signout APP TARGET… [by=]` ·
//! `block|unblock APP SUBJECT …` · `nonce APP KEY NONCE expires=` · `flag APP CHANNEL FLAG on|off` ·
//! `members APP GROUP [add= remove=]` (`user:a,group:g`) · `nogroup APP GROUP` · `groups PRINCIPAL` ·
//! `provider create|update|delete|ask|fetched APP ID …` (by `administer`) · `group APP GROUP [add= remove= clear=]` · `administer APP KEY|operator app update … | key … [hands=RIGHTS]` · `as NAME APP key=|named= under= user= …` ·
//! `check|allowed PRINCIPAL NAME [OPS]` · `stands PRINCIPAL` · `grants APP SUBJECT` · `counts` · `reopen` ·
//! `asked WHY PROVIDER|- COMMAND…` (`_` in WHY is a space) · `keep RECORDS BYTES AGE|-` · `audit` (what was recorded, its chain checked) ·
//! `request N COMMAND…` · `same COMMAND…` (in the log entry of the command before).
//!
//! RIGHTS are `pattern=op,op;user/pattern=op`. SUBJECT and TARGET are `everyone`, `user:ana`, `token:t`, …

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(dead_code, unreachable_pub)]

mod machine;

pub use machine::Machine;

use gatecast_cluster::access::*;
use std::collections::BTreeMap;

/// A line cut into words and `name=value` options.
pub struct Line<'a> {
    pub words: Vec<&'a str>,
    options: BTreeMap<&'a str, &'a str>,
}

impl<'a> Line<'a> {
    /// Options start with one of these names; everything else is a word.
    const OPTIONS: [&'static str; 50] = [
        "ttl",
        "by",
        "mode",
        "key",
        "cap",
        "user",
        "revkey",
        "token",
        "issued",
        "expires",
        "before",
        "margin",
        "for",
        "reason",
        "overlap",
        "enabled",
        "open",
        "protocols",
        "default",
        "name",
        "reads",
        "aliases",
        "settings",
        "keys",
        "seen",
        "proof",
        "add",
        "remove",
        "clear",
        "named",
        "under",
        "hands",
        "iss",
        "aud",
        "algs",
        "kids",
        "source",
        "ifsource",
        "rights",
        "leeway",
        "ceiling",
        "sid",
        "vouched",
        "groups",
        "endpoint",
        "bearer",
        "stream",
        "state",
        "device",
        "assurance",
    ];

    pub fn read(text: &'a str) -> Self {
        let (mut words, mut options) = (Vec::new(), BTreeMap::new());
        for word in text.split_whitespace() {
            match word.split_once('=') {
                Some((name, value)) if Self::OPTIONS.contains(&name) => {
                    options.insert(name, value);
                }
                _ => words.push(word),
            }
        }
        Self { words, options }
    }

    /// The line from that word on.
    fn from(&self, at: usize) -> Self {
        Self {
            words: self.words[at..].to_vec(),
            options: self.options.clone(),
        }
    }

    pub fn word(&self, at: usize) -> &'a str {
        self.words.get(at).copied().unwrap_or_else(|| {
            panic!("word {at} is missing in {:?}", self.words);
        })
    }

    pub fn number(&self, at: usize) -> u64 {
        self.word(at).parse().expect("a number")
    }

    pub fn option(&self, name: &str) -> Option<&'a str> {
        assert!(Self::OPTIONS.contains(&name), "{name} is no option");
        self.options.get(name).copied()
    }

    pub fn millis(&self, name: &str) -> Option<Millis> {
        self.option(name)
            .map(|text| text.parse().expect("a number"))
    }

    pub fn text(&self, name: &str) -> Option<Text> {
        self.option(name).map(Into::into)
    }

    pub fn issuer(&self) -> Issuer {
        self.text("by").map_or(Issuer::Operator, Issuer::Key)
    }
}

pub fn app(text: &str) -> AppId {
    AppId(text.parse().expect("an app id"))
}

pub fn subject(text: &str) -> Subject {
    match text.split_once(':') {
        None if text == "everyone" => Subject::Everyone,
        Some(("user", name)) => Subject::User(name.into()),
        Some(("token", name)) => Subject::Token(name.into()),
        Some(("key", name)) => Subject::Key(name.into()),
        Some(("group", name)) => Subject::Group(name.into()),
        _ => panic!("no subject: {text}"),
    }
}

pub fn target(text: &str) -> Target {
    match text.split_once(':') {
        None if text == "app" => Target::App,
        Some(("user", name)) => Target::User(name.into()),
        Some(("token", name)) => Target::Token(name.into()),
        Some(("key", name)) => Target::Key(name.into()),
        Some(("group", name)) => Target::Group(name.into()),
        Some(("revkey", name)) => Target::RevocationKey(name.into()),
        Some(("channel", name)) => Target::Channel(name.into()),
        _ => panic!("no target: {text}"),
    }
}

pub fn operations(text: &str) -> Operations {
    text.split(',')
        .filter(|name| !name.is_empty())
        .map(|name| Operations::named(name).unwrap_or_else(|| panic!("no operation: {name}")))
        .fold(Operations::NONE, |all, one| all | one)
}

pub fn place(text: &str) -> (Resource, Pattern) {
    let (resource, text) = match text.split_once('/') {
        Some(("user", rest)) => (Resource::User, rest),
        Some(("group", rest)) => (Resource::Group, rest),
        _ => (Resource::Channel, text),
    };
    (resource, Pattern::parse(text).expect("a pattern"))
}

pub fn rights(text: &str) -> Vec<Right> {
    text.split(';')
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (pattern, names) = line.rsplit_once('=').expect("pattern=operations");
            let (resource, pattern) = place(pattern);
            Right {
                resource,
                pattern,
                operations: operations(names),
            }
        })
        .collect()
}

pub fn open(text: &str) -> Vec<OpenRule> {
    rights(text)
        .into_iter()
        .map(|right| OpenRule {
            pattern: right.pattern,
            operations: right.operations,
        })
        .collect()
}

pub fn protocols(line: &Line<'_>) -> Option<Vec<EnabledProtocol>> {
    line.option("protocols").map(|names| {
        names
            .split(',')
            .filter(|name| !name.is_empty())
            .map(|name| EnabledProtocol {
                name: name.into(),
                default_open: open(line.option("default").unwrap_or_default()),
            })
            .collect()
    })
}

pub fn pairs(text: &str) -> Vec<(Text, Text)> {
    text.split(',')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once(':').expect("a:b"))
        .map(|(a, b)| (a.into(), b.into()))
        .collect()
}

pub fn key_spec(of: AppId, id: &str, cap: Option<&str>) -> KeySpec {
    KeySpec {
        id: id.into(),
        app: of,
        name: id.into(),
        secret: Secret(format!("secret of {id}").into()),
        capability: cap.map_or_else(Capability::full, |text| Capability {
            rights: rights(text),
        }),
        revocable_tokens: true,
    }
}

/// The command of a line, if it is one (and not a question).
pub fn command(line: &Line<'_>, now_ms: Millis) -> Option<Command> {
    Some(match line.word(0) {
        "tick" => Command::Tick,
        "asked" => Command::Asked(Box::new(Asked {
            reason: Some(line.word(1).replace('_', " ").into()),
            provider: Some(line.word(2)).filter(|id| *id != "-").map(Into::into),
            command: command(&line.from(3), now_ms).expect("a command"),
        })),
        "keep" => Command::KeepAudit(AuditRetention {
            records: line.number(1),
            bytes: line.number(2),
            age_ms: Some(line.word(3))
                .filter(|age| *age != "-")
                .map(|age| age.parse().unwrap()),
        }),
        "version" => Command::SetClusterVersion(line.number(1) as u16),
        "member" => Command::Member(member(line)),
        "app" => app_command(line),
        "administer" => administer(line, now_ms),
        "key" => key_command(line),
        "grant" => Command::SetGrants {
            app: app(line.word(1)),
            issuer: line.issuer(),
            subject: subject(line.word(2)),
            mode: match line.option("mode") {
                Some("replace") => GrantMode::Replace,
                _ => GrantMode::Merge,
            },
            entries: entries(
                line.words.get(3).copied().unwrap_or_default(),
                line.millis("ttl"),
            ),
        },
        "ungrant" => Command::DeleteGrants {
            app: app(line.word(1)),
            issuer: line.issuer(),
            subject: subject(line.word(2)),
            names: line.words.iter().skip(3).map(|text| place(text)).collect(),
        },
        "token" => token(line, now_ms),
        "revoke" => Command::Revoke {
            app: app(line.word(1)),
            issuer: line.issuer(),
            target: target(line.word(2)),
            issued_before_ms: line.millis("before"),
            margin_ms: line.millis("margin").unwrap_or(0),
        },
        "signout" => Command::SignOut(SignOut {
            app: app(line.word(1)),
            issuer: line.issuer(),
            targets: line.words.iter().skip(2).map(|text| target(text)).collect(),
        }),
        "signal" => Command::Signal(Signal {
            app: app(line.word(1)),
            provider: line.word(2).into(),
            id: line.word(3).into(),
            issued_before_ms: line.millis("before").unwrap_or(0),
            targets: line.words.iter().skip(4).map(|text| target(text)).collect(),
            verifies: line.text("state"),
        }),
        "disconnect" => Command::Disconnect {
            app: app(line.word(1)),
            issuer: line.issuer(),
            target: target(line.word(2)),
        },
        "block" => Command::Block {
            app: app(line.word(1)),
            issuer: line.issuer(),
            subject: subject(line.word(2)),
            for_ms: line.millis("for"),
            reason: line.text("reason").unwrap_or_default(),
        },
        "unblock" => Command::Unblock {
            app: app(line.word(1)),
            issuer: line.issuer(),
            subject: subject(line.word(2)),
        },
        "nonce" => Command::UseNonce {
            app: app(line.word(1)),
            key: line.word(2).into(),
            nonce: line.word(3).into(),
            expires_ms: line.millis("expires").expect("expires="),
        },
        "flag" => Command::SetChannelFlag(ChannelFlag {
            app: app(line.word(1)),
            issuer: line.issuer(),
            channel: line.word(2).into(),
            flag: line.word(3).into(),
            on: line.word(4) == "on",
        }),
        "group" => {
            let list = |name: &str| {
                line.option(name)
                    .map_or_else(Vec::new, |text| text.split(',').map(Into::into).collect())
            };
            Command::SetGroup(GroupChange {
                app: app(line.word(1)),
                issuer: line.issuer(),
                group: line.word(2).into(),
                add: list("add"),
                remove: list("remove"),
                clear: line.option("clear").is_some(),
            })
        }
        "members" => Command::SetUserGroup(UserGroupChange {
            app: app(line.word(1)),
            issuer: line.issuer(),
            group: line.word(2).into(),
            add: members(line.option("add").unwrap_or_default()),
            remove: members(line.option("remove").unwrap_or_default()),
        }),
        "nogroup" => Command::DeleteUserGroup(UserGroupDeletion {
            app: app(line.word(1)),
            issuer: line.issuer(),
            group: line.word(2).into(),
        }),
        _ => return None,
    })
}

fn members(text: &str) -> Vec<GroupMember> {
    text.split(',')
        .filter(|one| !one.is_empty())
        .map(|one| match one.split_once(':') {
            Some(("user", name)) => GroupMember::User(name.into()),
            Some(("group", name)) => GroupMember::Group(name.into()),
            _ => panic!("no member: {one}"),
        })
        .collect()
}

fn entries(text: &str, ttl_ms: Option<Millis>) -> Vec<GrantEntry> {
    rights(text)
        .into_iter()
        .map(|right| GrantEntry {
            resource: right.resource,
            pattern: right.pattern,
            operations: right.operations,
            ttl_ms,
        })
        .collect()
}

fn member(line: &Line<'_>) -> MemberCommand {
    let node = NodeId(line.number(2));
    match line.word(1) {
        "up" => MemberCommand::Up {
            node,
            peer_addr: format!("node{node}:7601").into(),
            public_url: format!("http://node{node}:6001").into(),
            reads_version: line.option("reads").map_or(1, |text| text.parse().unwrap()),
        },
        "down" => MemberCommand::Down {
            node,
            epoch: line.number(3),
        },
        "drain" => MemberCommand::Drain { node },
        "remove" => MemberCommand::Remove { node },
        other => panic!("no member command: {other}"),
    }
}

fn app_command(line: &Line<'_>) -> Command {
    let id = app(line.word(2));
    let settings = pairs(line.option("settings").unwrap_or_default());
    match line.word(1) {
        "create" => Command::CreateApp(AppSpec {
            id,
            name: line.text("name").unwrap_or_default(),
            protocols: protocols(line).unwrap_or_default(),
            open: open(line.option("open").unwrap_or_default()),
            settings: settings
                .into_iter()
                .map(|(name, value)| (name, SettingValue::Text(value)))
                .collect(),
            aliases: pairs(line.option("aliases").unwrap_or_default()),
            keys: line
                .option("keys")
                .unwrap_or_default()
                .split(',')
                .filter(|key| !key.is_empty())
                .map(|key| key_spec(id, key, line.option("cap")))
                .collect(),
        }),
        "update" => Command::UpdateApp {
            app: id,
            change: AppChange {
                name: line.text("name"),
                enabled: line.option("enabled").map(|text| text.parse().unwrap()),
                protocols: protocols(line),
                open: line.option("open").map(open),
                settings: settings
                    .into_iter()
                    .map(|(name, value)| match &*value {
                        "-" => (name, None),
                        _ => (name, Some(SettingValue::Text(value))),
                    })
                    .collect(),
            },
        },
        "delete" => Command::DeleteApp { app: id },
        other => panic!("no app command: {other}"),
    }
}

/// The rest of the line, in somebody's name.
#[allow(clippy::wildcard_enum_match_arm)] // Whatever else there will be, it is not done in somebody's name.
fn administer(line: &Line<'_>, now_ms: Millis) -> Command {
    let rest = Line {
        words: line.words[3..].to_vec(),
        options: line.options.clone(),
    };
    let of = app(line.word(1));
    let in_name_of = |change| administration(of, line, change);
    if rest.word(0) == "provider" {
        return in_name_of(provider(&rest));
    }
    let change = match command(&rest, now_ms).expect("a command") {
        Command::UpdateApp { app, change } if app == of => Administered::App(change),
        Command::CreateKey(spec) => Administered::NewKey(spec),
        Command::UpdateKey { key, change } => Administered::Key { key, change },
        Command::RotateKey {
            key,
            new,
            overlap_ms,
        } => Administered::Rotated {
            key,
            new,
            overlap_ms,
        },
        Command::DeleteKey { key } => Administered::NoKey { key },
        other => panic!("not in somebody's name: {other:?}"),
    };
    in_name_of(change)
}

fn administration(of: AppId, line: &Line<'_>, change: Administered) -> Command {
    Command::Administer(Administration {
        app: of,
        issuer: match line.word(2) {
            "operator" => Issuer::Operator,
            key => Issuer::Key(key.into()),
        },
        hands_on: Capability {
            rights: rights(line.option("hands").unwrap_or_default()),
        },
        change,
    })
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|part| !part.is_empty())
}

fn algorithms(text: &str) -> Vec<Algorithm> {
    let named = |name| Algorithm::named(name).unwrap_or_else(|| panic!("no algorithm: {name}"));
    list(text).map(named).collect()
}

/// `kid` is a key of Ed25519, `kid:rsa` one of RSA; another `+` behind it is another key of the same id.
fn public_keys(text: &str) -> Vec<PublicKey> {
    let key = |text: &str| {
        let fill = text.bytes().filter(|byte| *byte == b'+').count() as u8;
        let (kid, kind) = text
            .trim_end_matches('+')
            .split_once(':')
            .unwrap_or((text, ""));
        let (kind, bytes) = match kind {
            "rsa" => (KeyKind::Rsa, 270),
            "p256" => (KeyKind::P256, 65),
            "short" => (KeyKind::Rsa, 140),
            _ => (KeyKind::Ed25519, 32),
        };
        PublicKey {
            kid: kid.trim_end_matches('+').into(),
            kind,
            algorithm: None,
            bytes: vec![fill; bytes],
        }
    };
    list(text).map(key).collect()
}

fn source(text: &str) -> KeySource {
    match text.split_once(':') {
        Some(("set", url)) => KeySource::KeySet(url.into()),
        Some(("discovery", url)) => KeySource::Discovery(url.into()),
        _ => KeySource::Given,
    }
}

fn claims(text: &str) -> Claims {
    Claims {
        user: "sub".into(),
        session: "sid".into(),
        groups: None,
        rights: match text {
            "ceiling" => CarriedRights::Ceiling,
            "details" => CarriedRights::Details,
            "capability" => CarriedRights::Capability,
            _ => CarriedRights::Grants,
        },
    }
}

/// `provider create|update|delete APP ID …`
fn provider(line: &Line<'_>) -> Administered {
    let id: Text = line.word(3).into();
    let texts = |name: &str| {
        line.option(name)
            .map(|text| list(text).map(Into::into).collect())
    };
    match line.word(1) {
        "create" => Administered::NewProvider(Box::new(ProviderSpec {
            id,
            iss: line.text("iss").unwrap_or_default(),
            audiences: texts("aud").unwrap_or_default(),
            algorithms: algorithms(line.option("algs").unwrap_or("RS256,EdDSA")),
            keys: public_keys(line.option("kids").unwrap_or_default()),
            source: source(line.option("source").unwrap_or_default()),
            claims: claims(line.option("rights").unwrap_or_default()),
            leeway_ms: line.millis("leeway").unwrap_or(0),
            ceiling: line.text("ceiling").unwrap_or_default(),
        })),
        "update" => Administered::Provider {
            id,
            change: Box::new(ProviderChange {
                if_source: line.option("ifsource").map(source),
                enabled: line.option("enabled").map(|text| text.parse().unwrap()),
                iss: line.text("iss"),
                audiences: texts("aud"),
                algorithms: line.option("algs").map(algorithms),
                keys: line.option("kids").map(public_keys),
                source: line.option("source").map(source),
                claims: line.option("rights").map(claims),
                leeway_ms: line.millis("leeway"),
                ceiling: line.text("ceiling"),
            }),
        },
        "delete" => Administered::NoProvider { id },
        "ask" => Administered::AskForKeys {
            id,
            pause_ms: line.millis("for").unwrap_or(0),
        },
        "fetched" => Administered::KeysFetched {
            id,
            fetched: Box::new(Fetched {
                source: source(line.option("source").unwrap_or_default()),
                after: line.millis("before").unwrap_or(0),
                outcome: match line.text("reason") {
                    Some(why) => Err(why),
                    None => Ok(public_keys(line.option("kids").unwrap_or_default())),
                },
            }),
        },
        "signals" => Administered::Signals {
            id,
            spec: Box::new(signals(line)),
        },
        "nosignals" => Administered::NoSignals { id },
        other => panic!("no provider command: {other}"),
    }
}

/// `[endpoint=|bearer=] [stream= state=] [aud=] [device=newer]`
fn signals(line: &Line<'_>) -> SignalsSpec {
    let reaction = |name: &str| match line.option(name) {
        Some("newer") => Reaction::NewerToken,
        _ => Reaction::Ignore,
    };
    SignalsSpec {
        audiences: list(line.option("aud").unwrap_or_default())
            .map(Into::into)
            .collect(),
        device_compliance: reaction("device"),
        assurance_level: reaction("assurance"),
        delivery: match line.text("endpoint") {
            Some(endpoint) => Delivery::Poll { endpoint },
            None => Delivery::Push {
                bearer: line.text("bearer").map(Secret),
            },
        },
        stream: line.text("stream").map(|id| Stream {
            id,
            configuration: "https://id/streams".into(),
            token: "https://id/token".into(),
            client: "c".into(),
            secret: Secret("client secret".into()),
            scope: Some("ssf.manage".into()),
            state: line.text("state"),
        }),
    }
}

fn key_command(line: &Line<'_>) -> Command {
    match line.word(1) {
        "create" => Command::CreateKey(key_spec(
            app(line.word(2)),
            line.word(3),
            line.option("cap"),
        )),
        "update" => Command::UpdateKey {
            key: line.word(2).into(),
            change: KeyChange {
                name: line.text("name"),
                enabled: line.option("enabled").map(|text| text.parse().unwrap()),
                capability: line.option("cap").map(|text| Capability {
                    rights: rights(text),
                }),
                revocable_tokens: None,
            },
        },
        "rotate" => Command::RotateKey {
            key: line.word(3).into(),
            new: key_spec(app(line.word(2)), line.word(4), None),
            overlap_ms: line.millis("overlap").unwrap_or(0),
        },
        "delete" => Command::DeleteKey {
            key: line.word(2).into(),
        },
        other => panic!("no key command: {other}"),
    }
}

fn token(line: &Line<'_>, now_ms: Millis) -> Command {
    Command::IssueToken {
        id: line.word(2).into(),
        token: Token {
            app: app(line.word(1)),
            key: line.text("key").expect("key="),
            user: line.text("user"),
            revocation_key: line.text("revkey"),
            capability: Capability {
                rights: rights(line.option("cap").unwrap_or_default()),
            },
            issued_ms: line.millis("issued").unwrap_or(now_ms),
            expires_ms: line.millis("expires"),
            revision: 0,
        },
    }
}
