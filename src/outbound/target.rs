//! Where a request of ours may connect to that somebody else has named the target of, and the HTTP client that connects
//! nowhere else.
//!
//! A name is resolved here, every address is judged, and the connection goes to one of the addresses that were
//! judged: a name that answers differently the second time gains nothing.
//!
//! **Must never know:** what is sent or read. **Why redirects are not followed:** whoever may answer could send us to an address of the inside.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Url};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

/// How long one attempt takes at most.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest text of what went wrong.
const REASON_BYTES: usize = 200;

/// Whether the address belongs to the public Internet.
pub(crate) fn is_public(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => public_v4(addr),
        IpAddr::V6(addr) => public_v6(addr),
    }
}

fn public_v4(addr: Ipv4Addr) -> bool {
    let [a, b, c, _] = addr.octets();
    let inside = addr.is_private()
        || addr.is_loopback()
        || addr.is_link_local()
        || addr.is_multicast()
        || addr.is_documentation()
        || a == 0
        || a >= 240
        // Shared address space of providers, IETF protocol assignments, benchmarks.
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19));
    !inside
}

fn public_v6(addr: Ipv6Addr) -> bool {
    let [first, second, third, fourth, fifth, sixth, high, low] = addr.segments();
    let inner = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    if let Some(mapped) = addr.to_ipv4_mapped() {
        return public_v4(mapped);
    }
    match (first, second) {
        // An IPv4 address behind a translator or a tunnel.
        (0x64, 0xff9b) if (third, fourth, fifth, sixth) == (0, 0, 0, 0) => {
            public_v4(inner(high, low))
        }
        (0x2002, _) => public_v4(inner(second, third)),
        (0x2001, 0x0db8 | 0x0000) => false,
        // Only global unicast is handed out.
        _ => first & 0xe000 == 0x2000,
    }
}

/// The clients: one for targets that may be inside, one for all others.
#[derive(Clone, Debug)]
pub struct Clients {
    public: Option<Client>,
    any: Option<Client>,
}

impl Clients {
    /// With this name in every request; no attempt takes longer than that.
    #[must_use]
    pub fn new(agent: &'static str, within: Duration) -> Self {
        let build = |private: bool| {
            let client = Client::builder()
                .http1_only()
                // PHP's library looks for `X-Pusher-Key` in exactly this case.
                .http1_title_case_headers()
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                .timeout(within)
                .connect_timeout(CONNECT_TIMEOUT.min(within))
                .pool_max_idle_per_host(4)
                .user_agent(agent)
                .dns_resolver(Arc::new(Judged { private }))
                .build();
            client
                .inspect_err(
                    |error| tracing::error!(%error, agent, "no client for requests of our own"),
                )
                .ok()
        };
        Self {
            public: build(false),
            any: build(true),
        }
    }

    /// The client for this address.
    ///
    /// # Errors
    /// When the address is itself one that may not be reached.
    pub fn to(&self, url: &Url, private: bool) -> Result<&Client, String> {
        // Addresses are not resolved, so they are judged here. The parser has made one of every odd spelling.
        let host = url.host_str().unwrap_or_default();
        let literal: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        if !private && literal.is_some_and(|addr| !is_public(addr)) {
            return Err(REFUSED.into());
        }
        let client = if private { &self.any } else { &self.public };
        client.as_ref().ok_or_else(|| "no HTTP client".into())
    }
}

const REFUSED: &str = "the target's address is not public, which this app may not reach";

/// Resolves names to addresses that may be connected to.
#[derive(Clone, Copy, Debug)]
struct Judged {
    private: bool,
}

impl Resolve for Judged {
    fn resolve(&self, name: Name) -> Resolving {
        let private = self.private;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let (good, bad): (Vec<_>, Vec<_>) =
                found.partition(|addr| private || is_public(addr.ip()));
            if good.is_empty() && !bad.is_empty() {
                return Err(REFUSED.into());
            }
            Ok(Box::new(good.into_iter()) as Addrs)
        })
    }
}

/// What went wrong with a request, in at most `REASON_BYTES`. The innermost cause says what; the outer ones say that
/// something did.
#[must_use]
pub fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(inner) = last.source() {
        last = inner;
    }
    let text = last.to_string();
    let end = text.floor_char_boundary(REASON_BYTES);
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_inside_is_told_from_the_outside() {
        let outside = [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ];
        for addr in outside {
            assert!(is_public(addr.parse().unwrap()), "{addr}");
        }
        let inside = [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "192.0.0.1",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            // A translator of the network's own: where it puts the address, nobody outside knows.
            "64:ff9b:1::808:808",
            "64:ff9b:1:a00:1::",
            "64:ff9b:1:ffff:ffff:ffff:808:808",
            "64:ff9b:0:1::808:808",
            "2002:7f00:1::",
            "2001:db8::1",
            "::127.0.0.1",
        ];
        for addr in inside {
            assert!(!is_public(addr.parse().unwrap()), "{addr}");
        }
    }
}
