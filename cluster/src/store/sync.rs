//! Making writes durable: one thread that turns everything waiting into one `flush` + `fdatasync`.
//!
//! **Why not `flush` alone:** sled's flush starts write-back but never asks the device to empty its cache; acknowledged
//! entries were lost in simulated power cuts.
//! **Why not retry a failed fsync:** after one failure the kernel may have dropped the dirty pages, and the next fsync
//! would succeed over a hole. The first failure is final and stops the node.

use std::io;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long after a sync the rest is tidied up.
const SETTLE_TIME: Duration = Duration::from_millis(100);

/// What to call when everything written before is on the disk, or will never be.
pub(crate) type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// The two steps of a durable write. Tests stand in a disk that counts or fails.
pub(crate) trait Disk: Send + 'static {
    /// Hands everything written so far to the operating system.
    fn flush(&self) -> io::Result<()>;
    /// Makes everything handed over survive a power cut.
    fn fdatasync(&self) -> io::Result<()>;
    /// Tidies up what no acknowledgement waits for; called when there is time, soon after a sync.
    fn persist_mark(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The queue of one store's sync thread.
pub(crate) struct SyncQueue {
    queue: Box<dyn Fn(Done) + Send + Sync>,
}

impl std::fmt::Debug for SyncQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SyncQueue")
    }
}

impl SyncQueue {
    /// Starts the thread. It ends when the queue is dropped.
    pub(crate) fn start(disk: impl Disk) -> io::Result<(Self, JoinHandle<()>)> {
        let (queue, waiting) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("gatecast-sync".into())
            .spawn(move || run(disk, &waiting))?;
        let queue = move |done| {
            if let Err(mpsc::SendError(done)) = queue.send(done) {
                done(Err(io::Error::other("the store is closed")));
            }
        };
        Ok((Self::by(queue), thread))
    }

    /// Over anything that calls what it is given once everything written before is durable.
    pub(crate) fn by(queue: impl Fn(Done) + Send + Sync + 'static) -> Self {
        Self {
            queue: Box::new(queue),
        }
    }

    /// Calls `done` from the sync thread once everything written before this call is durable.
    pub(crate) fn sync(&self, done: Done) {
        (self.queue)(done);
    }
}

fn run(disk: impl Disk, waiting: &mpsc::Receiver<Done>) {
    let mut failed: Option<String> = None;
    let mut unsettled: Option<Instant> = None;
    while let Some(first) = next(&disk, waiting, &mut unsettled) {
        let mut group = vec![first];
        group.extend(waiting.try_iter());
        if failed.is_none()
            && let Err(error) = disk.flush().and_then(|()| disk.fdatasync())
        {
            tracing::error!(%error, "a write could not be made durable; this node stops");
            failed = Some(format!(
                "an earlier write could not be made durable: {error}"
            ));
        }
        unsettled.get_or_insert_with(Instant::now);
        for done in group {
            done(match &failed {
                None => Ok(()),
                Some(text) => Err(io::Error::other(text.clone())),
            });
        }
    }
    if failed.is_some() {
        // sled syncs once more when its last handle goes, and panics if it cannot. The process ends over this
        // anyway, and a sync that now succeeded would be a lie.
        Box::leak(Box::new(disk));
        return;
    }
    let _ = disk.flush().and_then(|()| disk.fdatasync());
    let _ = disk.persist_mark();
}

/// The next that waits; settles the disk meanwhile when that is due. None: the store is closed.
fn next(
    disk: &impl Disk,
    waiting: &mpsc::Receiver<Done>,
    unsettled: &mut Option<Instant>,
) -> Option<Done> {
    while let Some(since) = *unsettled {
        match waiting.recv_timeout(SETTLE_TIME.saturating_sub(since.elapsed())) {
            Ok(done) if since.elapsed() < SETTLE_TIME => return Some(done),
            Err(RecvTimeoutError::Disconnected) => return None,
            late @ (Ok(_) | Err(RecvTimeoutError::Timeout)) => {
                *unsettled = None;
                if let Err(error) = disk.persist_mark() {
                    tracing::warn!(%error, "the mark of what was acknowledged could not be synced");
                }
                if let Ok(done) = late {
                    return Some(done);
                }
            }
        }
    }
    waiting.recv().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Recorder {
        steps: Arc<Mutex<Vec<&'static str>>>,
        fail_fdatasync: bool,
    }
    impl Disk for Recorder {
        fn flush(&self) -> io::Result<()> {
            self.steps.lock().unwrap().push("flush");
            Ok(())
        }
        fn fdatasync(&self) -> io::Result<()> {
            self.steps.lock().unwrap().push("fdatasync");
            if self.fail_fdatasync {
                return Err(io::Error::other("no"));
            }
            Ok(())
        }
    }

    fn wait(queue: &SyncQueue) -> io::Result<()> {
        let (tx, rx) = mpsc::channel();
        queue.sync(Box::new(move |result| tx.send(result).unwrap()));
        rx.recv().unwrap()
    }

    #[test]
    fn every_acknowledgement_comes_after_a_flush_and_then_an_fdatasync() {
        let disk = Recorder::default();
        let (queue, thread) = SyncQueue::start(disk.clone()).unwrap();
        wait(&queue).unwrap();
        assert_eq!(*disk.steps.lock().unwrap(), ["flush", "fdatasync"]);
        wait(&queue).unwrap();
        assert_eq!(disk.steps.lock().unwrap().len(), 4);
        drop(queue);
        thread.join().unwrap();
    }

    #[test]
    fn what_waits_together_is_synced_together() {
        let disk = Recorder::default();
        let (queue, thread) = SyncQueue::start(disk.clone()).unwrap();
        let (hold, held) = mpsc::channel::<()>();
        let (tx, rx) = mpsc::channel();
        queue.sync(Box::new(move |_| held.recv().unwrap()));
        for _ in 0..10 {
            let tx = tx.clone();
            queue.sync(Box::new(move |result| tx.send(result.is_ok()).unwrap()));
        }
        hold.send(()).unwrap();
        assert!((0..10).all(|_| rx.recv().unwrap()));
        assert!(disk.steps.lock().unwrap().len() <= 4);
        drop(queue);
        thread.join().unwrap();
    }

    #[test]
    fn after_one_failure_nothing_is_ever_acknowledged_again() {
        let disk = Recorder {
            fail_fdatasync: true,
            ..Recorder::default()
        };
        let (queue, thread) = SyncQueue::start(disk.clone()).unwrap();
        assert!(wait(&queue).is_err());
        assert!(wait(&queue).is_err());
        drop(queue);
        thread.join().unwrap();
        let steps = disk.steps.lock().unwrap();
        assert_eq!(steps.len(), 2, "no second attempt, at the end neither");
        assert!(Arc::strong_count(&disk.steps) > 1, "and nobody drops it");
    }
}
