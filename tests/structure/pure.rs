//! Which files are pure, as data: tested by giving them inputs, without a clock, a network or a thread.
//!
//! **Why a list and not a rule of names:** a file is pure by what it does not do, and whoever adds one decides it.

use crate::Finding;
use crate::source::Source;

/// Files (prefixes) that are pure: what comes out follows from what goes in. Whoever says in the head of a file that it is
/// pure is entered here.
pub(crate) const PURE: &[&str] = &[
    "cluster/src/raft/clock",
    "cluster/src/raft/proofs",
    "cluster/src/versions",
    "src/adapters/ably/capability",
    "src/adapters/ably/encoder",
    "src/adapters/ably/format",
    "src/adapters/ably/frame",
    "src/adapters/ably/key_name",
    "src/adapters/ably/member",
    "src/adapters/ably/message",
    "src/adapters/ably/position",
    "src/adapters/ably/session",
    "src/adapters/pubnub/cbor",
    "src/adapters/pubnub/cursor",
    "src/adapters/pubnub/envelope",
    "src/adapters/pubnub/filter",
    "src/adapters/pubnub/names",
    "src/adapters/pubnub/outgoing",
    "src/adapters/pubnub/presence_interval",
    "src/adapters/pubnub/presence_leases",
    "src/adapters/pubnub/query",
    "src/adapters/pubnub/rates",
    "src/adapters/pubnub/rights",
    "src/adapters/pubnub/selection",
    "src/adapters/pubnub/signature",
    "src/adapters/pubnub/token",
    "src/adapters/pusher/channel_name",
    "src/adapters/pusher/encoder",
    "src/adapters/pusher/frame/",
    "src/adapters/pusher/session",
    "src/adapters/pusher/webhooks/event",
    "src/adapters/pusher/webhooks/hook",
    "src/adapters/pusher/webhooks/retry",
    "src/adapters/realtime/command",
    "src/adapters/realtime/encoder",
    "src/adapters/realtime/filter",
    "src/adapters/realtime/frame",
    "src/adapters/realtime/session",
    "src/adapters/realtime/text",
    "src/cli/duration",
    "src/cli/import",
    "src/cli/request",
    "src/core/access",
    "src/core/channel/budget",
    "src/core/channel/fanout",
    "src/core/channel/replica/",
    "src/core/channel/requests",
    "src/core/channel/wildcard",
    "src/core/clock",
    "src/core/close",
    "src/core/connection/effects",
    "src/core/connection/io",
    "src/core/connection/presence_entry",
    "src/core/connection/speaks_for",
    "src/core/connection/state",
    "src/core/delivery/channels",
    "src/core/delivery/encoding",
    "src/core/delivery/index",
    "src/core/delivery/speaks_for",
    "src/core/delivery/stale_buffer",
    "src/core/delivery/timers",
    "src/core/error",
    "src/core/filters",
    "src/core/lifecycle",
    "src/core/limits",
    "src/core/message",
    "src/core/nodes",
    "src/core/polling/queue",
    "src/core/redact",
    "src/core/session",
    "src/core/suggest",
    "src/core/token_bucket",
    "src/peers/frame",
    "src/transport/head",
    "src/transport/ws/decode",
    "src/transport/ws/frame",
];

/// A file that says of itself that it is pure, and is under no law that holds it to that.
pub(crate) fn check(source: &Source) -> Option<Finding> {
    let mut head = source
        .text
        .lines()
        .take_while(|line| line.starts_with("//!"));
    let says = head.any(|line| line.contains("Pure.") || line.contains("Pure:"));
    let machine = source.path.starts_with("cluster/src/access/");
    let held = machine || PURE.iter().any(|place| source.path.starts_with(place));
    let what = "says that it is pure: enter it in `PURE` of tests/structure/pure.rs";
    (says && !held).then(|| Finding {
        path: source.path.clone(),
        line: 1,
        what: what.into(),
    })
}
