//! A second handle on every client socket, for cutting a peer that has stopped reading.
//!
//! **Must never know:** what runs over the socket.
//! **Why a duplicate:** a dispatcher whose socket takes nothing does not poll the response body, so ending the body
//! closes nothing, and `TCP_USER_TIMEOUT` does not fire on a closed window (both measured). A duplicate shares the
//! kernel's socket: it costs one slot in the file table, no memory worth naming; raise `nofile` to twice the
//! connections wanted.

use crate::core::connection::mail::WayOut;
use crate::core::connection::seat::Sever;
use actix::Recipient;
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use socket2::{SockRef, Socket};
use std::any::Any;
use std::cell::RefCell;
use std::net::Shutdown;

/// Lives in the connection's extensions, and so exactly as long as its dispatcher.
pub(super) struct Duplicate {
    socket: RefCell<Option<Socket>>,
    gone: RefCell<Option<Recipient<WayOut>>>,
}

impl Duplicate {
    /// The second handle; a connection is upgraded once.
    pub(super) fn take(&self) -> Option<Box<dyn Sever>> {
        let socket = self.socket.borrow_mut().take()?;
        Some(Box::new(Cut(socket)))
    }

    /// Who is to hear when the dispatcher has let go of the socket.
    pub(super) fn tell(&self, gone: Recipient<WayOut>) {
        *self.gone.borrow_mut() = Some(gone);
    }
}

impl Drop for Duplicate {
    fn drop(&mut self) {
        if let Some(gone) = self.gone.take() {
            gone.do_send(WayOut::Gone);
        }
    }
}

struct Cut(Socket);

impl Sever for Cut {
    fn sever(&self) {
        // It may be closed already; there is nothing else to do about it.
        let _ = self.0.shutdown(Shutdown::Both);
    }

    fn end_writing(&self) -> LocalBoxFuture<'static, ()> {
        let Ok(socket) = self.0.try_clone() else {
            return std::future::ready(()).boxed_local();
        };
        async move {
            // A socket without room still has the dispatcher waiting to write; it goes first.
            if let Ok(stream) = TcpStream::from_std(socket.into()) {
                let _ = stream.writable().await;
                tokio::task::yield_now().await;
                let _ = SockRef::from(&stream).shutdown(Shutdown::Write);
            }
        }
        .boxed_local()
    }
}

fn tcp_below(tls: &TlsStream<TcpStream>) -> &TcpStream {
    tls.get_ref().0
}

/// To be installed by `HttpServer::on_connect`. Knows plain sockets and TLS streams; what is cut is the socket
/// below, so a peer that takes nothing cannot hold the connection in TLS's own goodbye.
pub fn on_connect(io: &dyn Any, extensions: &mut Extensions) {
    let stream = io.downcast_ref::<TcpStream>();
    let stream = stream.or_else(|| Some(tcp_below(io.downcast_ref()?)));
    extensions.insert(Duplicate {
        // Out of descriptors: the connection works, only cutting it has to wait for the peer.
        socket: RefCell::new(stream.and_then(|stream| SockRef::from(stream).try_clone().ok())),
        gone: RefCell::new(None),
    });
}
