use super::fixture::Basin;
use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

#[derive(Default)]
struct Count(AtomicU32);
impl std::task::Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Waits, and counts how often it is woken.
fn waiting(outbox: &Outbox) -> Arc<Count> {
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    outbox.wait(&Context::from_waker(&waker));
    count
}

fn woken(count: &Count) -> u32 {
    count.0.load(Ordering::SeqCst)
}

fn outbox_of(budget: usize, room: usize) -> (Outbox, Rc<Basin>) {
    let basin = Basin::of(room);
    (Outbox::new(budget, Rc::default(), basin.clone()), basin)
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[test]
fn a_burst_leaves_in_one_write_and_wakes_nobody() {
    let (outbox, basin) = outbox_of(100, 100);
    let count = waiting(&outbox);
    assert_eq!(outbox.push(Source(1), bytes("a")), Pushed::First);
    assert_eq!(outbox.push(Source(2), bytes("b")), Pushed::Queued);
    assert_eq!(outbox.push(Source(1), bytes("c")), Pushed::Queued);
    outbox.send();
    assert_eq!(*basin.writes.borrow(), [b"abc"]);
    assert_eq!((outbox.queued(), woken(&count)), (0, 0));
    assert_eq!(outbox.push(Source(1), bytes("d")), Pushed::First);
}

#[test]
fn without_room_somebody_waits_and_the_rest_follows_where_it_stopped() {
    let (outbox, basin) = outbox_of(100, 4);
    let count = waiting(&outbox);
    for text in ["abc", "def", "ghi"] {
        let _ = outbox.push(Source(1), bytes(text));
    }
    outbox.send();
    assert_eq!((basin.text(), woken(&count)), ("abcd".into(), 1));
    assert_eq!(outbox.queued(), 3);
    // Until there is room, nobody tries and nobody is woken again.
    let count = waiting(&outbox);
    assert_eq!(outbox.push(Source(1), bytes("jkl")), Pushed::First);
    outbox.send();
    assert_eq!((basin.text(), woken(&count)), (String::new(), 0));
    basin.room.set(100);
    assert_eq!(outbox.flush(), Sent::All);
    assert_eq!(basin.text(), "efghijkl");
}

#[test]
fn running_over_is_told_once_and_final() {
    let (outbox, _basin) = outbox_of(4, 100);
    assert_eq!(outbox.push(Source(1), bytes("abcd")), Pushed::First);
    assert_eq!(outbox.push(Source(1), bytes("e")), Pushed::Over);
    assert_eq!(outbox.push(Source(1), bytes("f")), Pushed::Closed);
    assert_eq!(outbox.queued(), 4);
}

#[test]
fn what_is_out_is_given_back_to_the_budget() {
    let (outbox, basin) = outbox_of(4, 100);
    for _ in 0..10 {
        assert_ne!(outbox.push(Source(1), bytes("abcd")), Pushed::Over);
        outbox.send();
        assert_eq!(basin.text(), "abcd");
    }
}

#[test]
fn one_source_can_be_taken_back_but_not_half_a_frame() {
    let (outbox, basin) = outbox_of(100, 0);
    let _ = outbox.push(Source(1), bytes("secret"));
    let _ = outbox.push(Source(2), bytes("open"));
    let _ = outbox.push(Source(1), bytes("secret"));
    basin.room.set(2);
    assert_eq!(outbox.flush(), Sent::NoRoom);
    outbox.drop_source(Source(1));
    assert_eq!(outbox.queued(), 4);
    basin.room.set(100);
    assert_eq!(outbox.flush(), Sent::All);
    assert_eq!(basin.text(), "secretopen");
}

#[test]
fn close_lets_what_is_queued_go_and_then_ends() {
    let (outbox, basin) = outbox_of(4, 0);
    let _ = outbox.push(Source(1), bytes("abcd"));
    let count = waiting(&outbox);
    outbox.push_last(bytes("bye"));
    outbox.close();
    assert_eq!(woken(&count), 1);
    assert_eq!(outbox.push(Source(1), bytes("x")), Pushed::Closed);
    assert_eq!(outbox.flush(), Sent::NoRoom);
    basin.room.set(100);
    assert_eq!(outbox.flush(), Sent::Ended);
    assert_eq!(basin.text(), "abcdbye");
}

#[test]
fn a_socket_that_is_gone_ends_the_way_out() {
    let (outbox, _basin) = outbox_of(100, 0);
    let _ = outbox.push(Source(1), bytes("abcd"));
    let count = waiting(&outbox);
    outbox.abort();
    assert_eq!((woken(&count), outbox.queued()), (1, 0));
    outbox.push_last(bytes("bye"));
    assert_eq!(outbox.flush(), Sent::Broken);
    assert_eq!(outbox.flush(), Sent::Ended, "what was left is dropped");
}

#[test]
fn withheld_bytes_wait_in_order_and_the_sessions_own_go() {
    let (withheld, basin) = (Rc::new(Cell::new(true)), Basin::of(100));
    let outbox = Outbox::new(100, withheld.clone(), basin.clone());
    let _ = outbox.push(Source::SESSION, bytes("answer "));
    let _ = outbox.push(Source(1), bytes("secret "));
    let _ = outbox.push(Source::SESSION, bytes("later"));
    outbox.send();
    assert_eq!(basin.text(), "answer ");
    withheld.set(false);
    outbox.send();
    assert_eq!(basin.text(), "secret later");
}

#[test]
fn an_emptied_burst_gives_its_slots_back() {
    let (outbox, _basin) = outbox_of(10_000, 10_000);
    for _ in 0..1_000 {
        let _ = outbox.push(Source(1), bytes("x"));
    }
    outbox.send();
    assert_eq!(outbox.queue.borrow().capacity(), 0);
}
