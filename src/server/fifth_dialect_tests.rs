//! A fifth dialect, echo, of which nothing outside this file knows: apps accept it, are given its settings, names and
//! credentials, its paths are served beside the others', and what it does not know is refused in its words.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::paths::{Owner, answered, of, refused};
use super::plane::Workers;
use super::tables;
use crate::adapters::dialect::{
    Alias, Dialect, Node, Running, SettingSpec, Settings, Shape, Start,
};
use crate::adapters::native::{self, AuthMode, Native, meter::Meter};
use crate::adapters::{ALL, dialect::Dialects};
use crate::core::authority::{App as Tenant, AppId, KeySpec, OpenRule, Operations, Pattern, State};
use crate::core::broker::Broker;
use crate::core::delivery::encoding::{Encoder, Encoding, EncodingId, Encodings};
use crate::core::ids::ChannelKey;
use crate::core::limits::Setting;
use crate::core::message::Broadcast;
use crate::core::session::Frame;
use crate::transport::ws;
use actix_web::dev::Service as _;
use actix_web::http::{Method, StatusCode};
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, HttpRequest, HttpResponse, web};
use futures_util::TryFutureExt as _;
use serde_json::{Value, json};
use std::sync::Arc;

const BYTES: Setting = Setting {
    name: "echo_bytes",
    default: 100,
};
const ROOM: Alias = Alias {
    kind: "echo-room",
    prefix: "room-",
    shape: Shape::Alphanumeric(4),
};

#[derive(Debug)]
struct Echo;

impl Dialect for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn settings(&self) -> Vec<SettingSpec> {
        vec![SettingSpec::number(BYTES)]
    }

    fn default_open(&self, _settings: &Settings) -> Vec<OpenRule> {
        vec![OpenRule {
            pattern: Pattern::All,
            operations: Operations::SUBSCRIBE,
        }]
    }

    fn aliases(&self) -> &'static [Alias] {
        &[ROOM]
    }

    fn credentials(&self, app: &Tenant, key: &KeySpec) -> Vec<(&'static str, String)> {
        vec![("ECHO_URL", format!("echo:{}@{}", key.id, ROOM.of(app)))]
    }

    fn beginnings(&self) -> &'static [&'static str] {
        &["/echo/"]
    }

    fn unknown(&self, _request: &HttpRequest, status: StatusCode) -> HttpResponse {
        HttpResponse::build(status).body("no such echo")
    }

    fn prepare(&self, encodings: &mut Encodings) -> Start {
        let encoding = encodings.add(Encoding {
            encoder: Box::new(Loud),
            framing: ws::framing,
        });
        Box::new(move |_node: &Node<'_>| Arc::new(Service(encoding)))
    }
}

#[derive(Debug)]
struct Loud;

impl Encoder for Loud {
    fn encode(&self, channel: &ChannelKey, _broadcast: &Broadcast) -> Option<Frame> {
        Some(Frame::Text(channel.name.to_uppercase().into()))
    }
}

#[derive(Debug)]
struct Service(EncodingId);

impl Running for Service {
    fn configure(&self, worker: &mut web::ServiceConfig) {
        worker.app_data(web::Data::new(self.0));
        worker.route("/echo/{app}/{text}", web::get().to(say));
    }
}

/// Says what it is told, as far as the app's setting goes.
async fn say(
    path: web::Path<(u64, String)>,
    broker: web::Data<Broker>,
    encoding: web::Data<EncodingId>,
) -> HttpResponse {
    let (app, text) = path.into_inner();
    let app = broker.authority.app(AppId(app));
    let accepts = |app: &Arc<Tenant>| app.protocols.iter().any(|one| &*one.name == "echo");
    let Some(app) = app.filter(accepts) else {
        return HttpResponse::Forbidden().body("echo: not here");
    };
    let most = usize::try_from(BYTES.of(&app)).unwrap();
    let said: String = text.chars().take(most).collect();
    HttpResponse::Ok().body(format!("{said} by {:?}", **encoding))
}

static FIVE: [&dyn Dialect; 5] = [ALL[0], ALL[1], ALL[2], ALL[3], &Echo];

/// Status and body of each request, asked in turn of one process that speaks these dialects.
async fn asked(dialects: Dialects, requests: Vec<TestRequest>) -> Vec<(u16, String)> {
    let workers = Workers::alone(dialects, State::default());
    workers.broker().authority.take_writes(&[]);
    let native = Native {
        auth_mode: AuthMode::Operators {
            token: "token".into(),
        },
        catalog: Arc::new(tables::catalog(dialects)),
        meter: Meter::default(),
        cluster_secret: "secret of the nodes".into(),
    };
    let paths = workers.paths();
    let app = App::new()
        .app_data(web::Data::new(workers.broker()))
        .app_data(web::Data::new(native))
        .configure(|service| workers.configure(service))
        .service(of(Owner::Native).configure(native::routes))
        .default_service(web::to(|request: HttpRequest| async move {
            refused(&request, StatusCode::NOT_FOUND)
        }))
        .wrap_fn(move |mut request, app| {
            paths.arrived(&mut request);
            app.call(request).map_ok(answered)
        });
    let service = init_service(app).await;
    let mut answers = Vec::new();
    for request in requests {
        let response = call_service(&service, request.to_request()).await;
        let status = response.status().as_u16();
        let body = read_body(response).await;
        answers.push((status, String::from_utf8_lossy(&body).into_owned()));
    }
    answers
}

fn get(path: &str) -> TestRequest {
    TestRequest::with_uri(path)
}

fn create(app: &Value) -> TestRequest {
    TestRequest::with_uri("/v1/apps")
        .method(Method::POST)
        .insert_header(("Authorization", "Bearer token"))
        .set_json(app)
}

#[actix_web::test]
async fn a_fifth_dialect_touches_nothing_else() {
    let echo = json!({"id": 7, "protocols": ["echo"], "settings": {"echo_bytes": 3}, "keys": [{"id": "me"}]});
    let other = json!({"id": 8, "protocols": ["pusher"]});
    let answers = asked(
        &FIVE,
        vec![
            create(&echo),
            create(&other),
            get("/echo/7/hello"),
            get("/echo/8/hello"),
            get("/echo/nothing"),
            get("/time"),
        ],
    )
    .await;
    let made: Value = serde_json::from_str(&answers[0].1).unwrap();
    assert_eq!(answers[0].0, 201, "{made}");
    assert_eq!(made["app"]["protocols"], json!(["echo"]));
    let room = made["app"]["aliases"]["echo-room"].as_str().unwrap();
    assert!(room.starts_with("room-") && room.len() == 9, "{room}");
    assert_eq!(made["env"]["ECHO_URL"], format!("echo:me@{room}"));
    assert_eq!(answers[1].0, 201);
    // Its own encoding, behind those of the others, and its own app data.
    assert_eq!(answers[2].0, 200);
    assert!(
        answers[2].1.starts_with("hel by EncodingId("),
        "{}",
        answers[2].1
    );
    assert_eq!(answers[3], (403, "echo: not here".into()));
    assert_eq!(answers[4], (404, "no such echo".into()));
    // The others are served as before.
    assert_eq!(answers[5].0, 200);
}

#[actix_web::test]
async fn an_app_has_its_credentials_in_the_words_of_every_sdk() {
    let app = json!({"id": 7, "protocols": ["pusher", "ably", "pubnub", "realtime"], "keys": [{"id": "me", "secret": "0123456789abcdef"}]});
    let answers = asked(ALL, vec![create(&app)]).await;
    let made: Value = serde_json::from_str(&answers[0].1).unwrap();
    let env = |name: &str| made["env"][name].as_str().unwrap_or_default();
    assert_eq!(env("PUSHER_APP_ID"), "7");
    assert_eq!(env("PUSHER_APP_KEY"), "me");
    assert_eq!(env("PUSHER_APP_SECRET"), "0123456789abcdef");
    assert_eq!(env("ABLY_KEY"), "7.me:0123456789abcdef");
    assert_eq!(env("PUBNUB_SECRET_KEY"), "0123456789abcdef");
    assert_eq!(env("REALTIME_PRIVATE_KEY"), "0123456789abcdef");
    // Kinds and shapes of stored names never change.
    for (variable, kind, begin, length) in [
        ("PUBNUB_PUBLISH_KEY", "pubnub-publish", "pub-c-", 42),
        ("PUBNUB_SUBSCRIBE_KEY", "pubnub-subscribe", "sub-c-", 42),
        ("REALTIME_APPLICATION_KEY", "realtime-application", "", 16),
    ] {
        let name = env(variable);
        assert_eq!(made["app"]["aliases"][kind], name, "{kind}");
        assert!(name.starts_with(begin) && name.len() == length, "{name}");
    }
}

#[actix_web::test]
async fn a_dialect_that_is_not_listed_is_not_there() {
    let echo = json!({"id": 7, "protocols": ["echo"]});
    let setting = json!({"id": 7, "protocols": ["pusher"], "settings": {"echo_bytes": 3}});
    let answers = asked(ALL, vec![create(&echo), create(&setting), get("/echo/7/x")]).await;
    assert!(
        answers[0].1.contains("unknown_protocol"),
        "{}",
        answers[0].1
    );
    assert!(answers[1].1.contains("unknown_setting"), "{}", answers[1].1);
    assert_eq!(answers[2].0, 404);
    assert!(answers[2].1.contains("no_such_path"), "{}", answers[2].1);
}

#[test]
fn the_names_of_dialects_are_unlike() {
    let mut names: Vec<_> = FIVE.iter().map(|one| one.name()).collect();
    names.extend(["native", ""]);
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    let mut settings: Vec<_> = tables::catalog(&FIVE)
        .settings
        .iter()
        .map(|spec| spec.name)
        .collect();
    let count = settings.len();
    settings.sort_unstable();
    settings.dedup();
    assert_eq!(settings.len(), count, "two owners bring the same setting");
}
