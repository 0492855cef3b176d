//! The simulated network: streams between named listeners, late, stalled, cut or blocked by the world's will.
//!
//! Nodes talk over ordered streams, as over TCP: a lost packet shows as a stall, many lost ones as a broken
//! connection; what is reordered is what travels on different connections.

use super::chance;
use super::life::Life;
use crate::net::{Listener, Stream, Transport};
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;

#[derive(Debug, Default)]
struct Weather {
    listeners: BTreeMap<String, (u64, Arc<Life>, mpsc::UnboundedSender<Stream>)>,
    /// Directions in which nothing arrives.
    blocked: BTreeSet<(u64, u64)>,
    /// Longest ordinary delay, ms.
    delay_ms: u64,
    /// Chunks out of a thousand that are lost once and sent again.
    loss: u64,
    /// Chunks out of a thousand that break their connection.
    breaks: u64,
}

/// The network; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire(Arc<Mutex<Weather>>);

impl Wire {
    /// A node listens; what listened under that name before does so no more.
    pub(crate) fn listen(&self, addr: &str, node: u64, life: &Arc<Life>) -> SimListener {
        let (tx, rx) = mpsc::unbounded_channel();
        let entry = (node, Arc::clone(life), tx);
        let mut weather = self.0.lock().unwrap();
        weather.listeners.insert(addr.to_owned(), entry);
        SimListener(rx)
    }

    pub(crate) fn from(&self, node: u64) -> Arc<Dialler> {
        Arc::new(Dialler {
            wire: self.clone(),
            node,
        })
    }

    pub(crate) fn block(&self, from: u64, to: u64) {
        self.0.lock().unwrap().blocked.insert((from, to));
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap().blocked.clear();
    }

    pub(crate) fn set_weather(&self, delay_ms: u64, loss: u64, breaks: u64) {
        let mut weather = self.0.lock().unwrap();
        (weather.delay_ms, weather.loss, weather.breaks) = (delay_ms, loss, breaks);
    }

    async fn pass(&self, from: u64, to: u64) {
        while self.0.lock().unwrap().blocked.contains(&(from, to)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The delay of one chunk; none if it breaks the connection.
    fn delay(&self) -> Option<Duration> {
        let weather = self.0.lock().unwrap();
        if chance::per_mille(weather.breaks) {
            return None;
        }
        let again = match chance::per_mille(weather.loss) {
            true => chance::millis(200, 600),
            false => Duration::ZERO,
        };
        Some(chance::millis(0, weather.delay_ms.max(1)) + again)
    }

    /// Carries one direction of a connection until an end closes.
    async fn carry(
        self,
        (from, to): (u64, u64),
        mut source: tokio::io::ReadHalf<DuplexStream>,
        mut sink: tokio::io::WriteHalf<DuplexStream>,
        broken: Arc<tokio::sync::Notify>,
    ) {
        let mut chunk = vec![0; 64 * 1024];
        loop {
            let read = tokio::select! {
                biased;
                () = broken.notified() => 0,
                read = source.read(&mut chunk) => read.unwrap_or(0),
            };
            let Some(delay) = self.delay() else {
                broken.notify_one();
                break;
            };
            tokio::time::sleep(delay).await;
            self.pass(from, to).await;
            let sent = sink.write_all(chunk.get(..read).unwrap_or_default()).await;
            if read == 0 || sent.is_err() {
                break;
            }
        }
        broken.notify_one();
        let _ = sink.shutdown().await;
    }
}

/// One node's way out.
#[derive(Debug)]
pub(crate) struct Dialler {
    wire: Wire,
    node: u64,
}

impl Transport for Dialler {
    fn connect(&self, addr: String) -> BoxFuture<'static, io::Result<Stream>> {
        let (wire, from) = (self.wire.clone(), self.node);
        Box::pin(async move {
            let to = wire.0.lock().unwrap().listeners.get(&addr).map(|l| l.0);
            let to = to.ok_or(io::ErrorKind::ConnectionRefused)?;
            for way in [(from, to), (to, from)] {
                wire.pass(way.0, way.1).await;
                let delay = wire.delay().unwrap_or(Duration::from_millis(200));
                tokio::time::sleep(delay).await;
            }
            let listener = {
                let weather = wire.0.lock().unwrap();
                let listener = weather.listeners.get(&addr);
                listener
                    .filter(|(_, life, _)| !life.has_ended())
                    .map(|(.., tx)| tx.clone())
            };
            let listener = listener.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (near, near_wire) = tokio::io::duplex(64 * 1024);
            let (far, far_wire) = tokio::io::duplex(64 * 1024);
            listener
                .send(Stream::Memory(far))
                .map_err(|_| io::ErrorKind::ConnectionRefused)?;
            let (near_in, near_out) = tokio::io::split(near_wire);
            let (far_in, far_out) = tokio::io::split(far_wire);
            let broken = Arc::new(tokio::sync::Notify::new());
            // The network's own tasks: they go on while nodes are frozen or dead.
            tokio::spawn(
                wire.clone()
                    .carry((from, to), near_in, far_out, Arc::clone(&broken)),
            );
            tokio::spawn(wire.carry((to, from), far_in, near_out, broken));
            Ok(Stream::Memory(near))
        })
    }
}

/// Takes connections.
#[derive(Debug)]
pub(crate) struct SimListener(mpsc::UnboundedReceiver<Stream>);

impl Listener for SimListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Stream>> {
        Box::pin(async move { self.0.recv().await.ok_or(io::ErrorKind::BrokenPipe.into()) })
    }
}
