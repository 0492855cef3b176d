//! Which proxies in front of this node are believed, and who the client behind them is.
//!
//! Pure. A proxy says it by `X-Forwarded-For`, or in front of everything else by the PROXY protocol, version 2 (as HAProxy's
//! `send-proxy-v2` does).
//!
//! **Why nobody is believed by default:** whoever reaches the port can say anything, and what is said here is what listings,
//! the log and refusals show. A header that a proxy passes on as it came is the client's word, not the proxy's: so the way is
//! followed from this end, and only as far as trusted proxies tell it.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// Most addresses of a way that are looked at, from this end.
const MAX_HOPS: usize = 16;
/// What a header of the PROXY protocol, version 2, begins with.
pub(super) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family, and the length of the rest.
pub(super) const FIXED_BYTES: usize = 16;
/// Longest rest that is taken: both addresses and what a proxy adds of its own.
pub(super) const MAX_REST_BYTES: usize = 1024;

/// The proxies that are believed. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Arc<[IpNet]>);

impl TrustedProxies {
    /// Those of these networks.
    #[must_use]
    pub fn new(networks: Arc<[IpNet]>) -> Self {
        Self(networks)
    }

    /// Whether this one is believed.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|net| net.contains(&address))
    }

    /// The client's address as text: the peer's own, or the first behind trusted proxies. `forwarded` are the values of
    /// `X-Forwarded-For`, in the order in which they came.
    #[must_use]
    pub fn client<'h>(
        &self,
        peer: SocketAddr,
        forwarded: impl DoubleEndedIterator<Item = &'h str>,
    ) -> String {
        let mut known = peer.to_string();
        let mut teller = peer.ip();
        let way = forwarded.rev().flat_map(|line| line.rsplit(','));
        for said in way.map(str::trim).take(MAX_HOPS) {
            let Some(before) = address(said).filter(|_| self.has(teller)) else {
                break;
            };
            known = said.to_owned();
            teller = before;
        }
        known
    }
}

/// The address of an entry, which may have a port and brackets.
fn address(entry: &str) -> Option<IpAddr> {
    let with_port = || entry.parse().ok().map(|one: SocketAddr| one.ip());
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    entry.parse().ok().or_else(with_port).or_else(bracketed)
}

/// What the fixed part of a PROXY header says: how many bytes follow. `None`: it is none of version 2, or too long.
pub(super) fn rest_bytes(fixed: &[u8; FIXED_BYTES]) -> Option<usize> {
    let [head @ .., version, _, high, low] = fixed;
    let rest = usize::from(u16::from_be_bytes([*high, *low]));
    (head == SIGNATURE && version >> 4 == 2 && rest <= MAX_REST_BYTES).then_some(rest)
}

/// The client that a PROXY header names. `None`: it names nobody (the proxy speaks for itself), or is broken.
pub(super) fn source(fixed: &[u8; FIXED_BYTES], rest: &[u8]) -> Option<SocketAddr> {
    let [.., version, family, _, _] = *fixed;
    // LOCAL: a health check of the proxy itself.
    if version & 0x0f != 1 {
        return None;
    }
    let port = |at: usize| {
        let bytes = rest.get(at..at + 2)?.try_into().ok()?;
        Some(u16::from_be_bytes(bytes))
    };
    match family {
        0x11 => {
            let from: [u8; 4] = rest.get(..4)?.try_into().ok()?;
            Some((Ipv4Addr::from(from), port(8)?).into())
        }
        0x21 => {
            let from: [u8; 16] = rest.get(..16)?.try_into().ok()?;
            Some((Ipv6Addr::from(from), port(32)?).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn trusted(text: &str) -> TrustedProxies {
        let networks = text.split(", ").map(|one| one.parse().unwrap());
        TrustedProxies::new(networks.collect())
    }

    fn client(trusted: &TrustedProxies, peer: &str, lines: &[&str]) -> String {
        trusted.client(peer.parse().unwrap(), lines.iter().copied())
    }

    #[test]
    fn nobody_is_believed_who_is_not_named() {
        let none = TrustedProxies::default();
        assert_eq!(client(&none, "10.0.0.9:1", &["6.6.6.6"]), "10.0.0.9:1");
        let other = trusted("10.1.0.0/16");
        assert_eq!(client(&other, "10.0.0.9:1", &["6.6.6.6"]), "10.0.0.9:1");
    }

    #[test]
    fn the_way_is_followed_from_this_end_as_far_as_trusted_proxies_tell_it() {
        let own = trusted("10.0.0.0/8, 2001:db8::/32");
        let cases = [
            (&["9.9.9.9"][..], "9.9.9.9"),
            (&["9.9.9.9:443"], "9.9.9.9:443"),
            (&["2001:db9::1"], "2001:db9::1"),
            (&["[2001:db9::1]:443"], "[2001:db9::1]:443"),
            // What a client has said before its proxy added the truth.
            (&["6.6.6.6, 9.9.9.9"], "9.9.9.9"),
            (&["6.6.6.6", "9.9.9.9"], "9.9.9.9"),
            // Two proxies of our own.
            (&["6.6.6.6, 9.9.9.9, 10.2.2.2"], "9.9.9.9"),
            (&["9.9.9.9, 2001:db8::7"], "9.9.9.9"),
            // What is no address ends the way.
            (&["9.9.9.9, unknown"], "10.0.0.9:1"),
            (&[""], "10.0.0.9:1"),
            (&[], "10.0.0.9:1"),
            // Everybody is a proxy of ours: the farthest it is.
            (&["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
        ];
        for (lines, wanted) in cases {
            assert_eq!(client(&own, "10.0.0.9:1", lines), wanted, "{lines:?}");
        }
    }

    #[test]
    fn a_long_way_costs_no_more_than_a_bound() {
        let own = trusted("10.0.0.0/8");
        let line = ["10.0.0.1"; 4_000].join(",");
        assert_eq!(client(&own, "10.0.0.9:1", &["9.9.9.9", &line]), "10.0.0.1");
    }

    #[test]
    fn an_address_written_in_the_other_family_is_the_same() {
        assert!(trusted("10.0.0.0/8").has("::ffff:10.1.2.3".parse().unwrap()));
    }

    /// A header of this command and family with these addresses.
    fn header(command: u8, family: u8, rest: &[u8]) -> ([u8; FIXED_BYTES], Vec<u8>) {
        let mut fixed = [0; FIXED_BYTES];
        fixed[..12].copy_from_slice(SIGNATURE);
        fixed[12] = 0x20 | command;
        fixed[13] = family;
        fixed[14..].copy_from_slice(&u16::try_from(rest.len()).unwrap().to_be_bytes());
        (fixed, rest.to_vec())
    }

    #[test]
    fn a_header_names_whom_the_proxy_speaks_for() {
        let four = [9, 9, 9, 9, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb];
        let (fixed, rest) = header(1, 0x11, &four);
        assert_eq!(rest_bytes(&fixed), Some(12));
        assert_eq!(source(&fixed, &rest), "9.9.9.9:12345".parse().ok());
        // With what proxies add behind it.
        let (fixed, rest) = header(1, 0x11, &[&four[..], &[4, 0, 1, 7]].concat());
        assert_eq!(source(&fixed, &rest), "9.9.9.9:12345".parse().ok());
        let mut six = [0; 36];
        six[..2].copy_from_slice(&[0x20, 0x01]);
        six[15] = 1;
        six[32..34].copy_from_slice(&[0x30, 0x39]);
        let (fixed, rest) = header(1, 0x21, &six);
        assert_eq!(source(&fixed, &rest), "[2001::1]:12345".parse().ok());
    }

    #[test]
    fn what_is_broken_names_nobody() {
        let (local, rest) = header(0, 0x11, &[9; 12]);
        assert_eq!(source(&local, &rest), None);
        let (unix, rest) = header(1, 0x31, &[9; 216]);
        assert_eq!(source(&unix, &rest), None);
        for length in 0..12 {
            let (short, rest) = header(1, 0x11, &[9; 12][..length]);
            assert_eq!(source(&short, &rest).is_some(), length >= 10, "{length}");
        }
        let (mut first, _) = header(1, 0x11, &[9; 12]);
        first[12] = 0x11;
        assert_eq!(rest_bytes(&first), None, "of another version");
        let (long, _) = header(1, 0x11, &[0; MAX_REST_BYTES + 1]);
        assert_eq!(rest_bytes(&long), None);
        let mut other = long;
        other[0] = b'G';
        assert_eq!(rest_bytes(&other), None);
    }
}
