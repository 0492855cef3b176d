//! The signatures of a Pusher app server: subscriptions and HTTP triggers.
//!
//! **Must never know:** sockets. Written here anew, not borrowed from the broker's adapter, so that the
//! broker is not checked with its own mistakes; the vectors in the tests are the protocol's published ones.

use crate::Failure;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha2::Sha256;
use std::time::{SystemTime, UNIX_EPOCH};

/// An app's id, key and secret.
pub struct Credential {
    app: String,
    key: String,
    mac: Hmac<Sha256>,
}

impl Credential {
    /// From what the server's operator was given.
    ///
    /// # Errors
    /// Never in practice: HMAC takes keys of any length.
    pub fn new(app: &str, key: &str, secret: &str) -> Result<Self, Failure> {
        let mac = Hmac::new_from_slice(secret.as_bytes())?;
        Ok(Self {
            app: app.to_owned(),
            key: key.to_owned(),
            mac,
        })
    }

    /// The app's key, as clients name it when they connect.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    fn sign(&self, text: &str) -> String {
        let mut mac = self.mac.clone();
        mac.update(text.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    /// The `auth` of a subscription to a private channel.
    #[must_use]
    pub fn subscription(&self, socket: &str, channel: &str) -> String {
        format!("{}:{}", self.key, self.sign(&format!("{socket}:{channel}")))
    }

    /// A whole signed `POST /apps/{app}/events` for one message on one channel. `data` must need no
    /// JSON escaping.
    #[must_use]
    pub fn trigger(&self, channel: &str, data: &str) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        let body = format!(r#"{{"name":"m","channels":["{channel}"],"data":"{data}"}}"#);
        let target = self.signed_target(&body, now);
        format!(
            "POST {target} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn signed_target(&self, body: &str, seconds: u64) -> String {
        let path = format!("/apps/{}/events", self.app);
        let query = format!(
            "auth_key={}&auth_timestamp={seconds}&auth_version=1.0&body_md5={}",
            self.key,
            hex::encode(Md5::digest(body.as_bytes()))
        );
        let signature = self.sign(&format!("POST\n{path}\n{query}"));
        format!("{path}?{query}&auth_signature={signature}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential() -> Result<Credential, Failure> {
        Credential::new("3", "278d425bdf160c739803", "7ad3773142a6692b25b8")
    }

    #[test]
    fn the_trigger_of_the_http_reference() -> Result<(), Failure> {
        let body = r#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
        assert_eq!(
            credential()?.signed_target(body, 1_353_088_179),
            "/apps/3/events?auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0\
             &body_md5=ec365a775a4cd0599faeb73354201b6f\
             &auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
        );
        Ok(())
    }

    #[test]
    fn the_subscription_of_the_channels_reference() -> Result<(), Failure> {
        assert_eq!(
            credential()?.subscription("1234.1234", "private-foobar"),
            "278d425bdf160c739803:\
             58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"
        );
        Ok(())
    }
}
