//! A simulated disk: what was written, what of it is durable, and what a power cut leaves.
//!
//! A cut leaves everything synced and a prefix of what was written after; so does the real engine.

use super::chance;
use crate::store::SyncQueue;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;
type Writes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

#[derive(Debug, Default)]
struct Platter {
    live: [Map; 3],
    durable: [Map; 3],
    /// Written and not yet durable, in order.
    pending: Vec<(usize, Writes)>,
    /// Writes ever made.
    written: u64,
    slow: bool,
}

fn carry_out(maps: &mut [Map; 3], at: usize, writes: &Writes) {
    for (key, value) in writes {
        match value {
            Some(value) => maps[at].insert(key.clone(), value.clone()),
            None => maps[at].remove(key),
        };
    }
}

impl Platter {
    /// Everything up to the write of this number survives from here on.
    fn settle(&mut self, upto: u64) {
        let first = self.written - self.pending.len() as u64;
        let count = upto.saturating_sub(first) as usize;
        for (at, writes) in self.pending.drain(..count) {
            carry_out(&mut self.durable, at, &writes);
        }
    }
}

/// One node's disk; it outlives the node's lives. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<Platter>>);

impl Disk {
    pub(crate) fn tree(&self, at: usize) -> Tree {
        Tree {
            disk: self.clone(),
            at,
        }
    }

    /// Syncs in simulated time.
    pub(crate) fn queue(&self) -> SyncQueue {
        let disk = self.clone();
        let order = Arc::new(tokio::sync::Mutex::new(()));
        SyncQueue::by(move |done| {
            let (disk, order) = (disk.clone(), Arc::clone(&order));
            super::life::spawn(async move {
                // One at a time and in order; a sync covers what was written before it begins.
                let _turn = order.lock().await;
                let (upto, slow) = {
                    let platter = disk.0.lock().unwrap();
                    (platter.written, platter.slow)
                };
                let stall = slow && chance::per_mille(300);
                tokio::time::sleep(match stall {
                    true => chance::millis(50, 400),
                    false => chance::millis(0, 4),
                })
                .await;
                disk.0.lock().unwrap().settle(upto);
                done(Ok(()));
            });
        })
    }

    /// Whether syncs stall now and then.
    pub(crate) fn set_slow(&self, slow: bool) {
        self.0.lock().unwrap().slow = slow;
    }

    /// The power goes: of what is not durable, some prefix survives. Returns how many writes were lost.
    pub(crate) fn cut(&self) -> usize {
        let pending = self.0.lock().unwrap().pending.len() as u64;
        self.cut_keeping(chance::below(pending + 1))
    }

    /// As [`Disk::cut`], and of what is not durable only the first so many writes survive.
    pub(crate) fn cut_keeping(&self, kept: u64) -> usize {
        let mut platter = self.0.lock().unwrap();
        let first = platter.written - platter.pending.len() as u64;
        platter.settle(first + kept);
        let lost = platter.pending.len();
        platter.pending.clear();
        platter.live = platter.durable.clone();
        platter.written = first + kept;
        lost
    }
}

/// One tree on it.
#[derive(Debug)]
pub(crate) struct Tree {
    disk: Disk,
    at: usize,
}

impl Tree {
    pub(crate) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.disk.0.lock().unwrap().live[self.at].get(key).cloned()
    }

    pub(crate) fn write(&self, writes: Writes) {
        let mut platter = self.disk.0.lock().unwrap();
        carry_out(&mut platter.live, self.at, &writes);
        platter.pending.push((self.at, writes));
        platter.written += 1;
    }

    pub(crate) fn range(&self, keys: RangeInclusive<Vec<u8>>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let platter = self.disk.0.lock().unwrap();
        let found = platter.live[self.at].range(keys);
        found.map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    pub(crate) fn sync_now(&self) {
        let mut platter = self.disk.0.lock().unwrap();
        let upto = platter.written;
        platter.settle(upto);
    }
}
