//! The one place that starts tasks, so that a simulated node's tasks can be stopped and frozen together.
//!
//! **Why not the runtime's own functions everywhere:** in a simulation several nodes share one thread, and a crash has
//! to end exactly one node's tasks in the middle of whatever they do.

#[cfg(test)]
pub(crate) use crate::sim::life::{Engine as Runtime, blocking, spawn, spawn_on};

/// What the consensus engine runs on.
#[cfg(not(test))]
pub(crate) type Runtime = openraft::TokioRuntime;

#[cfg(not(test))]
mod plain {
    use tokio::runtime::Handle;
    use tokio::task::JoinHandle;

    /// Starts a task on the current runtime.
    pub(crate) fn spawn<F>(work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        tokio::spawn(work)
    }

    /// Starts a task on another runtime.
    pub(crate) fn spawn_on<F>(runtime: &Handle, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        runtime.spawn(work)
    }

    /// Runs blocking work off the runtime's threads.
    pub(crate) fn blocking<T: Send + 'static>(
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        tokio::task::spawn_blocking(work)
    }
}

#[cfg(not(test))]
pub(crate) use plain::{blocking, spawn, spawn_on};
