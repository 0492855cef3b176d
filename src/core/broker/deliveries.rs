//! What became of lifecycle events on their way out of the cluster: asked of all nodes, as connections and refusals are.

use super::{Broker, CONFUSED};
use crate::core::error::Refusal;
use crate::core::ids::AppId;
use crate::core::lifecycle::{DeadLetter, Replay, WebhookDelivery};
use crate::core::query::{Query, QueryAnswer};

impl Broker {
    /// The last deliveries of an app's lifecycle events by every node, newest first, at most `limit`.
    ///
    /// # Errors
    /// When a node cannot be asked; the list would be incomplete.
    pub async fn deliveries(
        &self,
        app: AppId,
        limit: usize,
    ) -> Result<Vec<WebhookDelivery>, Refusal> {
        let query = Query::Deliveries {
            app,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        };
        let listener = self.channels.listener();
        let mut all = listener.map_or_else(Vec::new, |one| one.deliveries(app, limit));
        for found in self.ask_others(&query).await? {
            match found {
                QueryAnswer::Deliveries(there) => all.extend(there),
                QueryAnswer::Occupied(_)
                | QueryAnswer::Connections(_)
                | QueryAnswer::Aborted(_)
                | QueryAnswer::Refusals(..)
                | QueryAnswer::AuditAt(..) => {
                    return Err(CONFUSED);
                }
            }
        }
        all.sort_by_key(|one| std::cmp::Reverse((one.at_ms, one.id)));
        all.truncate(limit);
        Ok(all)
    }

    /// The deliveries of an app's lifecycle events that were given up, newest first, at most `limit`.
    ///
    /// # Errors
    /// When those who keep them cannot be asked.
    pub async fn dead_letters(&self, app: AppId, limit: usize) -> Result<Vec<DeadLetter>, Refusal> {
        match self.channels.listener() {
            Some(listener) => listener.dead_letters(app, limit).await,
            None => Ok(Vec::new()),
        }
    }

    /// Delivers those of them with these ids after all, or all.
    ///
    /// # Errors
    /// When those who keep them cannot be asked.
    pub async fn replay(&self, app: AppId, ids: Option<Vec<u64>>) -> Result<Replay, Refusal> {
        match self.channels.listener() {
            Some(listener) => listener.replay(app, ids).await,
            None => Ok(Replay::default()),
        }
    }
}
