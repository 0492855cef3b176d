//! That a connection begins or ceases to speak for somebody beside its principal, as its thread's index is told of it.

use crate::core::ids::{AppId, Text};

/// A connection begins or ceases to speak for somebody on one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeaksForChange {
    /// The app of the user.
    pub app: AppId,
    /// Her user / client id.
    pub user: Text,
    /// Whether it begins.
    pub begins: bool,
}
