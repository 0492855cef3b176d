//! No call is answered to a key that has every right, but not there, nor to nobody.
#![allow(clippy::unwrap_used)]

use super::PubNub;
use super::fixture::{self, NARROW, PUB, SUB};
use super::rest::routes;
use crate::core::authority::{Authority, Capability, Operations};
use crate::core::broker::Broker;
use crate::core::channel::registry::Channels;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, web};
use std::sync::Arc;

fn authority() -> Arc<Authority> {
    let mut commands = fixture::commands(&[]);
    let elsewhere = Capability::channel("elsewhere", Operations::ALL);
    commands.push(fixture::narrow(elsewhere));
    let authority = Authority::fixed(fixture::state(&commands), 1_000);
    authority.take_writes(&[]);
    Arc::new(authority)
}

/// The path and query as the narrow key signs them.
fn signed(path: &str, query: &str) -> String {
    let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    pairs.extend(["timestamp=1", "uuid=u"]);
    pairs.sort_unstable();
    let query = pairs.join("&");
    let text = format!("GET\n{PUB}\n{path}\n{query}\n");
    format!(
        "{path}?{query}&signature=v2.{}",
        fixture::mac(NARROW, &text)
    )
}

#[actix_web::test]
async fn no_call_is_answered_to_who_has_its_right_elsewhere() {
    let broker = Broker::new(authority(), Channels::new(Arc::default(), &[]));
    let app = App::new()
        .app_data(web::Data::new(broker))
        .app_data(web::Data::new(PubNub::default()))
        .configure(routes);
    let app = init_service(app).await;
    let presence = format!("/v2/presence/sub-key/{SUB}/channel/c");
    let groups = format!("/v1/channel-registration/sub-key/{SUB}/channel-group/g");
    for (path, query) in [
        (format!("/publish/{PUB}/{SUB}/0/c/0/1"), ""),
        (format!("/signal/{PUB}/{SUB}/0/c/0/1"), ""),
        (format!("/subscribe/{SUB}/c/0/0"), ""),
        (format!("/v2/subscribe/{SUB}/c/0"), ""),
        (format!("{presence}/heartbeat"), ""),
        (format!("{presence}/leave"), ""),
        (format!("{presence}/uuid/u/data"), "state=%7B%7D"),
        (presence.clone(), ""),
        (format!("{presence}/uuid/v"), ""),
        (groups.clone(), ""),
        (groups.clone(), "add=c"),
        (format!("{groups}/remove"), ""),
        (
            format!("/v1/auth/grant/sub-key/{SUB}"),
            "auth=k&channel=c&r=1",
        ),
        (
            format!("/v2/auth/grant/sub-key/{SUB}"),
            "auth=k&channel=c&r=1",
        ),
        (format!("/v2/auth/audit/sub-key/{SUB}"), "channel=c"),
        (format!("/v2/history/sub-key/{SUB}/channel/c"), ""),
        (format!("/v3/history/sub-key/{SUB}/channel/c"), ""),
        (
            format!("/v3/history/sub-key/{SUB}/message-counts/c"),
            "timetoken=1",
        ),
        (
            format!("/v3/history-with-actions/sub-key/{SUB}/channel/c"),
            "",
        ),
    ] {
        let status = async |target: &str| {
            let request = TestRequest::get().uri(target).to_request();
            call_service(&app, request).await.status().as_u16()
        };
        let narrow = status(&signed(&path, query)).await;
        assert_eq!(narrow, 403, "{path}");
        let nobody = status(&format!("{path}?uuid=u&{query}")).await;
        assert_eq!(nobody, 403, "{path} by nobody");
    }
}
