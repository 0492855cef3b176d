#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
use super::super::dispatch::Dispatch;
use super::super::messages::{Detach, Interrupt};
use super::super::relay::Relay;
use super::super::thread_relay;
use super::super::ticker::Ticker;
use super::*;
use crate::core::authority::{AppId, Authority, Cut, Effect, State, Target};
use crate::core::delivery::encoding::EncodingId;
use crate::core::delivery::outbox::fixture::Basin;
use crate::core::ids::Position;
use crate::core::message::{Broadcast, Occupancy};
use crate::core::session::{DeliveryMode, Subscribed};
use actix::Actor as _;
use bytes::Bytes;
use futures_util::FutureExt as _;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// What a connection was told.
#[derive(Clone, Default)]
struct Port(Rc<RefCell<Vec<String>>>);

impl ConnectionPort for Port {
    fn attached(&self, subscribed: Box<Subscribed>) {
        let name = &subscribed.channel.name;
        self.0.borrow_mut().push(format!("attached {name}"));
    }
    fn broadcast(&self, channel: Arc<ChannelKey>, broadcast: Broadcast, _source: Source) {
        let name = &channel.name;
        self.0.borrow_mut().push(format!("{name} {broadcast:?}"));
    }
    fn end(&self, end: End) {
        self.0.borrow_mut().push(format!("end {end:?}"));
    }
    fn due(&self) {
        self.0.borrow_mut().push("due".to_owned());
    }
    fn take_over(&self) -> LocalBoxFuture<'static, Option<HandOver>> {
        async { None }.boxed_local()
    }
    fn enforce(&self, _batch: EffectBatch) -> LocalBoxFuture<'static, bool> {
        self.0.borrow_mut().push("enforce".to_owned());
        async { false }.boxed_local()
    }
}

struct One {
    id: ConnectionId,
    slot: Slot,
    outbox: Rc<Outbox>,
    basin: Rc<Basin>,
    told: Port,
}

impl One {
    fn enter(state: &WorkerState, number: u64) -> Self {
        let id = ConnectionId(number, 0);
        let meta = ConnectionMeta {
            id,
            dialect: "test",
            remote: "".into(),
            since_ms: 0,
        };
        let (basin, told) = (Basin::of(10_000), Port::default());
        let outbox = Rc::new(Outbox::new(100, state.withheld(), basin.clone()));
        let slot = state.register(meta, outbox.clone(), Box::new(told.clone()));
        Self {
            id,
            slot,
            outbox,
            basin,
            told,
        }
    }

    fn attach(&self, state: &WorkerState, channel: &str, mode: DeliveryMode, echo: bool) {
        state.attach(self.request(channel, mode, echo));
    }

    fn request(&self, channel: &str, mode: DeliveryMode, echo: bool) -> Attach {
        Attach {
            channel: key(channel),
            connection: self.id,
            mode,
            encoding: EncodingId(0),
            echo,
            subscribed: Box::new(Subscribed {
                channel: key(channel),
                tag: 0,
                granted: crate::core::authority::Operations::NONE,
                position: Position::default(),
                backlog: Vec::new(),
                continuous: true,
                members: None,
                occupancy: Occupancy::default(),
            }),
        }
    }

    fn join(&self, state: &WorkerState, channel: &str) {
        self.attach(state, channel, DeliveryMode::Shared, true);
        state.release(self.slot, &key(channel));
    }

    /// Everything that was sent and can be, as text.
    fn read(&self) -> String {
        self.outbox.flush();
        self.basin.text()
    }
}

fn key(name: &str) -> Arc<ChannelKey> {
    ChannelKey::channel(AppId(1), name)
}

fn message(channel: &str, text: &str) -> Deliver {
    Deliver {
        channel: key(channel),
        frames: [(EncodingId(0), Bytes::copy_from_slice(text.as_bytes()))]
            .into_iter()
            .collect(),
        broadcast: Broadcast::Count(1),
        except: None,
        publisher: None,
    }
}

#[test]
fn nothing_is_delivered_before_the_session_has_spoken_and_nothing_is_lost() {
    let state = WorkerState::default();
    let one = One::enter(&state, 1);
    one.attach(&state, "room", DeliveryMode::Shared, true);
    state.deliver(&message("room", "a"), false);
    state.deliver(&message("room", "b"), false);
    assert_eq!(one.read(), "");
    assert_eq!(*one.told.0.borrow(), ["attached room"]);
    let _ = one.outbox.push(Source::SESSION, "subscribed:".into());
    state.release(one.slot, &key("room"));
    state.deliver(&message("room", "c"), false);
    assert_eq!(one.read(), "subscribed:abc");
}

#[test]
fn except_and_echo_leave_out_exactly_one() {
    let state = WorkerState::default();
    let (one, two) = (One::enter(&state, 1), One::enter(&state, 2));
    one.join(&state, "room");
    two.attach(&state, "room", DeliveryMode::Shared, false);
    state.release(two.slot, &key("room"));
    let mut from_two = message("room", "a");
    from_two.publisher = Some(two.id);
    state.deliver(&from_two, false);
    let mut not_one = message("room", "b");
    not_one.except = Some(one.id);
    state.deliver(&not_one, false);
    let mut from_one = message("room", "c");
    from_one.publisher = Some(one.id);
    state.deliver(&from_one, false);
    assert_eq!((one.read(), two.read()), ("ac".to_owned(), "bc".to_owned()));
}

#[test]
fn a_session_that_frames_itself_gets_the_broadcast() {
    let state = WorkerState::default();
    let one = One::enter(&state, 1);
    one.attach(&state, "room", DeliveryMode::Session, true);
    state.deliver(&message("room", "a"), false);
    assert_eq!(*one.told.0.borrow(), ["attached room", "room Count(1)"]);
    assert_eq!(one.read(), "");
}

#[test]
fn behind_a_gap_nothing_is_delivered_and_who_has_the_channel_is_sent_to_come_back() {
    let state = WorkerState::default();
    let ones: Vec<One> = (0..3).map(|n| One::enter(&state, n)).collect();
    for (one, mode) in ones
        .iter()
        .zip([DeliveryMode::Shared, DeliveryMode::Session])
    {
        one.attach(&state, "a", mode, true);
        state.release(one.slot, &key("a"));
        one.attach(&state, "b", DeliveryMode::Shared, true);
        state.release(one.slot, &key("b"));
    }
    ones[2].join(&state, "b");
    state.deliver(&message("a", "before"), false);
    state.interrupt(&key("a"));
    state.deliver(&message("a", "behind"), false);
    let ended = |one: &One| one.told.0.borrow().contains(&"end Missed".to_owned());
    assert_eq!(
        ones.iter().map(ended).collect::<Vec<_>>(),
        [true, true, false]
    );
    assert_eq!(ones[0].read(), "before");
    let told = ones[1].told.0.borrow().clone();
    let framed = told.iter().filter(|one| one.starts_with("a "));
    assert_eq!(framed.count(), 1, "{told:?}");
    state.interrupt(&key("nobody"));
}

#[test]
fn an_unknown_encoding_gets_nothing_and_a_full_outbox_is_ended_once() {
    let state = WorkerState::default();
    let (one, two) = (One::enter(&state, 1), One::enter(&state, 2));
    one.join(&state, "room");
    two.join(&state, "room");
    let mut foreign = message("room", "x");
    foreign.frames = [(EncodingId(9), "x".into())].into_iter().collect();
    state.deliver(&foreign, false);
    assert_eq!(one.read(), "");
    for _ in 0..30 {
        state.deliver(&message("room", "0123456789"), false);
        two.read();
    }
    assert_eq!(*one.told.0.borrow(), ["attached room", "end Slow"]);
    assert_eq!(*two.told.0.borrow(), ["attached room"]);
}

#[test]
fn what_is_held_counts_as_well() {
    let state = WorkerState::default();
    let one = One::enter(&state, 1);
    one.attach(&state, "room", DeliveryMode::Shared, true);
    for _ in 0..11 {
        state.deliver(&message("room", "0123456789"), false);
    }
    assert_eq!(*one.told.0.borrow(), ["attached room", "end Slow"]);
}

#[test]
fn a_connection_that_has_ended_is_forgotten_everywhere() {
    let state = WorkerState::default();
    let one = One::enter(&state, 1);
    let mut principal = Principal::anonymous(AppId(1), None, 1);
    principal.user = Some("ana".into());
    state.identify(one.slot, &principal);
    one.join(&state, "room");
    assert_eq!((state.counts(), state.of_app(AppId(1))), ((1, 1), 1));
    state.unregister(one.slot);
    assert_eq!((state.counts(), state.of_app(AppId(1))), ((0, 0), 0));
    // Late word from a channel is for nobody.
    one.attach(&state, "room", DeliveryMode::Shared, true);
    state.detach_id(one.id, &key("room"));
    assert_eq!(state.counts(), (0, 0));
}

#[test]
fn deadlines_reach_the_connection() {
    let state = WorkerState::default();
    let one = One::enter(&state, 1);
    state.schedule(one.slot, Some(100));
    state.fire(99);
    assert!(one.told.0.borrow().is_empty());
    state.fire(100);
    state.fire(200);
    assert_eq!(*one.told.0.borrow(), ["due"]);
}

proptest! {
    /// Any order of joining and leaving: everyone gets exactly what they are subscribed to, once.
    #[test]
    fn the_lists_stay_true(steps in proptest::collection::vec((0u8..6, 0u8..4, any::<bool>()), 0..120)) {
        let state = WorkerState::default();
        let all: Vec<_> = (0..6).map(|number| One::enter(&state, number)).collect();
        let mut model = BTreeSet::new();
        for (who, channel, join) in steps {
            let one = &all[usize::from(who)];
            if join {
                one.join(&state, &channel.to_string());
                model.insert((who, channel));
            } else {
                let known = state.detach(one.slot, &key(&channel.to_string())).is_some();
                prop_assert_eq!(known, model.remove(&(who, channel)));
            }
        }
        for channel in 0..4u8 {
            let name = channel.to_string();
            state.deliver(&message(&name, &name), false);
        }
        for (who, one) in (0u8..).zip(&all) {
            let wanted: String = (0..4u8).filter(|channel| model.contains(&(who, *channel))).map(|c| c.to_string()).collect();
            prop_assert_eq!(one.read(), wanted);
        }
        let channels: BTreeSet<_> = model.iter().map(|(_, channel)| channel).collect();
        prop_assert_eq!(state.counts(), (6, channels.len()));
    }
}

#[test]
fn while_the_lease_is_over_only_what_flows_goes_out_and_only_its_readers_stay() {
    let state = WorkerState::default();
    let (open, both, nobody) = (
        One::enter(&state, 1),
        One::enter(&state, 2),
        One::enter(&state, 3),
    );
    let anyone = Principal::anonymous(AppId(1), None, 1);
    state.identify(open.slot, &anyone);
    state.identify(both.slot, &anyone);
    open.join(&state, "open");
    both.join(&state, "open");
    both.join(&state, "closed");
    state.deliver(&message("closed", "1"), false);
    state.withhold(true);
    state.deliver(&message("open", "2"), true);
    state.deliver(&message("closed", "3"), false);
    assert_eq!(
        (open.read().as_str(), both.read().as_str()),
        ("2", "2"),
        "passes what waits"
    );
    state.end_stale(|app| app == AppId(1), |key| &*key.name == "open");
    assert!(!open.told.0.borrow().contains(&"end Stale".to_owned()));
    assert!(both.told.0.borrow().contains(&"end Stale".to_owned()));
    assert!(nobody.told.0.borrow().contains(&"end Stale".to_owned()));
    state.withhold(false);
    assert_eq!(both.read(), "13");
    // Taken back together, whether it may flow or not.
    state.deliver(&message("open", "4"), true);
    let source = state.detach(open.slot, &key("open")).unwrap();
    open.outbox.drop_source(source);
    assert_eq!(open.read(), "");
    let all_end = One::enter(&state, 4);
    state.identify(all_end.slot, &anyone);
    state.end_stale(|_| false, |_| true);
    assert!(all_end.told.0.borrow().contains(&"end Stale".to_owned()));
}

#[test]
fn after_a_snapshot_a_node_that_was_away_sends_its_connections_away() {
    for (skipped, serving) in [(true, false), (true, true), (false, false)] {
        let state = Rc::<WorkerState>::default();
        let one = One::enter(&state, 1);
        state.identify(one.slot, &Principal::anonymous(AppId(1), None, 1));
        one.join(&state, "room");
        let authority = Arc::new(Authority::fixed(State::default(), 0));
        authority.set_fixed(State::default(), 0, serving);
        let batch = EffectBatch {
            revision: 9,
            effects: Arc::default(),
            state: Arc::default(),
            skipped,
        };
        Dispatch::new(state.clone(), authority).enforce(&batch);
        let sent = one.told.0.borrow().contains(&"end Stale".to_owned());
        assert_eq!(sent, skipped && !serving, "{skipped} {serving}");
    }
}

#[test]
fn who_joins_while_the_lease_is_over_gets_nothing_twice() {
    let state = Rc::<WorkerState>::default();
    let authority = Arc::new(Authority::fixed(State::default(), 0));
    let dispatch = Dispatch::new(state.clone(), authority.clone());
    let (before, behind) = (One::enter(&state, 1), One::enter(&state, 2));
    before.join(&state, "room");
    authority.set_serving(false);
    dispatch.deliver(message("room", "a"));
    dispatch.attach(behind.request("room", DeliveryMode::Shared, true));
    dispatch.deliver(message("room", "b"));
    assert!(
        behind.told.0.borrow().is_empty(),
        "it waits in the same line"
    );
    authority.set_serving(true);
    dispatch.tick(1);
    assert_eq!(*behind.told.0.borrow(), ["attached room"]);
    state.release(behind.slot, &key("room"));
    state.send_dirty();
    assert_eq!((before.read(), behind.read()), ("ab".into(), "b".into()));
}

#[test]
fn who_waits_to_join_leaves_with_the_others_and_never_joins_unasked() {
    for how in ["leaves", "misses", "given up", "was away"] {
        let state = Rc::<WorkerState>::default();
        let authority = Arc::new(Authority::fixed(State::default(), 0));
        let dispatch = Dispatch::new(state.clone(), authority.clone());
        let one = One::enter(&state, 1);
        authority.set_serving(false);
        dispatch.deliver(message("room", "a"));
        dispatch.attach(one.request("room", DeliveryMode::Shared, true));
        let (channel, connection) = (key("room"), one.id);
        match how {
            "leaves" => dispatch.detach(&Detach {
                channel,
                connection,
            }),
            "misses" => dispatch.interrupt(&Interrupt { channel }),
            // What was published while its right was away waits behind it: it must not stay to hear that.
            "was away" => drop(dispatch.enforce(&EffectBatch {
                revision: 9,
                effects: Arc::default(),
                state: Arc::default(),
                skipped: true,
            })),
            _ => dispatch.tick(10_000),
        }
        authority.set_serving(true);
        dispatch.tick(10_001);
        let told = one.told.0.borrow().join(", ");
        let wanted = match how {
            "leaves" => "",
            "misses" => "attached room, end Missed",
            _ => "attached room, end Stale",
        };
        assert_eq!(told, wanted, "{how}");
    }
}

#[test]
fn everybody_looks_again_when_time_has_moved() {
    let state = WorkerState::default();
    let one = One::enter(&state, 1);
    state.recheck_deadlines();
    assert_eq!(*one.told.0.borrow(), ["due"]);
}

#[actix::test]
async fn what_its_own_threads_channels_say_goes_out_in_one_write() {
    let state = Rc::new(WorkerState::default());
    let authority = Arc::new(Authority::fixed(State::default(), 0));
    let relay = thread_relay::start(Relay::new(state.clone(), authority, NodeId(1)));
    let one = One::enter(&state, 1);
    one.join(&state, "room");
    assert!(thread_relay::find(&Relay::default().start()).is_none());
    let here = thread_relay::find(&relay).expect("this thread's");
    // The task that sends has had its first turn.
    tokio::task::yield_now().await;
    here.deliver(message("room", "a"));
    here.deliver(message("room", "b"));
    assert_eq!(one.basin.text(), "", "pushed, not sent");
    while one.basin.writes.borrow().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(*one.basin.writes.borrow(), [b"ab".to_vec()]);
    here.detach(&Detach {
        channel: key("room"),
        connection: one.id,
    });
    here.deliver(message("room", "d"));
    tokio::task::yield_now().await;
    assert!(!one.read().contains('d'), "it has left");
}

/// Lets a ticker run while the test plays; time is the test's.
async fn ticked(state: &Rc<WorkerState>, serves: bool, play: impl Future<Output = ()>) {
    let authority = Arc::new(Authority::fixed(State::default(), 0));
    authority.set_fixed(State::default(), 0, serves);
    let dispatch = Rc::new(Dispatch::new(state.clone(), authority.clone()));
    tokio::select! {
        () = Ticker::new(state.clone(), authority, dispatch).run() => {}
        () = play => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_wakes_a_sleeping_thread_and_is_50_ms_late_at_most() {
    let state = Rc::new(WorkerState::default());
    let one = One::enter(&state, 1);
    let began = Instant::now();
    let at = |ms| sleep_until(began + Duration::from_millis(ms));
    ticked(&state, true, async {
        // It has looked at 0 and would at 250.
        at(100).await;
        state.schedule(one.slot, Some(120));
        at(119).await;
        assert_eq!(one.told.0.borrow().len(), 0);
        at(171).await;
        assert_eq!(*one.told.0.borrow(), ["due"], "set after it fell asleep");
        state.schedule(one.slot, Some(10_000));
        at(9_999).await;
        assert_eq!(one.told.0.borrow().len(), 1);
        at(10_051).await;
        assert_eq!(one.told.0.borrow().len(), 2, "known long before");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_a_lease_nothing_of_a_channel_goes_out() {
    let state = Rc::new(WorkerState::default());
    ticked(&state, false, async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(state.withheld().get());
    })
    .await;
}

#[test]
fn whoever_speaks_for_somebody_is_found_by_her_name() {
    let state = WorkerState::default();
    let [one, two] = [1, 2].map(|number| One::enter(&state, number));
    let app = AppId(1);
    let speaks = |one: &One, user: &str, begins| {
        let user = user.into();
        state.speaks_for_changed(one.slot, SpeaksForChange { app, user, begins });
    };
    let asked = |app, user: &str| {
        let effect = Effect::Cut {
            app,
            target: Target::User(user.into()),
            cut: Cut::Blocked,
        };
        let batch = EffectBatch {
            revision: 1,
            effects: vec![effect].into(),
            state: Arc::new(State::default()),
            skipped: false,
        };
        state.enforce(&batch);
        [&one, &two].map(|one| std::mem::take(&mut *one.told.0.borrow_mut()).len())
    };
    speaks(&one, "carl", true);
    speaks(&one, "carl", true);
    assert_eq!(asked(app, "carl"), [1, 0]);
    assert_eq!(asked(app, "dora"), [0, 0]);
    assert_eq!(asked(AppId(2), "carl"), [0, 0]);
    speaks(&one, "carl", false);
    assert_eq!(asked(app, "carl"), [1, 0], "by the other channel still");
    speaks(&one, "carl", false);
    speaks(&two, "carl", false);
    assert_eq!(asked(app, "carl"), [0, 0]);
    assert!(
        state.tables.borrow().index.is_empty(),
        "nothing is left behind"
    );
}
