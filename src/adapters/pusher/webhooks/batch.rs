//! What one request carries: events that go to the same hook, and who is to be told when they are over.
//!
//! **Why the body is built for each attempt:** the channel of one of several events may have moved to another home in
//! between; that one tells it then, and this node leaves it out.

use super::event::Said;
use super::hook::Hook;
use crate::core::authority::AppId;
use crate::core::channel::registry::Channels;
use crate::core::ids::{ChannelKey, Text};
use crate::core::lifecycle::EventId;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The header that names the events of a request, in their order, with commas between.
pub(super) const EVENT_IDS: &str = "X-Gatecast-Event-Ids";

/// Of an event that its channel keeps until every hook that asked for it is done with it.
#[derive(Debug)]
pub(super) struct Receipt {
    channel: Arc<ChannelKey>,
    id: EventId,
    /// So many hooks are not.
    open: AtomicUsize,
}

impl Receipt {
    pub(super) fn new(channel: Arc<ChannelKey>, id: EventId, hooks: usize) -> Arc<Self> {
        let open = AtomicUsize::new(hooks);
        Arc::new(Self { channel, id, open })
    }
}

/// An event on its way to one hook.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) said: Said,
    /// None of what a channel keeps no more: a dead letter.
    pub(super) receipt: Option<Arc<Receipt>>,
}

/// What is to be delivered.
#[derive(Clone, Debug)]
pub(super) struct SealedBatch {
    pub(super) app: AppId,
    pub(super) hook: Arc<Hook>,
    pub(super) items: Vec<Item>,
    /// The time in its body. From then on it is tried.
    pub(super) at_ms: u64,
    /// It is this dead letter.
    pub(super) letter: Option<u64>,
}

impl SealedBatch {
    /// The names of its events, each once.
    pub(super) fn names(&self) -> Vec<Text> {
        let mut names: Vec<Text> = self.items.iter().map(|one| one.said.name.into()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// How many events.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.items.len()).unwrap_or(u32::MAX)
    }

    /// What it weighs while it waits.
    pub(super) fn bytes(&self) -> usize {
        self.items.iter().map(|one| one.said.json.len()).sum()
    }

    /// The names of its events for ever.
    pub(super) fn ids(&self) -> String {
        let ids: Vec<&str> = self.items.iter().map(|one| &*one.said.id).collect();
        ids.join(",")
    }

    /// The request's body. The same when it is tried again.
    pub(super) fn body(&self) -> Bytes {
        let mut out = format!("{{\"time_ms\":{},\"events\":[", self.at_ms).into_bytes();
        for (index, one) in self.items.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&one.said.json);
        }
        out.extend_from_slice(b"]}");
        out.into()
    }

    /// Leaves out what another node tells by now; whether anything is left.
    pub(super) fn stays(&mut self, channels: &Channels) -> bool {
        self.items.retain(|one| {
            let receipt = one.receipt.as_ref();
            receipt.is_none_or(|receipt| !channels.is_elsewhere(&receipt.channel))
        });
        !self.items.is_empty()
    }

    /// This hook is done with all of it: channels that nobody else keeps waiting let go of it.
    pub(super) fn settle(&self, channels: &Channels) {
        let mut over: BTreeMap<&ChannelKey, Vec<EventId>> = BTreeMap::new();
        for receipt in self.items.iter().filter_map(|one| one.receipt.as_ref()) {
            if receipt.open.fetch_sub(1, Ordering::AcqRel) == 1 {
                over.entry(&receipt.channel).or_default().push(receipt.id);
            }
        }
        for (channel, ids) in over {
            channels.settled(channel, ids);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, clippy::unwrap_used)]
    use super::*;
    use crate::core::ids::NodeId;
    use crate::core::nodes::Members;

    fn batch(channels: &[&str], at_ms: u64) -> SealedBatch {
        let item = |channel: &&str| Item {
            said: Said {
                name: "channel_occupied",
                id: format!("id-{channel}").into(),
                json: format!(r#"{{"name":"channel_occupied","channel":"{channel}"}}"#)
                    .into_bytes(),
            },
            receipt: None,
        };
        SealedBatch {
            app: AppId(3),
            hook: Arc::new(serde_json::from_str(r#"{"url":"http://x"}"#).unwrap()),
            items: channels.iter().map(item).collect(),
            at_ms,
            letter: None,
        }
    }

    #[test]
    fn a_body_is_as_documented() {
        let single = r#"{"time_ms":1327078148132,"events":[{"name":"channel_occupied","channel":"my-channel"}]}"#;
        let one = batch(&["my-channel"], 1_327_078_148_132);
        assert_eq!((one.body(), &*one.ids()), (single.into(), "id-my-channel"));
        let both = batch(&["a", "b"], 1);
        let read: serde_json::Value = serde_json::from_slice(&both.body()).unwrap();
        assert_eq!(read["events"].as_array().unwrap().len(), 2);
        assert_eq!((&*both.ids(), both.count()), ("id-a,id-b", 2));
    }

    #[test]
    fn an_event_is_over_when_the_last_hook_is_done_with_it() {
        let channels = Channels::new(Arc::default(), &[]);
        let (receipt, one) = kept(2);
        let other = one.clone();
        one.settle(&channels);
        assert_eq!(receipt.open.load(Ordering::Acquire), 1);
        other.settle(&channels);
        assert_eq!(receipt.open.load(Ordering::Acquire), 0);
    }

    #[test]
    fn what_another_node_tells_by_now_is_left_out() {
        let channels = Channels::new(Arc::default(), &[]);
        let (_, mut one) = kept(1);
        assert!(one.stays(&channels), "a node alone is home of everything");
        channels.set_members(Members::alone(NodeId(9)));
        assert!(!one.stays(&channels));
        assert!(batch(&["a"], 1).stays(&channels), "no channel keeps it");
    }

    /// An event that its channel keeps until so many hooks are done.
    fn kept(hooks: usize) -> (Arc<Receipt>, SealedBatch) {
        let id = EventId { at: 1, epoch: 2 };
        let receipt = Receipt::new(ChannelKey::channel(AppId(3), "a"), id, hooks);
        let mut one = batch(&["a"], 1);
        one.items[0].receipt = Some(receipt.clone());
        (receipt, one)
    }
}
