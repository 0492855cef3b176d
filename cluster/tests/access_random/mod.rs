//! Random commands over a small world, so that they meet: few apps, keys, subjects and names.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
#![allow(dead_code, unreachable_pub)]

pub mod model;

use gatecast_cluster::access::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeMap;

pub const NAMES: [&str; 7] = ["a", "b", "a:1", "a:1:x", "l.x", "pub-1", "pub-"];
pub const KEYS: [&str; 4] = ["k1", "k2", "k3", "k4"];
pub const USERS: [&str; 3] = ["ana", "bob", "col"];
/// User groups: enough of them for rows that are too long, and for circles.
pub const GROUPS: [&str; 6] = ["g1", "g2", "g3", "g4", "g5", "g6"];

pub fn app() -> impl Strategy<Value = AppId> {
    prop_oneof![9 => Just(AppId(1)), 2 => Just(AppId(2))]
}

fn text(of: &'static [&'static str]) -> impl Strategy<Value = Text> {
    select(of).prop_map(Into::into)
}

pub fn key() -> impl Strategy<Value = Text> {
    text(&KEYS)
}

pub fn pattern() -> impl Strategy<Value = Pattern> {
    let known = [
        "*", "pub-*", "a:*", "*:1", "a:*:x", "l.*", "/^a/", "/1$/", "!pub-,a", "!b", "a*",
    ];
    prop_oneof![
        3 => select(NAMES.as_slice()).prop_map(|name| Pattern::Exact(name.into())),
        2 => select(known.to_vec()).prop_map(|text| Pattern::parse(text).unwrap()),
    ]
}

pub fn operations() -> impl Strategy<Value = Operations> {
    let some = [
        Operations::SUBSCRIBE,
        Operations::PUBLISH,
        Operations::GRANT,
        Operations::REVOKE,
        Operations::CLIENT,
        Operations::ALL,
        Operations::NONE,
    ];
    vec(select(some.to_vec()), 1..4)
        .prop_map(|all| all.into_iter().fold(Operations::NONE, |a, b| a | b))
}

pub fn resource() -> impl Strategy<Value = Resource> {
    prop_oneof![5 => Just(Resource::Channel), 1 => Just(Resource::User), 1 => Just(Resource::Group)]
}

pub fn capability() -> impl Strategy<Value = Capability> {
    let right =
        (resource(), pattern(), operations()).prop_map(|(resource, pattern, operations)| Right {
            resource,
            pattern,
            operations,
        });
    prop_oneof![
        1 => Just(Capability::full()),
        3 => vec(right, 0..5).prop_map(|rights| Capability { rights }),
    ]
}

pub fn subject() -> impl Strategy<Value = Subject> {
    prop_oneof![
        1 => Just(Subject::Everyone),
        4 => text(&USERS).prop_map(Subject::User),
        2 => text(&USERS).prop_map(Subject::Token),
        1 => key().prop_map(Subject::Key),
        3 => text(&GROUPS).prop_map(Subject::Group),
    ]
}

pub fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        3 => text(&USERS).prop_map(Target::User),
        2 => text(&USERS).prop_map(Target::Token),
        1 => text(&USERS).prop_map(Target::RevocationKey),
        2 => text(&NAMES).prop_map(Target::Channel),
        1 => key().prop_map(Target::Key),
        1 => Just(Target::App),
        2 => text(&GROUPS).prop_map(Target::Group),
    ]
}

pub fn issuer() -> impl Strategy<Value = Issuer> {
    prop_oneof![1 => Just(Issuer::Operator), 2 => key().prop_map(Issuer::Key)]
}

fn key_spec() -> impl Strategy<Value = KeySpec> {
    (key(), app(), capability()).prop_map(|(id, app, capability)| KeySpec {
        id,
        app,
        name: "".into(),
        secret: Secret("s".into()),
        capability,
        revocable_tokens: true,
    })
}

fn open_rules() -> impl Strategy<Value = Vec<OpenRule>> {
    let rule = (pattern(), operations()).prop_map(|(pattern, operations)| OpenRule {
        pattern,
        operations,
    });
    vec(rule, 0..2)
}

fn protocols() -> impl Strategy<Value = Vec<EnabledProtocol>> {
    (open_rules(), 0usize..3).prop_map(|(default_open, count)| {
        (0..count)
            .map(|at| EnabledProtocol {
                name: format!("protocol{at}").into(),
                default_open: default_open.clone(),
            })
            .collect()
    })
}

fn app_command() -> impl Strategy<Value = Command> {
    let create = (app(), protocols(), open_rules(), vec(key_spec(), 0..2)).prop_map(
        |(id, protocols, open, keys)| {
            Command::CreateApp(AppSpec {
                id,
                name: "".into(),
                protocols,
                open,
                settings: BTreeMap::new(),
                aliases: vec![("kind".into(), id.to_string().into())],
                keys,
            })
        },
    );
    let update = (app(), option::of(any::<bool>()), option::of(open_rules())).prop_map(
        |(app, enabled, open)| Command::UpdateApp {
            app,
            change: AppChange {
                enabled,
                open,
                ..AppChange::default()
            },
        },
    );
    prop_oneof![
        4 => create,
        2 => update,
        1 => app().prop_map(|app| Command::DeleteApp { app }),
    ]
}

fn key_command() -> impl Strategy<Value = Command> {
    let update = (key(), option::of(any::<bool>()), option::of(capability())).prop_map(
        |(key, enabled, capability)| Command::UpdateKey {
            key,
            change: KeyChange {
                enabled,
                capability,
                ..KeyChange::default()
            },
        },
    );
    let rotate =
        (key(), key_spec(), 0u64..3000).prop_map(|(key, new, overlap_ms)| Command::RotateKey {
            key,
            new,
            overlap_ms,
        });
    prop_oneof![
        4 => key_spec().prop_map(Command::CreateKey),
        3 => update,
        2 => rotate,
        1 => key().prop_map(|key| Command::DeleteKey { key }),
    ]
}

pub fn entries() -> impl Strategy<Value = Vec<GrantEntry>> {
    let entry = (resource(), pattern(), operations(), option::of(0u64..4000)).prop_map(
        |(resource, pattern, operations, ttl_ms)| GrantEntry {
            resource,
            pattern,
            operations,
            ttl_ms,
        },
    );
    vec(entry, 0..5)
}

fn grant_command() -> impl Strategy<Value = Command> {
    let mode = select(vec![GrantMode::Merge, GrantMode::Replace, GrantMode::Renew]);
    let set = (app(), issuer(), subject(), mode, entries()).prop_map(
        |(app, issuer, subject, mode, entries)| Command::SetGrants {
            app,
            issuer,
            subject,
            mode,
            entries,
        },
    );
    let delete = (
        app(),
        issuer(),
        subject(),
        vec((resource(), pattern()), 0..3),
    )
        .prop_map(|(app, issuer, subject, names)| Command::DeleteGrants {
            app,
            issuer,
            subject,
            names,
        });
    prop_oneof![6 => set, 1 => delete]
}

fn token_command() -> impl Strategy<Value = Command> {
    let claims = (option::of(text(&USERS)), option::of(text(&USERS)));
    let times = (0u64..60_000, option::of(0u64..60_000));
    let issue = (app(), key(), text(&USERS), claims, capability(), times).prop_map(
        |(app, key, id, (user, revocation_key), capability, (issued_ms, expires_ms))| {
            Command::IssueToken {
                id,
                token: Token {
                    app,
                    key,
                    user,
                    revocation_key,
                    capability,
                    issued_ms,
                    expires_ms,
                    revision: 0,
                },
            }
        },
    );
    let nonce =
        (app(), key(), text(&USERS), 0u64..60_000).prop_map(|(app, key, nonce, expires_ms)| {
            Command::UseNonce {
                app,
                key,
                nonce,
                expires_ms,
            }
        });
    prop_oneof![3 => issue, 1 => nonce]
}

fn ending_command() -> impl Strategy<Value = Command> {
    let when = (
        option::of(0u64..60_000),
        prop_oneof![2 => Just(0u64), 1 => 1u64..3000],
    );
    let revoke = (app(), issuer(), target(), when).prop_map(
        |(app, issuer, target, (issued_before_ms, margin_ms))| Command::Revoke {
            app,
            issuer,
            target,
            issued_before_ms,
            margin_ms,
        },
    );
    let signal = (app(), text(&USERS), 0u64..60_000, vec(target(), 0..3)).prop_map(
        |(app, id, issued_before_ms, targets)| {
            Command::Signal(Signal {
                app,
                provider: "p".into(),
                id,
                issued_before_ms,
                targets,
                verifies: None,
            })
        },
    );
    // On the heap: strategies that are made of many lie on the stack as a whole.
    let signal = signal.boxed();
    let disconnect =
        (app(), issuer(), target()).prop_map(|(app, issuer, target)| Command::Disconnect {
            app,
            issuer,
            target,
        });
    let block = (app(), issuer(), subject(), option::of(0u64..3000)).prop_map(
        |(app, issuer, subject, for_ms)| Command::Block {
            app,
            issuer,
            subject,
            for_ms,
            reason: "".into(),
        },
    );
    let unblock =
        (app(), issuer(), subject()).prop_map(|(app, issuer, subject)| Command::Unblock {
            app,
            issuer,
            subject,
        });
    let flag = (app(), issuer(), 0u8..3, any::<bool>()).prop_map(|(app, issuer, channel, on)| {
        Command::SetChannelFlag(ChannelFlag {
            app,
            issuer,
            channel: format!("c{channel}").into(),
            flag: "f".into(),
            on,
        })
    });
    prop_oneof![4 => revoke, 1 => signal, 1 => disconnect, 2 => block, 1 => unblock, 1 => flag, 1 => group_command()]
}

fn group_command() -> impl Strategy<Value = Command> {
    let channels = || {
        vec(
            (0u8..3).prop_map(|channel| format!("c{channel}").into()),
            0..3,
        )
    };
    (
        app(),
        issuer(),
        0u8..3,
        channels(),
        channels(),
        any::<bool>(),
    )
        .prop_map(|(app, issuer, group, add, remove, clear)| {
            Command::SetGroup(GroupChange {
                app,
                issuer,
                group: format!("g{group}").into(),
                add,
                remove,
                clear,
            })
        })
}

fn group_member() -> impl Strategy<Value = GroupMember> {
    prop_oneof![
        1 => text(&GROUPS).prop_map(GroupMember::Group),
        1 => text(&USERS).prop_map(GroupMember::User),
    ]
}

/// Changes of user groups: who comes in, who goes, or the whole group.
pub fn user_group_command() -> impl Strategy<Value = Command> {
    let members = |most| vec(group_member(), 0..most);
    let set = (app(), issuer(), text(&GROUPS), members(4), members(2)).prop_map(
        |(app, issuer, group, add, remove)| {
            Command::SetUserGroup(UserGroupChange {
                app,
                issuer,
                group,
                add,
                remove,
            })
        },
    );
    let delete = (app(), issuer(), text(&GROUPS)).prop_map(|(app, issuer, group)| {
        Command::DeleteUserGroup(UserGroupDeletion { app, issuer, group })
    });
    prop_oneof![8 => set, 1 => delete]
}

fn member_command() -> impl Strategy<Value = Command> {
    let node = || (1u64..4).prop_map(NodeId);
    let up = (node(), 0u16..3).prop_map(|(node, reads_version)| MemberCommand::Up {
        node,
        peer_addr: "n:1".into(),
        public_url: "".into(),
        reads_version,
    });
    prop_oneof![
        up.prop_map(Command::Member),
        (node(), 0u64..4)
            .prop_map(|(node, epoch)| Command::Member(MemberCommand::Down { node, epoch })),
        node().prop_map(|node| Command::Member(MemberCommand::Drain { node })),
        node().prop_map(|node| Command::Member(MemberCommand::Remove { node })),
        (0u16..4).prop_map(Command::SetClusterVersion),
    ]
}

pub fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        2 => app_command(),
        4 => key_command(),
        8 => grant_command(),
        3 => token_command(),
        5 => ending_command(),
        6 => user_group_command(),
        1 => member_command(),
        1 => Just(Command::Tick),
    ]
}

/// A log entry: how much later than the one before, and its ops; request ids meet now and then.
pub fn entry() -> impl Strategy<Value = (Millis, Vec<Op>)> {
    let op = (0u128..400, command()).prop_map(|(request, command)| Op { request, command });
    (0u64..800, vec(op, 0..4))
}

/// An app of its own with these keys, and nothing else said of it.
pub fn app_of(keys: Vec<KeySpec>) -> Command {
    Command::CreateApp(AppSpec {
        id: AppId(1),
        name: "".into(),
        protocols: Vec::new(),
        open: Vec::new(),
        settings: BTreeMap::new(),
        aliases: Vec::new(),
        keys,
    })
}

/// A key of that app which may do everything.
pub fn full_key() -> KeySpec {
    KeySpec {
        id: "k1".into(),
        app: AppId(1),
        name: "".into(),
        secret: Secret("s".into()),
        capability: Capability::full(),
        revocable_tokens: true,
    }
}

/// A provider of that app, which vouches for claims up to what the key may.
fn provider() -> Command {
    let spec = ProviderSpec {
        id: "p".into(),
        iss: "https://id".into(),
        audiences: vec!["a".into()],
        algorithms: vec![Algorithm::EdDsa],
        keys: vec![PublicKey {
            kid: "e".into(),
            kind: KeyKind::Ed25519,
            algorithm: None,
            bytes: vec![0; 32],
        }],
        source: KeySource::Given,
        claims: Claims {
            user: "sub".into(),
            session: "sid".into(),
            groups: Some("groups".into()),
            rights: CarriedRights::Grants,
        },
        leeway_ms: 0,
        ceiling: "k1".into(),
    };
    Command::Administer(Administration {
        app: AppId(1),
        issuer: Issuer::Operator,
        hands_on: Capability::default(),
        change: Administered::NewProvider(Box::new(spec)),
    })
}

/// What it vouches for, with claims of groups.
fn vouched(mut groups: Vec<Text>) -> std::sync::Arc<Vouched> {
    groups.sort();
    groups.dedup();
    std::sync::Arc::new(Vouched {
        provider: "p".into(),
        kid: "e".into(),
        since: 1,
        algorithm: Algorithm::EdDsa,
        audience: "a".into(),
        groups: groups.into(),
    })
}

/// A log that begins with an app and a full key, so that most of what follows means something.
pub fn log() -> impl Strategy<Value = Vec<Batch>> {
    vec(entry(), 1..60).prop_map(|entries| {
        let first = [app_of(vec![full_key()]), provider()];
        let mut time_ms = 1_000;
        let mut log = vec![Batch {
            time_ms,
            ops: (0..)
                .zip(first)
                .map(|(at, command)| Op {
                    request: u128::MAX - at,
                    command,
                })
                .collect(),
        }];
        for (later, ops) in entries {
            time_ms += later;
            log.push(Batch { time_ms, ops });
        }
        log
    })
}

/// Applies a log that begins at `index`; what every op came to.
pub fn play(state: &mut State, log: &[Batch], index: Revision) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (at, batch) in log.iter().enumerate() {
        outcomes.extend(apply_batch(state, batch, index + at as u64));
    }
    outcomes
}

pub fn principal() -> impl Strategy<Value = Principal> {
    let issued = prop_oneof![
        (0u64..60).prop_map(Issued::Seen),
        (0u64..40_000).prop_map(Issued::At),
    ];
    let ends = || option::weighted(0.3, 0u64..60_000);
    let proof = (key(), issued.clone(), ends(), capability()).prop_map(
        |(key, issued, expires_ms, capability)| Proof {
            key,
            issued,
            expires_ms,
            capability,
            vouched: None,
        },
    );
    let voucher = (key(), any::<bool>()).prop_map(|(key, held)| match held {
        true => Voucher::Held(key),
        false => Voucher::Named(key),
    });
    let names = (
        (option::of(voucher), option::weighted(0.2, key())),
        option::of(text(&USERS)),
        option::of(text(&USERS)),
        option::weighted(0.2, text(&USERS)),
    );
    let claims = option::weighted(0.3, vec(text(&GROUPS), 0..3));
    (app(), names, issued, ends(), option::of(proof), claims).prop_map(
        |(app, (keys, user, token, revocation_key), issued, expires_ms, proof, claims)| {
            let one = Principal {
                app,
                vouched_by: keys.0,
                opened_under: keys.1,
                user,
                token,
                revocation_key,
                issued,
                expires_ms,
                proof,
            };
            match (claims, one.proof.clone()) {
                // Who is vouched for by a provider is so with all of its identity.
                (Some(groups), Some(proof)) => Principal {
                    app: AppId(1),
                    vouched_by: Some(Voucher::Held("k1".into())),
                    proof: Some(Proof {
                        key: "k1".into(),
                        vouched: Some(vouched(groups)),
                        ..proof
                    }),
                    ..one
                },
                (_, _) => one,
            }
        },
    )
}
