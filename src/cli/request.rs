//! From what was typed to one request of `/v1`. Pure.

mod traffic;

use super::address::{encoded, named};
use super::arguments::{
    AppCommand, ClusterCommand, GrantCommand, KeyCommand, RevokeCommand, SubjectArgs, TargetKind,
    UserCommand,
};
use super::{Exit, Failure};
use serde_json::{Map, Value, json};
pub use traffic::{channel, conn, webhook};

/// One request, and how its answer is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The HTTP method of the request.
    pub method: &'static str,
    /// Path below the server's base, with its query; parts are encoded.
    pub path: String,
    /// The body of the request, if it has one.
    pub body: Option<Value>,
    /// One more field of the body: JSON, sent as it was typed.
    pub typed: Option<(&'static str, String)>,
    /// The field of the answer that is a list, and the columns of its table.
    pub table: Option<(&'static str, &'static [&'static str])>,
    /// What is destroyed by it and cannot be had back; whoever sits at a terminal is asked first.
    pub destroys: Option<String>,
}

impl Request {
    pub(super) fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            body: None,
            typed: None,
            table: None,
            destroys: None,
        }
    }

    pub(super) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// Whether it may change something.
    pub(super) fn writes(&self) -> bool {
        self.method != "GET"
    }

    /// The body as it is sent.
    pub(super) fn sent(&self) -> Option<String> {
        let body = self.body.as_ref()?;
        let Some((name, json)) = &self.typed else {
            return Some(body.to_string());
        };
        let fields = body.as_object().into_iter().flatten();
        let fields = fields.map(|(name, value)| (name.as_str(), value.to_string()));
        let all = fields.chain([(*name, json.clone())]);
        let all = all.map(|(name, json)| format!("{}:{json}", Value::from(name)));
        Some(format!("{{{}}}", all.collect::<Vec<_>>().join(",")))
    }

    pub(super) fn destroys(mut self, what: String) -> Self {
        self.destroys = Some(what);
        self
    }

    pub(super) fn table(mut self, list: &'static str, columns: &'static [&'static str]) -> Self {
        self.table = Some((list, columns));
        self
    }
}

/// `app …`
///
/// # Errors
/// A usage failure when a pair is malformed.
pub fn app(command: AppCommand) -> Result<Request, Failure> {
    Ok(match command {
        AppCommand::Create {
            name,
            id,
            protocols,
            open,
            settings,
        } => {
            let mut body = Map::new();
            set(&mut body, "name", name);
            set(&mut body, "id", id);
            // Left out, they are all.
            set(
                &mut body,
                "protocols",
                (!protocols.is_empty()).then_some(protocols),
            );
            body.insert("open".into(), open_rules(&open)?);
            body.insert("settings".into(), pairs(&settings)?);
            Request::new("POST", "/v1/apps").body(body.into())
        }
        AppCommand::ImportEnv { .. } => {
            let message = "import-env is carried out with its variables";
            return Err(Failure::new(Exit::Usage, message));
        }
        AppCommand::List => Request::new("GET", "/v1/apps?limit=1000")
            .table("apps", &["id", "name", "enabled", "protocols", "revision"]),
        AppCommand::Show { app, no_secrets } => {
            Request::new("GET", format!("/v1/apps/{app}?secrets={}", !no_secrets))
        }
        AppCommand::Update {
            app,
            name,
            enabled,
            protocols,
            open,
            settings,
        } => {
            let mut body = Map::new();
            set(&mut body, "name", name);
            set(&mut body, "enabled", enabled);
            set(
                &mut body,
                "protocols",
                (!protocols.is_empty()).then_some(protocols),
            );
            if !open.is_empty() {
                body.insert("open".into(), open_rules(&open)?);
            }
            body.insert("settings".into(), pairs(&settings)?);
            Request::new("PATCH", format!("/v1/apps/{app}")).body(body.into())
        }
        AppCommand::RotateKey { app, key, overlap } => rotate(app, &key, overlap),
        AppCommand::Delete { app } => {
            let what = format!(
                "app {app} with its keys, grants and settings goes for good, and its clients are closed"
            );
            Request::new("DELETE", format!("/v1/apps/{app}")).destroys(what)
        }
    })
}

/// `key …`
///
/// # Errors
/// A usage failure when a right is malformed.
pub fn key(command: KeyCommand) -> Result<Request, Failure> {
    let keys = |app: u64| format!("/v1/apps/{app}/keys");
    let one = |app: u64, key: &str| named(&keys(app), key, "");
    Ok(match command {
        KeyCommand::Create {
            app,
            name,
            id,
            capability,
        } => {
            let mut body = Map::new();
            set(&mut body, "name", name);
            set(&mut body, "id", id);
            if !capability.is_empty() {
                body.insert("capability".into(), rights("can", &capability)?);
            }
            Request::new("POST", keys(app)).body(body.into())
        }
        KeyCommand::List { app } => Request::new("GET", keys(app)).table(
            "keys",
            &["id", "name", "enabled", "revocable_tokens", "expires_ms"],
        ),
        KeyCommand::Update {
            app,
            key,
            name,
            enabled,
            capability,
        } => {
            let mut body = Map::new();
            set(&mut body, "name", name);
            set(&mut body, "enabled", enabled);
            if !capability.is_empty() {
                body.insert("capability".into(), rights("can", &capability)?);
            }
            Request::new("PATCH", one(app, &key)).body(body.into())
        }
        KeyCommand::Rotate { app, key, overlap } => rotate(app, &key, overlap),
        KeyCommand::Delete { app, key } => {
            let what =
                format!("key {key} goes for good, and everything that was done under it ends");
            Request::new("DELETE", one(app, &key)).destroys(what)
        }
    })
}

fn rotate(app: u64, key: &str, overlap_ms: u64) -> Request {
    let path = named(&format!("/v1/apps/{app}/keys"), key, "/rotate");
    let request = Request::new("POST", path).body(json!({ "overlap_ms": overlap_ms }));
    match overlap_ms {
        0 => request.destroys(format!(
            "key {key} stops working at once, for everybody who still has it (--overlap 1h lets both work meanwhile)"
        )),
        _some => request,
    }
}

/// `grant …`
///
/// # Errors
/// A usage failure when a subject cannot be explained.
pub fn grant(command: GrantCommand) -> Result<Request, Failure> {
    Ok(match command {
        GrantCommand::Set {
            app,
            subject,
            pattern,
            can,
            ttl,
            replace,
        } => {
            let line = |pattern: String| {
                let mut line = Map::new();
                set(&mut line, "pattern", Some(pattern));
                set(&mut line, "operations", Some(can.clone()));
                set(&mut line, "ttl_ms", ttl);
                Value::from(line)
            };
            let lines: Vec<Value> = pattern.into_iter().map(line).collect();
            let method = if replace { "PUT" } else { "POST" };
            Request::new(method, format!("/v1/apps/{app}/grants"))
                .body(json!({ "subject": subject_json(&subject), "grants": lines }))
        }
        GrantCommand::List { app, subject } => {
            let (kind, name) = subject_pair(&subject);
            let path = format!("/v1/apps/{app}/grants?{kind}={}", encoded(name));
            Request::new("GET", path).table(
                "grants",
                &["pattern", "operations", "expires_ms", "issuer", "revision"],
            )
        }
        GrantCommand::Delete {
            app,
            subject,
            pattern,
        } => {
            let (kind, name) = subject_pair(&subject);
            let request = Request::new("DELETE", format!("/v1/apps/{app}/grants"))
                .body(json!({ "subject": subject_json(&subject), "patterns": pattern }));
            match (pattern.is_empty(), kind) {
                (false, _) => request,
                (true, "everyone") => {
                    request.destroys("all grants stored for everyone go for good".to_owned())
                }
                (true, kind) => request.destroys(format!(
                    "all grants stored for the {kind} {name} go for good"
                )),
            }
        }
        GrantCommand::Explain {
            app,
            subject,
            channel,
            can,
        } => {
            let mut body = Map::new();
            set(&mut body, "channel", Some(channel));
            set(&mut body, "operations", Some(can));
            let (kind, name) = subject_pair(&subject);
            if kind != "everyone" {
                body.insert(kind.into(), name.into());
            }
            Request::new("POST", format!("/v1/apps/{app}/explain")).body(body.into())
        }
    })
}

/// `revoke …`
///
/// # Errors
/// None today; kept beside its siblings.
pub fn revoke(command: RevokeCommand) -> Result<Request, Failure> {
    let kind = match command.kind {
        TargetKind::User => "user",
        TargetKind::Token => "token",
        TargetKind::RevocationKey => "revocation_key",
        TargetKind::Channel => "channel",
        TargetKind::Key => "key",
        TargetKind::Group => "group",
    };
    let mut body = Map::new();
    let many = void_for_many(command.kind, &command.name);
    body.insert("target".into(), json!({ kind: command.name }));
    set(&mut body, "issued_before_ms", command.issued_before_ms);
    set(&mut body, "margin_ms", Some(command.margin));
    set(&mut body, "wait", Some(command.wait.word()));
    let path = format!("/v1/apps/{}/revoke", command.app);
    let request = Request::new("POST", path).body(body.into());
    Ok(match many {
        Some(what) => request.destroys(what),
        None => request,
    })
}

/// What is said before many people's credentials are void; one person's are taken at once, as it may have to be quick.
fn void_for_many(kind: TargetKind, name: &str) -> Option<String> {
    let whose = match kind {
        TargetKind::User | TargetKind::Token | TargetKind::RevocationKey => return None,
        TargetKind::Key => format!("issued under key {name}"),
        TargetKind::Group => {
            format!("of everybody in group {name}, with the grants stored for it,")
        }
        TargetKind::Channel => format!("that names channel {name}"),
    };
    Some(format!(
        "every credential {whose} is void for good, and its connections are closed"
    ))
}

/// How long to keep somebody out, and why.
pub(super) fn block_body(for_ms: Option<u64>, reason: Option<String>, wait: &str) -> Value {
    let mut body = Map::new();
    set(&mut body, "for_ms", for_ms);
    set(&mut body, "reason", Some(reason.unwrap_or_default()));
    set(&mut body, "wait", Some(wait));
    body.into()
}

/// The request behind a command `user …`.
#[must_use]
pub fn user(command: UserCommand, reason: Option<String>) -> Request {
    let path = |app: u64, user: &str, verb: &str| {
        named(&format!("/v1/apps/{app}/users"), user, &format!("/{verb}"))
    };
    match command {
        UserCommand::Disconnect { app, user, wait } => {
            Request::new("POST", path(app, &user, "disconnect"))
                .body(json!({ "wait": wait.word() }))
        }
        UserCommand::Block {
            app,
            user,
            for_ms,
            wait,
        } => {
            let body = block_body(for_ms, reason, wait.word());
            Request::new("POST", path(app, &user, "block")).body(body)
        }
        UserCommand::Show { app, user } => {
            Request::new("GET", named(&format!("/v1/apps/{app}/users"), &user, ""))
        }
        UserCommand::Unblock { app, user } => Request::new("DELETE", path(app, &user, "block")),
    }
}

/// `cluster …`
///
/// # Errors
/// For what is carried out on this machine.
pub fn cluster(command: ClusterCommand) -> Result<Request, Failure> {
    Ok(match command {
        ClusterCommand::Status => Request::new("GET", "/v1/cluster").table(
            "nodes",
            &[
                "node",
                "state",
                "role",
                "leads",
                "reachable",
                "epoch",
                "matched",
                "peer_addr",
                "public_url",
            ],
        ),
        ClusterCommand::Add {
            node,
            peer_addr,
            force,
        } => Request::new("POST", "/v1/cluster/nodes")
            .body(json!({ "node": node, "peer_addr": peer_addr, "force": force })),
        ClusterCommand::Promote { node, force } => {
            Request::new("POST", node_path(node, "/promote", force))
        }
        ClusterCommand::Demote { node, force } => {
            Request::new("POST", node_path(node, "/demote", force))
        }
        ClusterCommand::Remove { node, force } => {
            let what = format!(
                "node {node} leaves for good: its number and its data folder are never used again"
            );
            Request::new("DELETE", node_path(node, "", force)).destroys(what)
        }
        ClusterCommand::Replace {
            old,
            new,
            peer_addr,
            force,
        } => {
            let what = format!(
                "node {old} leaves for good when node {new} has taken its place: its number and its data folder are never used again"
            );
            Request::new("POST", format!("/v1/cluster/nodes/{old}/replace"))
                .body(json!({ "node": new, "peer_addr": peer_addr, "force": force }))
                .destroys(what)
        }
        ClusterCommand::Drain { node } => {
            Request::new("POST", format!("/v1/cluster/nodes/{node}/drain"))
        }
        ClusterCommand::Recover(_) => {
            let message = "recover is carried out on the folder, not by a node";
            return Err(Failure::new(Exit::Usage, message));
        }
    })
}

fn node_path(node: u64, verb: &str, force: bool) -> String {
    let query = if force { "?force=true" } else { "" };
    format!("/v1/cluster/nodes/{node}{verb}{query}")
}

pub(super) fn set(body: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body.insert(name.into(), value.into());
    }
}

fn subject_pair(subject: &SubjectArgs) -> (&'static str, &str) {
    let named = [
        ("user", &subject.user),
        ("token", &subject.auth_token),
        ("key", &subject.key),
        ("group", &subject.group),
    ];
    let mut named = named
        .into_iter()
        .filter_map(|(kind, name)| Some((kind, name.as_deref()?)));
    named.next().unwrap_or(("everyone", "1"))
}

fn subject_json(subject: &SubjectArgs) -> Value {
    match subject_pair(subject) {
        ("everyone", _) => "everyone".into(),
        (kind, name) => json!({ kind: name }),
    }
}

fn open_rules(rules: &[String]) -> Result<Value, Failure> {
    rights("open", rules)
}

/// `pattern=operation,…`; the last `=` parts them, since patterns may contain one.
fn rights(flag: &str, rules: &[String]) -> Result<Value, Failure> {
    let rule = |text: &String| match text.rsplit_once('=') {
        Some((pattern, operations)) => {
            let operations: Vec<&str> = operations.split(',').collect();
            Ok(json!({ "pattern": pattern, "operations": operations }))
        }
        None => {
            let message = format!("--{flag} {text}: write pattern=operation,…");
            Err(Failure::new(Exit::Usage, message))
        }
    };
    rules.iter().map(rule).collect()
}

/// `name=value`: true, false and numbers are what they look like; nothing = back to the default.
fn pairs(settings: &[String]) -> Result<Value, Failure> {
    let mut map = Map::new();
    for text in settings {
        let Some((name, value)) = text.split_once('=') else {
            let message = format!("--set {text}: write name=value");
            return Err(Failure::new(Exit::Usage, message));
        };
        let value = match value {
            "" => Value::Null,
            text => serde_json::from_str::<Value>(text)
                .ok()
                .filter(|value| value.is_boolean() || value.is_u64() || value.is_array())
                .unwrap_or_else(|| text.into()),
        };
        map.insert(name.into(), value);
    }
    Ok(map.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::super::arguments::{Cli, Command};
    use super::super::{group, provider};
    use super::*;
    use clap::Parser as _;

    fn typed(line: &str) -> Request {
        let arguments = std::iter::once("gatecast").chain(line.split(' '));
        request_of(Cli::try_parse_from(arguments).ok().unwrap())
    }

    fn request_of(cli: Cli) -> Request {
        match cli.command {
            Command::App(command) => app(command).unwrap(),
            Command::Grant(command) => grant(command).unwrap(),
            Command::Revoke(command) => revoke(command).unwrap(),
            Command::User(command) => user(command, cli.remote.reason),
            Command::Group(command) => group::group(command, cli.remote.reason),
            Command::Provider(command) => provider::provider(command).unwrap(),
            Command::Cluster(command) => cluster(command).unwrap(),
            Command::Conn(command) => conn(command),
            Command::Channel(command) => channel(command),
            Command::Webhook(command) => webhook(command),
            Command::Key(command) => key(command).unwrap(),
            Command::Dev(_)
            | Command::Serve(_)
            | Command::Config(_)
            | Command::Backup(_)
            | Command::Audit(_)
            | Command::Refusals(_)
            | Command::Version
            | Command::Completion { .. }
            | Command::Man { .. } => {
                unreachable!("not a request")
            }
        }
    }

    #[test]
    fn what_is_destroyed_for_good_is_said_first() {
        let asks = |line: &str| typed(line).destroys.is_some();
        assert!(asks("app delete 7") && asks("key delete 7 k") && asks("key rotate 7 k"));
        assert!(!asks("key rotate 7 k --overlap 1h") && !asks("app rotate-key 7 k --overlap-ms 5"));
        assert!(!asks("user block 7 ana --for 1h") && !asks("key list 7"));
        for line in [
            "provider delete 7 kc",
            "group delete 7 mods",
            "grant delete 7 --user ana",
            "grant delete 7 --everyone",
            "revoke 7 key k",
            "revoke 7 group mods",
            "revoke 7 channel room",
            "cluster remove 3",
            "cluster replace 3 4 127.0.0.1:1",
        ] {
            assert!(asks(line), "{line}");
        }
        for line in [
            "provider update 7 kc --enabled false",
            "group remove 7 mods --user ana",
            "grant delete 7 --user ana --pattern room",
            "revoke 7 user ana",
            "revoke 7 token t",
            "revoke 7 revocation-key session:kc:s",
            "cluster drain 3",
            "cluster demote 3",
        ] {
            assert!(!asks(line), "{line}");
        }
    }

    #[test]
    fn nothing_is_deleted_without_a_question() {
        // Whatever is a DELETE is one of these, or can be undone by its counterpart.
        for (line, undone_by) in [
            ("user unblock 7 ana", "user block"),
            ("group unblock 7 mods", "group block"),
            ("grant delete 7 --user ana --pattern room", "grant set"),
        ] {
            let request = typed(line);
            assert_eq!(request.method, "DELETE", "{line} is undone by {undone_by}");
            assert!(request.destroys.is_none(), "{line}");
        }
    }

    #[test]
    fn keys_are_a_noun_of_their_own() {
        let create = typed("key create 7 --name billing --can invoices-*=publish");
        assert_eq!((create.method, &*create.path), ("POST", "/v1/apps/7/keys"));
        let expected = json!({
            "name": "billing", "capability": [{"pattern": "invoices-*", "operations": ["publish"]}],
        });
        assert_eq!(create.body, Some(expected));
        let whole = typed("key create 7").body;
        assert_eq!(whole, Some(json!({})), "everything");
        let update = typed("key update 7 a/b --enabled false");
        assert_eq!(
            (update.method, &*update.path),
            ("PATCH", "/v1/apps/7/keys/a%2Fb")
        );
        assert_eq!(update.body, Some(json!({"enabled": false})));
        let rotate = typed("key rotate 7 k --overlap 1h");
        assert_eq!(rotate.body, Some(json!({"overlap_ms": 3_600_000})));
    }

    #[test]
    fn what_is_published_is_what_was_typed() {
        for (typed_data, sent) in [
            (r#"{"z":12345678901234567890123,"a":1.0,"a":2}"#, None),
            (r#"[1e400,-0,{"b":1,"a":2}]"#, None),
            (r#""text""#, None),
            ("a\\b\"c", Some(r#""a\\b\"c""#)),
            ("{broken", Some(r#""{broken""#)),
        ] {
            let publish = typed(&format!("channel publish 7 room greet\"ing {typed_data}"));
            let sent = sent.unwrap_or(typed_data);
            let expected = format!(r#"{{"channel":"room","name":"greet\"ing","data":{sent}}}"#);
            assert_eq!(publish.sent().as_deref(), Some(&*expected));
        }
        let plain = typed("key rotate 7 k --overlap 1h").sent();
        assert_eq!(plain.as_deref(), Some(r#"{"overlap_ms":3600000}"#));
    }

    #[test]
    fn every_name_reaches_the_server_as_it_is() {
        for name in [".", "..", "...", "a/b", "%2E", "-", "é?#", "a b", ".a"] {
            for line in [
                "user block 7 {}",
                "user unblock 7 {}",
                "user show 7 {}",
                "group show 7 {}",
                "group members 7 {}",
                "group add 7 {} --user ana",
                "group remove 7 {} --group eng",
                "group delete 7 {}",
                "group block 7 {}",
                "group unblock 7 {}",
                "user disconnect 7 {}",
                "channel show 7 {}",
                "channel members 7 {}",
                "key update 7 {} --enabled false",
                "key rotate 7 {}",
                "key delete 7 {}",
                "provider show 7 {}",
                "provider delete 7 {}",
                "provider ssf show 7 {}",
                "provider ssf disconnect 7 {}",
                "provider ssf verify 7 {}",
            ] {
                let words: Vec<String> = line
                    .split(' ')
                    .map(|word| word.replace("{}", name))
                    .collect();
                let words = std::iter::once("gatecast").chain(words.iter().map(String::as_str));
                let path = request_of(Cli::try_parse_from(words).ok().unwrap()).path;
                // As the client reads it.
                let url = reqwest::Url::parse(&format!("http://a{path}")).unwrap();
                let query = url
                    .query()
                    .map_or_else(String::new, |query| format!("?{query}"));
                assert_eq!(
                    format!("{}{query}", url.path()),
                    path,
                    "{name}: nothing of it moves"
                );
                let carried = match url.query_pairs().find(|(is, _)| is == "name") {
                    Some((_, value)) => value.into_owned(),
                    None => {
                        let part = url.path_segments().unwrap().nth(4).unwrap();
                        String::from_utf8(unescaped(part)).unwrap()
                    }
                };
                assert_eq!(carried, name, "{path}");
            }
        }
    }

    fn unescaped(part: &str) -> Vec<u8> {
        let mut bytes = part.bytes();
        let mut plain = Vec::new();
        while let Some(byte) = bytes.next() {
            let escaped = |bytes: &mut std::str::Bytes<'_>| {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            };
            plain.push(if byte == b'%' {
                escaped(&mut bytes)
            } else {
                byte
            });
        }
        plain
    }

    #[test]
    fn what_is_typed_becomes_one_request() {
        let every = typed("app create").body.unwrap();
        assert!(every.get("protocols").is_none(), "which is all: {every}");
        let create = typed(
            "app create --name demo --protocol pusher --open public-*=subscribe,history --set client_events=true --set history_ms=5",
        );
        assert_eq!((create.method, &*create.path), ("POST", "/v1/apps"));
        let expected = json!({
            "name": "demo", "protocols": ["pusher"],
            "open": [{"pattern": "public-*", "operations": ["subscribe", "history"]}],
            "settings": {"client_events": true, "history_ms": 5},
        });
        assert_eq!(create.body, Some(expected));
        // The flag's former name, as it may stand in scripts.
        let former = typed("app update 7 --door ably").body.unwrap();
        assert_eq!(former, json!({"protocols": ["ably"], "settings": {}}));
        let set = typed(
            "grant set 7 --user ana --pattern private-room --can subscribe,publish --ttl-ms 60000",
        );
        let expected = json!({
            "subject": {"user": "ana"},
            "grants": [{"pattern": "private-room", "operations": ["subscribe", "publish"], "ttl_ms": 60000}],
        });
        assert_eq!((set.method, set.body), ("POST", Some(expected)));
        let revoke = typed("revoke 7 revocation-key k1 --margin-ms 5 --wait strict");
        let expected =
            json!({"target": {"revocation_key": "k1"}, "margin_ms": 5, "wait": "strict"});
        assert_eq!(revoke.body, Some(expected));
        assert_eq!(
            typed("user unblock 7 a/b").path,
            "/v1/apps/7/users/a%2Fb/block"
        );
        let add = typed("group add 7 eng --user ana,bob --group ops");
        let expected = json!({"add": [{"user": "ana"}, {"user": "bob"}, {"group": "ops"}]});
        assert_eq!(
            (&*add.path, add.body),
            ("/v1/apps/7/groups/eng/members", Some(expected))
        );
        let given = typed("grant set 7 --group eng --pattern code --can publish").body;
        let subject = given.and_then(|body| body.get("subject").cloned());
        assert_eq!(subject, Some(json!({"group": "eng"})));
        assert_eq!(
            typed("grant list 7 --everyone").path,
            "/v1/apps/7/grants?everyone=1"
        );
        let made = typed(
            "provider create 7 kc --issuer https://id --audience a --ceiling k --rights ceiling --leeway 2s",
        );
        let expected = json!({
            "id": "kc", "issuer": "https://id", "audiences": ["a"], "ceiling": "k",
            "claims": {"rights": "ceiling"}, "leeway_ms": 2000,
        });
        assert_eq!((made.method, made.body), ("POST", Some(expected)));
        let off = typed("provider update 7 kc --enabled false");
        assert_eq!(
            (off.method, &*off.path),
            ("PATCH", "/v1/apps/7/providers/kc")
        );
        assert_eq!(off.body, Some(json!({"enabled": false})));
        let refresh = typed("provider refresh 7 kc");
        assert_eq!(
            (refresh.method, &*refresh.path),
            ("POST", "/v1/apps/7/providers/kc/refresh")
        );
        let shown = typed("provider ssf show 7 kc");
        let signals = "/v1/apps/7/providers/kc/signals";
        assert_eq!((shown.method, &*shown.path), ("GET", signals));
        let stricter = typed("provider ssf set 7 kc --device-compliance block-until-newer-token");
        let expected = json!({"device_compliance": "block-until-newer-token"});
        assert_eq!((stricter.method, stricter.body), ("PUT", Some(expected)));
        let gone = typed("provider ssf disconnect 7 kc");
        assert_eq!((gone.method, &*gone.path), ("DELETE", signals));
        let found = typed("provider update 7 kc --discovery https://id");
        assert_eq!(found.body, Some(json!({"discovery": "https://id"})));
        assert_eq!(typed("cluster remove 3").method, "DELETE");
        assert_eq!(
            typed("cluster remove 3 --force").path,
            "/v1/cluster/nodes/3?force=true"
        );
        assert_eq!(
            typed("cluster promote 4").path,
            "/v1/cluster/nodes/4/promote"
        );
    }

    #[test]
    fn a_subject_is_named_exactly_once() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(parse("gatecast grant list 7 --user ana"));
        assert!(!parse("gatecast grant list 7"));
        assert!(!parse("gatecast grant list 7 --user ana --key k"));
    }
}
