//! The public server: HTTP by the app, WebSockets by a takeover of their socket.
//!
//! **Why not `HttpServer`:** it cannot hand a socket over. This is what it does, with an upgrade service beside the
//! app. Both run the same app, built once per thread, so that a dialect's handler judges a handshake like any
//! other request and only says in its response that it accepts.

use super::half_close::HalfCloseStream;
use super::proxies::TrustedProxies;
use super::proxy_header;
use super::socket::{self, Socket};
use super::ws;
use actix_codec::Framed;
use actix_codec::{AsyncRead, AsyncWrite};
use actix_http::error::DispatchError;
use actix_http::h1::{Codec, SendResponse};
use actix_http::{ConnectionType, HttpService, KeepAlive, Request, Response};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, apply_fn_factory, fn_factory,
    fn_service,
};
use actix_tls::accept::TlsError;
use actix_tls::accept::rustls_0_23::{Acceptor, AcceptorService, TlsStream};
use actix_web::Error;
use actix_web::body::{BoxBody, MessageBody, to_bytes};
use actix_web::dev::{AppConfig, Extensions, Server, ServiceResponse};
use actix_web::rt::net::TcpStream;
use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

/// How the server treats its clients.
#[derive(Clone, Debug)]
pub struct Listening {
    /// Who may say that a connection is somebody else's.
    pub proxies: TrustedProxies,
    /// The number of worker threads.
    pub workers: usize,
    /// How long an idle HTTP connection is kept.
    pub keep_alive: Duration,
    /// How long a client may take over a request's head.
    pub request_timeout: Duration,
    /// How long a client may take to close.
    pub disconnect_timeout: Duration,
    /// How long a client may leave an answer unread, over HTTP. WebSockets are bounded by bytes instead.
    pub stalled: Duration,
    /// Most connections per thread.
    pub max_connections: usize,
    /// How long an orderly stop waits for connections.
    pub shutdown_timeout: Duration,
}

/// A listening socket, and what is spoken on it.
#[derive(Debug)]
pub struct ListenPort {
    listener: TcpListener,
    tls: Option<rustls::ServerConfig>,
}

impl ListenPort {
    /// A port without TLS.
    #[must_use]
    pub fn plain(listener: TcpListener) -> Self {
        Self {
            listener,
            tls: None,
        }
    }

    /// A port with TLS.
    #[must_use]
    pub fn tls(listener: TcpListener, config: rustls::ServerConfig) -> Self {
        Self {
            listener,
            tls: Some(config),
        }
    }
}

/// Among the connection data of requests that came with TLS.
#[derive(Clone, Copy, Debug)]
pub struct Encrypted;

/// One app per thread, for both services.
struct Shared<F, S> {
    app: F,
    made: RefCell<Option<Rc<S>>>,
}

impl<F, S> Shared<F, S>
where
    F: ServiceFactory<Request, Config = AppConfig, Service = S>,
    S: Service<Request, Response = F::Response, Error = F::Error>,
{
    async fn service(self: Rc<Self>) -> Result<Rc<S>, F::InitError> {
        if let Some(made) = &*self.made.borrow() {
            return Ok(made.clone());
        }
        let new = Rc::new(self.app.new_service(AppConfig::default()).await?);
        // Another call may have made one meanwhile; then this one is not used.
        Ok(self.made.borrow_mut().get_or_insert(new).clone())
    }
}

/// A client's mistake is worth a line that says whose it was, but is no error of this node.
fn unread(error: DispatchError, peer: Option<SocketAddr>) -> DispatchError {
    let mistaken = matches!(
        error,
        DispatchError::Parse(_) | DispatchError::SlowRequestTimeout
    );
    let addr = peer.map(tracing::field::display);
    match mistaken {
        true => tracing::info!(addr, %error, "a client's request could not be read"),
        false => tracing::debug!(addr, %error, "a client's connection ended"),
    }
    error
}

/// One thread's HTTP on one port, which says whose request it could not read; a macro, because plain and TLS differ in
/// the type of nearly everything.
macro_rules! http {
    ($app:expr, $how:expr, $addr:expr, $stopping:expr) => {{
        let shared = Rc::new(Shared {
            app: $app().into_factory(),
            made: RefCell::new(None),
        });
        let (stopping, upgraded) = ($stopping.clone(), shared.clone());
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(KeepAlive::Timeout($how.keep_alive))
            .client_request_timeout($how.request_timeout)
            .client_disconnect_timeout($how.disconnect_timeout)
            .local_addr($addr)
            .upgrade(fn_factory(move || {
                let service = upgraded.clone().service();
                async move {
                    let app = service.await?;
                    let upgrade = move |(request, framed)| upgrade(app.call(request), framed);
                    Ok::<_, F::InitError>(fn_service(upgrade))
                }
            }))
            .on_connect_ext(move |socket: &_, data: &mut _| note(socket, $how.stalled, data))
            .h1(fn_factory(move || shared.clone().service()));
        apply_fn_factory(
            http,
            |(io, peer): (HalfCloseStream<_>, Option<SocketAddr>), http| {
                let serving = http.call((io, peer));
                async move { serving.await.map_err(|error| unread(error, peer)) }
            },
        )
    }};
}

/// Notes on a new connection what its requests may ask about. HTTP itself never ends a response that is not read.
fn note<T: 'static>(socket: &HalfCloseStream<T>, stalled: Duration, data: &mut Extensions) {
    data.insert(socket.half_closed());
    let socket: &dyn Any = socket.socket();
    if let Some(tls) = socket.downcast_ref::<TlsStream<TcpStream>>() {
        data.insert(Encrypted);
        socket::tune(tls.get_ref().0, stalled);
    }
    if let Some(tcp) = socket.downcast_ref::<TcpStream>() {
        socket::tune(tcp, stalled);
    }
}

/// Serves `app` on these ports. The closure runs once on each worker thread for each port.
///
/// # Errors
/// When a socket cannot be taken over.
pub fn listen<A, I, F, B>(
    app: A,
    ports: Vec<ListenPort>,
    how: Listening,
) -> Result<Server, std::io::Error>
where
    A: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<F, Request>,
    F: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<B>, Error = Error>
        + 'static,
    F::Service: 'static,
    <F::Service as Service<Request>>::Future: 'static,
    F::InitError: std::fmt::Debug,
    B: MessageBody + 'static,
{
    let mut builder = Server::build()
        .workers(how.workers)
        .max_concurrent_connections(how.max_connections)
        .shutdown_timeout(how.shutdown_timeout.as_secs())
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    for ListenPort { listener, tls } in ports {
        let addr = listener.local_addr()?;
        let (app, stopping, how) = (app.clone(), stopping.clone(), how.clone());
        builder = match tls {
            None => builder.listen("public", listener, move || {
                let (trusted, patience) = (how.proxies.clone(), how.request_timeout);
                let noticing = move |io| plain(io, trusted.clone(), patience);
                fn_service(noticing).and_then(http!(app, how, addr, stopping))
            })?,
            // A handshake has three seconds, by the acceptor's own default.
            Some(tls) => builder.listen("public with TLS", listener, move || {
                let (trusted, patience) = (how.proxies.clone(), how.request_timeout);
                let tls = tls.clone();
                // What a proxy says stands before the handshake.
                fn_factory(move || {
                    let (trusted, acceptor) = (trusted.clone(), Acceptor::new(tls.clone()));
                    async move {
                        let acceptor = ServiceFactory::<TcpStream>::new_service(&acceptor, ());
                        let acceptor = Rc::new(acceptor.await?);
                        Ok::<_, ()>(fn_service(move |io| {
                            encrypted(io, acceptor.clone(), trusted.clone(), patience)
                        }))
                    }
                })
                .and_then(http!(app, how, addr, stopping).map_err(TlsError::Service))
            })?,
        };
    }
    Ok(builder.run())
}

type Noticed<T> = (HalfCloseStream<T>, Option<SocketAddr>);

/// A new connection, and whose it is.
async fn plain(
    mut io: TcpStream,
    trusted: TrustedProxies,
    patience: Duration,
) -> Result<Noticed<TcpStream>, DispatchError> {
    let peer = proxy_header::peer(&mut io, &trusted, patience).await;
    let peer = peer.map_err(DispatchError::Io)?;
    Ok((HalfCloseStream::new(io), peer))
}

/// The same with TLS.
async fn encrypted(
    mut io: TcpStream,
    acceptor: Rc<AcceptorService>,
    trusted: TrustedProxies,
    patience: Duration,
) -> Result<Noticed<TlsStream<TcpStream>>, TlsError<io::Error, DispatchError>> {
    let peer = proxy_header::peer(&mut io, &trusted, patience).await;
    let peer = peer.map_err(|error| TlsError::Service(DispatchError::Io(error)))?;
    let accepted = acceptor.call(io).await;
    let accepted = accepted.map_err(TlsError::into_service_error)?;
    Ok((HalfCloseStream::new(accepted), peer))
}

/// A request that wants the connection for something else: answered by the app, then taken over or closed.
async fn upgrade<B: MessageBody + 'static, T>(
    answer: impl Future<Output = Result<ServiceResponse<B>, Error>>,
    framed: Framed<HalfCloseStream<T>, Codec>,
) -> Result<(), Error>
where
    T: AsyncRead + AsyncWrite + Unpin + Into<Socket>,
{
    // What it takes to answer is let go of before the connection begins, which may last for days.
    let carrying = Box::pin(async move {
        let mut response = match answer.await {
            Ok(answer) => Response::from(answer).map_body(|_, body| BoxBody::new(body)),
            Err(error) => error.into(),
        };
        let accepted = response.extensions_mut().remove::<ws::Accepted>();
        if accepted.is_none() {
            response
                .head_mut()
                .set_connection_type(ConnectionType::Close);
        }
        let framed = match accepted.as_ref().is_none_or(ws::Accepted::answers_by_http) {
            true => {
                // Empty, or the words of a refusal.
                let (head, body) = response.into_parts();
                let body = to_bytes(body).await.unwrap_or_default();
                SendResponse::new(framed, head.set_body(body)).await.ok()?
            }
            false => framed,
        };
        let parts = framed.into_parts();
        let (socket, rest) = parts.io.taken_over();
        let mut first = parts.read_buf;
        first.extend(rest);
        accepted?.begin(socket, first.freeze()).await
    })
    .await;
    if let Some(begun) = carrying {
        begun.carried().await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[actix_web::test]
    async fn a_clients_socket_holds_nothing_back() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let _client = TcpStream::connect(addr).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert!(!accepted.nodelay().unwrap(), "it would be on anyway");
        let socket = HalfCloseStream::new(accepted);
        note(&socket, Duration::from_secs(30), &mut Extensions::new());
        assert!(socket.socket().nodelay().unwrap());
    }
}
