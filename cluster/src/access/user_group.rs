//! User groups: who is in which, in words that a check only has to look up.
//!
//! Stored is, for each member (a user, or a group inside another), the short list of groups that it is in itself. From
//! that follow the members of each group in order, and of each group all groups above it.
//!
//! **Must never know:** channel groups, which are sets of channels and have nothing to do with these.
//! **Why the groups above are kept for each group and not for each user:** groups are few and users many: a user costs her
//! own short list, whatever it leads to, and a group that moves into another rewrites the groups below it and nobody else.
//! A check walks no graph: it is the user's list, and the list of each group in it.

use super::{AppId, Issuer, Limits, Revision, State, Text};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A member of a user group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GroupMember {
    /// A user group: whoever is in it is in the outer one as well.
    Group(Text),
    /// A user, by her id.
    User(Text),
}

/// The groups that a member is in itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberOf {
    /// Their names, in order and never none.
    pub groups: Arc<[Text]>,
    /// When they last changed.
    pub revision: Revision,
}

/// What is known of a user group that has members or is one. Derived from the memberships.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserGroup {
    /// Every group that it is in, itself or through others, in order.
    pub above: Arc<[Text]>,
    /// How many members there are below it; one counts as often as there are ways to it.
    pub below: u64,
    /// Groups in the longest row that begins with it and goes outwards.
    pub(super) outwards: usize,
    /// Groups in the longest row that ends with it and comes from inside.
    pub(super) inwards: usize,
}

/// A user group to be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserGroupChange {
    /// The app it is about.
    pub app: AppId,
    /// In whose name it is asked for; judged by the machine.
    pub issuer: Issuer,
    /// The group that is changed.
    pub group: Text,
    /// Who comes in.
    pub add: Vec<GroupMember>,
    /// Those members who go.
    pub remove: Vec<GroupMember>,
}

/// A user group to be taken away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserGroupDeletion {
    /// The app it is about.
    pub app: AppId,
    /// In whose name it is asked for; judged by the machine.
    pub issuer: Issuer,
    /// The group that goes.
    pub group: Text,
}

/// Those whom a change of a user group reaches: users by their names, and whoever's token claims one of the groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Affected {
    /// The users, in order.
    pub users: Arc<[Text]>,
    /// The groups that a token may claim, in order.
    pub groups: Arc<[Text]>,
}

impl Affected {
    /// Whether nobody is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty()
    }

    /// Whether this user is named.
    #[must_use]
    pub fn has_user(&self, user: &Text) -> bool {
        self.users.binary_search(user).is_ok()
    }

    /// Whether one of these claimed groups is named.
    #[must_use]
    pub fn has_claim(&self, claimed: &[Text]) -> bool {
        claimed
            .iter()
            .any(|group| self.groups.binary_search(group).is_ok())
    }
}

/// Users and groups while they are collected.
#[derive(Default)]
pub(super) struct Found {
    pub(super) users: BTreeSet<Text>,
    pub(super) groups: BTreeSet<Text>,
}

impl Found {
    pub(super) fn affected(self) -> Affected {
        Affected {
            users: self.users.into_iter().collect(),
            groups: self.groups.into_iter().collect(),
        }
    }
}

/// Readers: what a check and a listing ask.
impl State {
    /// What is known of a user group; none = nobody is in it and it is in nothing.
    #[must_use]
    pub fn user_group(&self, app: AppId, group: &Text) -> Option<&UserGroup> {
        self.user_groups.get(&(app, group.clone()))
    }

    /// The user groups of an app from this name on, in order.
    pub fn user_groups_from(
        &self,
        app: AppId,
        from: Text,
    ) -> impl Iterator<Item = (&Text, &UserGroup)> {
        self.user_groups
            .range((app, from)..)
            .take_while(move |((owner, _), _)| *owner == app)
            .map(|((_, name), group)| (name, group))
    }

    /// The members of a user group from this one on: groups before users, each in order.
    pub fn members_from<'a>(
        &'a self,
        app: AppId,
        group: &'a Text,
        from: GroupMember,
    ) -> impl Iterator<Item = &'a GroupMember> {
        self.group_members
            .range((app, group.clone(), from)..)
            .take_while(move |(owner, of, _)| *owner == app && of == group)
            .map(|(.., member)| member)
    }

    pub(super) fn members_of<'a>(
        &'a self,
        app: AppId,
        group: &'a Text,
    ) -> impl Iterator<Item = &'a GroupMember> {
        self.members_from(app, group, GroupMember::Group(Text::default()))
    }

    /// The groups that a member is in itself, in order.
    #[must_use]
    pub fn groups_with(&self, app: AppId, member: GroupMember) -> &[Text] {
        let of = self.memberships.get(&(app, member));
        of.map_or(&[], |of| &of.groups)
    }

    /// All groups above one, in order.
    #[must_use]
    pub fn groups_above(&self, app: AppId, group: &Text) -> &[Text] {
        self.user_group(app, group)
            .map_or(&[], |group| &group.above)
    }

    /// Every group that somebody is in, once: as this user, and by what her token claims. The nearest first.
    #[must_use]
    pub fn groups_of_user<'a>(
        &'a self,
        app: AppId,
        user: Option<&Text>,
        claimed: &'a [Text],
    ) -> Vec<&'a Text> {
        let near: Vec<&Text> = self.nearest(app, user, claimed).collect();
        let far = self.groups_beyond(app, user, claimed);
        near.into_iter().chain(far).collect()
    }

    /// Those that somebody is in herself: as this user, and by what her token claims.
    pub(super) fn nearest<'a>(
        &'a self,
        app: AppId,
        user: Option<&Text>,
        claimed: &'a [Text],
    ) -> impl Iterator<Item = &'a Text> {
        let own = match user {
            Some(user) if !self.memberships.is_empty() => {
                self.groups_with(app, GroupMember::User(user.clone()))
            }
            Some(_) | None => &[],
        };
        let others = claimed.iter().filter(|one| own.binary_search(one).is_err());
        own.iter().chain(others)
    }

    /// All others that she is in, once.
    pub(super) fn groups_beyond<'a>(
        &'a self,
        app: AppId,
        user: Option<&Text>,
        claimed: &'a [Text],
    ) -> Vec<&'a Text> {
        let mut near = self.nearest(app, user, claimed);
        let (Some(first), None) = (near.next(), near.next()) else {
            let near: BTreeSet<&Text> = self.nearest(app, user, claimed).collect();
            let far = near.iter().flat_map(|group| self.groups_above(app, group));
            let far: BTreeSet<&Text> = far.filter(|group| !near.contains(group)).collect();
            return far.into_iter().collect();
        };
        // Most are in one, and what is above one is there once.
        self.groups_above(app, first).iter().collect()
    }

    /// Whether a member is in a group, itself or through others.
    pub(super) fn is_in(&self, app: AppId, member: GroupMember, group: &Text) -> bool {
        let mut own = self.groups_with(app, member).iter();
        own.any(|one| one == group || self.is_above(app, one, group))
    }

    fn is_above(&self, app: AppId, inner: &Text, outer: &Text) -> bool {
        self.groups_above(app, inner).binary_search(outer).is_ok()
    }

    /// A way from what somebody is in herself to a group above, both included. None = there is none.
    #[must_use]
    pub fn way_to_group(
        &self,
        app: AppId,
        user: Option<&Text>,
        claimed: &[Text],
        group: &Text,
    ) -> Option<Vec<Text>> {
        let own = user.map(|user| self.groups_with(app, GroupMember::User(user.clone())));
        let mut near: Vec<Text> = own.unwrap_or_default().to_vec();
        near.extend_from_slice(claimed);
        let mut way = Vec::new();
        while way.len() < Limits::GROUP_DEPTH {
            if near.contains(group) {
                way.push(group.clone());
                return Some(way);
            }
            let step = near.iter().find(|one| self.is_above(app, one, group))?;
            let step = step.clone();
            near = self
                .groups_with(app, GroupMember::Group(step.clone()))
                .to_vec();
            way.push(step);
        }
        None
    }

    /// A member and everybody below it.
    pub(super) fn with_all_below(&self, app: AppId, member: &GroupMember, found: &mut Found) {
        match member {
            GroupMember::User(user) => {
                found.users.insert(user.clone());
            }
            GroupMember::Group(group) => {
                if found.groups.insert(group.clone()) {
                    for inner in self.members_of(app, group) {
                        self.with_all_below(app, inner, found);
                    }
                }
            }
        }
    }

    /// Whom a group reaches: who is in it, and who says so.
    pub(super) fn reach_of_group(&self, app: AppId, group: &Text) -> Affected {
        let mut found = Found::default();
        self.with_all_below(app, &GroupMember::Group(group.clone()), &mut found);
        found.affected()
    }
}

/// Writers that keep what is derived in step.
impl State {
    /// Puts a member in. How many there are below the group for it; `settle_groups` has to follow.
    pub(super) fn put_member(&mut self, app: AppId, group: &Text, member: &GroupMember) -> u64 {
        let group = self.known_group(app, group);
        let member = match member {
            GroupMember::Group(inner) => GroupMember::Group(self.known_group(app, inner)),
            user @ GroupMember::User(_) => user.clone(),
        };
        let place = (app, member);
        let (place, mut groups) = match self.memberships.get_key_value(&place) {
            Some((known, of)) => (known.clone(), of.groups.to_vec()),
            None => (place, Vec::new()),
        };
        if let Err(at) = groups.binary_search(&group) {
            groups.insert(at, group.clone());
        }
        self.group_members.insert((app, group, place.1.clone()));
        let counts = 1 + self.below_member(app, &place.1);
        self.write_member_of(place, groups);
        counts
    }

    /// Takes a member out, as [`Self::put_member`] puts one in.
    pub(super) fn drop_member(&mut self, app: AppId, group: &Text, member: &GroupMember) -> u64 {
        let place = (app, member.clone());
        let mut groups = self.groups_with(app, member.clone()).to_vec();
        groups.retain(|one| one != group);
        self.group_members
            .remove(&(app, group.clone(), member.clone()));
        self.write_member_of(place, groups);
        1 + self.below_member(app, member)
    }

    fn write_member_of(&mut self, place: (AppId, GroupMember), groups: Vec<Text>) {
        if groups.is_empty() {
            self.memberships.remove(&place);
            return;
        }
        let of = MemberOf {
            groups: groups.into(),
            revision: self.revision,
        };
        self.memberships.insert(place, of);
    }

    fn below_member(&self, app: AppId, member: &GroupMember) -> u64 {
        match member {
            GroupMember::User(_) => 0,
            GroupMember::Group(inner) => self.user_group(app, inner).map_or(0, |one| one.below),
        }
    }

    /// The group's own text, so that a name is kept once; known from now on.
    fn known_group(&mut self, app: AppId, group: &Text) -> Text {
        let place = (app, group.clone());
        if let Some(((_, known), _)) = self.user_groups.get_key_value(&place) {
            return known.clone();
        }
        let unknown = UserGroup {
            above: Arc::default(),
            below: 0,
            outwards: 1,
            inwards: 1,
        };
        self.user_groups.insert(place, unknown);
        let count = self.user_group_counts.get(&app).copied().unwrap_or(0);
        self.user_group_counts.insert(app, count + 1);
        group.clone()
    }

    /// Counts so many more or fewer below a group, and below every group that it is in.
    pub(super) fn count_below(&mut self, app: AppId, group: &Text, more: i64) {
        if let Some(one) = self.user_groups.get_mut(&(app, group.clone())) {
            one.below = one.below.saturating_add_signed(more);
        }
        let outer = GroupMember::Group(group.clone());
        for outer in self.groups_with(app, outer).to_vec() {
            self.count_below(app, &outer, more);
        }
    }

    /// What follows for others from which groups are in this one: the row inwards, out to the outermost.
    pub(super) fn lift_group(&mut self, app: AppId, group: &Text) {
        let inner = self
            .members_of(app, group)
            .map_while(|member| match member {
                GroupMember::Group(inner) => self.user_group(app, inner),
                GroupMember::User(_) => None,
            });
        let inwards = 1 + inner.map(|one| one.inwards).max().unwrap_or(0);
        let Some(one) = self.user_groups.get_mut(&(app, group.clone())) else {
            return;
        };
        if one.inwards == inwards {
            return;
        }
        one.inwards = inwards;
        let outer = GroupMember::Group(group.clone());
        for outer in self.groups_with(app, outer).to_vec() {
            self.lift_group(app, &outer);
        }
    }

    /// What follows from which groups this one is in: the groups above it and above all below it.
    pub(super) fn sink_group(&mut self, app: AppId, group: &Text) {
        let mut above = BTreeSet::new();
        let mut outwards = 0;
        for outer in self.groups_with(app, GroupMember::Group(group.clone())) {
            above.insert(outer.clone());
            if let Some(one) = self.user_group(app, outer) {
                above.extend(one.above.iter().cloned());
                outwards = outwards.max(one.outwards);
            }
        }
        let Some(one) = self.user_groups.get_mut(&(app, group.clone())) else {
            return;
        };
        one.above = above.into_iter().collect();
        one.outwards = 1 + outwards;
        let inner: Vec<Text> = self
            .members_of(app, group)
            .map_while(|member| match member {
                GroupMember::Group(inner) => Some(inner.clone()),
                GroupMember::User(_) => None,
            })
            .collect();
        for inner in inner {
            self.sink_group(app, &inner);
        }
    }

    /// Forgets a group that has no members and is none.
    pub(super) fn settle_group(&mut self, app: AppId, group: &Text) {
        let is_member = !self
            .groups_with(app, GroupMember::Group(group.clone()))
            .is_empty();
        if is_member || self.members_of(app, group).next().is_some() {
            return;
        }
        if self.user_groups.remove(&(app, group.clone())).is_some() {
            match self.user_group_counts.get(&app).copied().unwrap_or(0) {
                0 | 1 => self.user_group_counts.remove(&app),
                more => self.user_group_counts.insert(app, more - 1),
            };
        }
    }
}

/// Rebuilds what is derived from the memberships; whether they can be what the machine has written.
pub(super) fn rebuild(state: &mut State) -> bool {
    state.group_members = Default::default();
    state.user_groups = Default::default();
    state.user_group_counts = Default::default();
    let stored = std::mem::take(&mut state.memberships);
    for ((app, member), of) in &stored {
        let in_order = of.groups.is_sorted_by(|one, next| one < next);
        if of.groups.is_empty() || !in_order {
            return false;
        }
        let shared = of.groups.iter().map(|group| {
            let group = state.known_group(*app, group);
            state
                .group_members
                .insert((*app, group.clone(), member.clone()));
            group
        });
        let of = MemberOf {
            groups: shared.collect(),
            revision: of.revision,
        };
        if let GroupMember::Group(inner) = member {
            state.known_group(*app, inner);
        }
        state.memberships.insert((*app, member.clone()), of);
    }
    let groups: Vec<(AppId, Text)> = state.user_groups.keys().cloned().collect();
    if !groups
        .iter()
        .all(|(app, group)| ends(state, *app, group, 1))
    {
        return false;
    }
    for (app, group) in &groups {
        let members = state.members_of(*app, group).count();
        state.count_below(*app, group, i64::try_from(members).unwrap_or(i64::MAX));
        state.lift_group(*app, group);
        if state
            .groups_with(*app, GroupMember::Group(group.clone()))
            .is_empty()
        {
            state.sink_group(*app, group);
        }
    }
    true
}

/// Whether every row outwards from a group ends within the depth that there may be: none runs in a circle.
fn ends(state: &State, app: AppId, group: &Text, row: usize) -> bool {
    let outer = state.groups_with(app, GroupMember::Group(group.clone()));
    row <= Limits::GROUP_DEPTH && outer.iter().all(|outer| ends(state, app, outer, row + 1))
}
