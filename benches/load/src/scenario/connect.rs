//! Connections: what it costs to make one, and what one weighs that does nothing.

use super::Figures;
use super::tally::latencies;
use crate::Failure;
use crate::histogram::Histogram;
use crate::meter::{Meter, resident_kib, rounded};
use crate::options::Target;
use crate::world::World;
use serde_json::json;
use std::time::{Duration, Instant};

/// How long memory is given to settle after the last handshake.
const SETTLE: Duration = Duration::from_secs(3);

pub(super) fn play(
    world: &mut World,
    target: &Target,
    connections: usize,
) -> Result<Figures, Failure> {
    world.open(connections / 10, target.at_once, |i| {
        vec![format!("private-warm-{i}")]
    })?;
    let (meter, began) = (Meter::start(&target.pids), Instant::now());
    let opened = world.open(connections, target.at_once, |i| {
        vec![format!("private-own-{i}")]
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let mut histogram = Histogram::default();
    opened.iter().for_each(|(_, ns)| histogram.record(*ns));
    let mut figures = meter.spent(connections as u64, "connection");
    figures.extend(latencies(&histogram));
    let rate = connections as f64 / seconds;
    figures.insert("connections_per_s".into(), json!(rate.round()));
    Ok(figures)
}

pub(super) fn idle(
    world: &mut World,
    target: &Target,
    steps: &[usize],
) -> Result<Figures, Failure> {
    let before = resident_kib(&target.pids);
    let mut figures = Figures::from_iter([("resident_empty_kib".to_owned(), json!(before))]);
    let mut have = 0;
    for &step in steps {
        let from = have;
        let more = step.saturating_sub(have);
        world.open(more, target.at_once, |i| {
            vec![format!("private-own-{}", from + i)]
        })?;
        have += more;
        rest(world, SETTLE)?;
        let now = resident_kib(&target.pids);
        let each = now.saturating_sub(before) as f64 / have.max(1) as f64;
        figures.insert(format!("resident_{have}_kib"), json!(now));
        figures.insert(format!("kib_per_connection_{have}"), json!(rounded(each)));
    }
    let meter = Meter::start(&target.pids);
    rest(world, Duration::from_secs_f64(target.seconds))?;
    figures.extend(meter.spent(have as u64, "idle_connection"));
    Ok(figures)
}

/// Lets time pass; pings are answered meanwhile.
fn rest(world: &mut World, time: Duration) -> Result<(), Failure> {
    let end = Instant::now() + time;
    while let Some(left) = end
        .checked_duration_since(Instant::now())
        .filter(|d| !d.is_zero())
    {
        world.turn(left)?;
    }
    Ok(())
}
