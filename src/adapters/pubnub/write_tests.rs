//! Calls that take rights away, as clients send them: fenced by what the log says, and never answered too early.
#![allow(clippy::unwrap_used)]

use super::fixture::{self, APP, PUB, SECRET, SUB};
use super::rest::routes;
use super::{PubNub, rights};
use crate::core::authority::{
    Authority, Command, GrantEntry, GrantMode, Issuer, Resource, Subject,
};
use crate::core::broker::Broker;
use crate::core::channel::registry::Channels;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, web};
use std::sync::Arc;

fn authority(pending: &[u64]) -> Arc<Authority> {
    let state = fixture::state(&fixture::commands(&[("pubnub_token_revocation", true)]));
    let authority = Authority::fixed(state, 1_000);
    authority.take_writes(pending);
    Arc::new(authority)
}

/// The status of a signed `GET`.
async fn get(authority: &Arc<Authority>, path: &str, query: &str) -> u16 {
    let query = format!("{query}&timestamp=1&uuid=server");
    let mut pairs: Vec<&str> = query.split('&').collect();
    pairs.sort_unstable();
    let query = pairs.join("&");
    let text = format!("GET\n{PUB}\n{path}\n{query}\n");
    let target = format!(
        "{path}?{query}&signature=v2.{}",
        fixture::mac(SECRET, &text)
    );
    let channels = Channels::new(Arc::default(), &[]);
    let broker = Broker::new(authority.clone(), channels);
    let app = App::new()
        .app_data(web::Data::new(broker))
        .app_data(web::Data::new(PubNub::default()))
        .configure(routes);
    let app = init_service(app).await;
    let request = TestRequest::get().uri(&target).to_request();
    call_service(&app, request).await.status().as_u16()
}

fn granted_to(auth: &str) -> Command {
    Command::SetGrants {
        app: APP,
        issuer: Issuer::Operator,
        subject: Subject::Token(auth.into()),
        mode: GrantMode::Merge,
        entries: vec![GrantEntry {
            resource: Resource::Channel,
            pattern: rights::pattern("c"),
            operations: rights::READ,
            ttl_ms: None,
        }],
    }
}

#[actix_web::test]
async fn a_grant_through_another_node_is_fenced_when_this_one_takes_it_back() {
    let path = format!("/v2/auth/grant/sub-key/{SUB}");
    let lagging = authority(&[]);
    lagging.written_elsewhere(&granted_to("k"));
    assert!(lagging.view().grants.is_empty(), "it has not heard of it");
    let less = "auth=k&channel=c&r=0&w=1";
    assert_eq!(get(&lagging, &path, less).await, 200);
    assert_eq!(lagging.fences(), 1);
}

#[actix_web::test]
async fn what_only_gives_is_not_fenced_and_many_keys_have_one_fence() {
    let path = format!("/v2/auth/grant/sub-key/{SUB}");
    let authority = authority(&[]);
    let more = "auth=k%2Cl%2Cm&channel=c&r=1&w=1";
    assert_eq!(get(&authority, &path, more).await, 200);
    assert_eq!(authority.fences(), 0);
    let none = "auth=k%2Cl%2Cm&channel=c&r=0&w=0";
    assert_eq!(get(&authority, &path, none).await, 200);
    assert_eq!(authority.fences(), 1);
}

#[actix_web::test]
async fn pending_is_no_success() {
    let path = format!("/v2/auth/grant/sub-key/{SUB}");
    let none = "auth=k&channel=c&r=0";
    assert_eq!(get(&authority(&[2]), &path, none).await, 503);
    let groups = format!("/v1/channel-registration/sub-key/{SUB}/channel-group/g");
    let with_group = authority(&[2]);
    assert_eq!(get(&with_group, &groups, "add=c").await, 200);
    assert_eq!(get(&with_group, &groups, "remove=c").await, 503);
    assert_eq!(with_group.fences(), 1);
}
