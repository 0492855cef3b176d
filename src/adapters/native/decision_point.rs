//! `GET /.well-known/authzen-configuration`: where the AuthZEN paths are, for whoever looks for them by that document.
//!
//! **Why the address that was asked, and not one from the configuration:** the document has to name the address under which
//! it was found, and behind a balancer that is nobody's own. It is answered to whoever has named it, and kept by nobody.

use super::codes::{ApiError, Code};
use super::resource;
use crate::transport::Encrypted;
use actix_web::http::header::HOST;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

/// The path of the document. There is one for each address, not one for each app.
pub const PATH: &str = "/.well-known/authzen-configuration";
/// Longest name of a host, with its port.
const HOST_BYTES: usize = 300;

/// Adds the path of this file. It is for everybody: what it says, whoever asks has said.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(resource(PATH).get(document));
}

async fn document(http: HttpRequest) -> Result<HttpResponse, ApiError> {
    let base = base(&http).ok_or_else(|| {
        let message = "the request does not say at which host it was asked";
        ApiError::new(Code::BadValue, message)
    })?;
    let told = json!({
        "policy_decision_point": base,
        "access_evaluation_endpoint": format!("{base}/access/v1/evaluation"),
        "access_evaluations_endpoint": format!("{base}/access/v1/evaluations"),
    });
    Ok(HttpResponse::Ok()
        .insert_header(("Cache-Control", "no-store"))
        .json(told))
}

/// The address of whoever was asked, as it was asked.
fn base(http: &HttpRequest) -> Option<String> {
    let host = http.headers().get(HOST)?.to_str().ok()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if host.is_empty() || host.len() > HOST_BYTES || !host.bytes().all(plain) {
        return None;
    }
    let encrypted = http.conn_data::<Encrypted>().is_some();
    match (encrypted, http.connection_info().scheme()) {
        (true, _) | (false, "https") => Some(format!("https://{host}")),
        (false, "http") => Some(format!("http://{host}")),
        (false, _other) => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn the_address_is_the_one_that_was_asked() {
        let asked = |headers: &[(&'static str, &'static str)]| {
            let request = headers
                .iter()
                .fold(TestRequest::default(), |request, header| {
                    request.insert_header(*header)
                });
            base(&request.to_http_request())
        };
        let plain = asked(&[("host", "10.0.0.1:6001")]);
        assert_eq!(plain.as_deref(), Some("http://10.0.0.1:6001"));
        let behind = asked(&[("host", "rt.example.com"), ("x-forwarded-proto", "https")]);
        assert_eq!(behind.as_deref(), Some("https://rt.example.com"));
        let six = asked(&[("host", "[::1]:6001")]);
        assert_eq!(six.as_deref(), Some("http://[::1]:6001"));
        for bad in ["", "a/b", "a@b", "a\"b", "a b"] {
            assert_eq!(asked(&[("host", bad)]), None, "{bad}");
        }
        let strange = [("host", "a"), ("x-forwarded-proto", "javascript")];
        assert_eq!(asked(&strange), None);
        // Of whom else a proxy speaks is not looked at: whoever asked knows it by the host.
        let other = asked(&[("host", "a"), ("x-forwarded-host", "evil.example")]);
        assert_eq!(other.as_deref(), Some("http://a"));
    }
}
