//! How many HTTP requests were answered, counted on each worker thread and read when somebody asks.
//!
//! **Why by owner and method and not by path:** the names in a path are strangers' choice, and the pattern that fits it is a
//! text that the router makes anew for each request: too much for the path of every publish.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Methods that are told apart.
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];
/// Statuses by their first digit.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// Owners of paths that are told apart: dialects, and our own API.
const OWNERS: usize = 8;

type Counts = [[[AtomicU64; CLASSES.len()]; METHODS.len()]; OWNERS];

/// The counters of all threads.
#[derive(Debug)]
pub struct HttpCounts {
    owners: Vec<&'static str>,
    threads: Mutex<Vec<Arc<Thread>>>,
}

/// The counters of one thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ThreadCounts(Arc<Thread>);

#[derive(Debug)]
struct Thread {
    owners: Vec<&'static str>,
    counts: Counts,
}

/// Requests that are alike: owner, method, class of the status.
pub type Kind = (&'static str, &'static str, &'static str);

impl HttpCounts {
    /// Of these owners of paths; what is nobody's counts for the last.
    #[must_use]
    pub fn new(owners: Vec<&'static str>) -> Arc<Self> {
        Arc::new(Self {
            owners,
            threads: Mutex::default(),
        })
    }

    /// Counters for one more thread.
    #[must_use]
    pub fn thread(&self) -> ThreadCounts {
        let thread = Arc::new(Thread {
            owners: self.owners.clone(),
            counts: Counts::default(),
        });
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.push(thread.clone());
        ThreadCounts(thread)
    }

    /// How many there were of each kind.
    #[must_use]
    pub fn read(&self) -> Vec<(Kind, u64)> {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows = Vec::new();
        for (at, owner) in self.owners.iter().enumerate() {
            for (method_at, method) in METHODS.iter().enumerate() {
                for (class_at, class) in CLASSES.iter().enumerate() {
                    let cells = threads.iter().filter_map(|thread| {
                        let of_owner = thread.counts.get(at)?;
                        of_owner.get(method_at)?.get(class_at)
                    });
                    let count: u64 = cells.map(|one| one.load(Ordering::Relaxed)).sum();
                    if count > 0 {
                        rows.push(((*owner, *method, *class), count));
                    }
                }
            }
        }
        rows
    }
}

impl ThreadCounts {
    /// One was answered.
    pub fn answered(&self, owner: &str, method: &str, status: u16) {
        let Thread { owners, counts } = &*self.0;
        let last = owners.len().saturating_sub(1);
        let owner = owners.iter().position(|one| *one == owner);
        let method = METHODS.iter().position(|one| *one == method);
        let class = usize::from(status / 100).saturating_sub(1);
        let of_owner = counts.get(owner.unwrap_or(last));
        let of_method = of_owner.and_then(|all| all.get(method.unwrap_or(METHODS.len() - 1)));
        if let Some(cell) = of_method.and_then(|all| all.get(class.min(CLASSES.len() - 1))) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_add_up_and_nothing_is_lost() {
        let all = HttpCounts::new(vec!["one", "two"]);
        let threads = [all.thread(), all.thread()];
        for thread in &threads {
            thread.answered("one", "GET", 200);
            thread.answered("one", "GET", 204);
            thread.answered("nobody", "PURGE", 599);
            thread.answered("two", "POST", 999);
        }
        assert_eq!(
            all.read(),
            [
                (("one", "GET", "2xx"), 4),
                (("two", "POST", "5xx"), 2),
                (("two", "other", "5xx"), 2),
            ]
        );
    }
}
