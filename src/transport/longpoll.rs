//! Long pollers: a request that waits for one batch, or for its deadline.
//!
//! The request holds its poller through a [`PollGuard`]; whatever ends the request (an answer, a client that hangs up) parks
//! the poller for the next one.

use super::half_close::HangUp;
use super::{Worker, remote};
use crate::core::authority::{Millis, Principal};
use crate::core::error::Refusal;
use crate::core::limits::CONNECTIONS_PER_NODE;
use crate::core::polling::Poller;
use actix_web::{HttpRequest, web};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// How a request's hold on its poller ends.
type Park = Box<dyn FnOnce(Arc<Poller>)>;

/// A poller in the hands of one request.
pub struct PollGuard {
    poller: Arc<Poller>,
    park: Option<Park>,
    half_closed: Option<HangUp>,
}

impl std::fmt::Debug for PollGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PollGuard({:?})", self.poller.id())
    }
}

/// A new poller on this worker.
///
/// # Errors
/// The app has `max` connections already, or there is no worker.
pub fn open(
    request: &HttpRequest,
    principal: Principal,
    dialect: &'static str,
    max: u64,
) -> Result<Arc<Poller>, Refusal> {
    let worker = request.app_data::<web::Data<Worker>>();
    let worker = worker.ok_or(Refusal::Unavailable("no worker"))?;
    let remote = remote(request).into();
    let limit = CONNECTIONS_PER_NODE.name;
    let poller = worker.pollers().open(principal, dialect, remote, max);
    poller.ok_or(Refusal::Limit { limit, max })
}

/// How long a request waits that gets no answer: most clients ask again at once. Meanwhile it costs its socket.
const HANG_UP_AFTER: Duration = Duration::from_secs(1);

/// Ends the request's connection without an answer, after a while.
pub async fn hang_up(request: &HttpRequest) {
    actix_web::rt::time::sleep(HANG_UP_AFTER).await;
    if let Some(connection) = request.conn_data::<HangUp>() {
        connection.hang_up();
    }
}

impl PollGuard {
    /// Holds it; `park` is called when the request ends in any way but [`Self::close`].
    #[must_use]
    pub fn new(
        request: &HttpRequest,
        poller: Arc<Poller>,
        park: impl FnOnce(Arc<Poller>) + 'static,
    ) -> Self {
        Self {
            poller,
            park: Some(Box::new(park)),
            half_closed: request.conn_data::<HangUp>().cloned(),
        }
    }

    /// What is held.
    #[must_use]
    pub fn poller(&self) -> &Poller {
        &self.poller
    }

    /// Whether the client has hung up: what it was to get is better kept for its next request.
    #[must_use]
    pub fn half_closed(&self) -> bool {
        self.half_closed.as_ref().is_some_and(HangUp::by_client)
    }

    /// Parks it another way.
    pub fn park_with(&mut self, park: impl FnOnce(Arc<Poller>) + 'static) {
        self.park = Some(Box::new(park));
    }

    /// Ends the poller for good.
    pub fn close(mut self) {
        self.park = None;
        self.poller.close();
    }

    /// Waits until something has come or it has ended, at most so long, and no longer than its rights last.
    /// `now_ms` is the cluster's time now; `empty_too` = only until all channels have answered. A client that hangs
    /// up is not waited for: its socket wakes this.
    pub async fn wait(&self, longest: Duration, now_ms: Millis, empty_too: bool) {
        let rights = self.poller.until_ms();
        let rights = rights.map(|end| Duration::from_millis(end.saturating_sub(now_ms).max(1)));
        let longest = rights.map_or(longest, |rights| rights.min(longest));
        let ready = poll_fn(|cx| match self.half_closed() {
            true => Poll::Ready(()),
            false => self.poller.poll_ready(cx, empty_too),
        });
        // Whether it timed out shows in what there is to take.
        let _ = actix_web::rt::time::timeout(longest, ready).await;
    }
}

impl Drop for PollGuard {
    fn drop(&mut self) {
        if let Some(park) = self.park.take() {
            park(self.poller.clone());
        }
    }
}
