//! The enforcer: access effects to every worker thread, in log order, acknowledged when they are carried out.
//!
//! **Why one batch at a time:** "enforced up to R" may only be said when everything up to R is, and a worker that hangs
//! must hold the acknowledgement back: that is what makes a revoke finished when it returns.

use super::messages::Enforce;
use super::relays::Relays;
use crate::core::authority::{Effect, EffectBatch, Revision};
use tokio::sync::mpsc::UnboundedReceiver;

/// Carries out batches until the access plane ends. `enforced` hears of every revision once everything up to
/// it is carried out, with the number of connections ended for it; `members_changed` after each change of the
/// member list.
pub async fn run(
    mut batches: UnboundedReceiver<EffectBatch>,
    relays: Relays,
    enforced: impl Fn(Revision, u64),
    members_changed: impl Fn(),
) {
    while let Some(batch) = batches.recv().await {
        let revision = batch.revision;
        let concerns = |effect: &Effect| match effect {
            Effect::Recheck { .. } | Effect::Cut { .. } | Effect::CutAll { .. } => true,
            Effect::AppChanged(_) | Effect::MembersChanged => false,
        };
        let moved = batch.effects.contains(&Effect::MembersChanged);
        let closed = if batch.effects.iter().any(concerns) {
            everywhere(&relays, batch).await
        } else {
            0
        };
        enforced(revision, closed);
        if moved {
            members_changed();
        }
    }
}

/// A worker that is gone took its connections with it and counts as done.
async fn everywhere(relays: &Relays, batch: EffectBatch) -> u64 {
    let asked = relays
        .all()
        .into_iter()
        .map(|relay| relay.send(Enforce(batch.clone())));
    let closed = futures_util::future::join_all(asked).await;
    closed.into_iter().flatten().sum()
}
