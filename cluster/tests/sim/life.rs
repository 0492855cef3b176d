//! One start of a simulated node: all its tasks, which can be frozen, and ended between any two polls.
//!
//! Whatever a node's code starts belongs to the same life, the engine's own tasks included.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;

/// Where simulated wall clocks begin: 2026-01-01.
pub(crate) const EPOCH_MS: i64 = 1_767_225_600_000;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Life>>> = const { RefCell::new(None) };
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Life {
    tasks: Mutex<Vec<AbortHandle>>,
    frozen: AtomicBool,
    ended: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
    began: Instant,
    /// What this node's wall clock adds to the true time.
    pub(crate) skew_ms: AtomicI64,
}

impl Life {
    /// A running one. `began` is the start of the simulation.
    pub(crate) fn new(began: Instant) -> Arc<Self> {
        Arc::new(Self {
            tasks: Mutex::default(),
            frozen: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            wakers: Mutex::default(),
            began,
            skew_ms: AtomicI64::new(0),
        })
    }

    /// Starts a task that belongs to this life.
    pub(crate) fn spawn<F>(self: &Arc<Self>, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let task = tokio::spawn(Inhabit {
            life: Arc::clone(self),
            work: Box::pin(work),
        });
        let mut tasks = self.tasks.lock().unwrap();
        if tasks.len() % 256 == 255 {
            tasks.retain(|task| !task.is_finished());
        }
        tasks.push(task.abort_handle());
        if self.ended.load(Ordering::SeqCst) {
            task.abort();
        }
        task
    }

    /// As `kill -9`: no task takes another step.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        for task in std::mem::take(&mut *self.tasks.lock().unwrap()) {
            task.abort();
        }
    }

    /// As SIGSTOP.
    pub(crate) fn freeze(&self) {
        self.frozen.store(true, Ordering::SeqCst);
    }

    /// As SIGCONT.
    pub(crate) fn thaw(&self) {
        self.frozen.store(false, Ordering::SeqCst);
        for waker in std::mem::take(&mut *self.wakers.lock().unwrap()) {
            waker.wake();
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

struct Inhabit<F> {
    life: Arc<Life>,
    work: Pin<Box<F>>,
}

impl<F: Future> Future for Inhabit<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if self.life.has_ended() {
            return Poll::Pending;
        }
        if self.life.frozen.load(Ordering::SeqCst) {
            self.life.wakers.lock().unwrap().push(cx.waker().clone());
            return Poll::Pending;
        }
        let before = CURRENT.replace(Some(Arc::clone(&self.life)));
        let polled = self.work.as_mut().poll(cx);
        CURRENT.set(before);
        polled
    }
}

fn current() -> Option<Arc<Life>> {
    CURRENT.with_borrow(Clone::clone)
}

/// What the node's wall clock shows, if a simulated node asks.
pub(super) fn wall_ms() -> Option<i64> {
    let life = CURRENT
        .try_with(|current| current.try_borrow().ok().and_then(|life| life.clone()))
        .ok()
        .flatten()?;
    let since = i64::try_from(life.began.elapsed().as_millis()).unwrap_or(0);
    Some(EPOCH_MS + since + life.skew_ms.load(Ordering::SeqCst))
}

/// Starts a task in the life of whoever calls.
pub(crate) fn spawn<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    match current() {
        Some(life) => life.spawn(work),
        None => tokio::spawn(work),
    }
}

/// As [`spawn`], from outside a simulation on `runtime`.
pub(crate) fn spawn_on<F>(runtime: &Handle, work: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    match current() {
        Some(life) => life.spawn(work),
        None => runtime.spawn(work),
    }
}

/// Blocking work: at once in a simulation, where nothing really blocks.
pub(crate) fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    match current() {
        Some(life) => life.spawn(async move {
            tokio::time::sleep(super::chance::millis(1, 20)).await;
            work()
        }),
        None => tokio::task::spawn_blocking(work),
    }
}

/// What the consensus engine runs on in tests: tokio, with tasks that belong to a life.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Engine;

type Tokio = openraft::TokioRuntime;

impl openraft::AsyncRuntime for Engine {
    type JoinError = tokio::task::JoinError;
    type JoinHandle<T: Send + 'static> = JoinHandle<T>;
    type Sleep = tokio::time::Sleep;
    type Instant = Instant;
    type TimeoutError = tokio::time::error::Elapsed;
    type Timeout<R, T: Future<Output = R> + Send> = tokio::time::Timeout<T>;
    type ThreadLocalRng = super::chance::Draws;
    type OneshotSender<T: Send> = <Tokio as openraft::AsyncRuntime>::OneshotSender<T>;
    type OneshotReceiver<T: Send> = tokio::sync::oneshot::Receiver<T>;
    type OneshotReceiverError = tokio::sync::oneshot::error::RecvError;

    fn spawn<T>(future: T) -> JoinHandle<T::Output>
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        spawn(future)
    }
    fn sleep(duration: Duration) -> Self::Sleep {
        tokio::time::sleep(duration)
    }
    fn sleep_until(deadline: Instant) -> Self::Sleep {
        tokio::time::sleep_until(deadline)
    }
    fn timeout<R, F: Future<Output = R> + Send>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        tokio::time::timeout(duration, future)
    }
    fn timeout_at<R, F: Future<Output = R> + Send>(
        deadline: Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        tokio::time::timeout_at(deadline, future)
    }
    fn is_panic(error: &Self::JoinError) -> bool {
        error.is_panic()
    }
    fn thread_rng() -> Self::ThreadLocalRng {
        super::chance::Draws
    }
    fn oneshot<T: Send>() -> (Self::OneshotSender<T>, Self::OneshotReceiver<T>) {
        <Tokio as openraft::AsyncRuntime>::oneshot()
    }
}
