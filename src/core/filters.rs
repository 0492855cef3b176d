//! Filters that subscribers write: read once, and asked once about a message, however many subscribers have written the
//! same. Otherwise one message would cost a node its filter's time once per subscriber.
//!
//! **Why the answers stay with the filter:** subscribers come to a message one after the other and know nothing of each
//! other; what they have in common is the filter. Only one that is shared remembers anything.

use super::ids::Text;
use super::message::Publication;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Answers that a shared filter remembers: more than a subscriber takes at once, so that the next one finds them all.
const MAX_REMEMBERED: usize = 128;
/// Filters known before those that nobody uses any more are looked for.
const SWEEP_FROM: usize = 64;

/// A text's filter, for as long as somebody uses it.
#[derive(Debug)]
struct Table<F> {
    known: HashMap<Text, Weak<Shared<F>>>,
    sweep_at: usize,
}

/// The filters in use on a node. Clones share them.
#[derive(Debug)]
pub struct Filters<F>(Arc<Mutex<Table<F>>>);

impl<F> Clone for Filters<F> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<F> Default for Filters<F> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Table {
            known: HashMap::new(),
            sweep_at: SWEEP_FROM,
        })))
    }
}

impl<F> Filters<F> {
    /// The filter of this text: the one that others use, or a new one.
    ///
    /// # Errors
    /// What `read` says of a text that is none.
    pub fn of<E>(
        &self,
        text: &str,
        read: impl FnOnce(&str) -> Result<F, E>,
    ) -> Result<Arc<Shared<F>>, E> {
        let mut table = locked(&self.0);
        if let Some(shared) = table.known.get(text).and_then(Weak::upgrade) {
            return Ok(shared);
        }
        let shared = Arc::new(Shared {
            filter: read(text)?,
            answers: Mutex::default(),
        });
        if table.known.len() >= table.sweep_at {
            table.known.retain(|_, known| known.strong_count() > 0);
            table.sweep_at = (table.known.len() * 2).max(SWEEP_FROM);
        }
        table.known.insert(text.into(), Arc::downgrade(&shared));
        Ok(shared)
    }
}

/// What was asked about, and what the filter said.
type Answered = (Weak<Publication>, Option<bool>);

/// A filter, and what it has said of the last messages.
#[derive(Debug)]
pub struct Shared<F> {
    filter: F,
    answers: Mutex<Vec<Option<Answered>>>,
}

impl<F> Shared<F> {
    /// Whether this message passes; `None` when it cannot be asked about. `ask` is called where nobody has asked before,
    /// and has to depend on nothing but filter and message.
    pub fn about(
        self: &Arc<Self>,
        message: &Arc<Publication>,
        ask: impl FnOnce(&F) -> Option<bool>,
    ) -> Option<bool> {
        if Arc::strong_count(self) == 1 {
            return ask(&self.filter);
        }
        let at = usize::try_from(message.position.seq).unwrap_or_default() % MAX_REMEMBERED;
        let slot = locked(&self.answers).get(at).cloned().flatten();
        if let Some((of, answer)) = slot
            && std::ptr::eq(of.as_ptr(), Arc::as_ptr(message))
        {
            return answer;
        }
        let answer = ask(&self.filter);
        let mut answers = locked(&self.answers);
        if answers.is_empty() {
            answers.resize_with(MAX_REMEMBERED, || None);
        }
        if let Some(slot) = answers.get_mut(at) {
            // The weak hold keeps the address from being another message's.
            *slot = Some((Arc::downgrade(message), answer));
        }
        answer
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::ids::Position;
    use crate::core::message::{ContentKind, Draft};
    use std::cell::Cell;

    fn message(seq: u64) -> Arc<Publication> {
        let draft = Draft::new("".into(), "1".into(), ContentKind::Json);
        Arc::new(Publication {
            draft: Box::new(draft),
            position: Position { epoch: 1, seq },
            timetoken: 17,
        })
    }

    fn length(text: &str) -> Result<usize, ()> {
        match text {
            "" => Err(()),
            text => Ok(text.len()),
        }
    }

    #[test]
    fn equal_filters_are_asked_once_about_a_message() {
        let (filters, asked) = (Filters::default(), Cell::new(0));
        let all: Vec<_> = (0..10)
            .map(|_| filters.of("abc", length).unwrap())
            .collect();
        let burst: Vec<_> = (0..100).map(message).collect();
        for subscriber in &all {
            for (at, one) in burst.iter().enumerate() {
                let answer = subscriber.about(one, |filter| {
                    asked.set(asked.get() + 1);
                    (at % 2 == 0).then_some(*filter == 3)
                });
                assert_eq!(answer, (at % 2 == 0).then_some(true));
            }
        }
        assert_eq!(asked.get(), 100);
        // Another filter is asked for itself.
        let (other, first) = (filters.of("abcd", length).unwrap(), message(0));
        assert_eq!(
            other.about(&first, |filter| Some(*filter == 3)),
            Some(false)
        );
    }

    #[test]
    fn another_message_in_the_same_place_is_asked_about() {
        let filters = Filters::default();
        let (one, two) = (filters.of("a", length), filters.of("a", length));
        let (one, _two) = (one.unwrap(), two.unwrap());
        assert_eq!(one.about(&message(1), |_| Some(true)), Some(true));
        assert_eq!(one.about(&message(1), |_| Some(false)), Some(false));
    }

    #[test]
    fn what_nobody_uses_is_forgotten_and_what_is_none_is_not_kept() {
        let filters = Filters::default();
        assert!(filters.of("", length).is_err());
        for at in 0..10_000 {
            let _ = filters.of(&format!("filter {at}"), length).unwrap();
        }
        assert!(locked(&filters.0).known.len() <= SWEEP_FROM);
        let alone = filters.of("alone", length).unwrap();
        alone.about(&message(1), |_| None);
        assert!(locked(&alone.answers).is_empty(), "nobody else would ask");
    }
}
