//! What of a token's claims are groups, what they give, and when that ends.
#![allow(clippy::unwrap_used)]

use super::fixture::{administer, an_app, provide, run, token};
use super::{Refused, read};
use crate::core::authority::fixture::state_after;
use crate::core::authority::{
    AccessQuery, Administered, AppId, Authority, CarriedRights, Claims, Command, GrantEntry,
    GrantMode, GroupMember, Issuer, Limits, Operations, Pattern, ProviderChange, Resource, State,
    Subject, Text, UserGroupChange,
};
use serde_json::{Value, json};

const APP: AppId = AppId(1);
const NOW_S: u64 = 1_700_000_000;
const NOW: u64 = NOW_S * 1_000;

/// An app with a provider whose groups stand at this path.
fn state(path: &str) -> State {
    let app = an_app(APP);
    let mut state = state_after(&[app], NOW);
    provide(&mut state, APP, "ceiling", CarriedRights::Grants);
    let claims = Claims {
        user: "sub".into(),
        session: "sid".into(),
        groups: Some(path.into()),
        rights: CarriedRights::Grants,
    };
    let change = ProviderChange {
        claims: Some(claims),
        ..ProviderChange::default()
    };
    let (id, change) = ("idp".into(), Box::new(change));
    run(
        &mut state,
        &administer(APP, Administered::Provider { id, change }),
    );
    state
}

fn claimed(path: &str, more: Value) -> Result<Vec<Text>, Refused> {
    let borne = read(&state(path), None, &token(NOW_S, more), NOW)?;
    Ok(borne.principal.claimed().to_vec())
}

#[test]
fn groups_are_what_the_providers_record_says_they_are() {
    let two: Vec<Text> = vec!["/eng".into(), "ops".into()];
    // In order and once, whatever the token's order is; a name that no group may have is nobody's.
    let list = json!([
        "ops",
        "/eng",
        "ops",
        "",
        "a\nb",
        "x".repeat(Limits::ID_TEXT + 1)
    ]);
    assert_eq!(claimed("groups", json!({"groups": list})), Ok(two.clone()));
    let deep = json!({"realm": {"roles": ["ops", "/eng"]}});
    assert_eq!(claimed("realm.roles", deep), Ok(two.clone()));
    let dotted = json!({"https://id.test/groups": ["ops", "/eng"]});
    assert_eq!(claimed("https://id.test/groups", dotted), Ok(two));
    assert_eq!(
        claimed("role", json!({"role": "ops"})),
        Ok(vec!["ops".into()])
    );
    for none in [json!({}), json!({"groups": null}), json!({"groups": []})] {
        assert_eq!(claimed("groups", none), Ok(Vec::new()));
    }
    for bad in [
        json!({"groups": 1}),
        json!({"groups": {"a": 1}}),
        json!({"groups": ["a", 1]}),
    ] {
        assert_eq!(claimed("groups", bad), Err(Refused::Groups));
    }
    let many = |count| (0..count).map(|at| format!("g{at}")).collect::<Vec<_>>();
    let most = claimed("groups", json!({"groups": many(Limits::CLAIMED_GROUPS)}));
    assert_eq!(most.map(|all| all.len()), Ok(Limits::CLAIMED_GROUPS));
    let more = claimed(
        "groups",
        json!({"groups": many(Limits::CLAIMED_GROUPS + 1)}),
    );
    assert_eq!(more, Err(Refused::Groups));
}

#[test]
fn what_is_claimed_is_judged_with_what_is_stored_and_within_the_ceiling() {
    let mut state = state("groups");
    let line = |operations| GrantEntry {
        resource: Resource::Channel,
        pattern: Pattern::Exact("room".into()),
        operations,
        ttl_ms: None,
    };
    let granted = Command::SetGrants {
        app: APP,
        issuer: Issuer::Operator,
        subject: Subject::Group("staff".into()),
        mode: GrantMode::Merge,
        entries: vec![line(Operations::SUBSCRIBE | Operations::PUBLISH)],
    };
    let nested = Command::SetUserGroup(UserGroupChange {
        app: APP,
        issuer: Issuer::Operator,
        group: "staff".into(),
        add: vec![GroupMember::Group("eng".into())],
        remove: Vec::new(),
    });
    let text = token(NOW_S, json!({"groups": ["eng"]}));
    let ana = read(&state, None, &text, NOW).unwrap().principal;
    let may = |state: &State, needs| {
        let ask = AccessQuery {
            resource: Resource::Channel,
            name: "room",
            needs,
            wants: Operations::NONE,
            speaks_for: None,
        };
        let authority = Authority::fixed(state.clone(), NOW);
        authority.decide(&ana, None, ask).is_ok()
    };
    run(&mut state, &granted);
    assert!(!may(&state, Operations::SUBSCRIBE));
    run(&mut state, &nested);
    assert!(may(&state, Operations::SUBSCRIBE));
    assert!(!may(&state, Operations::PUBLISH), "beyond the ceiling");
    let blocked = Command::Block {
        app: APP,
        issuer: Issuer::Operator,
        subject: Subject::Group("staff".into()),
        for_ms: None,
        reason: "".into(),
    };
    run(&mut state, &blocked);
    assert!(!may(&state, Operations::SUBSCRIBE));
}
