//! Fresh ids and secrets, made by whoever proposes the command and carried in it.
//!
//! **Why a retry mints the same again:** a repeated "create" must answer with the ids that its first run stored; they
//! are derived from the cluster's secret, the caller's own and its idempotency key. The cluster's is in it because a
//! key may be rotated on account of a leak: whoever has the old secret must not be able to compute the new one.

use crate::adapters::dialect::{Alias, Dialects, Shape};
use crate::core::authority::{AppId, Secret, Text};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sha2::Sha256;

/// A source of ids and secrets.
#[derive(Debug)]
pub struct IdSource(StdRng);

impl IdSource {
    /// From the system's randomness.
    #[must_use]
    pub fn random() -> Self {
        Self(StdRng::from_os_rng())
    }

    /// The same for the same caller's secret and request, on every node of a cluster. A node on its own that was given
    /// no secret makes one up when it starts, and there a retry is the same until then.
    #[must_use]
    pub fn derived(cluster_secret: &[u8], caller: &[u8], request: u128) -> Self {
        let mut seed = [0; 32];
        // HMAC takes keys of any length; an error cannot happen and would only cost the retry its sameness.
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(cluster_secret) {
            mac.update(b"gatecast mint");
            // Of fixed length, and so in front.
            mac.update(&request.to_be_bytes());
            mac.update(caller);
            seed.copy_from_slice(&mac.finalize().into_bytes());
            return Self(StdRng::from_seed(seed));
        }
        Self::random()
    }

    /// An app id: ten decimal digits.
    pub fn app_id(&mut self) -> AppId {
        AppId(self.0.random_range(1_000_000_000..=9_999_999_999))
    }

    /// A key id: 20 hexadecimal digits, as Pusher's app keys look.
    pub fn key_id(&mut self) -> Text {
        self.hex(20).into()
    }

    /// A secret: 32 letters and digits, 190 bits.
    pub fn secret(&mut self) -> Secret {
        Secret(self.alphanumeric(32).into())
    }

    /// The names by which these dialects know an app: (kind, name).
    pub fn aliases(&mut self, dialects: Dialects) -> Vec<(Text, Text)> {
        let aliases = dialects.iter().flat_map(|dialect| dialect.aliases());
        let name = |alias: &Alias| {
            let drawn = match alias.shape {
                Shape::Uuid => self.uuid(),
                Shape::Alphanumeric(length) => self.alphanumeric(length),
            };
            let name = format!("{}{drawn}", alias.prefix);
            (alias.kind.into(), name.into())
        };
        aliases.map(name).collect()
    }

    fn uuid(&mut self) -> String {
        let parts = [8, 4, 4, 4, 12].map(|length| self.hex(length));
        parts.join("-")
    }

    fn hex(&mut self, length: usize) -> String {
        self.letters(b"0123456789abcdef", length)
    }

    fn alphanumeric(&mut self, length: usize) -> String {
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        self.letters(letters, length)
    }

    fn letters(&mut self, from: &[u8], length: usize) -> String {
        let pick = |_| from.get(self.0.random_range(0..from.len())).copied();
        (0..length).filter_map(pick).map(char::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_what_the_sdks_accept() {
        let mut ids = IdSource::random();
        assert_eq!(ids.app_id().to_string().len(), 10);
        let key = ids.key_id();
        assert!(key.len() == 20 && key.bytes().all(|b| b.is_ascii_hexdigit()));
        let secret = ids.secret();
        assert!(secret.0.len() == 32 && secret.0.bytes().all(|b| b.is_ascii_alphanumeric()));
        let aliases = ids.aliases(crate::adapters::ALL);
        assert!(
            aliases
                .iter()
                .any(|(_, name)| name.starts_with("sub-c-") && name.len() == 42)
        );
    }

    #[test]
    fn a_retry_mints_the_same_and_nobody_else_does() {
        let secret = |from: &[u8], request| IdSource::derived(b"cluster", from, request).secret();
        let elsewhere = IdSource::derived(b"another cluster", b"a", 1).secret();
        assert_ne!(
            secret(b"a", 1),
            elsewhere,
            "the caller's secret is not enough"
        );
        assert_eq!(secret(b"a", 1), secret(b"a", 1));
        assert_ne!(secret(b"a", 1), secret(b"a", 2));
        assert_ne!(secret(b"a", 1), secret(b"b", 1));
        assert_ne!(IdSource::random().secret(), IdSource::random().secret());
    }
}
