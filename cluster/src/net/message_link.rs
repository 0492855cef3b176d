//! A connection to another node for the broker's own use: authenticated here, and what travels over it is not ours.
//!
//! **Why the socket stays inside:** what carries the bytes is this crate's to change, and whoever uses a link only
//! reads and writes.

use super::transport::Stream;
use crate::access::NodeId;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// What comes from the other node.
pub type LinkReader = Box<dyn AsyncRead + Send + Unpin>;
/// What goes to the other node. Small writes are not held back.
pub type LinkWriter = Box<dyn AsyncWrite + Send + Unpin>;

/// A message-plane connection to a peer, already authenticated.
#[derive(Debug)]
pub struct MessageLink {
    /// Who is at the other end.
    pub node: NodeId,
    stream: Stream,
}

impl MessageLink {
    pub(crate) fn new(node: NodeId, stream: Stream) -> Self {
        Self { node, stream }
    }

    /// Over a connection that nobody has authenticated: for tests of what uses links.
    #[must_use]
    pub fn unproven(node: NodeId, stream: TcpStream) -> Self {
        Self::new(node, Stream::Tcp(stream))
    }

    /// Its two directions. The connection may have been made on another runtime: from here on the one that calls this
    /// drives it.
    ///
    /// # Errors
    /// When the system does not give the connection over.
    pub fn split(self) -> io::Result<(LinkReader, LinkWriter)> {
        match self.stream {
            Stream::Tcp(stream) => {
                let stream = TcpStream::from_std(stream.into_std()?)?;
                stream.set_nodelay(true)?;
                let (from, to) = stream.into_split();
                Ok((Box::new(from), Box::new(to)))
            }
            Stream::Memory(stream) => {
                let (from, to) = tokio::io::split(stream);
                Ok((Box::new(from), Box::new(to)))
            }
        }
    }
}
