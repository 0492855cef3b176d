//! A second handle on every client socket, for cutting a peer that has stopped reading.
//!
//! **Must never know:** what runs over the socket.
//! **Why a duplicate:** a dispatcher whose socket takes nothing does not poll the response body, so ending the body
//! closes nothing, and `TCP_USER_TIMEOUT` does not fire on a closed window (both measured). A duplicate shares the
//! kernel's socket: it costs one slot in the file table, no memory worth naming; raise `nofile` to twice the
//! connections wanted.

use crate::core::connection::seat::Sever;
use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use socket2::{SockRef, Socket};
use std::any::Any;
use std::cell::RefCell;
use std::net::Shutdown;

/// The duplicate, waiting in the connection's extensions.
pub(super) struct Duplicate(RefCell<Option<Socket>>);

impl Duplicate {
    /// Takes it; a connection is upgraded once.
    pub(super) fn take(&self) -> Option<Box<dyn Sever>> {
        let socket = self.0.borrow_mut().take()?;
        Some(Box::new(Cut(socket)))
    }
}

struct Cut(Socket);

impl Sever for Cut {
    fn sever(&self) {
        // It may be closed already; there is nothing else to do about it.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// To be installed by `HttpServer::on_connect`. Sockets it does not know (TLS streams) go without; their
/// connections end by the dispatcher's own time-outs.
pub fn on_connect(io: &dyn Any, extensions: &mut Extensions) {
    let Some(stream) = io.downcast_ref::<TcpStream>() else {
        return;
    };
    // Out of descriptors: the connection works, only cutting it has to wait for the peer.
    if let Ok(socket) = SockRef::from(stream).try_clone() {
        extensions.insert(Duplicate(RefCell::new(Some(socket))));
    }
}
