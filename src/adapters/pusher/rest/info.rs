//! The `info` parameter: which counts are wanted.

use super::fault::Fault;
use crate::adapters::pusher::channel_name::{self, Class};
use crate::core::message::Occupancy;
use serde::Serialize;

/// The attributes asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Info {
    /// Distinct users of a presence channel.
    pub(super) user_count: bool,
    /// Whether the number of connections is asked for.
    pub(super) subscription_count: bool,
    /// The last event of a cache channel.
    pub(super) cache: bool,
}

/// The counts, as far as they were asked for and exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    #[serde(skip_serializing_if = "Option::is_none")]
    user_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_count: Option<u64>,
}

impl Info {
    /// Reads a comma-separated list.
    ///
    /// # Errors
    /// 400 for a word that is no attribute.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let mut info = Self::default();
        for word in text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            match word {
                "user_count" => info.user_count = true,
                "subscription_count" => info.subscription_count = true,
                "cache" => info.cache = true,
                _ => {
                    let text = "Invalid info: known are user_count, subscription_count and cache";
                    return Err(Fault::bad(text));
                }
            }
        }
        Ok(info)
    }

    /// The counts of one channel; what does not apply to it is left out.
    pub(super) fn counts(self, channel: &str, occupancy: Occupancy) -> Counts {
        let users = self.user_count && channel_name::class(channel) == Class::Presence;
        Counts {
            user_count: users.then_some(occupancy.clients),
            subscription_count: self.subscription_count.then_some(occupancy.subscribers),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn counts_that_do_not_apply_are_left_out() {
        let info = Info::parse("user_count, subscription_count").unwrap();
        let occupancy = Occupancy {
            subscribers: 3,
            clients: 2,
            members: 3,
        };
        let json = |channel| serde_json::to_string(&info.counts(channel, occupancy)).unwrap();
        assert_eq!(
            json("presence-a"),
            "{\"user_count\":2,\"subscription_count\":3}"
        );
        assert_eq!(json("a"), "{\"subscription_count\":3}");
        assert_eq!(Info::parse("").unwrap(), Info::default());
        assert_eq!(Info::parse("users").unwrap_err().status, 400);
    }
}
