//! The reference: what a principal may do, computed by walking everything, as the rules are written down.

use gatecast_cluster::access::*;

/// All operations that the rules give.
pub fn allowed(
    state: &State,
    principal: &Principal,
    resource: Resource,
    name: &str,
    now_ms: Millis,
) -> Operations {
    let Some(app) = state.apps.get(&principal.app) else {
        return Operations::NONE;
    };
    if !app.enabled || !stands(state, principal, now_ms) {
        return Operations::NONE;
    }
    let mut all = Operations::NONE;
    if resource == Resource::Channel {
        let mut rules = app.open.clone();
        if app.protocols.len() == 1 {
            rules.extend(app.protocols[0].default_open.clone());
        }
        for rule in rules.iter().filter(|rule| rule.pattern.matches(name)) {
            all = all | rule.operations;
        }
    }
    if let Some(proof) = &principal.proof {
        let key = &state.keys[&proof.key];
        let says = proof.capability.operations_on(resource, name);
        all = all | says.and(key.capability.operations_on(resource, name));
    }
    let voucher = match &principal.vouched_by {
        Some(Voucher::Held(id)) => Some(id),
        Some(Voucher::Named(_)) | None => None,
    };
    for (key, grant) in &state.grants {
        let mine = match &key.subject {
            Subject::Everyone => true,
            Subject::User(user) => voucher.is_some() && principal.user.as_ref() == Some(user),
            Subject::Token(token) => principal.token.as_ref() == Some(token),
            Subject::Key(id) => voucher == Some(id),
            Subject::Group(group) => voucher.is_some() && is_in(state, principal, group),
        };
        if mine
            && key.app == principal.app
            && key.resource == resource
            && key.pattern.matches(name)
            && grant.expires_ms.is_none_or(|end| end > now_ms)
        {
            let mut gives = held(state, key, grant, name, now_ms);
            if let (Some(id), false) = (voucher, key.subject == Subject::Everyone) {
                gives = gives.and(state.keys[id].capability.operations_on(resource, name));
            }
            all = all | gives;
        }
    }
    all
}

fn held(state: &State, key: &GrantKey, grant: &Grant, name: &str, now_ms: Millis) -> Operations {
    if key.resource == Resource::Channel && key.pattern == Pattern::Exact(name.into()) {
        for ((app, target), revocation) in &state.revocations {
            let here = *app == key.app && *target == Target::Channel(name.into());
            if here && revocation.voids_grant(grant.revision, now_ms) {
                return Operations::NONE;
            }
        }
    }
    match &grant.issuer {
        Issuer::Operator => grant.operations,
        Issuer::Key(id) => {
            let heir = state.key_successors.get(id).unwrap_or(id);
            match state.keys.get(heir) {
                Some(by) if by.enabled && by.expires_ms.is_none_or(|end| end > now_ms) => grant
                    .operations
                    .and(by.capability.operations_on(key.resource, name)),
                _ => Operations::NONE,
            }
        }
    }
}

fn stands(state: &State, principal: &Principal, now_ms: Millis) -> bool {
    let app = principal.app;
    let proof = principal.proof.as_ref();
    let behind = || {
        let voucher = match &principal.vouched_by {
            Some(Voucher::Held(id) | Voucher::Named(id)) => Some(id),
            None => None,
        };
        voucher.into_iter().chain(&principal.opened_under)
    };
    let keys = behind().chain(proof.map(|proof| &proof.key));
    for id in keys.clone() {
        let live = state.keys.get(id).is_some_and(|key| {
            key.app == app && key.enabled && key.expires_ms.is_none_or(|end| end > now_ms)
        });
        if !live {
            return false;
        }
    }
    for ((of, subject), block) in &state.blocks {
        let mine = match subject {
            Subject::Everyone => true,
            Subject::User(user) => principal.user.as_ref() == Some(user),
            Subject::Token(token) => principal.token.as_ref() == Some(token),
            Subject::Key(id) => keys.clone().any(|key| key == id),
            Subject::Group(group) => is_in(state, principal, group),
        };
        if *of == app && mine && block.until_ms.is_none_or(|end| end > now_ms) {
            return false;
        }
    }
    if let Some((proof, by)) = proof.and_then(|proof| Some((proof, proof.vouched.as_ref()?))) {
        let heir = state.key_successors.get(&proof.key).unwrap_or(&proof.key);
        let provider = state.provider(app, &by.provider);
        let stands = provider.is_some_and(|provider| {
            provider.vouches(by) && [&proof.key, heir].contains(&&provider.ceiling)
        });
        if !stands {
            return false;
        }
    }
    let issued = [Some(principal.issued), proof.map(|proof| proof.issued)];
    let early = |one: &Issued| matches!(one, Issued::At(at) if *at > now_ms);
    if issued.iter().flatten().any(early) {
        return false;
    }
    let ends = [
        principal.expires_ms,
        proof.and_then(|proof| proof.expires_ms),
    ];
    if ends.iter().flatten().any(|end| *end <= now_ms) {
        return false;
    }
    for ((of, target), revocation) in &state.revocations {
        if *of != app {
            continue;
        }
        let whole = match target {
            Target::App => true,
            Target::Key(id) => behind().any(|key| key == id),
            Target::User(user) => principal.user.as_ref() == Some(user),
            Target::Token(token) => principal.token.as_ref() == Some(token),
            Target::RevocationKey(key) => principal.revocation_key.as_ref() == Some(key),
            Target::Channel(_) | Target::Group(_) => false,
        };
        if whole && revocation.voids(principal.issued, now_ms) {
            return false;
        }
        let carried = proof.is_some_and(|proof| {
            let reached = match target {
                Target::App => true,
                Target::Key(id) => proof.key == *id,
                Target::Channel(name) => proof.capability.rights.iter().any(|right| {
                    right.resource == Resource::Channel
                        && right.pattern == Pattern::Exact(name.clone())
                }),
                Target::Group(group) => principal.claimed().contains(group),
                Target::User(_) | Target::Token(_) | Target::RevocationKey(_) => false,
            };
            reached && revocation.voids(proof.issued, now_ms)
        });
        if carried {
            return false;
        }
    }
    true
}

/// Whether somebody is in a group, by walking from what she is in herself.
pub fn is_in(state: &State, principal: &Principal, group: &Text) -> bool {
    let own = principal
        .user
        .iter()
        .flat_map(|user| direct(state, principal.app, &GroupMember::User(user.clone())));
    let mut next: Vec<Text> = own.chain(principal.claimed().to_vec()).collect();
    walk(state, principal.app, &mut next).contains(group)
}

/// Every group that can be walked to from these, these included.
pub fn walk(state: &State, app: AppId, next: &mut Vec<Text>) -> Vec<Text> {
    let mut seen = Vec::new();
    while let Some(one) = next.pop() {
        if !seen.contains(&one) {
            next.extend(direct(state, app, &GroupMember::Group(one.clone())));
            seen.push(one);
        }
    }
    seen.sort();
    seen
}

pub fn direct(state: &State, app: AppId, member: &GroupMember) -> Vec<Text> {
    let mut all = Vec::new();
    for ((of, one), groups) in &state.memberships {
        if *of == app && one == member {
            all.extend(groups.groups.iter().cloned());
        }
    }
    all
}
