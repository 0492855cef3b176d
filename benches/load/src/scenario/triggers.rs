//! Signed HTTP triggers on a channel nobody listens to: the price of the request itself.

use super::Figures;
use super::tally::latencies;
use crate::Failure;
use crate::histogram::Histogram;
use crate::meter::Meter;
use crate::options::Target;
use crate::stamp::Stamp;
use crate::world::{Event, World};
use serde_json::json;
use std::time::{Duration, Instant};

pub(super) fn play(
    world: &mut World,
    target: &Target,
    publishers: u16,
) -> Result<Figures, Failure> {
    let mut ids = Vec::new();
    for _ in 0..publishers {
        ids.push(world.http(target.server)?);
    }
    stretch(world, target, &ids, target.warmup)?;
    let (meter, began) = (Meter::start(&target.pids), Instant::now());
    let histogram = stretch(world, target, &ids, target.seconds)?;
    let requests = histogram.samples();
    let mut figures = meter.spent(requests, "request");
    figures.extend(latencies(&histogram));
    let rate = requests as f64 / began.elapsed().as_secs_f64();
    figures.insert("requests_per_s".into(), json!(rate.round()));
    Ok(figures)
}

/// Each connection sends its next request when the last is answered; ends when all are.
fn stretch(
    world: &mut World,
    target: &Target,
    ids: &[usize],
    seconds: f64,
) -> Result<Histogram, Failure> {
    let mut histogram = Histogram::default();
    let mut asked: Vec<(usize, u64)> = ids.iter().map(|id| (*id, 0)).collect();
    for (id, at) in &mut asked {
        *at = request(world, target, *id);
    }
    let mut open = ids.len();
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while open > 0 {
        for event in world.turn(Duration::from_millis(100))? {
            let Event::Answered(id, status, body) = event else {
                continue;
            };
            if status != 200 {
                return Err(format!("a trigger was answered {status}: {body}").into());
            }
            let Some((_, at)) = asked.iter_mut().find(|(asker, _)| *asker == id) else {
                continue;
            };
            histogram.record(world.now().saturating_sub(*at));
            if Instant::now() < end {
                *at = request(world, target, id);
            } else {
                open -= 1;
            }
        }
        if Instant::now() > end + Duration::from_secs(10) {
            return Err(format!("{open} triggers were never answered").into());
        }
    }
    Ok(histogram)
}

fn request(world: &mut World, target: &Target, id: usize) -> u64 {
    let due = world.now();
    let data = Stamp {
        due,
        lane: 0,
        number: 0,
    }
    .payload(target.size);
    let request = world.credential().trigger("private-nobody", &data);
    world.send(id, request.as_bytes());
    due
}
