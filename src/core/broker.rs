//! The broker as HTTP adapters and the operator's console see it: one cheap handle, async methods.

mod audit;
mod deliveries;

use super::authority::{Authority, Pass};
use super::channel::messages::{Leave, Mutate, Mutation, PublishBatchTo, PublishTo, Read, ReplyTo};
use super::channel::registry::Channels;
use super::delivery::messages::{AbortConnection, ListConnections, Measure, TakeOver};
use super::delivery::port::HandOver;
use super::delivery::relays::Relays;
use super::delivery::traffic::Report;
use super::durations::Durations;
use super::error::Refusal;
use super::ids::{AppId, ChannelKey, ConnectionId, NodeId, Text, Timetoken};
use super::listing::{ConnectionFilter, ConnectionInfo};
use super::message::{Draft, Member, Occupancy, PresenceChange, Publication, Receipt};
use super::query::{Queries, Query, QueryAnswer, QueryPort};
use super::refusals::record::{RefusalFilter, RefusalRecord, key_shown, user_shown};
use super::refusals::{Line, Refusals, Told, Why};
use super::session::{HistoryPage, NewMember};
use std::sync::Arc;
use tokio::sync::oneshot;

/// The handle. Clone it into every worker.
#[derive(Clone, Debug)]
pub struct Broker {
    /// Decisions and changes.
    pub authority: Arc<Authority>,
    /// Channels of this node.
    pub channels: Channels,
    /// Worker threads of this node, entered by the transport as they start.
    pub relays: Relays,
    /// Who was refused what on this node.
    pub refusals: Arc<Refusals>,
    /// How long publishing through this handle took, by whoever waited for it.
    pub publishing: Arc<Durations>,
    queries: Queries,
}

impl Broker {
    /// A broker without worker threads yet.
    #[must_use]
    pub fn new(authority: Arc<Authority>, channels: Channels) -> Self {
        Self {
            authority,
            channels,
            relays: Relays::default(),
            refusals: Arc::default(),
            publishing: Arc::default(),
            queries: Queries::default(),
        }
    }

    /// The same broker, but the channels that this handle starts live on the calling thread.
    #[must_use]
    pub fn on_this_thread(&self) -> Self {
        Self {
            channels: self.channels.on_this_thread(),
            ..self.clone()
        }
    }

    /// Gives the broker its way to ask other nodes. Once; later calls change nothing.
    pub fn connect_queries(&self, port: Arc<dyn QueryPort>) {
        self.queries.connect(port);
    }

    /// Publishes and waits until the channel's home (and backup) have it.
    ///
    /// # Errors
    /// When it was refused, could not be placed, or its outcome is unknown.
    pub async fn publish(
        &self,
        key: &Arc<ChannelKey>,
        draft: Draft,
        pass: Pass,
    ) -> Result<Receipt, Refusal> {
        let _timed = self.publishing.begin();
        let (reply, answer) = oneshot::channel();
        let message = PublishTo {
            draft: Box::new(draft),
            pass,
            reply: ReplyTo::Once(reply),
        };
        self.channels.get(key).do_send(message);
        answer.await.unwrap_or(Err(Refusal::OutcomeUnknown))
    }

    /// The same with several that are published in this order, with nothing in between, and all or none. A receipt
    /// for each.
    ///
    /// # Errors
    /// As [`Self::publish`], of all of them.
    pub async fn publish_batch(
        &self,
        key: &Arc<ChannelKey>,
        drafts: Vec<Draft>,
        pass: Pass,
    ) -> Result<Vec<Receipt>, Refusal> {
        let _timed = self.publishing.begin();
        let (reply, answer) = oneshot::channel();
        let message = PublishBatchTo {
            drafts,
            pass,
            reply,
        };
        self.channels.get(key).do_send(message);
        answer.await.unwrap_or(Err(Refusal::OutcomeUnknown))
    }

    /// Keeps a client in the presence set on a connection of that name; news only when it was not there, or
    /// with other data.
    ///
    /// # Errors
    /// When the set is full, the pass does not allow it, or the home cannot be asked.
    pub async fn ensure_present(
        &self,
        key: &Arc<ChannelKey>,
        connection: ConnectionId,
        member: NewMember,
        pass: Pass,
    ) -> Result<(), Refusal> {
        self.mutate(key, Mutation::EnsurePresent(connection, member), Some(pass))
            .await
    }

    /// Takes a client's entry on a connection of that name out of the presence set, if there is one.
    ///
    /// # Errors
    /// When the home cannot be asked.
    pub async fn leave_presence(
        &self,
        key: &Arc<ChannelKey>,
        connection: ConnectionId,
        client: Text,
    ) -> Result<(), Refusal> {
        self.mutate(key, Mutation::Leave(connection, client), None)
            .await
    }

    /// The connection of that name is gone without a word: its entries leave the presence set.
    pub fn time_out_presence(&self, key: &Arc<ChannelKey>, connection: ConnectionId) {
        if let Some(channel) = self.channels.existing(key) {
            channel.do_send(Leave {
                connection,
                gone: true,
                keeps_members: false,
            });
        }
    }

    /// Forgets publications stamped in `after < timetoken <= until`.
    ///
    /// # Errors
    /// When the pass does not allow it, or the home cannot be asked.
    pub async fn erase(
        &self,
        key: &Arc<ChannelKey>,
        (after, until): (Timetoken, Timetoken),
        pass: Pass,
    ) -> Result<(), Refusal> {
        self.mutate(key, Mutation::Erase(after, until), Some(pass))
            .await
    }

    async fn mutate(
        &self,
        key: &Arc<ChannelKey>,
        mutation: Mutation,
        pass: Option<Pass>,
    ) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        self.channels.get(key).do_send(Mutate {
            mutation,
            pass,
            reply,
        });
        let stopped = Refusal::Unavailable("the channel stopped");
        answer.await.unwrap_or(Err(stopped))
    }

    /// Counts of one channel, cluster-wide.
    ///
    /// # Errors
    /// When its home cannot be asked.
    pub async fn occupancy(&self, key: &Arc<ChannelKey>) -> Result<Occupancy, Refusal> {
        self.read(key, Read::Occupancy).await
    }

    /// The presence set, in order of entry.
    ///
    /// # Errors
    /// When its home cannot be asked.
    pub async fn members(&self, key: &Arc<ChannelKey>) -> Result<Arc<[Member]>, Refusal> {
        self.read(key, Read::Members).await
    }

    /// The retained last value.
    ///
    /// # Errors
    /// When its home cannot be asked.
    pub async fn last(&self, key: &Arc<ChannelKey>) -> Result<Option<Arc<Publication>>, Refusal> {
        self.read(key, Read::LastValue).await
    }

    /// A page of history, in the order asked for.
    ///
    /// # Errors
    /// When its home cannot be asked.
    pub async fn history(
        &self,
        key: &Arc<ChannelKey>,
        page: HistoryPage,
    ) -> Result<Vec<Arc<Publication>>, Refusal> {
        self.read(key, |reply| Read::History(page, reply)).await
    }

    /// A page of who came and went, in the order asked for.
    ///
    /// # Errors
    /// When its home cannot be asked.
    pub async fn changes(
        &self,
        key: &Arc<ChannelKey>,
        page: HistoryPage,
    ) -> Result<Vec<Arc<PresenceChange>>, Refusal> {
        self.read(key, |reply| Read::PresenceLog(page, reply)).await
    }

    async fn read<T>(
        &self,
        key: &Arc<ChannelKey>,
        read: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Read,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.channels.get(key).do_send(read(reply));
        let stopped = Refusal::Unavailable("the channel stopped");
        answer.await.unwrap_or(Err(stopped))
    }

    /// The occupied channels of an app whose names start with `prefix`, cluster-wide, with their counts,
    /// sorted by name, at most `limit`.
    ///
    /// # Errors
    /// When a node that may hold some cannot be asked.
    pub async fn occupied(
        &self,
        app: AppId,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<(Text, Occupancy)>, Refusal> {
        let query = Query::Occupied {
            app,
            prefix: prefix.into(),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        };
        let mut all = self.channels.occupied_here(app, prefix, limit);
        for found in self.ask_others(&query).await? {
            match found {
                QueryAnswer::Occupied(there) => all.extend(there),
                QueryAnswer::Connections(_)
                | QueryAnswer::Deliveries(_)
                | QueryAnswer::Aborted(_)
                | QueryAnswer::Refusals(..)
                | QueryAnswer::AuditAt(..) => {
                    return Err(CONFUSED);
                }
            }
        }
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        // Both homes of a channel that is just moving may name it.
        all.dedup_by(|(one, _), (other, _)| one == other);
        all.truncate(limit);
        Ok(all)
    }

    /// What has gone through this node's worker threads, added up.
    ///
    /// # Errors
    /// When a worker thread cannot be asked.
    pub async fn traffic(&self) -> Result<Report, Refusal> {
        let asked = self.relays.all();
        let asked = asked.iter().map(|relay| relay.send(Measure));
        let mut all = Report::default();
        for one in futures_util::future::join_all(asked).await {
            all.add(&one.map_err(|_| Refusal::Unavailable("a worker thread has ended"))?);
        }
        Ok(all)
    }

    /// Connections of every node, at most `limit` of each.
    ///
    /// # Errors
    /// When a node or worker thread cannot be asked; the list would be incomplete.
    pub async fn connections(
        &self,
        filter: ConnectionFilter,
    ) -> Result<Vec<ConnectionInfo>, Refusal> {
        let mut all = self.connections_here(filter.clone()).await?;
        all.extend(self.connections_elsewhere(filter).await?);
        Ok(all)
    }

    /// Connections of this node, at most `limit` of them.
    ///
    /// # Errors
    /// When a worker thread cannot be asked; the list would be incomplete.
    pub async fn connections_here(
        &self,
        filter: ConnectionFilter,
    ) -> Result<Vec<ConnectionInfo>, Refusal> {
        let mut all = Vec::new();
        for relay in self.relays.all() {
            let some = relay.send(ListConnections(filter.clone())).await;
            all.extend(some.map_err(|_| Refusal::Unavailable("a worker thread has ended"))?);
        }
        all.sort_by_key(|one| one.id);
        all.truncate(filter.limit as usize);
        Ok(all)
    }

    /// Connections on every node but this one.
    ///
    /// # Errors
    /// When a node cannot be asked.
    pub async fn connections_elsewhere(
        &self,
        filter: ConnectionFilter,
    ) -> Result<Vec<ConnectionInfo>, Refusal> {
        let mut all = Vec::new();
        for found in self.ask_others(&Query::Connections(filter)).await? {
            match found {
                QueryAnswer::Connections(there) => all.extend(there),
                QueryAnswer::Occupied(_)
                | QueryAnswer::Deliveries(_)
                | QueryAnswer::Aborted(_)
                | QueryAnswer::Refusals(..)
                | QueryAnswer::AuditAt(..) => {
                    return Err(CONFUSED);
                }
            }
        }
        Ok(all)
    }

    /// The last refusals by every node, newest first, at most as many as the filter says, and how many more there were
    /// that nobody kept.
    ///
    /// # Errors
    /// When a node cannot be asked; the list would be incomplete.
    pub async fn refusals(
        &self,
        filter: RefusalFilter,
    ) -> Result<(Vec<RefusalRecord>, u64), Refusal> {
        let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        let (mut all, mut left_out) = self.refusals.last(&filter);
        for found in self.ask_others(&Query::Refusals(filter)).await? {
            match found {
                QueryAnswer::Refusals(there, more) => {
                    all.extend(there);
                    left_out = left_out.saturating_add(more);
                }
                QueryAnswer::Occupied(_)
                | QueryAnswer::Connections(_)
                | QueryAnswer::Deliveries(_)
                | QueryAnswer::Aborted(_)
                | QueryAnswer::AuditAt(..) => return Err(CONFUSED),
            }
        }
        all.sort_by_key(|one| std::cmp::Reverse((one.at_ms, one.node, one.id)));
        all.truncate(limit);
        Ok((all, left_out))
    }

    /// Somebody has been refused something: the one place that all of it passes, whatever the dialect or transport.
    pub fn refused(&self, dialect: &'static str, remote: &str, told: Told) {
        let (view, at_ms) = (self.authority.view(), self.authority.now().cluster_ms);
        // What a stranger says is believed only if there is such an app.
        let app = told.app.filter(|app| view.apps.contains_key(app));
        let Why { rule, detail } = told.why;
        let record = || RefusalRecord {
            id: 0,
            node: self.channels.node(),
            at_ms,
            dialect: dialect.into(),
            app,
            channel: told.channel,
            key: told.key.map(|id| {
                key_shown(
                    &id,
                    view.keys.get(&id).is_some_and(|key| Some(key.app) == app),
                )
            }),
            user: told.user.map(|user| user_shown(&user)),
            remote: remote.into(),
            code: told.code,
            rule: rule.row().0.into(),
            detail: detail.clone(),
        };
        if let Some(line) = self.refusals.note((dialect, app, rule), at_ms, record) {
            log(&line, dialect, remote);
        }
    }

    /// Logs what was refused and counted since the last line of its kind. To be called every few seconds.
    pub fn log_refusals(&self) {
        for line in self.refusals.overdue(self.authority.now().cluster_ms) {
            log(&line, "", "");
        }
    }

    /// Ends the socket that a connection has on this node, if any, so that another can carry the connection
    /// on: it takes over the presence entries.
    pub async fn take_over(&self, id: ConnectionId) -> Option<HandOver> {
        let asked = self.relays.all();
        let asked = asked.iter().map(|relay| relay.send(TakeOver(id)));
        let answers = futures_util::future::join_all(asked).await;
        answers.into_iter().find_map(|answer| answer.ok().flatten())
    }

    /// Ends the socket that a connection may still have on another node: it is carried on here. Its members stay
    /// there for as long as after any lost socket, unless they enter here.
    pub async fn sever_elsewhere(&self, id: ConnectionId) {
        // A node that cannot be asked finds out by itself that its client is gone.
        let _ = self.ask_others(&Query::AbortConnection(id)).await;
    }

    /// Ends the socket that a connection may have on this node; whether it had one.
    pub async fn sever_here(&self, id: ConnectionId) -> bool {
        let asked = self.relays.all();
        let asked = asked.iter().map(|relay| relay.send(AbortConnection(id)));
        let answers = futures_util::future::join_all(asked).await;
        answers.into_iter().any(|answer| answer.unwrap_or(false))
    }

    /// Asks every other node that may have clients, all at once. One that cannot be asked fails the whole:
    /// a short list must not look like a complete one.
    async fn ask_others(&self, query: &Query) -> Result<Vec<QueryAnswer>, Refusal> {
        let own = self.channels.node();
        let members = self.channels.members();
        let others: Vec<NodeId> = members.nodes().filter(|node| *node != own).collect();
        if others.is_empty() {
            return Ok(Vec::new());
        }
        let port = self.queries.port();
        let port = port.ok_or(Refusal::Unavailable("not linked to the other nodes"))?;
        let asked = others.into_iter().map(|node| port.ask(node, query.clone()));
        futures_util::future::try_join_all(asked).await
    }
}

/// One line stands for all of its app and rule in a minute; dialect and address are those of the last.
fn log(line: &Line, dialect: &str, remote: &str) {
    let (rule, advice) = line.rule.row();
    let app = line.app.map(|app| app.0);
    tracing::info!(
        rule,
        app,
        count = line.count,
        dialect,
        remote,
        advice,
        "refused"
    );
}

const CONFUSED: Refusal = Refusal::Unavailable("a node answered another question");
