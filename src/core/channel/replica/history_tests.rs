#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
use super::*;
use crate::core::message::{ContentKind, Draft};
use bytes::Bytes;
use proptest::prelude::*;

const BOUNDS: Bounds = Bounds {
    messages: 5,
    age_ms: 1_000,
    bytes: 10_000,
};

fn at(ms: u64) -> Now {
    Now {
        mono_ms: ms,
        cluster_ms: ms,
    }
}

fn publication(seq: u64, ms: u64) -> Publication {
    let draft = Draft {
        id: Some(format!("id{seq}").into()),
        ..Draft::new(
            "".into(),
            Bytes::from_static(b"0123456789"),
            ContentKind::Text,
        )
    };
    Publication {
        draft: Box::new(draft),
        position: Position { epoch: 1, seq },
        timetoken: ms * TICKS_PER_MS + seq,
    }
}

fn filled(count: u64) -> History {
    let mut history = History::default();
    for seq in 1..=count {
        history.push(
            &Arc::new(publication(seq, 5_000 + seq)),
            BOUNDS,
            at(5_000 + seq),
        );
    }
    history
}

#[test]
fn the_oldest_goes_by_its_own_age_whatever_went_before_it() {
    let aged = |mut history: History, ms: u64| {
        history.trim(BOUNDS, at(ms));
        history
            .ring
            .iter()
            .map(|one| one.position.seq)
            .collect::<Vec<_>>()
    };
    // Stamped at 5,001 to 5,003; kept for a second.
    assert_eq!(aged(filled(3), 6_001), [1, 2, 3]);
    assert_eq!(aged(filled(3), 6_002), [2, 3]);
    assert_eq!(aged(History::restore(filled(3).snapshot()), 6_002), [2, 3]);
    let mut erased = filled(3);
    erased.erase(0, 5_001 * TICKS_PER_MS + 1);
    assert_eq!(aged(erased.clone(), 6_002), [2, 3]);
    assert_eq!(aged(erased, 6_003), [3]);
    assert!(aged(filled(3), 7_000).is_empty());
    let mut again = filled(3);
    again.trim(BOUNDS, at(7_000));
    again.push(&Arc::new(publication(9, 7_000)), BOUNDS, at(7_000));
    assert_eq!(aged(again.clone(), 8_000), [9]);
    assert!(aged(again, 8_001).is_empty());
}

fn head(seq: u64) -> Position {
    Position { epoch: 1, seq }
}

fn seqs(list: &[Arc<Publication>]) -> Vec<u64> {
    list.iter().map(|one| one.position.seq).collect()
}

fn after(history: &History, epoch: u64, seq: u64) -> (Vec<u64>, bool) {
    let start = Start::After(Position { epoch, seq });
    let backlog = history.backlog(start, head(8), at(5_010));
    (seqs(&backlog.publications), backlog.continuous)
}

#[test]
fn a_position_is_resumed_or_called_a_gap() {
    let history = filled(8);
    assert_eq!(after(&history, 1, 6), (vec![7, 8], true));
    assert_eq!(after(&history, 1, 8), (vec![], true));
    assert_eq!(after(&history, 1, 3), (vec![4, 5, 6, 7, 8], true));
    assert_eq!(after(&history, 1, 2), (vec![], false), "3 has fallen out");
    assert_eq!(after(&history, 1, 9), (vec![], false), "not reached yet");
    assert_eq!(after(&history, 2, 6), (vec![], false), "another stream");
}

#[test]
fn rewind_and_since_begin_where_they_say() {
    let history = filled(8);
    let rewind = |count| history.backlog(Start::Rewind { count }, head(8), at(5_010));
    assert_eq!(seqs(&rewind(2).publications), [7, 8]);
    assert_eq!(seqs(&rewind(99).publications), [4, 5, 6, 7, 8]);
    let since = |ago_ms| history.backlog(Start::Since { ago_ms }, head(8), at(5_010));
    assert_eq!(
        (seqs(&since(4).publications), since(4).continuous),
        (vec![6, 7, 8], true)
    );
    assert!(
        !since(8).continuous,
        "2 would have been asked for and is gone"
    );
}

#[test]
fn what_is_not_to_be_stored_serves_resumes_only() {
    let mut history = filled(2);
    let mut secret = publication(3, 5_003);
    secret.draft.store = false;
    history.push(&Arc::new(secret), BOUNDS, at(5_003));
    let rewind = history.backlog(Start::Rewind { count: 9 }, head(3), at(5_003));
    assert_eq!(seqs(&rewind.publications), [1, 2]);
    let start = Start::After(head(1));
    let resumed = history.backlog(start, head(3), at(5_003));
    assert_eq!(seqs(&resumed.publications), [2, 3]);
}

#[test]
fn count_age_and_bytes_each_bound_the_ring() {
    let mut history = filled(8);
    assert_eq!(history.ring.len(), 5);
    history.trim(BOUNDS, at(6_006));
    assert_eq!(
        seqs(&history.ring.iter().cloned().collect::<Vec<_>>()),
        [6, 7, 8]
    );
    let few = Bounds {
        bytes: 2 * (10 + OVERHEAD),
        ..BOUNDS
    };
    history.trim(few, at(6_006));
    assert_eq!(
        (history.ring.len(), history.bytes),
        (2, 2 * (10 + OVERHEAD))
    );
}

#[test]
fn the_last_value_outlives_the_ring_until_its_time_is_up() {
    let mut history = History::default();
    let mut kept = publication(1, 5_000);
    kept.draft.retain_ms = Some(3_000);
    history.push(&Arc::new(kept), BOUNDS, at(5_000));
    history.push(&Arc::new(publication(2, 5_001)), BOUNDS, at(5_001));
    history.trim(BOUNDS, at(7_999));
    assert!(history.ring.is_empty());
    let last = history
        .backlog(Start::Last, head(2), at(7_999))
        .publications;
    assert_eq!(
        seqs(&last),
        [1],
        "a value that is not retained does not replace it"
    );
    assert_eq!(history.last(at(8_000)), None);
}

#[test]
fn an_id_is_known_for_two_minutes() {
    let mut history = filled(1);
    history.trim(BOUNDS, at(5_001 + ID_MS - 1));
    assert!(history.known(&"id1".into()).unwrap().duplicate);
    history.trim(BOUNDS, at(5_001 + ID_MS));
    assert_eq!(history.known(&"id1".into()), None);
    assert!(history.is_empty());
}

proptest! {
    #[test]
    fn pages_are_a_slice_of_the_ring_in_the_order_asked_for(
        count in 0u64..20, after in 0u64..25, until in 0u64..25, limit in 0u32..8, backwards: bool,
    ) {
        let history = filled(count);
        let token = |seq: u64| (5_000 + seq) * TICKS_PER_MS + seq;
        let page = HistoryPage { after: token(after), until: token(until), limit, backwards };
        let mut wanted: Vec<u64> = (count.saturating_sub(4).max(1)..=count).filter(|seq| *seq > after && *seq <= until).collect();
        if backwards {
            wanted.reverse();
        }
        wanted.truncate(limit as usize);
        prop_assert_eq!(seqs(&history.page(page)), wanted);
    }

    #[test]
    fn a_copy_is_the_same(count in 0u64..20, from in 0u64..25) {
        let history = filled(count);
        let copy = History::restore(history.snapshot());
        prop_assert_eq!(after(&copy, 1, from), after(&history, 1, from));
        prop_assert_eq!(copy.bytes, history.bytes);
        prop_assert_eq!(copy.known(&"id3".into()), history.known(&"id3".into()));
    }
}
