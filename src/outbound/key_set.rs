//! The keys that a provider publishes, from where its record says.
//!
//! **Why the metadata has to name the very issuer:** whoever serves them for another would otherwise speak for this one
//! (OpenID Connect Discovery 1.0, 4.3).

use super::read::{Place, get};
use super::target::Clients;
use crate::core::authority::{KeySource, Provider, PublicKey};
use crate::identity::keys;
use serde::Deserialize;

/// Most bytes of an issuer's metadata.
const METADATA_BYTES: usize = 64 << 10;
/// Where they are below the issuer's address.
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

/// Fetches them. `private` = also from where is not public, and without TLS.
///
/// # Errors
/// Why there are none, for operators and for whoever owns the app.
pub(super) async fn fetch(
    clients: &Clients,
    provider: &Provider,
    private: bool,
) -> Result<Vec<PublicKey>, String> {
    let place = |max_bytes| Place {
        clients,
        private,
        max_bytes,
    };
    let url = match &provider.source {
        KeySource::Given => return Err("its keys are given".into()),
        KeySource::KeySet(url) => url.to_string(),
        KeySource::Discovery(url) => {
            let at = format!("{}{WELL_KNOWN}", url.trim_end_matches('/'));
            let body = get(place(METADATA_BYTES), &at).await;
            let body = body.map_err(|why| format!("metadata: {why}"))?;
            let read = serde_json::from_slice::<Metadata>(&body);
            let no_metadata = |_| "this is no metadata of an issuer".to_owned();
            let metadata = read.map_err(no_metadata)?;
            if *metadata.issuer != *provider.iss {
                return Err("the metadata are another issuer's".into());
            }
            metadata.jwks_uri
        }
    };
    let body = get(place(keys::MAX_BYTES), &url).await?;
    let keys = keys::read(&body).map_err(|why| why.to_string())?;
    match keys.is_empty() {
        true => Err("the key set has no key for signing that is known here".into()),
        false => Ok(keys),
    }
}
