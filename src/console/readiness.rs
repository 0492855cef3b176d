//! Whether this node should be sent traffic, and if not, why.

use crate::core::authority::{Authority, DiskSpace, Freshness, MemberState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Where this process is in its life. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Life(Arc<AtomicU8>);

const OPEN: u8 = 1;
const DRAINING: u8 = 2;

impl Life {
    /// Clients are served.
    pub fn open(&self) {
        self.0.store(OPEN, Ordering::Release);
    }

    /// The process is on its way out.
    pub fn drain(&self) {
        self.0.store(DRAINING, Ordering::Release);
    }

    /// Whether it is.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.load(Ordering::Acquire) == DRAINING
    }

    fn reason(&self) -> Option<&'static str> {
        match self.0.load(Ordering::Acquire) {
            OPEN => None,
            DRAINING => Some("draining: this node is going down in order"),
            _starting => Some("starting: clients are not served yet"),
        }
    }
}

/// Everything that speaks against sending traffic here; empty = ready. `copied`: the start of this node since which all is
/// copied that it is home or backup of.
#[must_use]
pub fn reasons(authority: &Authority, life: &Life, copied: u64) -> Vec<String> {
    let mut reasons: Vec<String> = life.reason().map(str::to_owned).into_iter().collect();
    match authority.freshness() {
        Freshness::Fresh(_) => {}
        Freshness::Stale(age) => reasons.push(format!(
            "stale: no majority has confirmed this node's view for {} ms",
            age.as_millis()
        )),
        Freshness::Never => {
            reasons.push("stale: no majority has confirmed this node's view yet".into())
        }
    }
    if let Some(status) = authority.status() {
        if let Some(failure) = &status.failure {
            reasons.push(format!("failed: {failure}"));
        }
        if status.clock_is_wrong {
            reasons.push(format!(
                "clock: this node's wall clock is {} ms off the cluster's",
                status.clock_off_ms
            ));
        }
        match status.disk {
            DiskSpace::Enough => {}
            DiskSpace::Short | DiskSpace::Full => {
                reasons.push("disk: too little room is left to take changes".into());
            }
        }
        let own = status.nodes.iter().find(|node| node.node == status.node);
        let member = own.and_then(|node| node.member.as_ref());
        match member.map(|member| member.state) {
            Some(MemberState::Up) if member.is_some_and(|one| one.epoch != copied) => {
                reasons.push("copying: channels of this node are not on two nodes yet".into());
            }
            Some(MemberState::Up) => {}
            Some(MemberState::Down) => {
                reasons.push("down: the cluster has given this node up".into())
            }
            Some(MemberState::Draining) => reasons.push("draining: asked to leave".into()),
            None => reasons.push("joining: not in the member list yet".into()),
        }
    }
    reasons
}

/// Whether all is copied that this node, since its present start, is home or backup of.
#[must_use]
pub fn is_copied(authority: &Authority, copied: u64) -> bool {
    let Some(status) = authority.status() else {
        return true;
    };
    let own = status.nodes.iter().find(|node| node.node == status.node);
    let member = own.and_then(|node| node.member.as_ref());
    member.is_some_and(|one| one.state == MemberState::Up && one.epoch == copied)
}
