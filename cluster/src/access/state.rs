//! The state: persistent (structurally shared) ordered maps, so that a view costs one pointer and a
//! snapshot can be written while commands go on being applied.
//!
//! **Must never know:** what a command means; it only keeps records and the indexes over them in step.
//! **Why records are public to read but written through methods:** an expiry that is not in the index
//! would never be swept, so that two nodes could differ.

use super::audit::Audit;
use super::expiry::Expiring;
use super::key_fetch::KeyFetch;
use super::lookup::{GrantLookup, PatternRef, Place};
use super::provider::Provider;
use super::records::{
    ApiKey, App, Block, Grant, GrantKey, Issuer, Member, NodeId, Revocation, Subject, Target, Token,
};
use super::requests::Requests;
use super::signals::Signals;
use super::user_group::{GroupMember, MemberOf, UserGroup};
use super::{AppId, Millis, Operations, Pattern, Resource, Revision, Text};
use imbl::{OrdMap, OrdSet};
use std::ops::Bound;
use std::sync::Arc;

/// Everything the cluster has agreed on. Cloning is cheap; a clone is a frozen view.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Index of the last applied entry.
    pub revision: Revision,
    /// Time of the last stamp; never runs backwards.
    pub time_ms: Millis,
    /// Command versions agreed on.
    pub version: u16,
    /// The apps by their numbers. Shared, as keys are: who looks one up may keep it, and a map that changes copies pointers.
    pub apps: OrdMap<AppId, Arc<App>>,
    /// Other names of apps: (kind, name).
    pub aliases: OrdMap<(Text, Text), AppId>,
    /// Keys by id.
    pub keys: OrdMap<Text, Arc<ApiKey>>,
    /// Rotated keys and the key that now answers for what they granted.
    pub key_successors: OrdMap<Text, Text>,
    /// The stored rights by their keys.
    pub grants: OrdMap<GrantKey, Grant>,
    /// The tokens that are stored, by app and id.
    pub tokens: OrdMap<(AppId, Text), Token>,
    /// Revocations in force.
    pub revocations: OrdMap<(AppId, Target), Revocation>,
    /// Blocks in force.
    pub blocks: OrdMap<(AppId, Subject), Block>,
    /// Used nonces and when they may be forgotten.
    pub nonces: OrdMap<(AppId, Text, Text), Millis>,
    /// Channel flags that are on (channel, flag), and since when.
    pub flags: OrdMap<(AppId, Text, Text), Revision>,
    /// Channel groups and their channels; none is empty.
    pub groups: OrdMap<(AppId, Text), OrdSet<Text>>,
    /// The user groups that users and user groups are in themselves.
    pub memberships: OrdMap<(AppId, GroupMember), MemberOf>,
    /// Identity providers of apps.
    pub providers: OrdMap<(AppId, Text), Provider>,
    /// How it stands with those keys of providers that are fetched; none = nobody has asked or tried yet.
    pub key_fetches: OrdMap<(AppId, Text), KeyFetch>,
    /// How the signals of providers come, where somebody has said.
    pub signals: OrdMap<(AppId, Text), Signals>,
    /// The member list.
    pub members: OrdMap<NodeId, Member>,
    /// Last epoch of members that have left, so that a return is not taken for the former self.
    pub departed: OrdMap<NodeId, u64>,
    /// Requests that were answered, for retries.
    pub requests: Requests,
    /// Who changed what.
    pub audit: Audit,
    /// Keys of each app. Derived from `keys`.
    pub(super) app_keys: OrdSet<(AppId, Text)>,
    /// Members by their groups. Derived from `memberships`.
    pub(super) group_members: OrdSet<(AppId, Text, GroupMember)>,
    /// User groups that have members or are one. Derived from `memberships`.
    pub(super) user_groups: OrdMap<(AppId, Text), UserGroup>,
    /// How many of them an app has. Derived from `memberships`.
    pub(super) user_group_counts: OrdMap<AppId, usize>,
    /// Whose an audience of an issuer is. Derived from `providers`.
    pub(super) audiences: OrdMap<(Text, Text), (AppId, Text)>,
    /// How many wildcard grants a subject has on a kind of resource; none = no entry. Derived from
    /// `grants`: a check walks the wildcards only of those who have some.
    pub(super) wild: OrdMap<(AppId, Subject, Resource), u32>,
    /// What ends when. Derived from the records.
    pub(super) expiry: OrdSet<(Millis, Expiring)>,
}

impl State {
    /// When the next record ends, cluster time; from then on a [`super::Command::Tick`] has something to do.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Millis> {
        super::next_expiry(self)
    }

    /// The key of that id, if it belongs to the app.
    #[must_use]
    pub fn key_of(&self, app: AppId, key: &str) -> Option<&ApiKey> {
        (self.keys.get(key).map(Arc::as_ref)).filter(|key| key.app == app)
    }

    /// Whether a flag of a channel is on.
    #[must_use]
    pub fn flag(&self, app: AppId, channel: &str, flag: &str) -> bool {
        !self.flags.is_empty()
            && (self.flags).contains_key(&(app, Text::from(channel), Text::from(flag)))
    }

    /// The keys of an app, in order of their ids.
    pub fn keys_of(&self, app: AppId) -> impl Iterator<Item = &ApiKey> {
        self.app_keys
            .range((app, Text::default())..)
            .take_while(move |(owner, _)| *owner == app)
            .filter_map(|(_, id)| self.keys.get(id).map(Arc::as_ref))
    }

    /// The channel groups of an app, in order of their names.
    pub fn groups_of(&self, app: AppId) -> impl Iterator<Item = (&Text, &OrdSet<Text>)> {
        self.groups
            .range((app, Text::default())..)
            .take_while(move |((owner, _), _)| *owner == app)
            .map(|((_, name), channels)| (name, channels))
    }

    /// The stored grants of one subject, in order of resource and pattern (exact names first).
    pub fn grants_of<'a>(
        &'a self,
        app: AppId,
        subject: &'a Subject,
    ) -> impl Iterator<Item = (&'a GrantKey, &'a Grant)> {
        let from = Place {
            app,
            subject,
            resource: Resource::Channel,
            pattern: PatternRef::Exact(""),
        };
        self.grants
            .range::<_, dyn GrantLookup>((
                Bound::Included(&from as &dyn GrantLookup),
                Bound::Unbounded,
            ))
            .take_while(move |(key, _)| key.app == app && key.subject == *subject)
    }

    /// The stored grants of one app.
    pub fn grants_in(&self, app: AppId) -> impl Iterator<Item = (&GrantKey, &Grant)> {
        let from = Place {
            app,
            subject: &Subject::Everyone,
            resource: Resource::Channel,
            pattern: PatternRef::Exact(""),
        };
        self.grants
            .range::<_, dyn GrantLookup>((
                Bound::Included(&from as &dyn GrantLookup),
                Bound::Unbounded,
            ))
            .take_while(move |(key, _)| key.app == app)
    }

    /// The wildcard grants of one subject on one kind of resource.
    pub(super) fn wildcards_of<'a>(
        &'a self,
        app: AppId,
        subject: &'a Subject,
        resource: Resource,
    ) -> impl Iterator<Item = (&'a GrantKey, &'a Grant)> {
        let from = Place {
            app,
            subject,
            resource,
            pattern: PatternRef::Wild(&Pattern::All),
        };
        self.grants
            .range::<_, dyn GrantLookup>((
                Bound::Included(&from as &dyn GrantLookup),
                Bound::Unbounded,
            ))
            .take_while(move |(key, _)| {
                key.app == app && key.resource == resource && key.subject == *subject
            })
    }

    /// The grant at exactly this place. Does not allocate.
    pub(super) fn grant_at(&self, place: &Place<'_>) -> Option<(&GrantKey, &Grant)> {
        self.grants.get_key_value(place as &dyn GrantLookup)
    }

    /// What of a stored grant holds on `name` at `now`: nothing once it has expired, was made before a
    /// revocation of its channel, or goes beyond what the key that made it may do now.
    #[must_use]
    pub fn grant_holds(
        &self,
        key: &GrantKey,
        grant: &Grant,
        name: &str,
        now_ms: Millis,
    ) -> Operations {
        if grant.expires_ms.is_some_and(|end| end <= now_ms) {
            return Operations::NONE;
        }
        let ceiling = match &grant.issuer {
            Issuer::Operator => Operations::ALL,
            Issuer::Key(issuer) => {
                let successor = self.key_successors.get(issuer).unwrap_or(issuer);
                match self.key_of(key.app, successor) {
                    Some(issuer) if issuer.is_live(now_ms) => {
                        issuer.capability.operations_on(key.resource, name)
                    }
                    Some(_) | None => return Operations::NONE,
                }
            }
        };
        if let (Resource::Channel, Pattern::Exact(channel)) = (key.resource, &key.pattern) {
            let target = Target::Channel(channel.clone());
            let void = self
                .revocations
                .get(&(key.app, target))
                .is_some_and(|revocation| revocation.voids_grant(grant.revision, now_ms));
            if void {
                return Operations::NONE;
            }
        }
        grant.operations.and(ceiling)
    }
}

impl ApiKey {
    /// Whether the key works: enabled, and its overlap (if it was rotated) not over.
    #[must_use]
    pub fn is_live(&self, now_ms: Millis) -> bool {
        self.enabled && self.expires_ms.is_none_or(|end| end > now_ms)
    }
}

/// Writers that keep the indexes in step. Each takes or returns whole records.
impl State {
    pub(super) fn put_key(&mut self, key: ApiKey) {
        self.unindex_key(&key.id);
        self.app_keys.insert((key.app, key.id.clone()));
        if let (Some(end), true) = (key.expires_ms, key.enabled) {
            self.expiry.insert((end, Expiring::Key(key.id.clone())));
        }
        self.keys.insert(key.id.clone(), key.into());
    }

    pub(super) fn drop_key(&mut self, id: &Text) -> Option<Arc<ApiKey>> {
        self.unindex_key(id);
        let key = self.keys.remove(id)?;
        self.app_keys.remove(&(key.app, id.clone()));
        Some(key)
    }

    fn unindex_key(&mut self, id: &Text) {
        if let Some(end) = self.keys.get(id).and_then(|key| key.expires_ms) {
            self.expiry.remove(&(end, Expiring::Key(id.clone())));
        }
    }

    pub(super) fn put_grant(&mut self, key: GrantKey, grant: Grant) {
        let end = grant.expires_ms;
        let before = self.grants.insert(key.clone(), grant);
        if before.is_none() {
            self.count_wild(&key, 1);
        }
        let was = before.and_then(|grant| grant.expires_ms);
        self.reindex(was, end, || Expiring::Grant(key));
    }

    pub(super) fn drop_grant(&mut self, key: &GrantKey) -> Option<Grant> {
        let grant = self.grants.remove(key)?;
        self.count_wild(key, -1);
        self.reindex(grant.expires_ms, None, || Expiring::Grant(key.clone()));
        Some(grant)
    }

    fn count_wild(&mut self, key: &GrantKey, more: i32) {
        if key.pattern.is_exact() {
            return;
        }
        let place = (key.app, key.subject.clone(), key.resource);
        let count = self.wild.get(&place).copied().unwrap_or(0);
        match count.saturating_add_signed(more) {
            0 => self.wild.remove(&place),
            some => self.wild.insert(place, some),
        };
    }

    pub(super) fn put_token(&mut self, id: Text, token: Token) {
        let (app, end) = (token.app, token.expires_ms);
        let before = self.tokens.insert((app, id.clone()), token);
        let was = before.and_then(|token| token.expires_ms);
        self.reindex(was, end, || Expiring::Token(app, id));
    }

    pub(super) fn drop_token(&mut self, app: AppId, id: &Text) -> Option<Token> {
        let token = self.tokens.remove(&(app, id.clone()))?;
        self.reindex(token.expires_ms, None, || Expiring::Token(app, id.clone()));
        Some(token)
    }

    pub(super) fn put_revocation(&mut self, app: AppId, target: Target, record: Revocation) {
        let end = record.forget_ms;
        let before = self.revocations.insert((app, target.clone()), record);
        let was = before.and_then(|record| record.forget_ms);
        self.reindex(was, end, || Expiring::Revocation(app, target));
    }

    pub(super) fn drop_revocation(&mut self, app: AppId, target: &Target) {
        let before = self.revocations.remove(&(app, target.clone()));
        let was = before.and_then(|record| record.forget_ms);
        self.reindex(was, None, || Expiring::Revocation(app, target.clone()));
    }

    pub(super) fn put_block(&mut self, app: AppId, subject: Subject, block: Block) {
        let end = block.until_ms;
        let before = self.blocks.insert((app, subject.clone()), block);
        let was = before.and_then(|block| block.until_ms);
        self.reindex(was, end, || Expiring::Block(app, subject));
    }

    pub(super) fn drop_block(&mut self, app: AppId, subject: &Subject) -> Option<Block> {
        let block = self.blocks.remove(&(app, subject.clone()))?;
        self.reindex(block.until_ms, None, || {
            Expiring::Block(app, subject.clone())
        });
        Some(block)
    }

    pub(super) fn put_nonce(&mut self, nonce: (AppId, Text, Text), until: Millis) {
        let was = self.nonces.insert(nonce.clone(), until);
        self.reindex(was, Some(until), || Expiring::Nonce(nonce));
    }

    pub(super) fn drop_nonce(&mut self, nonce: &(AppId, Text, Text)) {
        let was = self.nonces.remove(nonce);
        self.reindex(was, None, || Expiring::Nonce(nonce.clone()));
    }

    fn reindex(
        &mut self,
        was: Option<Millis>,
        is: Option<Millis>,
        what: impl FnOnce() -> Expiring,
    ) {
        if was == is {
            return;
        }
        let what = what();
        if let Some(was) = was {
            // The clone shares its texts; only an overwritten or early ended record comes here.
            self.expiry.remove(&(was, what.clone()));
        }
        if let Some(is) = is {
            self.expiry.insert((is, what));
        }
    }
}
