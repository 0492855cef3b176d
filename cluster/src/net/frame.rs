//! Frames on a control connection: `[length u32 BE][version u8][kind u8][id u64 BE][body]`.
//!
//! The length counts everything after itself and is checked before a byte of the body is read.

use bytes::{Bytes, BytesMut};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 10;
/// Largest body of one frame, bytes.
pub(crate) const MAX_BODY: usize = 4 * 1024 * 1024;
/// Bytes gathered into one write.
const WRITE_BYTES: usize = 64 * 1024;

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// From the dialler.
    Request,
    /// To the dialler, under the request's id.
    Answer,
}

/// One frame of a control connection.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) id: u64,
    pub(super) body: Bytes,
}

/// Reads one frame; the connection is useless after an error.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let length = stream.read_u32().await? as usize;
    let Some(size) = length
        .checked_sub(HEADER_BYTES)
        .filter(|size| *size <= MAX_BODY)
    else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "frame length out of bounds",
        ));
    };
    let version = stream.read_u8().await?;
    let kind = match (version, stream.read_u8().await?) {
        (VERSION, 0) => Kind::Request,
        (VERSION, 1) => Kind::Answer,
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "unknown kind of frame",
            ));
        }
    };
    let id = stream.read_u64().await?;
    let mut body = BytesMut::zeroed(size);
    stream.read_exact(&mut body).await?;
    Ok(Frame {
        kind,
        id,
        body: body.freeze(),
    })
}

/// Writes frames as they come, everything that waits as one write, until the sender is dropped.
pub(super) async fn write_all(
    mut stream: impl AsyncWrite + Unpin,
    mut frames: mpsc::Receiver<Frame>,
) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(4096);
    while let Some(frame) = frames.recv().await {
        put(&mut buffer, &frame);
        while buffer.len() < WRITE_BYTES {
            match frames.try_recv() {
                Ok(frame) => put(&mut buffer, &frame),
                Err(_) => break,
            }
        }
        stream.write_all(&buffer).await?;
        buffer.clear();
        buffer.shrink_to(WRITE_BYTES * 4);
    }
    stream.shutdown().await
}

fn put(buffer: &mut Vec<u8>, frame: &Frame) {
    // A body beyond the bound is refused by the sender before it gets here.
    let length = u32::try_from(HEADER_BYTES + frame.body.len()).unwrap_or(u32::MAX);
    buffer.extend_from_slice(&length.to_be_bytes());
    buffer.push(VERSION);
    buffer.push(match frame.kind {
        Kind::Request => 0,
        Kind::Answer => 1,
    });
    buffer.extend_from_slice(&frame.id.to_be_bytes());
    buffer.extend_from_slice(&frame.body);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn frames_survive_the_wire_and_lengths_are_checked_first() {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        let (tx, rx) = mpsc::channel(4);
        for id in 0..3 {
            let body = Bytes::from(vec![id as u8; 100]);
            tx.send(Frame {
                kind: Kind::Answer,
                id,
                body,
            })
            .await
            .unwrap();
        }
        drop(tx);
        write_all(near, rx).await.unwrap();
        for id in 0..3 {
            let frame = read(&mut far).await.unwrap();
            assert_eq!(
                (frame.kind, frame.id, frame.body.len()),
                (Kind::Answer, id, 100)
            );
        }
        for length in [u32::MAX, 3, (MAX_BODY + HEADER_BYTES + 1) as u32] {
            let (mut near, mut far) = tokio::io::duplex(64);
            near.write_u32(length).await.unwrap();
            assert_eq!(
                read(&mut far).await.unwrap_err().kind(),
                io::ErrorKind::InvalidData
            );
        }
    }
}
