//! Reads what a trusted proxy says of a connection, before anything else is read of it, and of a request.
//!
//! **Why it is looked at and not taken:** a proxy that speaks HTTP sends none. What does not begin as a header does stays in
//! the socket for whoever reads it next.

use super::proxies::{FIXED_BYTES, SIGNATURE, TrustedProxies, rest_bytes, source};
use actix_web::rt::net::TcpStream;
use actix_web::{HttpRequest, web};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::time::{sleep, timeout};

/// How often it is looked whether the rest of a header's beginning has come.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Who is at the other end: the peer, or whom it speaks for where it is a trusted proxy.
///
/// # Errors
/// A trusted proxy's header is broken or longer than is taken, or nothing came in time.
pub(super) async fn peer(
    io: &mut TcpStream,
    trusted: &TrustedProxies,
    patience: Duration,
) -> io::Result<Option<SocketAddr>> {
    let own = io.peer_addr().ok();
    match own.filter(|peer| trusted.has(peer.ip())) {
        None => Ok(own),
        Some(proxy) => {
            let told = timeout(patience, told(io)).await??;
            Ok(Some(told.unwrap_or(proxy)))
        }
    }
}

/// Whom the header names, if there is one.
async fn told(io: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let mut fixed = [0; FIXED_BYTES];
    loop {
        let there = io.peek(&mut fixed).await?;
        let begun = fixed.iter().zip(SIGNATURE).take(there);
        if there == 0 || begun.into_iter().any(|(here, wanted)| here != wanted) {
            return Ok(None);
        }
        if there == FIXED_BYTES {
            break;
        }
        sleep(LOOK_INTERVAL).await;
    }
    io.read_exact(&mut fixed).await?;
    let length = rest_bytes(&fixed).ok_or(io::ErrorKind::InvalidData)?;
    let mut rest = vec![0; length];
    io.read_exact(&mut rest).await?;
    Ok(source(&fixed, &rest))
}

/// The address of a request's client, with the port where that is known; empty when nothing is.
#[must_use]
pub fn remote(request: &HttpRequest) -> String {
    let Some(peer) = request.peer_addr() else {
        return String::new();
    };
    let Some(trusted) = request.app_data::<web::Data<TrustedProxies>>() else {
        return peer.to_string();
    };
    let lines = request.headers().get_all("x-forwarded-for");
    trusted.client(peer, lines.filter_map(|line| line.to_str().ok()))
}
