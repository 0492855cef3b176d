//! Discovery: which server to use. Any node will do, so it is the one that was asked.
//!
//! **Why the body has no line end:** one client takes what stands between fixed offsets from both ends of it.

use crate::adapters::realtime::Site;
use actix_web::http::header::HOST;
use actix_web::http::uri::Authority;
use actix_web::{HttpRequest, HttpResponse, web};

/// Answers `GET /server/2.1`.
#[allow(clippy::unused_async)] // Handlers are async.
pub(super) async fn plain(request: HttpRequest, site: web::Data<Site>) -> HttpResponse {
    answer(&url(site.0.as_deref(), host(&request), false))
}

/// Answers `GET /server/ssl/2.1`.
#[allow(clippy::unused_async)] // Handlers are async.
pub(super) async fn secure(request: HttpRequest, site: web::Data<Site>) -> HttpResponse {
    answer(&url(site.0.as_deref(), host(&request), true))
}

/// What the request calls us. Not what it says that a proxy was called (`Forwarded`, `X-Forwarded-Host`): whoever asks can
/// say that through most proxies, and a cache would send others there.
fn host(request: &HttpRequest) -> &str {
    let host = request.headers().get(HOST);
    let host = host.and_then(|host| host.to_str().ok());
    host.or_else(|| request.uri().authority().map(Authority::as_str))
        .unwrap_or_default()
}

fn answer(url: &str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/x-javascript")
        .insert_header(("Access-Control-Allow-Origin", "*"))
        .insert_header(("Cache-Control", "no-store"))
        .body(format!("var SOCKET_SERVER = \"{url}\";"))
}

/// Scheme, host and port, without a slash at the end. A TLS port is always said: one client speaks TLS only then.
fn url(site: Option<&str>, host: &str, tls: bool) -> String {
    let said = site.map(|site| site.trim_end_matches('/'));
    let host = match said.and_then(|site| site.split_once("://")) {
        Some(("https", authority)) => return format!("https://{}", with_port(authority)),
        Some((_, authority)) => authority,
        None => host,
    };
    // What a request calls its host is written into a script.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
    let host = match !host.is_empty() && host.bytes().all(plain) {
        true => host,
        false => "localhost",
    };
    match tls {
        false => format!("http://{host}"),
        // TLS ends at a proxy in front, at its usual port.
        true => format!("https://{}:443", without_port(host)),
    }
}

fn with_port(authority: &str) -> String {
    match without_port(authority) == authority {
        true => format!("{authority}:443"),
        false => authority.to_owned(),
    }
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        Some(_) | None => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::to_bytes;
    use actix_web::test::TestRequest;

    #[test]
    fn the_url_is_the_operators_or_the_requests_own() {
        assert_eq!(url(None, "127.0.0.1:8090", false), "http://127.0.0.1:8090");
        assert_eq!(
            url(None, "chat.example:6001", true),
            "https://chat.example:443"
        );
        assert_eq!(url(None, "[::1]:6001", false), "http://[::1]:6001");
        let site = Some("https://rt.example/");
        assert_eq!(url(site, "x", false), "https://rt.example:443");
        assert_eq!(
            url(Some("http://rt.example:80"), "x", false),
            "http://rt.example:80"
        );
        assert_eq!(
            url(Some("https://rt.example:8443"), "x", true),
            "https://rt.example:8443"
        );
    }

    #[actix_web::test]
    async fn who_asks_cannot_say_where_others_go() {
        for (name, value) in [
            ("Forwarded", "host=evil.example"),
            ("X-Forwarded-Host", "evil.example"),
        ] {
            let request = TestRequest::get()
                .insert_header(("Host", "chat.example:6001"))
                .insert_header((name, value));
            let site = web::Data::new(Site(None));
            let answer = plain(request.to_http_request(), site).await;
            let body = to_bytes(answer.into_body()).await.unwrap_or_default();
            assert_eq!(body, "var SOCKET_SERVER = \"http://chat.example:6001\";");
        }
    }

    #[test]
    fn a_host_cannot_write_the_script() {
        assert_eq!(url(None, "x\";alert(1);\"", false), "http://localhost");
        assert_eq!(url(None, "", false), "http://localhost");
    }
}
