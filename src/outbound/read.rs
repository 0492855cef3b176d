//! One answer, read as far as it may be long.
//!
//! **Must never know:** what it says. **Why not what the HTTP client reads by itself:** that takes as much as is sent.

use super::target::{Clients, innermost};
use reqwest::{StatusCode, Url};

/// The body of what stands at this address, if that is at most this long.
///
/// # Errors
/// Why it cannot be had, in words that tell nothing of the address.
pub(super) async fn get(
    clients: &Clients,
    url: &str,
    private: bool,
    max_bytes: usize,
) -> Result<Vec<u8>, String> {
    let url = Url::parse(url).map_err(|error| format!("this is no address: {error}"))?;
    let plain = url.scheme() == "http" && private;
    if url.scheme() != "https" && !plain {
        return Err("keys are fetched by https only".into());
    }
    let failed = |error: reqwest::Error| innermost(&error.without_url());
    let request = clients.to(&url, private)?.get(url);
    let mut answer = request.send().await.map_err(failed)?;
    let status = answer.status();
    if status != StatusCode::OK {
        let hint = match status.is_redirection() {
            true => ", and redirects are not followed",
            false => "",
        };
        return Err(format!("the answer is {}{hint}", status.as_u16()));
    }
    let too_long = || format!("the answer is longer than {max_bytes} bytes");
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(failed)? {
        if body.len() + piece.len() > max_bytes {
            return Err(too_long());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}
