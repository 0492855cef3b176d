//! Access Manager v2: `grant` and `audit`.
//!
//! **Why a signature makes a grant once:** a request's id in the log is its signature, so that one that is sent again
//! within the signature's minute changes nothing, also after a revoke that came between.

use super::admit::{Caller, Ctx};
use super::codes::{Fault, ok};
use super::query::Query;
use super::rights::{self, LETTERS};
use super::signature::fingerprint;
use crate::core::authority::{
    AppId, Authority, BarrierMode, Command, Grant, GrantEntry, GrantKey, GrantMode, Operations,
    Pattern, RequestId, Resource, State, Subject,
};
use crate::core::redact;
use crate::core::refusals::Rule;
use actix_web::HttpResponse;
use serde_json::{Map, Value, json};

/// Minutes of a grant that does not say.
const DEFAULT_TTL: u64 = 1_440;
/// Longest, in minutes; more is taken as this.
const MAX_TTL: u64 = 525_600;
/// Most (name, auth key) pairs of one grant.
const MAX_PAIRS: usize = 5_000;

/// What a grant or audit names.
#[derive(Debug)]
struct Names<'q> {
    channels: Vec<&'q str>,
    groups: Vec<&'q str>,
    users: Vec<&'q str>,
    auths: Vec<&'q str>,
}

impl<'q> Names<'q> {
    fn of(query: &'q Query<'q>) -> Result<Self, Fault> {
        let names = Self {
            channels: query.list("channel"),
            groups: query.list("channel-group"),
            users: query.list("target-uuid"),
            auths: query.list("auth"),
        };
        let named = names.channels.len() + names.groups.len() + names.users.len();
        if named == 0 && !names.auths.is_empty() {
            return Err(Fault::bad("Auth-only grants are reserved for future use"));
        }
        if !names.users.is_empty() && (names.auths.is_empty() || named > names.users.len()) {
            return Err(Fault::bad("Uuid grants need auth and stand alone"));
        }
        let pairs = named.max(1).saturating_mul(names.auths.len().max(1));
        if pairs > MAX_PAIRS || names.lists().any(|(_, list)| too_long(list)) {
            return Err(Fault::bad("Too many or too long names"));
        }
        Ok(names)
    }

    fn lists(&self) -> impl Iterator<Item = (Resource, &[&'q str])> {
        [
            (Resource::Channel, &self.channels[..]),
            (Resource::Group, &self.groups[..]),
            (Resource::User, &self.users[..]),
        ]
        .into_iter()
    }

    /// The patterns it means; nothing named is everything.
    fn patterns(&self) -> Vec<(Resource, Pattern)> {
        let named = self.lists().flat_map(|(resource, list)| {
            let patterns = list.iter().map(|name| rights::pattern(name));
            patterns
                .map(move |pattern| (resource, pattern))
                .collect::<Vec<_>>()
        });
        let named: Vec<_> = named.collect();
        match named.is_empty() {
            false => named,
            true => [Resource::Channel, Resource::Group, Resource::User]
                .map(|resource| (resource, Pattern::All))
                .into(),
        }
    }

    fn subjects(&self) -> Vec<Subject> {
        match self.auths.is_empty() {
            true => vec![Subject::Everyone],
            false => self
                .auths
                .iter()
                .map(|auth| Subject::Token((*auth).into()))
                .collect(),
        }
    }
}

fn too_long(list: &[&str]) -> bool {
    list.iter().any(|name| name.len() > 1_000)
}

/// Carries out `grant`; with every flag 0 it is a revoke.
pub(super) async fn grant(
    authority: &Authority,
    caller: &Caller,
    ctx: &Ctx<'_>,
) -> Result<HttpResponse, Fault> {
    let (_, issuer) = caller.issuer()?;
    let names = Names::of(ctx.query)?;
    let flags: Vec<(&str, bool)> = LETTERS
        .into_iter()
        .map(|letter| (letter, ctx.query.flag(letter)))
        .collect();
    let operations = rights::of_letters(|letter| flags.contains(&(letter, true)));
    let ttl = match ctx.query.given("ttl") {
        Some(text) => text.parse().map_err(|_| Fault::bad("Invalid ttl"))?,
        None => DEFAULT_TTL,
    };
    let entries: Vec<GrantEntry> = names
        .patterns()
        .into_iter()
        .map(|(resource, pattern)| GrantEntry {
            resource,
            pattern,
            operations,
            ttl_ms: (ttl > 0).then(|| ttl.min(MAX_TTL).saturating_mul(60_000)),
        })
        .collect();
    let before = authority.view().revision;
    let write = |subject: Subject| {
        let request = request_id(ctx, &subject);
        let command = Command::SetGrants {
            app: caller.app.id,
            issuer: issuer.clone(),
            subject,
            mode: GrantMode::Merge,
            entries: entries.clone(),
        };
        (request, command)
    };
    let writes = names.subjects().into_iter().map(write).collect();
    let written = authority.write_all(writes, BarrierMode::All).await?;
    if written.iter().any(|one| one.revision <= before) {
        return Err(Fault::signature());
    }
    let shown = if operations.is_empty() { 1 } else { ttl };
    Ok(success(caller, &granted(&names, &flags, shown)))
}

fn request_id(ctx: &Ctx<'_>, subject: &Subject) -> RequestId {
    let part = match subject {
        Subject::Everyone => "",
        Subject::User(name) | Subject::Token(name) | Subject::Key(name) | Subject::Group(name) => {
            name
        }
    };
    RequestId(u128::from_be_bytes(fingerprint(ctx.query, part)))
}

fn success(caller: &Caller, payload: &Value) -> HttpResponse {
    let mut payload = payload.clone();
    if let Value::Object(map) = &mut payload {
        let key = super::SUBSCRIBE_KEY.of(&caller.app);
        map.insert("subscribe_key".into(), key.into());
    }
    ok(&json!({
        "message": "Success", "payload": payload, "service": "Access Manager", "status": 200,
    }))
}

/// What a grant is answered with: the flags again, in the shape of its level.
fn granted(names: &Names<'_>, flags: &[(&str, bool)], ttl: u64) -> Value {
    let flags: Map<String, Value> = flags
        .iter()
        .map(|(letter, on)| ((*letter).into(), u8::from(*on).into()))
        .collect();
    let auths = || {
        let auths = names.auths.iter();
        let auths = auths.map(|auth| ((*auth).to_owned(), Value::Object(flags.clone())));
        Value::Object(auths.collect())
    };
    let with = !names.auths.is_empty();
    let each = |list: &[&str]| {
        let inner = |_| match with {
            true => json!({ "auths": auths() }),
            false => Value::Object(flags.clone()),
        };
        let named = list.iter().map(|name| ((*name).to_owned(), inner(name)));
        Value::Object(named.collect())
    };
    let mut payload = Map::new();
    let level = match (&names.channels[..], &names.groups[..], &names.users[..]) {
        ([], [], []) => {
            payload.extend(flags.clone());
            "subkey"
        }
        ([], [], users) => {
            payload.insert("uuids".into(), each(users));
            "uuid"
        }
        ([channel], [], _) if with => {
            payload.insert("channel".into(), (*channel).into());
            payload.insert("auths".into(), auths());
            "user"
        }
        (channels, [], _) => {
            payload.insert("channels".into(), each(channels));
            if with { "user" } else { "channel" }
        }
        ([], [group], _) if with => {
            payload.insert("channel-groups".into(), (*group).into());
            payload.insert("auths".into(), auths());
            "channel-group+auth"
        }
        (channels, groups, _) => {
            payload.insert("channel-groups".into(), each(groups));
            if !channels.is_empty() {
                payload.insert("channels".into(), each(channels));
                payload.extend(
                    flags
                        .clone()
                        .into_iter()
                        .filter(|(one, _)| "rwm".contains(one)),
                );
            }
            if with {
                "channel-group+auth"
            } else {
                "channel-group"
            }
        }
    };
    payload.insert("level".into(), level.into());
    payload.insert("ttl".into(), ttl.into());
    Value::Object(payload)
}

/// Carries out `audit`.
pub(super) async fn audit(
    authority: &Authority,
    caller: &Caller,
    ctx: &Ctx<'_>,
) -> Result<HttpResponse, Fault> {
    let (key, _) = caller.issuer()?;
    let whole = (key.capability).operations_over(Resource::Channel, &Pattern::All);
    if !whole.contains(Operations::GRANT) {
        return Err(Fault::service(403, "The key may not audit").because(Rule::BeyondKey));
    }
    let names = Names::of(ctx.query)?;
    if super::admit::is_open(&caller.app) {
        return Ok(ok(&json!({
            "message": "WARNING: Access manager is not enabled for this sub key.",
            "warning": true, "service": "Access Manager", "status": 200,
        })));
    }
    // What was granted anywhere before is in it.
    authority
        .catch_up()
        .await
        .map_err(|_| Fault::unavailable())?;
    let view = authority.view();
    let stored = Stored {
        clear: whole == Operations::ALL,
        now_ms: authority.now().cluster_ms,
        app: caller.app.id,
        state: &view,
    };
    Ok(success(caller, &stored.audited(&names)))
}

/// What is stored, read for an audit.
struct Stored<'s> {
    state: &'s State,
    app: AppId,
    now_ms: u64,
    /// Auth keys that the auditor has not named may be shown: they are bearers' secrets.
    clear: bool,
}

impl Stored<'_> {
    fn audited(&self, names: &Names<'_>) -> Value {
        let with = !names.auths.is_empty();
        match (&names.channels[..], &names.groups[..]) {
            ([], []) => json!({
                "level": "subkey",
                "channels": self.of(Resource::Channel, names),
                "channel-groups": self.of(Resource::Group, names),
                "objects": {},
            }),
            ([channel], []) if with => json!({
                "level": "user", "channel": channel,
                "auths": self.auths(Resource::Channel, channel, names),
            }),
            (_, []) => json!({
                "level": if with { "user" } else { "channel" },
                "channels": self.of(Resource::Channel, names),
            }),
            ([], [group]) if with => json!({
                "level": "channel-group+auth", "channel-group": group,
                "auths": self.auths(Resource::Group, group, names),
            }),
            ([], _) => json!({
                "level": if with { "channel-group+auth" } else { "channel-group" },
                "channel-groups": self.of(Resource::Group, names),
            }),
            (_, _) => json!({
                "level": "channel-group+auth",
                "channels": self.of(Resource::Channel, names),
                "channel-groups": self.of(Resource::Group, names),
            }),
        }
    }

    fn shown(&self, grant: &Grant) -> Option<Map<String, Value>> {
        if grant.expires_ms.is_some_and(|end| end <= self.now_ms) {
            return None;
        }
        let flag = |letter: &str| u8::from(rights::shows(grant.operations, letter));
        let mut shown: Map<String, Value> = LETTERS
            .into_iter()
            .map(|letter| (letter.into(), flag(letter).into()))
            .collect();
        if let Some(end) = grant.expires_ms {
            let minutes = end.saturating_sub(self.now_ms).div_ceil(60_000);
            shown.insert("ttl".into(), minutes.into());
        }
        Some(shown)
    }

    /// The live grants on one kind of thing that the audit is about, by name.
    fn of(&self, resource: Resource, names: &Names<'_>) -> Value {
        let lists = names.lists().find(|(kind, _)| *kind == resource);
        let wanted = lists.map_or(&[][..], |(_, list)| list);
        let mut all: Map<String, Value> = Map::new();
        for (key, grant) in self.state.grants_in(self.app) {
            let named = rights::pattern_name(&key.pattern).filter(|_| key.resource == resource);
            let (Some(name), Some(shown)) = (named, self.shown(grant)) else {
                continue;
            };
            if !wanted.is_empty() && !wanted.contains(&name.as_str()) {
                continue;
            }
            match &key.subject {
                Subject::Everyone if names.auths.is_empty() => {
                    merge(&mut all, &name, shown);
                }
                Subject::Token(auth)
                    if names.auths.is_empty() || names.auths.contains(&&**auth) =>
                {
                    let known = self.clear || names.auths.contains(&&**auth);
                    let auth = match known {
                        true => auth.to_string(),
                        false => format!("sha256-{}", redact::fingerprint(auth)),
                    };
                    let mut auths = Map::new();
                    auths.insert(auth, Value::Object(shown));
                    merge_auths(&mut all, &name, auths);
                }
                Subject::Everyone
                | Subject::Token(_)
                | Subject::User(_)
                | Subject::Key(_)
                | Subject::Group(_) => {}
            }
        }
        Value::Object(all)
    }

    fn auths(&self, resource: Resource, name: &str, names: &Names<'_>) -> Value {
        let auths = names.auths.iter().filter_map(|auth| {
            let place = GrantKey {
                app: self.app,
                subject: Subject::Token((*auth).into()),
                resource,
                pattern: rights::pattern(name),
            };
            let shown = self.shown(self.state.grants.get(&place)?)?;
            Some(((*auth).to_owned(), Value::Object(shown)))
        });
        Value::Object(auths.collect())
    }
}

fn entry<'m>(all: &'m mut Map<String, Value>, name: &str) -> Option<&'m mut Map<String, Value>> {
    all.entry(name).or_insert_with(|| json!({})).as_object_mut()
}

fn merge(all: &mut Map<String, Value>, name: &str, shown: Map<String, Value>) {
    if let Some(entry) = entry(all, name) {
        entry.extend(shown);
    }
}

fn merge_auths(all: &mut Map<String, Value>, name: &str, more: Map<String, Value>) {
    let auths = entry(all, name).map(|entry| entry.entry("auths").or_insert_with(|| json!({})));
    if let Some(auths) = auths.and_then(Value::as_object_mut) {
        auths.extend(more);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::adapters::pubnub::fixture::{self, APP};
    use crate::core::authority::Issuer;

    fn answered(query: &str, ttl: u64) -> Value {
        let query = Query::parse(query).unwrap();
        let names = Names::of(&query).unwrap();
        granted(&names, &[("r", true), ("w", false)], ttl)
    }

    #[test]
    fn each_level_is_answered_in_its_shape() {
        let f = || json!({"r": 1, "w": 0});
        let cases = [
            ("", json!({"level": "subkey", "ttl": 5, "r": 1, "w": 0})),
            (
                "channel=c",
                json!({"level": "channel", "ttl": 5, "channels": {"c": f()}}),
            ),
            (
                "channel=c&auth=k,l",
                json!({"level": "user", "ttl": 5, "channel": "c", "auths": {"k": f(), "l": f()}}),
            ),
            (
                "channel=c%2Cd&auth=k",
                json!({"level": "user", "ttl": 5, "channels":
                    {"c": {"auths": {"k": f()}}, "d": {"auths": {"k": f()}}}}),
            ),
            (
                "channel-group=g",
                json!({"level": "channel-group", "ttl": 5, "channel-groups": {"g": f()}}),
            ),
            (
                "channel-group=g&auth=k",
                json!({"level": "channel-group+auth", "ttl": 5, "channel-groups": "g", "auths": {"k": f()}}),
            ),
            (
                "channel-group=g,h&auth=k",
                json!({"level": "channel-group+auth", "ttl": 5, "channel-groups":
                    {"g": {"auths": {"k": f()}}, "h": {"auths": {"k": f()}}}}),
            ),
            (
                "target-uuid=u&auth=k",
                json!({"level": "uuid", "ttl": 5, "uuids": {"u": {"auths": {"k": f()}}}}),
            ),
            (
                "channel=c&channel-group=g&auth=k",
                json!({"level": "channel-group+auth", "ttl": 5, "r": 1, "w": 0,
                    "channels": {"c": {"auths": {"k": f()}}},
                    "channel-groups": {"g": {"auths": {"k": f()}}}}),
            ),
        ];
        for (query, wanted) in cases {
            assert_eq!(answered(query, 5), wanted, "{query}");
        }
    }

    #[test]
    fn what_a_grant_cannot_name_is_said() {
        let refused = |query: &str| {
            let query = Query::parse(query).unwrap();
            Names::of(&query).unwrap_err().body
        };
        assert!(refused("auth=k").contains("Auth-only grants are reserved"));
        assert!(refused("target-uuid=u").contains("Uuid grants"));
        assert!(refused("target-uuid=u&auth=k&channel=c").contains("Uuid grants"));
        let many = vec!["c"; 5_001].join(",");
        assert!(refused(&format!("channel={many}")).contains("Too many"));
    }

    #[actix_web::test]
    async fn an_audit_by_a_key_that_may_only_grant_shows_no_auth_key() {
        use super::super::token::Known;
        use crate::core::authority::{Capability, Right};
        let mut commands = fixture::commands(&[("access_manager", true)]);
        commands.push(fixture::narrow(Capability {
            rights: vec![Right {
                resource: Resource::Channel,
                pattern: Pattern::All,
                operations: Operations::GRANT | rights::READ,
            }],
        }));
        let bearer = Subject::Token("bearers-secret".into());
        let read = (Resource::Channel, "c", rights::READ);
        commands.push(fixture::granted(Issuer::Operator, bearer, read));
        let authority = Authority::fixed(fixture::state(&commands), 1_000);
        let audited = async |secret: &str| {
            let path = format!("/v2/auth/audit/sub-key/{}", fixture::SUB);
            let text = format!("GET\n{}\n{path}\ntimestamp=1\n", fixture::PUB);
            let query = format!("timestamp=1&signature=v2.{}", fixture::mac(secret, &text));
            let query = Query::parse(&query).unwrap();
            let ctx = Ctx {
                method: "GET",
                path: &path,
                query: &query,
                body: bytes::Bytes::new(),
            };
            let known = Known::default();
            let caller = super::super::admit::on_view(&authority, &known, fixture::SUB, &ctx);
            let answer = audit(&authority, &caller.unwrap(), &ctx).await.unwrap();
            let body = actix_web::body::to_bytes(answer.into_body()).await.unwrap();
            String::from_utf8(body.to_vec()).unwrap()
        };
        let told = audited(fixture::NARROW).await;
        assert!(
            told.contains("sha256-") && !told.contains("bearers-secret"),
            "{told}"
        );
        let told = audited(fixture::SECRET).await;
        assert!(
            told.contains("bearers-secret"),
            "who may do everything sees all: {told}"
        );
    }

    #[test]
    fn an_audit_shows_flags_and_minutes_left() {
        let mut commands = fixture::commands(&[]);
        let mut set = |subject, name: &str, operations, ttl_ms| {
            commands.push(Command::SetGrants {
                app: APP,
                issuer: Issuer::Operator,
                subject,
                mode: GrantMode::Merge,
                entries: vec![GrantEntry {
                    resource: Resource::Channel,
                    pattern: rights::pattern(name),
                    operations,
                    ttl_ms,
                }],
            });
        };
        set(Subject::Everyone, "c", rights::READ, Some(300_000));
        set(Subject::Token("k".into()), "c", Operations::PUBLISH, None);
        set(Subject::Token("k".into()), "a.*", rights::READ, None);
        let state = fixture::state(&commands);
        let stored = Stored {
            state: &state,
            app: APP,
            now_ms: 1_000,
            clear: true,
        };
        let audit = |query: &str| {
            let query = Query::parse(query).unwrap();
            stored.audited(&Names::of(&query).unwrap())
        };
        let all = audit("");
        assert_eq!(all["channels"]["c"]["r"], 1);
        assert_eq!(all["channels"]["c"]["ttl"], 5);
        assert_eq!(all["channels"]["c"]["auths"]["k"]["w"], 1);
        assert_eq!(all["channels"]["c"]["auths"]["k"].get("ttl"), None);
        // The auth key is all that its bearer needs: a key that may not do everything itself is told its hash.
        let partly = Stored {
            clear: false,
            ..stored
        };
        let partly = |query: &str| {
            let query = Query::parse(query).unwrap();
            partly.audited(&Names::of(&query).unwrap())
        };
        let auths = partly("")["channels"]["c"]["auths"].clone();
        let hidden = format!("sha256-{}", redact::fingerprint("k"));
        assert_eq!(
            auths.as_object().unwrap().keys().collect::<Vec<_>>(),
            [&hidden]
        );
        assert_eq!(
            partly("channel=c,d&auth=k")["channels"]["c"]["auths"]["k"]["w"],
            1
        );
        assert_eq!(all["channels"]["a.*"]["auths"]["k"]["r"], 1);
        let one = audit("channel=c&auth=k");
        assert_eq!(
            (&one["level"], &one["auths"]["k"]["r"]),
            (&json!("user"), &json!(0))
        );
    }
}
