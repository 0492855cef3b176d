//! What is told of a channel's lifecycle, once per cluster.

use super::*;

impl Sim {
    fn count(&self, wanted: &LifecycleKind) -> usize {
        self.told.iter().filter(|one| *one == wanted).count()
    }

    /// Everybody left learns that the others are dead.
    fn bury(&mut self) {
        let rest = self.ids();
        let members = list(&rest, &[], 2);
        for node in rest {
            self.rehome(node, &members);
        }
    }

    /// Everything quiet, and every grace over.
    fn wait(&mut self) {
        self.settle();
        for _ in 0..200 {
            self.pass(50);
            self.settle();
        }
    }
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
    sim.bury();
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
    sim.bury();
    sim.wait();
    assert_eq!(sim.told, [LifecycleKind::Occupied, LifecycleKind::Vacated]);
}
