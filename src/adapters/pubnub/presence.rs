//! Presence over HTTP: heartbeat, leave, here now, where now, state.

use super::admit::{Caller, Ctx, requirement};
use super::codes::{Fault, ok};
use super::names::{self, distinct, split};
use super::presence_leases::{self, Guest, Heartbeat, Owner};
use super::subscribe::{heartbeat, states};
use super::{PubNub, envelope, groups, query};
use crate::core::authority::{Operations, Pass, Resource};
use crate::core::broker::Broker;
use crate::core::ids::{ChannelKey, Text};
use crate::core::message::Member;
use crate::core::refusals::Rule;
use actix_web::{HttpResponse, web};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Most clients listed of one channel.
const MAX_LISTED: usize = 1_000;
/// How long a heartbeat leaves it to a subscribe to enter its client first.
const ENTER_AFTER: Duration = Duration::from_secs(1);
/// Most channels looked at for one client or the whole keyset.
const CHANNELS: usize = 1_000;

/// A presence call: its tools and its caller.
pub(super) struct Call<'a> {
    pub(super) node: &'a web::Data<PubNub>,
    pub(super) broker: &'a web::Data<Broker>,
    pub(super) caller: &'a Caller,
    pub(super) ctx: &'a Ctx<'a>,
}

fn done(more: Value) -> HttpResponse {
    let mut body = json!({ "status": 200, "message": "OK", "service": "Presence" });
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    ok(&body)
}

impl Call<'_> {
    /// The channels named, without presence names, and those of the groups named.
    fn channels(&self, channels: &str) -> Result<(Vec<Text>, Vec<Text>), Fault> {
        let named = query::path_list(channels).ok_or_else(|| Fault::bad("Invalid channel"))?;
        let plain = |names: Vec<&str>| {
            let plain = names.into_iter().filter(|name| !split(name).1);
            distinct(plain)
        };
        let channels = plain(named.iter().map(String::as_str).collect());
        let groups = plain(self.ctx.query.list("channel-group"));
        match channels.len() + groups.len() {
            count if count > CHANNELS => Err(Fault::bad("Too many channels")),
            _ => Ok((channels, groups)),
        }
    }

    fn key(&self, channel: &str) -> Arc<ChannelKey> {
        names::key(self.caller.app.id, channel)
    }

    /// The right to each, and to the channels of each group by the group's.
    async fn allowed(
        &self,
        (channels, groups): &(Vec<Text>, Vec<Text>),
        needs: Operations,
        wants: Operations,
    ) -> Result<Vec<(Arc<ChannelKey>, Pass)>, Fault> {
        let authority = &self.broker.authority;
        let of = |resource| move |name: &Text| requirement(resource, name, needs);
        let requirements: Vec<_> = channels.iter().map(of(Resource::Channel)).collect();
        let passes = self.caller.allow(authority, &requirements, wants).await?;
        let keys = channels.iter().map(|name| self.key(name));
        let mut all: Vec<_> = keys.zip(passes).collect();
        if !super::admit::is_open(&self.caller.app) {
            let requirements: Vec<_> = groups.iter().map(of(Resource::Group)).collect();
            let passes = self.caller.allow(authority, &requirements, wants).await?;
            let view = authority.view();
            for (group, pass) in groups.iter().zip(passes) {
                for member in groups::members(&view, self.caller.app.id, group) {
                    all.push((self.key(&member), pass.clone()));
                }
            }
            return Ok(all);
        }
        let view = authority.view();
        let members = groups
            .iter()
            .flat_map(|group| groups::members(&view, self.caller.app.id, group));
        let requirements: Vec<_> = members
            .map(|name| requirement(Resource::Channel, &name, needs))
            .collect();
        let passes = self.caller.allow(authority, &requirements, wants).await?;
        let keys = requirements
            .iter()
            .map(|requirement| self.key(&requirement.name));
        all.extend(keys.zip(passes));
        Ok(all)
    }

    /// Keeps the client present.
    pub(super) async fn heartbeat(&self, channels: &str) -> Result<HttpResponse, Fault> {
        let named = self.channels(channels)?;
        let allowed = self
            .allowed(&named, Operations::SUBSCRIBE, Operations::PRESENCE)
            .await?;
        let states = states(self.ctx.query.get("state"));
        let now_ms = self.broker.authority.now().mono_ms;
        let until_ms = now_ms + heartbeat(self.ctx) * 1_000;
        let guest = self.caller.guest();
        for (channel, pass) in allowed {
            if guest.uuid.is_empty() || !pass.operations().contains(Operations::PRESENCE) {
                continue;
            }
            let heartbeat = Heartbeat {
                guest: guest.clone(),
                state: states.get(&*channel.name).cloned(),
                arrives: true,
                channel,
                until_ms,
            };
            match self.node.leases.knows(&heartbeat.guest, &heartbeat.channel) {
                true => self.node.leases.touch(self.broker, heartbeat, pass).await,
                false => self.enter_later(heartbeat, pass),
            }
        }
        Ok(done(json!({})))
    }

    /// Clients send their first heartbeat beside their first subscribe, and are to hear of their own join.
    fn enter_later(&self, heartbeat: Heartbeat, pass: Pass) {
        let (node, broker) = (self.node.clone(), self.broker.clone());
        actix_web::rt::spawn(async move {
            actix_web::rt::time::sleep(ENTER_AFTER).await;
            node.leases.touch(&broker, heartbeat, pass).await;
        });
    }

    /// Lets the client leave what it may be on, and what its own credential has entered before its right ended.
    pub(super) async fn leave(&self, channels: &str) -> Result<HttpResponse, Fault> {
        let named = self.channels(channels)?;
        self.caller.may_speak_for(&self.caller.uuid)?;
        let guest = self.caller.guest();
        let leases = &self.node.leases;
        let held =
            |name: &Text| guest.owner != Owner::Nobody && leases.knows(&guest, &self.key(name));
        let (own, asked): (Vec<Text>, Vec<Text>) = named.0.into_iter().partition(held);
        let asked = (asked, named.1);
        let allowed = self
            .allowed(&asked, Operations::SUBSCRIBE, Operations::NONE)
            .await?;
        let allowed = allowed.into_iter().map(|(key, _)| key);
        for key in allowed.chain(own.iter().map(|name| self.key(name))) {
            leases.leave(self.broker, &guest, &key).await;
        }
        Ok(done(json!({ "action": "leave" })))
    }

    /// Who is on these channels; on all of them without any named.
    pub(super) async fn here_now(&self, channels: Option<&str>) -> Result<HttpResponse, Fault> {
        let needs = Operations::PRESENCE_READ;
        let named = match channels {
            Some(channels) => self.channels(channels)?,
            None => (Vec::new(), Vec::new()),
        };
        let global = named.0.is_empty() && named.1.is_empty();
        let allowed: Vec<Arc<ChannelKey>> = match global {
            false => {
                let allowed = self.allowed(&named, needs, Operations::NONE).await?;
                allowed.into_iter().map(|(key, _)| key).collect()
            }
            true => self.everywhere().await?,
        };
        if let ([_], []) = (&named.0[..], &named.1[..]) {
            let members = match allowed.first() {
                Some(key) => self.broker.members(key).await?,
                None => return Err(Fault::unavailable()),
            };
            return Ok(done(self.shown(&members)));
        }
        let mut shown = Map::new();
        let mut total = 0;
        for key in &allowed {
            let members = self.broker.members(key).await?;
            let clients = clients(&members).len();
            if clients > 0 || !global {
                total += clients;
                shown.insert(key.name.to_string(), self.shown(&members));
            }
        }
        Ok(done(json!({ "payload": {
            "total_channels": shown.len(), "total_occupancy": total, "channels": shown,
        } })))
    }

    /// Every occupied channel that the caller may look at.
    async fn everywhere(&self) -> Result<Vec<Arc<ChannelKey>>, Fault> {
        let app = self.caller.app.id;
        let occupied = self.broker.occupied(app, "", CHANNELS).await?;
        let names = occupied.into_iter().map(|(name, _)| name).collect();
        let authority = &self.broker.authority;
        let seen = self
            .caller
            .sees(authority, Resource::Channel, names)
            .await?;
        Ok(seen.iter().map(|name| self.key(name)).collect())
    }

    fn shown(&self, members: &[Member]) -> Value {
        let clients = clients(members);
        let mut shown = Map::new();
        shown.insert("occupancy".into(), clients.len().into());
        if !self.ctx.query.flag("disable_uuids") {
            let limit = self.ctx.query.number("limit").unwrap_or(MAX_LISTED as u64);
            let offset = self.ctx.query.number("offset").unwrap_or(0);
            let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
            let page = clients
                .iter()
                .skip(count(offset))
                .take(count(limit).min(MAX_LISTED));
            let with_state = self.ctx.query.flag("state");
            let uuids = page.map(|(uuid, data)| match with_state {
                false => Value::from(&***uuid),
                true => match envelope::state(data) {
                    Some(state) => json!({ "uuid": &***uuid, "state": state }),
                    None => json!({ "uuid": &***uuid }),
                },
            });
            shown.insert("uuids".into(), uuids.collect());
        }
        Value::Object(shown)
    }

    /// Where a client is, as far as the caller may look: on channels whose members it may see, and wherever a token
    /// that names this client has entered it. Asks the home of each of them.
    pub(super) async fn where_now(&self, uuid: &str) -> Result<HttpResponse, Fault> {
        let uuid = query::decode(uuid)
            .ok_or_else(|| Fault::bad("Invalid uuid").because(Rule::UserName))?;
        let authority = &self.broker.authority;
        self.caller.may_speak_for(&self.caller.uuid)?;
        self.caller.stands(authority).await?;
        let app = self.caller.app.id;
        let occupied = self.broker.occupied(app, "", CHANNELS).await?;
        let names: Vec<Text> = occupied.into_iter().map(|(name, _)| name).collect();
        let seen = self
            .caller
            .sees(authority, Resource::Channel, names.clone());
        let seen: BTreeSet<Text> = seen.await?.into_iter().collect();
        let own = self.caller.is_proven(&uuid);
        let keys = names.iter().filter(|name| own || seen.contains(*name));
        let keys: Vec<_> = keys.map(|name| self.key(name)).collect();
        let asked = keys.iter().map(|key| self.broker.members(key));
        let asked = futures_util::future::join_all(asked).await;
        let there = keys.iter().zip(asked).filter(|(key, members)| {
            let members = members.as_ref().map(|all| &all[..]).unwrap_or_default();
            let mut entries = members.iter().filter(|member| *member.client == *uuid);
            let any = seen.contains(&key.name);
            entries.any(|entry| any || presence_leases::is_ours(entry.connection))
        });
        let channels: Vec<&str> = there.map(|(key, _)| &*key.name).collect();
        Ok(done(json!({ "payload": { "channels": channels } })))
    }

    /// A client's state.
    pub(super) async fn state(&self, channels: &str, uuid: &str) -> Result<HttpResponse, Fault> {
        let uuid = query::decode(uuid)
            .ok_or_else(|| Fault::bad("Invalid uuid").because(Rule::UserName))?;
        let named = self.channels(channels)?;
        let needs = Operations::PRESENCE_READ;
        let allowed = self.allowed(&named, needs, Operations::NONE).await?;
        let mut states = Map::new();
        for (key, _) in &allowed {
            let members = self.broker.members(key).await?;
            let data = clients(&members).remove(&Text::from(uuid.as_str()));
            let state = data.and_then(|data| envelope::state(data));
            states.insert(key.name.to_string(), state.unwrap_or_else(|| json!({})));
        }
        if let ([one], []) = (&named.0[..], &named.1[..]) {
            let payload = states.remove(&**one);
            return Ok(done(
                json!({ "payload": payload, "uuid": uuid, "channel": &**one }),
            ));
        }
        Ok(done(
            json!({ "payload": { "channels": states }, "uuid": uuid }),
        ))
    }

    /// Sets the state of a client.
    pub(super) async fn set_state(
        &self,
        channels: &str,
        uuid: &str,
    ) -> Result<HttpResponse, Fault> {
        let uuid = query::decode(uuid)
            .ok_or_else(|| Fault::bad("Invalid uuid").because(Rule::UserName))?;
        let text = self.ctx.query.get("state").unwrap_or_default();
        let state: Value = serde_json::from_str(text).unwrap_or(Value::Null);
        if !state.is_object() || text.len() > 32_768 {
            return Err(Fault::bad("Invalid JSON specified as state"));
        }
        self.caller.may_speak_for(&uuid)?;
        let named = self.channels(channels)?;
        let allowed = self
            .allowed(&named, Operations::SUBSCRIBE, Operations::PRESENCE)
            .await?;
        let guest = Guest {
            uuid: uuid.as_str().into(),
            ..self.caller.guest()
        };
        let until_ms = self.broker.authority.now().mono_ms + heartbeat(self.ctx) * 1_000;
        for (channel, pass) in allowed {
            if !pass.operations().contains(Operations::PRESENCE) {
                continue;
            }
            let heartbeat = Heartbeat {
                guest: guest.clone(),
                state: Some(Bytes::from(state.to_string())),
                arrives: true,
                channel,
                until_ms,
            };
            self.node.leases.touch(self.broker, heartbeat, pass).await;
        }
        Ok(done(json!({ "payload": state })))
    }
}

/// Every client once, with what it said of itself last; what was said under a token that names it counts before what
/// anybody may have said in its name.
fn clients(members: &[Member]) -> BTreeMap<&Text, &Bytes> {
    let mut said: BTreeMap<&Text, &Member> = BTreeMap::new();
    for member in members {
        let known = said.entry(&member.client).or_insert(member);
        let proven =
            |one: &Member| presence_leases::is_proven(one.connection) && !one.data.is_empty();
        let later = member.since >= known.since && !member.data.is_empty();
        let better = match (proven(known), proven(member)) {
            (true, false) => false,
            (false, true) => true,
            (true, true) | (false, false) => later || known.data.is_empty(),
        };
        if better {
            *known = member;
        }
    }
    let all = said.into_iter();
    all.map(|(client, member)| (client, &member.data)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::authority::{AppId, NodeId};

    #[test]
    fn what_a_token_says_of_its_user_stands_before_what_anybody_says() {
        let guest = |owner| Guest {
            uuid: "ann".into(),
            owner,
        };
        let member = |owner, since, data: &'static str| Member {
            client: "ann".into(),
            connection: guest(owner).connection(NodeId(1), AppId(1)),
            node: NodeId(1),
            data: Bytes::from_static(data.as_bytes()),
            since,
        };
        let said = |members: &[Member]| {
            let all = clients(members);
            all.into_values().next().cloned().unwrap_or_default()
        };
        let hers = member(Owner::User, 1, "hers");
        let key = member(Owner::Credential("k".into()), 2, "key");
        let later = member(Owner::Nobody, 3, "later");
        assert_eq!(said(&[hers.clone(), key.clone(), later.clone()]), "hers");
        assert_eq!(said(&[later.clone(), key.clone(), hers]), "hers");
        assert_eq!(said(&[key.clone(), later]), "later");
        // Silence is no word.
        let silent = member(Owner::User, 4, "");
        assert_eq!(said(&[key, silent]), "key");
    }
}
