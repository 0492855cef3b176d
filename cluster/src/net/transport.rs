//! Where connections come from: TCP, or memory for a simulated cluster.

use futures_util::future::BoxFuture;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// Makes connections to addresses.
pub(crate) trait Transport: Send + Sync + 'static {
    /// Connects to `addr` (`host:port`).
    fn connect(&self, addr: String) -> BoxFuture<'static, io::Result<Stream>>;
}

/// Takes connections; one per listening node.
pub(crate) trait Listener: Send + 'static {
    /// The next connection.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Stream>>;
}

/// One connection between two nodes.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Over the network.
    Tcp(TcpStream),
    /// Inside the process.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "only simulated clusters make it")
    )]
    Memory(tokio::io::DuplexStream),
}

impl Stream {
    /// Where the other end is, on a network.
    pub(crate) fn from(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Memory(_) => None,
        }
    }
}

/// The real network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tcp;

impl Transport for Tcp {
    fn connect(&self, addr: String) -> BoxFuture<'static, io::Result<Stream>> {
        Box::pin(async move {
            let stream = TcpStream::connect(addr).await?;
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream))
        })
    }
}

impl Listener for TcpListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Stream>> {
        Box::pin(async move {
            let (stream, _) = TcpListener::accept(self).await?;
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream))
        })
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Memory(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Memory(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Memory(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Connections inside one process: names instead of addresses.
#[cfg(test)]
pub(crate) mod memory {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex, PoisonError};
    use tokio::sync::mpsc;

    /// A network of its own; clones share it.
    #[derive(Clone, Default)]
    pub(crate) struct Memory {
        open: Arc<Mutex<BTreeMap<String, mpsc::UnboundedSender<Stream>>>>,
    }

    impl Memory {
        /// Starts listening under a name.
        pub(crate) fn listen(&self, addr: &str) -> mpsc::UnboundedReceiver<Stream> {
            let (tx, rx) = mpsc::unbounded_channel();
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.insert(addr.to_owned(), tx);
            rx
        }
    }

    impl Transport for Memory {
        fn connect(&self, addr: String) -> BoxFuture<'static, io::Result<Stream>> {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let listener = open.get(&addr).cloned();
            Box::pin(async move {
                let (near, far) = tokio::io::duplex(64 * 1024);
                listener
                    .and_then(|listener| listener.send(Stream::Memory(far)).ok())
                    .ok_or(io::ErrorKind::ConnectionRefused)?;
                Ok(Stream::Memory(near))
            })
        }
    }

    impl Listener for mpsc::UnboundedReceiver<Stream> {
        fn accept(&mut self) -> BoxFuture<'_, io::Result<Stream>> {
            Box::pin(async move { self.recv().await.ok_or(io::ErrorKind::BrokenPipe.into()) })
        }
    }
}
