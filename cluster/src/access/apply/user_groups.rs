//! User groups: who comes in, who goes, and from whom that takes something.
//!
//! **Why on a copy of the state first:** what is changed is compared with what was, user by user, and a bound that turns
//! out to be exceeded leaves nothing behind. A copy costs some pointers.
//! **Why whoever puts somebody in has to cover what the group has:** a member is handed all of it.

use super::super::limits::{self, Limits};
use super::super::user_group::Found;
use super::super::{
    Affected, AppId, Cut, Effect, GroupMember, Operations, Pattern, Rejection, Resource, Scope,
    State, Subject, Target, Text, UserGroupChange, UserGroupDeletion,
};
use super::issuer::{Authority, authority};
use super::{Reply, Result, grants};
use std::collections::BTreeSet;

type Members<'a> = BTreeSet<&'a GroupMember>;

pub(super) fn set(
    state: &mut State,
    change: &UserGroupChange,
    effects: &mut Vec<Effect>,
) -> Result {
    let (app, group) = (change.app, &change.group);
    let authority = authority(state, app, &change.issuer)?;
    names(change)?;
    let line = line(state, app, group);
    may_change(state, authority, app, &line)?;
    if !change.add.is_empty() {
        may_put_in(state, authority, app, &line)?;
    }
    if !change.remove.is_empty() {
        authority.may_take(Resource::Channel, &Pattern::All)?;
    }
    let is_in = |member: &&GroupMember| {
        let place = (app, group.clone(), (*member).clone());
        state.group_members.contains(&place)
    };
    let new: Members<'_> = change.add.iter().filter(|one| !is_in(one)).collect();
    let old: Members<'_> = change.remove.iter().filter(is_in).collect();
    fits(state, app, group, &new)?;

    let mut after = state.clone();
    rewire(&mut after, (app, group), &new, &old)?;
    let moved = Moved {
        before: state,
        after: &after,
        app,
        line: &line,
    };
    let (lost, gained) = moved.by(new.iter().chain(&old).copied());
    *state = after;
    // Who comes into a blocked group is kept out by it.
    let blocked = is_blocked(state, app, &line);
    if !lost.is_empty() {
        effects.push(recheck(app, lost));
    }
    if !gained.is_empty() {
        effects.push(match blocked {
            true => Effect::CutAll {
                app,
                whom: gained,
                cut: Cut::Blocked,
            },
            false => recheck(app, gained),
        });
    }
    // Also where nobody was moved: who moved them before may not be done everywhere yet.
    let narrowed = !change.remove.is_empty() || blocked && !change.add.is_empty();
    Ok(super::touched((new.len() + old.len()) as u64, narrowed))
}

fn recheck(app: AppId, whom: Affected) -> Effect {
    let scope = Scope::Affected(whom);
    Effect::Recheck { app, scope }
}

/// A group and all that it is in: what its members have.
fn line(state: &State, app: AppId, group: &Text) -> Vec<Text> {
    let above = state.groups_above(app, group).iter();
    std::iter::once(group).chain(above).cloned().collect()
}

/// Whether one of these is blocked by a block that has not ended.
fn is_blocked(state: &State, app: AppId, groups: &[Text]) -> bool {
    groups.iter().any(|group| {
        let block = state.blocks.get(&(app, Subject::Group(group.clone())));
        block.is_some_and(|block| block.until_ms.is_none_or(|end| end > state.time_ms))
    })
}

fn names(change: &UserGroupChange) -> Result<()> {
    limits::name("group", &change.group, Limits::ID_TEXT)?;
    let named = change.add.len() + change.remove.len();
    if named > Limits::GROUP_CHANGES {
        return Err(limit(format!(
            "at most {} members in one call: make several",
            Limits::GROUP_CHANGES
        )));
    }
    if named == 0 {
        return Err(Rejection::Invalid("nobody comes in and nobody goes".into()));
    }
    for member in change.add.iter().chain(&change.remove) {
        match member {
            GroupMember::User(user) => limits::name("user", user, Limits::MAX_TEXT)?,
            GroupMember::Group(group) => limits::name("group", group, Limits::ID_TEXT)?,
        }
    }
    let add: Members<'_> = change.add.iter().collect();
    match change.remove.iter().find(|one| add.contains(one)) {
        Some(GroupMember::User(text) | GroupMember::Group(text)) => Err(Rejection::Invalid(
            format!("{text} is both put in and taken out: say one of the two").into(),
        )),
        None => Ok(()),
    }
}

/// Where a block hangs on the group, to come in is to be blocked and to go is to be let back in.
fn may_change(state: &State, authority: Authority<'_>, app: AppId, line: &[Text]) -> Result<()> {
    match line {
        [group, ..] if is_blocked(state, app, line) => {
            authority.may_end(state, app, &Target::Group(group.clone()))
        }
        [..] => Ok(()),
    }
}

/// Refused without a name: what others have granted to the group is not told to who may not grant it.
fn may_put_in(state: &State, authority: Authority<'_>, app: AppId, line: &[Text]) -> Result<()> {
    authority.may_grant(Resource::Channel, &Pattern::All, Operations::NONE)?;
    for group in line {
        let subject = Subject::Group(group.clone());
        for (key, grant) in state.grants_of(app, &subject) {
            let covers = authority.may_grant(key.resource, &key.pattern, grant.operations);
            if covers.is_err() {
                let why = "the group has grants beyond it";
                return Err(Rejection::BeyondIssuer(why.into()));
            }
        }
    }
    Ok(())
}

/// What can be said before anything is written: circles, depth, and how many groups somebody is in.
fn fits(state: &State, app: AppId, group: &Text, new: &Members<'_>) -> Result<()> {
    let outwards = state.user_group(app, group).map_or(1, |one| one.outwards);
    for member in new {
        let of = state.groups_with(app, (*member).clone()).len();
        if of >= Limits::GROUPS_PER_MEMBER {
            return Err(limit(format!(
                "a member is in at most {} groups itself: take it out of one first, or put the group into another",
                Limits::GROUPS_PER_MEMBER
            )));
        }
        let GroupMember::Group(inner) = member else {
            continue;
        };
        if inner == group || state.groups_above(app, group).contains(inner) {
            return Err(Rejection::Invalid(
                format!(
                    "{group} is {inner} or inside it already: a group cannot be in itself; take {group} out of what leads to {inner} first"
                )
                .into(),
            ));
        }
        let inwards = state.user_group(app, inner).map_or(1, |one| one.inwards);
        if inwards + outwards > Limits::GROUP_DEPTH {
            return Err(limit(format!(
                "groups are nested at most {} deep: put the members of {inner} into {group} themselves",
                Limits::GROUP_DEPTH
            )));
        }
    }
    let edges = state.group_members.len() + new.len();
    limits::at_most("group members in the cluster", edges, Limits::MEMBERSHIPS)
}

fn limit(text: String) -> Rejection {
    Rejection::LimitReached(text.into())
}

/// Writes the change, and looks at the bounds that it may have passed.
fn rewire(
    after: &mut State,
    (app, group): (AppId, &Text),
    new: &Members<'_>,
    old: &Members<'_>,
) -> Result<()> {
    let mut more = 0_i64;
    for member in old {
        let fewer = after.drop_member(app, group, member);
        more = more.saturating_sub_unsigned(fewer);
    }
    for member in new {
        more = more.saturating_add_unsigned(after.put_member(app, group, member));
    }
    after.count_below(app, group, more);
    let most = std::iter::once(group).chain(after.groups_above(app, group));
    let most = most.filter_map(|one| after.user_group(app, one));
    if !new.is_empty() && most.map(|one| one.below).max() > Some(Limits::BELOW_GROUP) {
        return Err(limit(format!(
            "below one group there are at most {} members: grant to everyone, or to several groups",
            Limits::BELOW_GROUP
        )));
    }
    let count = after.user_group_counts.get(&app).copied().unwrap_or(0);
    limits::at_most("user groups of the app", count, Limits::USER_GROUPS_PER_APP)?;
    let moved = new.iter().chain(old);
    let inner: Vec<Text> = moved
        .filter_map(|member| match member {
            GroupMember::Group(inner) => Some(inner.clone()),
            GroupMember::User(_) => None,
        })
        .collect();
    if !inner.is_empty() {
        after.lift_group(app, group);
    }
    for inner in &inner {
        after.sink_group(app, inner);
        above_fits(after, app, inner)?;
        after.settle_group(app, inner);
    }
    after.settle_group(app, group);
    Ok(())
}

/// Whether a group and all below it are in no more groups than a check may have to ask for.
fn above_fits(after: &State, app: AppId, group: &Text) -> Result<()> {
    let mut found = Found::default();
    after.with_all_below(app, &GroupMember::Group(group.clone()), &mut found);
    let above = |one: &Text| after.groups_above(app, one).len();
    match found.groups.iter().map(above).max() > Some(Limits::GROUPS_ABOVE) {
        true => Err(limit(format!(
            "a group is in at most {} groups, itself and through others: take it out of one first",
            Limits::GROUPS_ABOVE
        ))),
        false => Ok(()),
    }
}

/// Two states of an app, and the groups whose members differ between them.
struct Moved<'a> {
    before: &'a State,
    after: &'a State,
    app: AppId,
    line: &'a [Text],
}

impl Moved<'_> {
    /// Who of these, and of those below them, is in fewer of the groups than before, and who in more.
    fn by<'m>(&self, members: impl Iterator<Item = &'m GroupMember>) -> (Affected, Affected) {
        let mut found = Found::default();
        for member in members {
            self.before.with_all_below(self.app, member, &mut found);
        }
        let (mut lost, mut gained) = (Found::default(), Found::default());
        for user in found.users {
            let member = GroupMember::User(user.clone());
            let (less, more) =
                self.differs(|state, group| state.is_in(self.app, member.clone(), group));
            if less {
                lost.users.insert(user.clone());
            }
            if more {
                gained.users.insert(user);
            }
        }
        for claimed in found.groups {
            let member = GroupMember::Group(claimed.clone());
            let (less, more) = self.differs(|state, group| {
                claimed == *group || state.is_in(self.app, member.clone(), group)
            });
            if less {
                lost.groups.insert(claimed.clone());
            }
            if more {
                gained.groups.insert(claimed);
            }
        }
        (lost.affected(), gained.affected())
    }

    fn differs(&self, is_in: impl Fn(&State, &Text) -> bool) -> (bool, bool) {
        let (mut less, mut more) = (false, false);
        for group in self.line {
            match (is_in(self.before, group), is_in(self.after, group)) {
                (true, false) => less = true,
                (false, true) => more = true,
                (true, true) | (false, false) => {}
            }
        }
        (less, more)
    }
}

pub(super) fn delete(
    state: &mut State,
    asked: &UserGroupDeletion,
    effects: &mut Vec<Effect>,
) -> Result {
    let (app, group) = (asked.app, &asked.group);
    let authority = authority(state, app, &asked.issuer)?;
    limits::name("group", group, Limits::ID_TEXT)?;
    authority.may_take(Resource::Channel, &Pattern::All)?;
    let line = line(state, app, group);
    may_change(state, authority, app, &line)?;
    let subject = Subject::Group(group.clone());
    grants::may_take_all_of(state, authority, app, &subject)?;
    let members: Vec<GroupMember> = state.members_of(app, group).cloned().collect();
    let itself = GroupMember::Group(group.clone());
    let outer = state.groups_with(app, itself.clone()).to_vec();

    let mut after = state.clone();
    let granted = grants::end_all(&mut after, app, &subject, 0);
    let touched = granted + (members.len() + outer.len()) as u64;
    if touched == 0 {
        return Err(Rejection::NotFound);
    }
    rewire(
        &mut after,
        (app, group),
        &Members::new(),
        &members.iter().collect(),
    )?;
    for outer in &outer {
        let only = Members::from([&itself]);
        rewire(&mut after, (app, outer), &Members::new(), &only)?;
    }
    let moved = Moved {
        before: state,
        after: &after,
        app,
        line: &line,
    };
    let (mut lost, _) = moved.by(std::iter::once(&itself));
    if let Err(at) = lost.groups.binary_search(group) {
        // Whoever claims it goes on to be in it, and has lost what was granted to it.
        let mut groups = lost.groups.to_vec();
        groups.insert(at, group.clone());
        lost.groups = groups.into();
    }
    *state = after;
    effects.push(recheck(app, lost));
    Ok(Reply::Narrowed(touched))
}

/// Forgets every user group of an app; how many memberships there were.
pub(super) fn clear(state: &mut State, app: AppId) -> u64 {
    let first = (app, GroupMember::Group(Text::default()));
    let doomed: Vec<_> = (state.memberships.range(first..))
        .take_while(|((owner, _), _)| *owner == app)
        .map(|((_, member), of)| (member.clone(), of.groups.clone()))
        .collect();
    let mut touched = 0;
    for (member, groups) in doomed {
        state.memberships.remove(&(app, member.clone()));
        for group in groups.iter() {
            touched += 1;
            let place = (app, group.clone(), member.clone());
            state.group_members.remove(&place);
            state.user_groups.remove(&(app, group.clone()));
        }
        if let GroupMember::Group(inner) = member {
            state.user_groups.remove(&(app, inner));
        }
    }
    state.user_group_counts.remove(&app);
    touched
}
