//! What is told of a channel's lifecycle, once per cluster.

use super::*;

impl Sim {
    fn count(&self, wanted: &LifecycleKind) -> usize {
        self.told.iter().filter(|one| *one == wanted).count()
    }

    /// Everybody left learns that the others are dead.
    fn drop_dead_nodes(&mut self) {
        let rest = self.ids();
        let members = list(&rest, &[], 2);
        for node in rest {
            self.rehome(node, &members);
        }
    }

    /// The home when these are dead.
    fn next_of(&self, dead: &[u64]) -> u64 {
        let rest: Vec<u64> = self
            .ids()
            .into_iter()
            .filter(|id| !dead.contains(id))
            .collect();
        list(&rest, &[], 1).place(&self.key).unwrap().home.0
    }

    /// Everything quiet, and every grace over.
    pub(super) fn wait(&mut self) {
        self.settle();
        for _ in 0..200 {
            self.pass(50);
            self.settle();
        }
    }

    /// The same, where frames are few.
    pub(super) fn wait_for_graces(&mut self) {
        for pick in 0..260 {
            while self.step(pick) {}
            self.pass(50);
        }
    }

    /// That what was told alternates for the channel and for every client, and that its last word is the truth.
    pub(super) fn check_told(&self) {
        let (mut occupied, mut there) = (false, BTreeSet::new());
        for one in &self.told {
            let news = match one {
                LifecycleKind::Occupied => !std::mem::replace(&mut occupied, true),
                LifecycleKind::Vacated => std::mem::replace(&mut occupied, false),
                LifecycleKind::Joined(client) => there.insert(client.clone()),
                LifecycleKind::Left(client) => there.remove(client),
                LifecycleKind::Published(_) | LifecycleKind::Missed | LifecycleKind::Counted(_) => {
                    true
                }
            };
            assert!(news, "{one:?} was told twice in {:?}", self.told);
        }
        let attached = || self.conns.values().filter(|one| one.attached);
        assert_eq!(occupied, attached().count() > 0, "{:?}", self.told);
        let truth: BTreeSet<Text> = attached().filter_map(|one| one.member.clone()).collect();
        assert_eq!(there, truth, "{:?}", self.told);
        for (node, state) in &self.states {
            if let Role::Home(home) = &state.role {
                let log = home.stream.lifecycle.as_ref().unwrap();
                assert_eq!(log.unsettled().count(), 0, "at {node}");
            }
        }
    }

    /// Clients are told apart by their number modulo three.
    fn join_as(&mut self, node: u64, client: u64) -> u64 {
        while (self.next + 1) % 3 != client {
            self.next += 1;
        }
        self.join(node, true)
    }

    fn steps(&mut self, frames: usize) {
        for pick in 0..frames {
            self.step(pick);
        }
    }

    /// The world can be got at again.
    fn world_is_back(&mut self) {
        self.world_is_away = false;
        for node in self.ids() {
            self.bring(node);
        }
    }

    /// The home drains, or comes back: everybody learns of it, the home first or last.
    fn move_home(&mut self, members: &Arc<Members>, home_first: bool) {
        let mut turns = self.ids();
        let home = self.home();
        turns.sort_by_key(|node| (*node == home) != home_first);
        for node in turns {
            self.rehome(node, members);
        }
    }
}

/// What happens to a home in the midst of something.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// It hands over and gets back.
    Drains,
    /// The same while the link between it and its successor breaks, after so many frames more.
    DrainsCutOff(usize),
    Killed,
    /// Killed and there again before anybody has called it dead.
    Restarts,
    BackupKilled,
}

fn faults() -> impl Iterator<Item = Fault> {
    let whole = [
        Fault::Drains,
        Fault::Killed,
        Fault::Restarts,
        Fault::BackupKilled,
    ];
    let cut = (0..12).map(Fault::DrainsCutOff);
    whole.into_iter().chain(cut)
}

fn strike(sim: &mut Sim, fault: Fault, home_first: bool) {
    let (home, backup) = (sim.home(), sim.backup());
    let rest: Vec<u64> = sim.ids().into_iter().filter(|id| *id != home).collect();
    let drained = list(&rest, &[home], 2);
    match fault {
        Fault::Drains => {
            sim.move_home(&drained, home_first);
            sim.steps(200);
            sim.move_home(&list(&[1, 2, 3], &[], 3), home_first);
        }
        Fault::DrainsCutOff(frames) => {
            sim.move_home(&drained, home_first);
            sim.steps(frames);
            sim.break_link(home, backup);
            sim.steps(3);
            sim.mend_all();
        }
        Fault::Killed => {
            sim.kill(home);
            sim.drop_dead_nodes();
        }
        Fault::Restarts => sim.restart(home),
        Fault::BackupKilled => {
            sim.kill(backup);
            sim.drop_dead_nodes();
        }
    }
}

/// One who stays, one who leaves for good, one who comes back in time, one who comes while it happens; all of them on a
/// node that nothing happens to.
fn play(fault: Fault, frames: usize, home_first: bool, world_is_away: bool) {
    let mut sim = Sim::new(&[1, 2, 3]);
    let (home, backup) = (sim.home(), sim.backup());
    let follower = 6 - home - backup;
    let one = sim.join_as(follower, 0);
    let other = sim.join_as(follower, 1);
    sim.settle();
    sim.world_is_away = world_is_away;
    sim.leave(one);
    sim.leave(other);
    sim.pass(25);
    sim.steps(frames % 7);
    sim.join_as(follower, 2);
    sim.steps(frames / 7);
    strike(&mut sim, fault, home_first);
    for pick in 0..20 {
        while sim.step(pick) {}
        sim.pass(50);
    }
    sim.join_as(follower, 1);
    sim.wait_for_graces();
    sim.world_is_back();
    sim.wait_for_graces();
    sim.check_told();
    let all: Vec<u64> = sim.conns.keys().copied().collect();
    for id in all {
        sim.leave(id);
    }
    sim.wait_for_graces();
    sim.check_told();
}

#[test]
fn whatever_happens_to_a_home_the_lifecycle_is_told_whole_and_once() {
    for fault in faults() {
        for (frames, home_first) in (0..42).flat_map(|n| [(n, true), (n, false)]) {
            play(fault, frames, home_first, false);
        }
    }
}

#[test]
fn what_could_not_be_brought_to_the_world_is_brought_by_the_next_home() {
    for fault in faults() {
        for (frames, home_first) in (0..42).flat_map(|n| [(n, true), (n, false)]) {
            play(fault, frames, home_first, true);
        }
    }
}

#[test]
fn the_backup_lets_go_of_what_is_settled() {
    let mut sim = Sim::new(&[1, 2, 3]);
    let (home, backup) = (sim.home(), sim.backup());
    sim.join(home, true);
    sim.settle();
    sim.world_is_away = true;
    sim.join(backup, true);
    sim.settle();
    let waits = |sim: &Sim| {
        let copy = sim.states[&backup].copy.as_ref();
        let log = copy.and_then(|copy| copy.stream.lifecycle.as_ref());
        log.map(|log| log.unsettled().count())
    };
    assert_eq!(waits(&sim), Some(1));
    sim.world_is_back();
    sim.settle();
    assert_eq!(waits(&sim), Some(0));
}

#[test]
fn a_hook_that_is_made_later_is_not_told_of_what_is_there_and_its_successor_neither() {
    let mut sim = Sim::new(&[1, 2, 3]);
    let (home, backup) = (sim.home(), sim.backup());
    let follower = 6 - home - backup;
    sim.join(follower, true);
    let watched = |sim: &mut Sim, watched: bool| {
        let new = Limits {
            watched,
            ..limits()
        };
        for state in sim.states.values_mut() {
            state.set_limits(new);
        }
    };
    sim.settle();
    sim.told.clear();
    watched(&mut sim, false);
    let more = sim.join(follower, false);
    sim.settle();
    watched(&mut sim, true);
    sim.leave(more);
    sim.wait();
    sim.kill(home);
    sim.drop_dead_nodes();
    sim.wait();
    assert_eq!(sim.told, []);
    let all: Vec<u64> = sim.conns.keys().copied().collect();
    for id in all {
        sim.leave(id);
    }
    sim.wait();
    assert_eq!(sim.told.last(), Some(&LifecycleKind::Vacated));
}

#[test]
fn a_home_that_takes_over_tells_the_number_of_subscriptions_anew() {
    let mut sim = Sim::new(&[1, 2, 3]);
    let (home, backup) = (sim.home(), sim.backup());
    sim.counts = true;
    sim.join(home, false);
    sim.join(backup, false);
    sim.settle();
    let counted = |sim: &Sim| {
        let told = sim.told.iter().rev();
        told.clone().find_map(|one| match one {
            LifecycleKind::Counted(count) => Some(*count),
            LifecycleKind::Occupied
            | LifecycleKind::Vacated
            | LifecycleKind::Joined(_)
            | LifecycleKind::Left(_)
            | LifecycleKind::Published(_)
            | LifecycleKind::Missed => None,
        })
    };
    assert_eq!(counted(&sim), Some(2));
    sim.kill(home);
    sim.drop_dead_nodes();
    sim.wait();
    assert_eq!(
        counted(&sim),
        Some(1),
        "hers alone, and nobody else says so"
    );
}

#[test]
fn the_lifecycle_is_told_once_wherever_clients_come_and_go() {
    let mut sim = Sim::new(&[1, 2, 3]);
    let joined: Vec<u64> = [1, 2, 3, 1].map(|node| sim.join(node, true)).into();
    sim.settle();
    let users = joined
        .iter()
        .map(|id| id % 3)
        .collect::<BTreeSet<_>>()
        .len();
    let entered = |sim: &Sim| {
        let told = sim.told.iter();
        told.filter(|one| matches!(one, LifecycleKind::Joined(_)))
            .count()
    };
    assert_eq!(
        (sim.count(&LifecycleKind::Occupied), entered(&sim)),
        (1, users)
    );
    for id in &joined[1..] {
        sim.leave(*id);
    }
    sim.wait();
    assert_eq!(sim.count(&LifecycleKind::Vacated), 0);
    sim.leave(joined[0]);
    sim.wait();
    assert_eq!(sim.count(&LifecycleKind::Vacated), 1);
    let left = sim
        .told
        .iter()
        .filter(|one| matches!(one, LifecycleKind::Left(_)));
    assert_eq!(left.count(), users);
}

#[test]
fn a_quick_return_is_told_neither_as_leaving_nor_as_coming() {
    let mut sim = Sim::new(&[1, 2, 3]);
    let first = sim.join(2, true);
    sim.settle();
    let before = sim.told.clone();
    sim.leave(first);
    sim.pass(500);
    while sim.step(0) {}
    // The same user: clients are told apart by their number modulo three.
    while (sim.next + 1) % 3 != first % 3 {
        sim.next += 1;
    }
    sim.join(3, true);
    sim.wait();
    assert_eq!(sim.told, before);
}

#[test]
fn a_dead_home_takes_nothing_back_and_its_successor_repeats_nothing() {
    let mut sim = Sim::new(&[1, 2, 3]);
    let home = sim.home();
    let other = sim.ids().into_iter().find(|id| *id != home).unwrap();
    let (lost, kept) = (sim.join(home, true), sim.join(other, true));
    sim.settle();
    sim.kill(home);
    sim.drop_dead_nodes();
    sim.wait();
    assert_eq!(sim.count(&LifecycleKind::Occupied), 1);
    assert_eq!(sim.count(&LifecycleKind::Vacated), 0);
    if lost % 3 != kept % 3 {
        let user: Text = format!("u{}", lost % 3).into();
        assert_eq!(
            sim.count(&LifecycleKind::Left(user)),
            1,
            "her node is gone, and she with it"
        );
    }
    sim.leave(kept);
    sim.wait();
    assert_eq!(sim.count(&LifecycleKind::Vacated), 1);
}

#[test]
fn when_everybody_was_on_the_dead_home_its_backup_says_so() {
    let mut sim = Sim::new(&[1, 2, 3]);
    let home = sim.home();
    sim.join(home, false);
    sim.settle();
    sim.kill(home);
    sim.drop_dead_nodes();
    sim.wait();
    assert_eq!(sim.told, [LifecycleKind::Occupied, LifecycleKind::Vacated]);
}

#[test]
fn of_whom_it_was_told_before_a_stream_was_lost_it_is_not_told_again() {
    let mut sim = Sim::new(&[1, 2, 3, 4, 5]);
    let lost = [sim.home(), sim.backup()];
    let edges: Vec<u64> = (1..=5).filter(|id| !lost.contains(id)).collect();
    for (edge, client) in edges.iter().zip(0..) {
        sim.join_as(*edge, client);
    }
    sim.settle();
    assert_eq!(sim.told.len(), 4, "{:?}", sim.told);
    // The next home has nothing but their nodes' word, and its backup has it from that one.
    for (revision, lost) in [(2, &lost[..]), (3, &[sim.next_of(&lost)])] {
        lost.iter().for_each(|node| sim.kill(*node));
        let rest = sim.ids();
        let members = list(&rest, &[], revision);
        for node in rest {
            sim.rehome(node, &members);
        }
        while sim.step(0) {}
    }
    sim.wait();
    sim.check_told();
    let all: Vec<u64> = sim.conns.keys().copied().collect();
    for id in all {
        sim.leave(id);
    }
    sim.wait();
    sim.check_told();
}
