//! What holds of the audit whatever the log: nothing of it can be changed unnoticed, and no secret is in it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod access_random;

use access_random::{log, play};
use gatecast_cluster::access::*;
use proptest::prelude::*;

/// The log, with a reason at every third command.
fn reasoned(mut log: Vec<Batch>) -> Vec<Batch> {
    for (at, op) in log.iter_mut().flat_map(|batch| &mut batch.ops).enumerate() {
        if at % 3 == 0 {
            op.command = Command::Asked(Box::new(Asked {
                provider: (at % 2 == 0).then(|| "idp".into()),
                reason: Some(format!("reason {at}").into()),
                command: op.command.clone(),
            }));
        }
    }
    log
}

fn played(log: &[Batch]) -> State {
    let mut state = State::default();
    play(&mut state, log, 1);
    state
}

/// Every record that is kept, as an export has it.
fn export(audit: &Audit) -> Vec<ShownRecord> {
    let indexes = audit.first_index()..=audit.last_index();
    indexes.map(|index| audit.get(index).unwrap()).collect()
}

fn verify(rows: &[ShownRecord], last: u64, head: AuditHash) -> Result<(), AuditFault> {
    let mut verifier = AuditVerifier::default();
    rows.iter().try_for_each(|row| verifier.add(row))?;
    verifier.ends_with(Some(last), head)
}

/// One of the ways to say something else than what was recorded.
fn altered(row: &mut ShownRecord, how: usize) {
    let record = &mut row.record;
    match how {
        0 => record.revision += 1,
        1 => record.time_ms ^= 1,
        2 => record.actor.push('x'),
        3 => record.app = Some(AppId(99)),
        4 => record.kind.push('x'),
        5 => record.touched += 1,
        6 => record.narrowed = !record.narrowed,
        7 => record.reason = Some("another reason".into()),
        8 => record.subjects.push(("user".into(), "x".into())),
        9 => record.effects.push(("cut user".into(), "x".into())),
        10 => {
            if let Some((name, value)) = record.subjects.first_mut() {
                // Where one ends and the next begins counts, too.
                name.push('x');
                value.pop();
            } else {
                record.subjects.push((String::new(), String::new()));
            }
        }
        11 => row.previous.0[0] ^= 1,
        12 => row.skipped_to.0[31] ^= 1,
        _ => row.hash.0[7] ^= 1,
    }
}

/// How many commands of the log were applied and are such as are recorded.
fn to_be_recorded(log: &[Batch]) -> u64 {
    let mut state = State::default();
    let mut count = 0;
    for (at, batch) in log.iter().enumerate() {
        for op in &batch.ops {
            let again = state.requests.get(op.request).is_some();
            let one = Batch {
                time_ms: batch.time_ms,
                ops: vec![op.clone()],
            };
            let outcome = apply_batch(&mut state, &one, 1 + at as u64).remove(0);
            let quiet = matches!(
                op.command.plain(),
                Command::Tick
                    | Command::SetClusterVersion(_)
                    | Command::Member(_)
                    | Command::UseNonce { .. }
            );
            // A signal that was told before, or that is about nobody.
            let idle = if let Command::Signal(told) = op.command.plain() {
                told.targets.is_empty() || outcome.reply == Reply::Narrowed(0)
            } else {
                false
            };
            let nothing = idle || matches!(outcome.reply, Reply::Rejected(_) | Reply::Changed(0));
            count += u64::from(!again && !quiet && !nothing);
        }
    }
    count
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_change_is_one_record_and_all_of_them_make_the_chain(log in log()) {
        let log = reasoned(log);
        let state = played(&log);
        let audit = &state.audit;
        prop_assert_eq!(audit.last_index(), to_be_recorded(&log));
        prop_assert_eq!(verify(&export(audit), audit.last_index(), audit.head()), Ok(()));
        for index in audit.first_index()..=audit.last_index() {
            let (shown, way) = audit.proof(index).unwrap();
            prop_assert_eq!(proven_head(&shown, &way), audit.head());
            let bits = 64 - audit.last_index().leading_zeros() as usize;
            prop_assert!(way.len() <= bits * (bits + 1) / 2);
        }
    }

    #[test]
    fn whatever_is_altered_removed_or_moved_is_found(
        log in log(),
        at in 0.0..1.0f64,
        other in 0.0..1.0f64,
        how in 0usize..14,
    ) {
        let state = played(&reasoned(log));
        let (last, head) = (state.audit.last_index(), state.audit.head());
        let rows = export(&state.audit);
        let place = |share: f64| (rows.len() as f64 * share) as usize;
        let (at, other) = (place(at), place(other));

        let mut bad = rows.clone();
        altered(&mut bad[at], how);
        prop_assert!(verify(&bad, last, head).is_err());
        if how < 11 {
            prop_assert_eq!(verify(&bad, last, head), Err(AuditFault::Altered(at as u64 + 1)));
        }
        // With a hash that fits, the next record does not, or the last is another.
        bad[at].hash = bad[at].computed();
        prop_assert!(verify(&bad, last, head).is_err() || how > 12);
        // All hashes made anew: only who keeps the last one elsewhere sees it.
        let mut links = bad[at].hash;
        for row in &mut bad[at + 1..] {
            row.previous = links;
            row.hash = row.computed();
            links = row.hash;
        }
        prop_assert!(verify(&bad, last, head).is_err() || how > 12);

        let mut bad = rows.clone();
        bad.remove(at);
        let missing = verify(&bad, last, head);
        let first = at == 0;
        prop_assert!(missing.is_err() || first, "an export may begin later: its first number says so");

        if at != other {
            let mut bad = rows.clone();
            bad.swap(at, other);
            prop_assert!(verify(&bad, last, head).is_err());
        }
    }

    #[test]
    fn what_is_dropped_leaves_a_chain_to_the_same_head(
        log in log(),
        records in 1u64..20,
        age_ms in proptest::option::of(1u64..3_000),
    ) {
        let log = reasoned(log);
        let keep = Batch {
            time_ms: 1_000,
            ops: vec![Op {
                request: 1 << 90,
                command: Command::KeepAudit(AuditRetention { records, bytes: 100_000, age_ms }),
            }],
        };
        let mut bounded = State::default();
        play(&mut bounded, &[keep], 0);
        play(&mut bounded, &log, 1);
        let audit = &bounded.audit;
        prop_assert!(audit.len() as u64 <= records);
        prop_assert_eq!(verify(&export(audit), audit.last_index(), audit.head()).is_ok(), !audit.is_empty());
        for index in audit.first_index()..=audit.last_index() {
            let (shown, way) = audit.proof(index).unwrap();
            prop_assert_eq!(proven_head(&shown, &way), audit.head());
        }
        let again = restore(&snapshot(&bounded)).unwrap();
        prop_assert_eq!(again.audit.head(), audit.head());
        prop_assert_eq!(snapshot(&again), snapshot(&bounded));
    }

    #[test]
    fn a_snapshot_whose_records_were_altered_is_refused(log in log(), at in 0.0..1.0f64) {
        let state = played(&log);
        let shown = export(&state.audit);
        let text = shown[(shown.len() as f64 * at) as usize].record.text();
        let mut bytes = snapshot(&state);
        let found = bytes.windows(text.len()).position(|part| part == text).unwrap();
        // The time, which stands behind the revision: the sum is not what has to notice it.
        bytes[found + text.len() - 2] ^= 1;
        prop_assert!(restore(&bytes).is_err());
    }
}

#[test]
fn no_token_and_no_secret_is_in_it() {
    let secrets = [
        "a-token-text",
        "a-key-secret",
        "a-webhook-secret",
        "an-issued-token",
    ];
    let app = AppId(1);
    let key = KeySpec {
        id: "k".into(),
        app,
        name: "k".into(),
        secret: Secret("a-key-secret".into()),
        capability: Capability::full(),
        revocable_tokens: true,
    };
    let token = || Subject::Token("a-token-text".into());
    let target = || Target::Token("a-token-text".into());
    let issuer = || Issuer::Key("k".into());
    let setting = [(
        "hooks".into(),
        SettingValue::Text("a-webhook-secret".into()),
    )];
    let changed = [(
        "hooks".into(),
        Some(SettingValue::Text("a-webhook-secret".into())),
    )];
    let entry = GrantEntry {
        resource: Resource::Channel,
        pattern: Pattern::All,
        operations: Operations::SUBSCRIBE,
        ttl_ms: None,
    };
    let commands = [
        Command::CreateApp(AppSpec {
            id: app,
            name: "a".into(),
            protocols: Vec::new(),
            open: Vec::new(),
            settings: setting.into(),
            aliases: Vec::new(),
            keys: vec![key.clone()],
        }),
        Command::UpdateApp {
            app,
            change: AppChange {
                settings: changed.into(),
                ..AppChange::default()
            },
        },
        Command::CreateKey(KeySpec {
            id: "l".into(),
            ..key.clone()
        }),
        Command::RotateKey {
            key: "l".into(),
            new: KeySpec {
                id: "m".into(),
                ..key
            },
            overlap_ms: 5,
        },
        Command::SetGrants {
            app,
            issuer: issuer(),
            subject: token(),
            mode: GrantMode::Merge,
            entries: vec![entry],
        },
        Command::IssueToken {
            id: "an-issued-token".into(),
            token: Token {
                app,
                key: "k".into(),
                user: Some("ana".into()),
                revocation_key: None,
                capability: Capability::full(),
                issued_ms: 5,
                expires_ms: None,
                revision: 0,
            },
        },
        Command::Revoke {
            app,
            issuer: issuer(),
            target: target(),
            issued_before_ms: None,
            margin_ms: 0,
        },
        Command::Disconnect {
            app,
            issuer: issuer(),
            target: target(),
        },
        Command::Block {
            app,
            issuer: issuer(),
            subject: token(),
            for_ms: None,
            reason: "spam".into(),
        },
        Command::Unblock {
            app,
            issuer: issuer(),
            subject: token(),
        },
        Command::DeleteGrants {
            app,
            issuer: issuer(),
            subject: token(),
            names: Vec::new(),
        },
        Command::SignOut(SignOut {
            app,
            issuer: issuer(),
            targets: vec![target()],
        }),
    ];
    let mut state = State::default();
    for (index, command) in (1..).zip(&commands) {
        apply(
            &mut state,
            command,
            Stamp {
                index,
                time_ms: 1_000,
            },
        );
    }
    assert!(state.audit.len() >= commands.len() - 1, "{:?}", state.audit);
    for row in export(&state.audit) {
        let text = String::from_utf8(row.record.text()).unwrap();
        for secret in secrets {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
