//! What holds of the access machine whatever the log.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod access_random;

use access_random::{NAMES, USERS, log, model, play, principal};
use gatecast_cluster::access::*;
use proptest::collection::vec;
use proptest::prelude::*;

const RESOURCES: [Resource; 3] = [Resource::Channel, Resource::Group, Resource::User];
const EACH: [Operations; 5] = [
    Operations::SUBSCRIBE,
    Operations::PUBLISH,
    Operations::HISTORY,
    Operations::GRANT,
    Operations::ADMIN,
];

fn ask<'a>(principal: &'a Principal, name: &'a str, now_ms: Millis) -> Question<'a> {
    Question {
        principal,
        proof: None,
        speaks_for: None,
        resource: Resource::Channel,
        name,
        operations: Operations::SUBSCRIBE,
        now_ms,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_same_log_gives_the_same_bytes(log in log()) {
        let (mut one, mut two) = (State::default(), State::default());
        prop_assert_eq!(play(&mut one, &log, 1), play(&mut two, &log, 1));
        prop_assert_eq!(snapshot(&one), snapshot(&two));
        prop_assert_eq!(fingerprint(&one), fingerprint(&two));
    }

    #[test]
    fn a_snapshot_and_the_rest_of_the_log_are_the_whole_log(log in log(), cut in 0.0..1.0f64) {
        let cut = (log.len() as f64 * cut) as usize;
        let (before, after) = log.split_at(cut);
        let mut whole = State::default();
        play(&mut whole, before, 1);
        let mut resumed = restore(&snapshot(&whole)).unwrap();
        let at = 1 + cut as u64;
        prop_assert_eq!(play(&mut whole, after, at), play(&mut resumed, after, at));
        prop_assert_eq!(snapshot(&whole), snapshot(&resumed));
        prop_assert_eq!(next_expiry(&whole), next_expiry(&resumed));
    }

    #[test]
    fn a_rejection_changes_nothing(log in log(), command in access_random::command()) {
        let mut state = State::default();
        play(&mut state, &log, 1);
        let stamp = Stamp { index: 1000, time_ms: state.time_ms };
        // Sweep first, so that only the command itself is looked at.
        for _ in 0..20 {
            apply(&mut state, &Command::Tick, stamp);
        }
        let before = snapshot(&state);
        let outcome = apply(&mut state, &command, stamp);
        if matches!(outcome.reply, Reply::Rejected(_)) {
            prop_assert_eq!(outcome.effects, []);
            prop_assert!(snapshot(&state) == before);
        }
    }

    #[test]
    fn decisions_are_those_of_the_reference(
        log in log(),
        principals in vec(principal(), 1..20),
        later in 0u64..3000,
    ) {
        let mut state = State::default();
        play(&mut state, &log, 1);
        let now_ms = state.time_ms + later;
        for principal in &principals {
            for (resource, name) in RESOURCES.iter().flat_map(|r| NAMES.map(|name| (*r, name))) {
                let expected = model::allowed(&state, principal, resource, name, now_ms);
                let mut question = ask(principal, name, now_ms);
                question.resource = resource;
                question.operations = Operations::ALL;
                prop_assert_eq!(allowed(&state, &question), expected);
                for operations in EACH.into_iter().chain([EACH[0] | EACH[1]]) {
                    question.operations = operations;
                    let yes = matches!(decide(&state, &question), Decision::Allow(_));
                    prop_assert_eq!(yes, expected.contains(operations));
                }
            }
        }
    }

    #[test]
    fn a_yes_holds_until_it_says(log in log(), principals in vec(principal(), 1..20)) {
        let mut state = State::default();
        play(&mut state, &log, 1);
        for principal in &principals {
            for name in NAMES {
                let mut question = ask(principal, name, state.time_ms);
                let (Decision::Allow(_), until) = decide_until(&state, &question) else { continue };
                for later in [1, 10, 100, 1_000, 10_000, 100_000] {
                    question.now_ms = state.time_ms + later;
                    if until.is_none_or(|until| question.now_ms < until) {
                        let still = matches!(decide(&state, &question), Decision::Allow(_));
                        prop_assert!(still, "{:?} at +{later}", question);
                    }
                }
            }
        }
    }

    #[test]
    fn whom_somebody_speaks_for_gives_nothing_and_takes_what_a_block_takes(
        log in log(),
        principals in vec(principal(), 1..20),
        seen in 0u64..40,
    ) {
        let mut state = State::default();
        play(&mut state, &log, 1);
        let now_ms = state.time_ms;
        for principal in &principals {
            for (user, name) in USERS.iter().flat_map(|user| NAMES.map(|name| (*user, name))) {
                let other = SpokenFor { user: user.into(), issued: Issued::Seen(seen) };
                let mut question = ask(principal, name, now_ms);
                question.operations = Operations::ALL;
                let alone = allowed(&state, &question);
                question.speaks_for = Some(&other);
                let for_her = allowed(&state, &question);
                prop_assert!(alone.contains(for_her));
                let place = (principal.app, Target::User(user.into()));
                let void = state.revocations.get(&place).is_some_and(|r| r.voids(other.issued, now_ms));
                let mut next = model::direct(&state, principal.app, &GroupMember::User(user.into()));
                let groups = model::walk(&state, principal.app, &mut next);
                let hers = groups.into_iter().map(Subject::Group).chain([Subject::User(user.into())]);
                let kept_out = hers.into_iter().any(|subject| {
                    let block = state.blocks.get(&(principal.app, subject));
                    block.is_some_and(|block| block.until_ms.is_none_or(|end| end > now_ms))
                });
                prop_assert_eq!(for_her, if void || kept_out { Operations::NONE } else { alone });
            }
        }
    }

    #[test]
    fn a_child_never_exceeds_its_parent(log in log()) {
        let mut state = State::default();
        play(&mut state, &log, 1);
        let now_ms = state.time_ms;
        for (key, grant) in &state.grants {
            let Issuer::Key(id) = &grant.issuer else { continue };
            let parent = state.keys.get(state.key_successors.get(id).unwrap_or(id));
            let parent = parent.filter(|parent| parent.is_live(now_ms) && parent.app == key.app);
            for name in NAMES.into_iter().filter(|name| key.pattern.matches(name)) {
                let may = parent.map_or(Operations::NONE, |parent| {
                    parent.capability.operations_on(key.resource, name)
                });
                prop_assert!(may.contains(state.grant_holds(key, grant, name, now_ms)));
            }
        }
        for ((app, id), token) in &state.tokens {
            let proof = Proof {
                key: token.key.clone(),
                issued: Issued::At(token.issued_ms),
                expires_ms: token.expires_ms,
                capability: token.capability.clone(),
                vouched: None,
            };
            let mut holder = Principal::anonymous(*app, None, state.revision);
            holder.token = Some(format!("{id} and no grants").into());
            holder.proof = Some(proof);
            let mut nobody = holder.clone();
            nobody.proof = None;
            for (resource, name) in RESOURCES.iter().flat_map(|r| NAMES.map(|name| (*r, name))) {
                let all = |principal| {
                    let mut question = ask(principal, name, now_ms);
                    question.resource = resource;
                    question.operations = Operations::ALL;
                    allowed(&state, &question)
                };
                let gained = all(&holder).without(all(&nobody));
                let parent = state.keys[&token.key].capability.operations_on(resource, name);
                prop_assert!(parent.contains(gained));
            }
        }
    }

    #[test]
    fn an_identity_is_never_worth_more_than_the_key_that_vouched_for_it(
        log in log(),
        principals in vec(principal(), 1..20),
        later in 0u64..3000,
    ) {
        let mut state = State::default();
        play(&mut state, &log, 1);
        let now_ms = state.time_ms + later;
        for mut principal in principals {
            let anyone = Principal::anonymous(principal.app, None, state.revision);
            // A key that was only named vouches for nobody, and what a token string opens of itself was written
            // for that string; so of such a principal only what it says of its user and key is looked at.
            let may = |resource, name| match principal.held() {
                Some(key) => state.keys.get(key).map(|key| key.capability.operations_on(resource, name)),
                None => None,
            };
            let ceiling = RESOURCES.map(|of| NAMES.map(|name| may(of, name).unwrap_or_default()));
            match principal.held() {
                Some(key) => {
                    let key = key.clone();
                    principal.proof = principal.proof.map(|proof| Proof { key, ..proof });
                }
                None => (principal.proof, principal.token) = (None, None),
            }
            for (resource, ceilings) in RESOURCES.into_iter().zip(ceiling) {
                for (name, ceiling) in NAMES.into_iter().zip(ceilings) {
                    let all = |principal| {
                        let mut question = ask(principal, name, now_ms);
                        question.resource = resource;
                        question.operations = Operations::ALL;
                        allowed(&state, &question)
                    };
                    let gained = all(&principal).without(all(&anyone));
                    prop_assert!(ceiling.contains(gained), "{principal:?} {name} {gained:?}");
                }
            }
        }
    }

    #[test]
    fn a_grant_is_within_its_key_when_it_is_made(
        log in log(),
        key in access_random::key(),
        entries in access_random::entries(),
    ) {
        let mut state = State::default();
        play(&mut state, &log, 1);
        let capability = state.keys.get(&key).map(|key| key.capability.clone());
        let command = Command::SetGrants {
            app: AppId(1),
            issuer: Issuer::Key(key),
            subject: Subject::User("new".into()),
            mode: GrantMode::Merge,
            entries: entries.clone(),
        };
        let stamp = Stamp { index: 1000, time_ms: state.time_ms };
        if let Reply::Changed(_) | Reply::Narrowed(_) = apply(&mut state, &command, stamp).reply {
            let capability = capability.unwrap();
            for entry in entries.iter().filter(|entry| !entry.operations.is_empty()) {
                for name in NAMES.into_iter().filter(|name| entry.pattern.matches(name)) {
                    let may = capability.operations_on(entry.resource, name);
                    prop_assert!(may.contains(entry.operations | Operations::GRANT));
                }
            }
        }
    }

    #[test]
    fn after_a_revoke_no_check_passes_until_a_new_grant(
        before in log(),
        after in log(),
        user in proptest::sample::select(USERS.as_slice()),
        by_token in any::<bool>(),
    ) {
        let mut state = State::default();
        play(&mut state, &before, 1);
        let index = 1000;
        let (target, subject) = match by_token {
            true => (Target::Token(user.into()), Subject::Token(user.into())),
            false => (Target::User(user.into()), Subject::User(user.into())),
        };
        let mut old = Principal::anonymous(AppId(1), None, state.revision);
        match by_token {
            true => old.token = Some(user.into()),
            false => old.user = Some(user.into()),
        }
        old.vouched_by = (!by_token).then(|| Voucher::Held("k1".into()));
        let mut stated = old.clone();
        stated.issued = Issued::At(state.time_ms);
        let revoke = Command::Revoke {
            app: AppId(1),
            issuer: Issuer::Operator,
            target,
            issued_before_ms: None,
            margin_ms: 0,
        };
        let stamp = Stamp { index, time_ms: state.time_ms };
        let outcome = apply(&mut state, &revoke, stamp);
        let revoked = matches!(outcome.reply, Reply::Narrowed(_));
        prop_assert_eq!(revoked, state.apps.contains_key(&AppId(1)));

        let mut new = old.clone();
        new.issued = Issued::Seen(index);
        let mut granted = !revoked;
        let start = state.time_ms;
        for (at, batch) in after.iter().enumerate() {
            let batch = Batch { time_ms: start + batch.time_ms, ops: batch.ops.clone() };
            for op in &batch.ops {
                granted |= matches!(&op.command, Command::SetGrants { subject: to, .. } if *to == subject);
            }
            apply_batch(&mut state, &batch, index + 1 + at as u64);
            for name in NAMES {
                // Credentials from before stay void, whatever is granted, deleted or made again.
                for principal in [&old, &stated].into_iter().filter(|_| revoked) {
                    let decision = decide(&state, &ask(principal, name, state.time_ms));
                    prop_assert!(matches!(decision, Decision::Deny(_)), "{decision:?}");
                }
                // A new credential of the same subject has none of the old grants.
                let decision = decide(&state, &ask(&new, name, state.time_ms));
                if let Decision::Allow(Rule::Grant { subject: to, .. }) = decision {
                    prop_assert!(granted || to != subject);
                }
            }
        }
    }
}

/// Texts that meet: few letters, and the marks of every kind of pattern.
fn shape() -> impl Strategy<Value = String> {
    vec(
        proptest::sample::select(vec!["a", "b", ":", ".", "*", "-"]),
        1..7,
    )
    .prop_map(|all| all.concat())
}

fn any_pattern() -> impl Strategy<Value = Pattern> {
    let kind = proptest::sample::select(vec![
        "exact", "prefix", "segments", "segments", "levels", "except",
    ]);
    prop_oneof![
        8 => (kind, shape()).prop_filter_map("a pattern", |(kind, text)| {
            let text = if kind == "levels" { format!("{text}.*") } else { text };
            Pattern::of_kind(kind, &text).ok()
        }),
        1 => (shape(), shape()).prop_filter_map("a pattern", |(a, b)| {
            Pattern::of_kind("except", &format!("{a},{b}")).ok()
        }),
        1 => Just(Pattern::All),
        1 => shape().prop_filter_map("a pattern", |text| Pattern::of_kind("regex", &text).ok()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn covers_is_sound(outer in any_pattern(), inner in any_pattern(), names in vec(shape(), 24)) {
        if outer.covers(&inner) {
            for name in names {
                prop_assert!(!inner.matches(&name) || outer.matches(&name), "{outer:?} {inner:?} {name}");
            }
        }
    }

    #[test]
    fn patterns_read_back(pattern in any_pattern()) {
        prop_assert_eq!(Pattern::of_kind(pattern.kind(), &pattern.to_string()), Ok(pattern));
    }

    #[test]
    fn any_text_is_a_pattern_or_an_error(text in ".{0,40}", name in ".{0,20}") {
        if let Ok(pattern) = Pattern::parse(&text) {
            let _ = pattern.matches(&name);
            prop_assert_eq!(Pattern::parse(&pattern.to_string()), Ok(pattern));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn wild_commands_are_answered(
        log in log(),
        text in ".{0,2000}",
        number in prop_oneof![any::<u64>(), Just(u64::MAX)],
    ) {
        let mut state = State::default();
        play(&mut state, &log, 1);
        let text: Text = text.into();
        let patterns = [
            Pattern::Exact(text.clone()),
            Pattern::Levels(text.clone()),
            Pattern::Prefix("".into()),
            Pattern::Segments(text.clone()),
            Pattern::Except(vec![text.clone(), "".into()]),
        ];
        let mut commands = vec![
            Command::DeleteKey { key: text.clone() },
            Command::Block {
                app: AppId(1),
                issuer: Issuer::Operator,
                subject: Subject::User(text.clone()),
                for_ms: Some(number),
                reason: text.clone(),
            },
            Command::Revoke {
                app: AppId(1),
                issuer: Issuer::Operator,
                target: Target::Channel(text.clone()),
                issued_before_ms: Some(number),
                margin_ms: number,
            },
            Command::UseNonce { app: AppId(1), key: "k1".into(), nonce: text, expires_ms: number },
        ];
        for pattern in patterns {
            let entry = GrantEntry {
                resource: Resource::Channel,
                pattern,
                operations: Operations::ALL,
                ttl_ms: Some(number),
            };
            commands.push(Command::SetGrants {
                app: AppId(1),
                issuer: Issuer::Key("k1".into()),
                subject: Subject::Everyone,
                mode: GrantMode::Merge,
                entries: vec![entry],
            });
        }
        for time_ms in [0, number, u64::MAX] {
            for command in &commands {
                apply(&mut state, command, Stamp { index: number, time_ms });
            }
        }
        prop_assert!(restore(&snapshot(&state)).is_ok());
    }

    #[test]
    fn damaged_snapshots_are_refused(log in log(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut state = State::default();
        play(&mut state, &log, 1);
        let mut bytes = snapshot(&state);
        let at = at.index(bytes.len());
        prop_assert!(restore(&bytes[..at]).is_err());
        bytes[at] ^= 1 << bit;
        prop_assert!(restore(&bytes).is_err());
    }

    #[test]
    fn noise_is_no_snapshot(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(restore(&bytes).is_err());
    }
}
