//! A node without a cluster: real server, fixed access state, and a dialect of a few words.

use crate::core::authority::{
    AppId, Authority, Decision, EffectBatch, Operations, Pattern, Principal, Question, Reason,
    Rule, State, Voucher,
};
use crate::core::broker::Broker;
use crate::core::channel::registry::Channels;
use crate::core::close::{Close, End};
use crate::core::delivery::encoding::{Encoder, Encoding, Encodings};
use crate::core::delivery::enforcer;
use crate::core::ids::{ChannelKey, NodeId};
use crate::core::message::{Broadcast, ContentKind, Draft};
use crate::core::session::{
    Action, Context, DeliveryMode, Event, Frame, Input, Intent, Publish, Session, Start, Subscribe,
};
use crate::transport::{ListenPort, Listening, Worker, listen, ws};
use actix_web::{App, HttpRequest, HttpResponse, web};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use tokio::sync::mpsc::UnboundedSender;

pub const APP: AppId = AppId(7);
pub const MAX_FRAME: usize = 64 << 10;
pub const MAX_OUTBOX: usize = 256 << 10;

/// Everybody may subscribe and publish, except on channels whose name starts with the state's time as text:
/// a right that a test can take away by setting the state.
fn judge(state: &State, question: &Question<'_>) -> Decision {
    let denied = format!("{}-", state.time_ms);
    if question.name.starts_with(&denied) {
        Decision::Deny(Reason::NotGranted(question.operations))
    } else {
        Decision::Allow(Rule::Open(Pattern::All))
    }
}

struct Plain;

impl Encoder for Plain {
    fn encode(&self, channel: &ChannelKey, broadcast: &Broadcast) -> Option<Frame> {
        match broadcast {
            Broadcast::Message(message) => {
                let data = String::from_utf8_lossy(&message.draft.data);
                Some(Frame::Text(format!("{} {data}", channel.name).into()))
            }
            Broadcast::Presence(_) | Broadcast::Count(_) => None,
        }
    }
}

/// `user X`, `sub C`, `echo-off C`, `own C` (framed by the session), `unsub C`, `pub C text`, `wake`, `bye`;
/// anything else is echoed.
struct Words;

fn say(text: impl Into<String>) -> Action {
    Action::Send(Frame::Text(text.into().into()))
}

fn subscribe(name: &str, echo: bool, delivery: DeliveryMode) -> Action {
    Action::Do(Intent::Subscribe(Box::new(Subscribe {
        channel: ChannelKey::channel(APP, name),
        needs: Operations::SUBSCRIBE,
        wants: Operations::PUBLISH,
        proof: None,
        start: Start::Now,
        member: None,
        speaks_for: None,
        with_members: false,
        delivery,
        echo,
        tag: 0,
    })))
}

pub fn draft(data: &str) -> Draft {
    Draft {
        store: false,
        ..Draft::new(
            "message".into(),
            Bytes::copy_from_slice(data.as_bytes()),
            ContentKind::Text,
        )
    }
}

fn identify(user: Option<&str>, cx: &Context<'_>) -> Action {
    let seen = cx.authority.view().revision;
    let mut principal = Principal::anonymous(APP, Some("key".into()), seen);
    principal.user = user.map(Into::into);
    principal.vouched_by = user.map(|_| Voucher::Held("key".into()));
    Action::Do(Intent::Identify(Box::new(principal)))
}

impl Words {
    fn word(text: &str, cx: &Context<'_>) -> Action {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "user" => identify(Some(rest), cx),
            "sub" => subscribe(rest, true, DeliveryMode::Shared),
            "echo-off" => subscribe(rest, false, DeliveryMode::Shared),
            "own" => subscribe(rest, true, DeliveryMode::Session),
            "unsub" => Action::Do(Intent::Unsubscribe {
                channel: ChannelKey::channel(APP, rest),
            }),
            "pub" => {
                let (name, data) = rest.split_once(' ').unwrap();
                Action::Do(Intent::Publish(Publish {
                    channel: ChannelKey::channel(APP, name),
                    draft: Box::new(draft(data)),
                    subscribed_only: false,
                    proof: None,
                    ack: None,
                    tag: 0,
                }))
            }
            "wake" => Action::Wake {
                at_mono_ms: cx.now.mono_ms + 100,
            },
            "bye" => Action::Close(Close {
                code: 4200,
                reason: "as you wish".into(),
            }),
            _ => say(format!("echo {text}")),
        }
    }

    fn event(event: Event) -> Option<Action> {
        Some(match event {
            Event::Identified => say("hello"),
            Event::Subscribed(subscribed) => say(format!("in {}", subscribed.channel.name)),
            Event::SubscribeRefused { channel, .. } => say(format!("no {}", channel.name)),
            Event::Unsubscribed { channel, refusal } => {
                say(format!("out {} {}", channel.name, refusal.is_none()))
            }
            Event::RightsChanged {
                channel, refusal, ..
            } => say(format!("changed {} {}", channel.name, refusal.is_none())),
            Event::Broadcast { channel, broadcast } => match broadcast {
                Broadcast::Message(message) => {
                    let data = String::from_utf8_lossy(&message.draft.data).into_owned();
                    say(format!("own {} {data}", channel.name))
                }
                Broadcast::Presence(_) | Broadcast::Count(_) => return None,
            },
            other => say(format!("{other:?}")),
        })
    }
}

impl Session for Words {
    fn handle(&mut self, input: Input, cx: Context<'_>, out: &mut Vec<Action>) {
        match input {
            Input::Opened => out.push(identify(None, &cx)),
            Input::Frame(Frame::Text(text)) => {
                for line in text.split('\n') {
                    out.push(Self::word(line, &cx));
                }
            }
            Input::Frame(Frame::Binary(data)) => out.push(Action::Send(Frame::Binary(data))),
            Input::Event(event) => out.extend(Self::event(event)),
            Input::Wake => out.push(say("awake")),
            Input::Alive => {}
            Input::Ending(End::Cut(cut)) => {
                out.push(say(format!("cut {cut:?}")));
                out.push(Action::Close(Close {
                    code: 4009,
                    reason: "cut".into(),
                }));
            }
            Input::Ending(_) => {}
        }
    }
}

async fn accept(
    request: HttpRequest,
    payload: web::Payload,
    encoding: web::Data<crate::core::delivery::encoding::EncodingId>,
) -> Result<HttpResponse, actix_web::Error> {
    let opening = ws::Opening {
        dialect: "words",
        app: Some(APP),
        key: None,
        encoding: **encoding,
        max_frame_bytes: MAX_FRAME,
        max_outbox_bytes: MAX_OUTBOX,
        subprotocol: Some("test".into()),
        resumes: None,
        hand_over: None,
    };
    ws::open(&request, payload, opening, |_| Box::new(Words))
}

/// More than any socket takes, and a word when it is let go of.
struct Flood(web::Data<mpsc::Sender<()>>);

impl actix_web::body::MessageBody for Flood {
    type Error = std::convert::Infallible;
    fn size(&self) -> actix_web::body::BodySize {
        actix_web::body::BodySize::Stream
    }
    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Bytes, Self::Error>>> {
        std::task::Poll::Ready(Some(Ok(Bytes::from_static(&[7; 64 << 10]))))
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[allow(clippy::unused_async)]
async fn flood(ended: web::Data<mpsc::Sender<()>>) -> HttpResponse {
    HttpResponse::Ok().body(Flood(ended))
}

/// A running node. The server thread ends with the test process.
pub struct Node {
    pub addr: SocketAddr,
    pub broker: Broker,
    pub effects: UnboundedSender<EffectBatch>,
    /// What the enforcer acknowledged.
    pub enforced: mpsc::Receiver<(u64, u64)>,
    /// Answers without end that have ended.
    pub ended: mpsc::Receiver<()>,
}

impl Node {
    pub fn start(workers: usize) -> Self {
        let (ready, started) = mpsc::channel();
        let (acknowledge, enforced) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let (effects, batches) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let authority = Arc::new(Authority::fixed_by(State::default(), 1_000, judge));
                let mut encodings = Encodings::default();
                let id = encodings.add(Encoding {
                    encoder: Box::new(Plain),
                    framing: ws::framing,
                });
                let arbiter = actix::Arbiter::new();
                let channels = Channels::new(Arc::new(encodings), &[arbiter.handle()]);
                let broker = Broker::new(authority, channels);
                let for_threads = broker.clone();
                let encoding = web::Data::new(id);
                let end = web::Data::new(end);
                let app = move || {
                    let worker = Worker::start(&for_threads, NodeId(1));
                    App::new()
                        .app_data(web::Data::new(worker))
                        .app_data(encoding.clone())
                        .app_data(end.clone())
                        .route("/ws", web::get().to(accept))
                        .route("/flood", web::get().to(flood))
                        .configure(super::half_close::routes)
                        .configure(super::heads::routes)
                };
                let patience = std::time::Duration::from_secs(5);
                let how = Listening {
                    proxies: crate::transport::proxies::TrustedProxies::default(),
                    workers,
                    keep_alive: patience,
                    request_timeout: patience,
                    disconnect_timeout: patience,
                    stalled: std::time::Duration::from_secs(1),
                    max_connections: 10_000,
                    shutdown_timeout: patience,
                };
                let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                let addr = listener.local_addr().unwrap();
                let server = listen(app, vec![ListenPort::plain(listener)], how).unwrap();
                let enforce = enforcer::run(
                    batches,
                    broker.relays.clone(),
                    move |revision, closed| acknowledge.send((revision, closed)).unwrap_or(()),
                    || {},
                );
                actix_web::rt::spawn(enforce);
                ready.send((addr, broker)).unwrap();
                server.await.unwrap();
            });
        });
        let (addr, broker) = started.recv().unwrap();
        Self {
            addr,
            broker,
            effects,
            enforced,
            ended,
        }
    }

    /// Carries out effects and waits for the acknowledgement; the number of connections closed.
    pub fn enforce(&self, revision: u64, effects: Vec<crate::core::authority::Effect>) -> u64 {
        let mut state = State::clone(&self.broker.authority.view());
        state.revision = revision;
        let batch = EffectBatch {
            revision,
            effects: effects.into(),
            state: Arc::new(state),
            skipped: false,
        };
        self.effects.send(batch).unwrap();
        let patience = std::time::Duration::from_secs(10);
        let (enforced, closed) = self.enforced.recv_timeout(patience).unwrap();
        assert_eq!(enforced, revision);
        closed
    }
}
