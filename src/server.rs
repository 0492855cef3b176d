//! Wiring: everything is built here once, in the order it depends on each other, and taken down in reverse.
//!
//! Clients are let in only after this node's view has been proven fresh; until then the public port is
//! reserved but refuses. An orderly stop tells every connection before it closes them.
//!
//! If something here decides, it is in the wrong room.

pub mod backup;
mod examine;
#[cfg(test)]
mod fifth_dialect_tests;
mod logging;
mod paths;
mod plane;
pub mod process;
pub mod recover;
mod refused;
mod rooms;
mod tables;

use crate::adapters::native::{self, AuthMode};
use crate::adapters::{self, dialect::Dialects};
use crate::config::Config;
use crate::console::{self, metrics::Metrics};
use crate::core::authority::Authority;
use crate::transport::proxies::TrustedProxies;
use crate::transport::tls::{Certificate, TlsError};
use crate::transport::{self, ListenPort, Listening};
use actix_web::dev::{ServerHandle, Service as _};
use actix_web::http::StatusCode;
use actix_web::rt::signal::unix::{Signal, SignalKind, signal};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
pub use examine::examine;
use futures_util::future::Either;
use futures_util::{FutureExt as _, TryFutureExt as _};
use gatecast_cluster::access::NodeId;
use gatecast_cluster::{Cluster, ClusterConfig, PeerSecret, StartError, Versions, WallClock};
pub use logging::{Flood, log};
use paths::Owner;
use plane::{Plane, Site};
use rooms::Rooms;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

/// What this process speaks.
const DIALECTS: Dialects = adapters::ALL;

/// How often a leaving node looks for clients that slipped in.
const TURN_AWAY_INTERVAL: Duration = Duration::from_millis(200);

/// How long a leaving node tries to deliver webhooks.
const WEBHOOKS: Duration = Duration::from_secs(5);

/// How long a client may leave an HTTP answer unread.
const STALLED_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the server did not start or did not stop in order.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The access plane refused.
    #[error(transparent)]
    Cluster(#[from] StartError),
    /// A port could not be had.
    #[error("cannot listen on {addr} ({what}): {error}{}", advice(*.addr, .error))]
    Listen {
        /// Which port it is.
        what: &'static str,
        /// The address that was tried.
        addr: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Anything else of the system.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It was stopped before it was ready.
    #[error("stopped before this node was ready")]
    StoppedEarly,
    /// This node may not take part any more; only an operator can help.
    #[error("this node has stopped taking part: {0}")]
    Failed(String),
    /// The orderly stop took too long, or a second signal cut it short.
    #[error("the orderly stop was cut short")]
    CutShort,
}

/// What helps, where the system's words do not say it.
fn advice(addr: SocketAddr, error: &std::io::Error) -> &'static str {
    match error.kind() == std::io::ErrorKind::PermissionDenied && addr.port() < 1024 {
        true => {
            ". Ports below 1024 need a right of their own: AmbientCapabilities=CAP_NET_BIND_SERVICE of systemd, or a higher \
             port behind a proxy"
        }
        false => "",
    }
}

/// Runs a node until it is told to stop.
///
/// # Errors
/// When it cannot start, or could not stop in order.
pub async fn serve(config: Config, flood: Flood) -> Result<(), ServeError> {
    let mut stop = Stop::listen()?;
    actix_web::rt::spawn(flood.report());
    let public = reserve("public", config.public)?;
    let internal = reserve("internal", config.internal)?;
    let secure = secure_port(&config)?;
    let public_url = match &config.public_url {
        Some(url) => url.clone(),
        None => own_url(&config, public.addr),
    };
    let cluster = Cluster::start(cluster_config(&config, public_url.clone()))?;
    let authority = Arc::new(Authority::new(cluster.clone()));
    logging::started(&config, &cluster.status());
    let plane = message_plane(&cluster, &authority, &config);
    let rooms = Rooms::new(plane.broker(), &config);
    let internal_url = format!("http://{}", internal.addr);
    let operators = internal_server(&rooms, &plane, &config, internal)?;
    if config.dev_token {
        say(&format!("admin token for this run: {}", config.admin_token));
    }
    tokio::select! {
        () = cluster.ready() => {}
        why = cluster.failed() => {
            operators.stop(false).await;
            cluster.shutdown().await;
            return Err(ServeError::Failed(why));
        }
        () = stop.asked() => {
            operators.stop(false).await;
            cluster.shutdown().await;
            return Err(ServeError::StoppedEarly);
        }
    }
    let clients = public_server(&rooms, &plane, &config, (public, secure))?;
    rooms.life.open();
    let line = format!(
        "ready node={} public={public_url} internal={internal_url}",
        config.node
    );
    let end = tokio::select! {
        end = served(&cluster, &mut stop, &rooms, &plane) => end,
        () = async {
            // What whoever started this node waits for: not before `/ready` says so too.
            rooms.copied().await;
            say(&line);
            std::future::pending().await
        } => None,
    };
    let orderly = async {
        rooms.life.drain();
        // Before the clients go: they find the channels' new homes and a leader at once.
        if end.is_none() {
            cluster.prepare_shutdown().await;
        }
        leave(&rooms, &plane).await;
        tokio::select! {
            () = clients.stop(true) => {}
            () = turn_away(&plane) => {}
        }
        // After the clients: their leaving is told too. Before the cluster: who may not serve does not tell.
        plane.finish(config.drain.min(WEBHOOKS)).await;
        cluster.shutdown().await;
        operators.stop(false).await;
    };
    tokio::select! {
        () = orderly => end.map_or(Ok(()), |why| Err(ServeError::Failed(why))),
        () = stop.asked() => Err(ServeError::CutShort),
        () = tokio::time::sleep(config.drain) => Err(ServeError::CutShort),
    }
}

fn message_plane(cluster: &Cluster, authority: &Arc<Authority>, config: &Config) -> Plane {
    let site = Site {
        path_prefix: config.path_prefix.clone(),
        public_url: config.public_url.clone(),
    };
    let plane = Plane::start(cluster, authority, DIALECTS, &site);
    plane.bound_histories(config.history_memory);
    plane
}

/// Waits for the end of serving; why, when it was not asked for.
async fn served(
    cluster: &Cluster,
    stop: &mut Stop,
    rooms: &Rooms,
    plane: &Plane,
) -> Option<String> {
    tokio::select! {
        () = stop.asked() => None,
        failure = cluster.failed() => Some(failure),
        () = cluster.asked_to_leave() => {
            leave(rooms, plane).await;
            // Empty but a member still: whoever asked stops it, or starts it again.
            tokio::select! {
                () = stop.asked() => None,
                failure = cluster.failed() => Some(failure),
                () = turn_away(plane) => None,
            }
        }
    }
}

/// Takes no more clients, and tells those that are here to go elsewhere. The port answers on, with 503: clients that
/// it merely did not accept would wait in the kernel's queue.
async fn leave(rooms: &Rooms, plane: &Plane) {
    rooms.life.drain();
    plane.drain().await;
}

/// Tells those who slipped in while the port was closing, for as long as it is polled.
async fn turn_away(plane: &Plane) {
    loop {
        actix_web::rt::time::sleep(TURN_AWAY_INTERVAL).await;
        plane.drain().await;
    }
}

/// How the public port treats its clients.
fn listening(config: &Config, proxies: TrustedProxies) -> Listening {
    let workers = threads(config);
    Listening {
        proxies,
        workers,
        keep_alive: config.keep_alive,
        request_timeout: config.request_timeout,
        disconnect_timeout: Duration::from_secs(2),
        stalled: STALLED_TIMEOUT,
        max_connections: process::connections(workers, config.max_connections),
        shutdown_timeout: config
            .drain
            .saturating_sub(Duration::from_secs(5))
            .max(Duration::from_secs(1)),
    }
}

fn public_server(
    rooms: &Rooms,
    plane: &Plane,
    config: &Config,
    (port, secure): (Reserved, Option<Secure>),
) -> Result<ServerHandle, ServeError> {
    let (broker, native) = (
        web::Data::new(rooms.broker.clone()),
        rooms.native(AuthMode::Keys),
    );
    let (services, http) = (plane.workers(), rooms.http.clone());
    let (life, paths) = (rooms.life.clone(), services.paths());
    let proxies = TrustedProxies::new(config.trusted_proxies.clone());
    let how = listening(config, proxies.clone());
    let proxies = web::Data::new(proxies);
    let factory = move || {
        let (life, paths, counts) = (life.clone(), paths.clone(), http.thread());
        App::new()
            .app_data(web::Data::new(life.clone()))
            .app_data(proxies.clone())
            .app_data(broker.clone())
            .app_data(native.clone())
            .configure(|service| services.configure(service))
            .service(paths::of(Owner::Native).configure(native::routes))
            .configure(console::public_routes)
            .default_service(web::to(nobodys))
            .wrap_fn(move |mut request, app| match life.is_draining() {
                true => {
                    let refused = paths.going_down(request.request());
                    let refused = refused.map(|words| request.into_response(words));
                    Either::Left(refused.map(|response| Ok(response.map_into_right_body())))
                }
                false => {
                    paths.arrived(&mut request);
                    let counts = counts.clone();
                    Either::Right(
                        app.call(request)
                            .map_ok(paths::answered)
                            .map_ok(move |response| refused::told(response, &counts)),
                    )
                }
            })
    };
    let open = |port: Reserved| port.listen(config.backlog);
    let mut ports = Vec::new();
    match secure {
        None => ports.push(ListenPort::plain(open(port)?)),
        Some(Secure { own: None, tls }) => ports.push(ListenPort::tls(open(port)?, tls)),
        Some(Secure {
            own: Some(own),
            tls,
        }) => ports.extend([
            ListenPort::plain(open(port)?),
            ListenPort::tls(open(own)?, tls),
        ]),
    }
    let server = transport::listen(factory, ports, how)?;
    Ok(spawned(server))
}

/// A path that nobody knows.
async fn nobodys(request: HttpRequest) -> HttpResponse {
    paths::refused(&request, StatusCode::NOT_FOUND)
}

/// What speaks TLS: a port of its own, or the public one.
struct Secure {
    own: Option<Reserved>,
    tls: rustls::ServerConfig,
}

/// Reads the certificate, now and on every SIGHUP.
fn secure_port(config: &Config) -> Result<Option<Secure>, ServeError> {
    let mut hangup = signal(SignalKind::hangup())?;
    let Some(tls) = &config.tls else {
        // A hang-up must not end a node that has nothing to read again.
        actix_web::rt::spawn(async move { while hangup.recv().await.is_some() {} });
        return Ok(None);
    };
    let certificate = Certificate::load(&tls.cert, &tls.key)?;
    let own = tls
        .port
        .map(|addr| reserve("public_tls", addr))
        .transpose()?;
    let tls = certificate.server()?;
    actix_web::rt::spawn(async move {
        while hangup.recv().await.is_some() {
            match certificate.reload() {
                Ok(()) => tracing::info!("the certificate was read again"),
                Err(error) => tracing::error!(%error, "the old certificate stays in use"),
            }
        }
    });
    Ok(Some(Secure { own, tls }))
}

/// How clients reach this node when nobody says otherwise. Nobody can connect to "every address": where it listens on all,
/// the address at which its peers reach it is one of them.
fn own_url(config: &Config, addr: SocketAddr) -> Arc<str> {
    let plain = config.tls.as_ref().is_none_or(|tls| tls.port.is_some());
    let scheme = if plain { "http" } else { "https" };
    if !addr.ip().is_unspecified() {
        return format!("{scheme}://{addr}").into();
    }
    let host = config.peer_addr.rsplit_once(':').map(|(host, _)| host);
    let all = |host: &&str| !matches!(*host, "0.0.0.0" | "[::]");
    let host = host.filter(all).unwrap_or("127.0.0.1");
    format!("{scheme}://{host}:{}", addr.port()).into()
}

fn internal_server(
    rooms: &Rooms,
    plane: &Plane,
    config: &Config,
    port: Reserved,
) -> Result<ServerHandle, ServeError> {
    let token = config.admin_token.clone();
    let native = rooms.native(AuthMode::Operators { token });
    let broker = web::Data::new(rooms.broker.clone());
    let life = web::Data::new(rooms.life.clone());
    let meter = rooms.meter.clone();
    let http = rooms.http.clone();
    let metrics = web::Data::new(Metrics::new(http.clone(), |registry| {
        meter.register(registry);
        plane.register(registry);
    }));
    let factory = move || {
        let counts = http.thread();
        App::new()
            .app_data(broker.clone())
            .app_data(native.clone())
            .app_data(life.clone())
            .app_data(metrics.clone())
            .configure(native::routes)
            .configure(console::routes)
            .default_service(web::to(nobodys))
            .wrap_fn(move |mut request, app| {
                paths::as_get(&mut request);
                let counts = counts.clone();
                app.call(request)
                    .map_ok(paths::answered)
                    .map_ok(move |response| refused::told(response, &counts))
            })
    };
    let server = HttpServer::new(factory)
        .workers(1)
        .max_connections(process::INTERNAL)
        .client_request_timeout(config.request_timeout)
        .shutdown_timeout(1)
        .disable_signals()
        .listen(port.listen(128)?)?
        .run();
    Ok(spawned(server))
}

/// Worker threads: as asked, or one per core but one. The last core is for the access plane and the kernel's part of
/// the work; with a worker on every core they mostly wake each other (docs/performance.md).
fn threads(config: &Config) -> usize {
    match config.workers {
        0 => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            cores.saturating_sub(1).max(1)
        }
        given => given,
    }
}

fn spawned(server: actix_web::dev::Server) -> ServerHandle {
    let handle = server.handle();
    actix_web::rt::spawn(server);
    handle
}

fn cluster_config(config: &Config, public_url: Arc<str>) -> ClusterConfig {
    ClusterConfig {
        node: NodeId(config.node),
        data_dir: config.data.clone(),
        peer_listen: config.peer,
        peer_addr: config.peer_addr.clone(),
        public_url,
        secret: PeerSecret(config.cluster_secret.clone()),
        first_start: config.first_start.clone(),
        heartbeat: config.heartbeat,
        election: config.election,
        lease: config.lease,
        lease_renewal: config.lease_renewal,
        propose_timeout: config.propose_timeout,
        snapshot_after: config.snapshot_after,
        keep_entries: config.keep_entries,
        disk_reserve: config.disk_reserve,
        wall_clock: WallClock::default(),
        allow_plaintext_peers: config.allow_plaintext_peers,
        speaks: Versions::OURS,
    }
}

/// A port that is ours but still refuses: a conflict shows at once, a client only meets a port that serves.
struct Reserved {
    what: &'static str,
    addr: SocketAddr,
    socket: Socket,
}

fn reserve(what: &'static str, addr: SocketAddr) -> Result<Reserved, ServeError> {
    let bound = || {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())?;
        let bound = socket.local_addr()?.as_socket().unwrap_or(addr);
        Ok((socket, bound))
    };
    match bound() {
        Ok((socket, addr)) => Ok(Reserved { what, addr, socket }),
        Err(error) => Err(ServeError::Listen { what, addr, error }),
    }
}

impl Reserved {
    fn listen(self, backlog: u32) -> Result<TcpListener, ServeError> {
        let Self { what, addr, socket } = self;
        let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
        match socket.listen(backlog) {
            Ok(()) => Ok(socket.into()),
            Err(error) => Err(ServeError::Listen { what, addr, error }),
        }
    }
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A line for whoever started the process, on stdout; logs go to stderr.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody may be reading; that is no reason to stop.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{Flags, load};

    #[test]
    fn a_node_that_listens_everywhere_advertises_an_address_that_clients_can_connect_to() {
        let secret = "0123456789abcdef";
        let url = |given: &[(&str, &str)]| {
            let all = [("ADMIN_TOKEN", secret), ("CLUSTER_SECRET", secret)];
            let open = ("ALLOW_PLAINTEXT_PEERS", "true");
            let set = all.iter().chain([&open]).chain(given);
            let set = set.map(|(name, value)| (format!("GATECAST_{name}"), (*value).to_owned()));
            let config = load(&Flags::default(), set, None).unwrap();
            own_url(&config, config.public).to_string()
        };
        let everywhere = ("PUBLIC", "0.0.0.0:6001");
        assert_eq!(url(&[]), "http://127.0.0.1:6001");
        assert_eq!(url(&[("PUBLIC", "10.0.0.1:80")]), "http://10.0.0.1:80");
        let private = ("PEER", "10.0.0.1:7601");
        assert_eq!(url(&[everywhere, private]), "http://10.0.0.1:6001");
        let named = ("PEER_ADDR", "one.example:7601");
        let wide = ("PEER", "0.0.0.0:7601");
        assert_eq!(url(&[everywhere, wide, named]), "http://one.example:6001");
        assert_eq!(url(&[everywhere, wide]), "http://127.0.0.1:6001");
        let six = [("PUBLIC", "[::]:6001"), ("PEER", "[fd00::1]:7601")];
        assert_eq!(url(&six), "http://[fd00::1]:6001");
        let tls = [("TLS_CERT", "cert"), ("TLS_KEY", "key"), everywhere];
        assert_eq!(url(&tls), "https://127.0.0.1:6001");
    }
}
