//! The scenarios: what is done to the server, for how long, and what is counted.
//!
//! **Must never know:** frames and signatures. Each is one loop over `World::turn`; each runs once
//! unmeasured, because the first second of a process measures page faults.

mod connect;
mod fanout;
mod grants;
mod pace;
mod pairs;
mod polls;
mod steps;
mod tally;
mod triggers;

use crate::Failure;
use crate::credential::Credential;
use crate::options::{Options, Scenario, Target};
use crate::world::World;
use serde_json::{Map, Value, json};

/// Figures by name.
pub type Figures = Map<String, Value>;

/// Connections that hold `--other-channels` open.
const BYSTANDERS: usize = 100;

/// Plays a scenario.
///
/// # Errors
/// When it could not be played to its end: then there is no figure.
pub fn play(options: &Options) -> Result<Figures, Failure> {
    let target = &options.target;
    let credential = Credential::new(&target.app, &target.key, &target.secret)?;
    let mut world = World::new(target.server, credential)?;
    bystanders(&mut world, target)?;
    let figures = match &options.scenario {
        Scenario::Fanout {
            subscribers,
            rate,
            in_flight,
            publishers,
        } => {
            let shape = fanout::Shape {
                subscribers: *subscribers,
                rate: *rate,
                in_flight: *in_flight,
                publishers: *publishers,
            };
            fanout::play(&mut world, target, &shape)
        }
        Scenario::Pairs { pairs, rate } => pairs::play(&mut world, target, *pairs, *rate),
        Scenario::Connect { connections } => connect::play(&mut world, target, *connections),
        Scenario::Idle { steps } => connect::idle(&mut world, target, steps),
        Scenario::Triggers { publishers } => triggers::play(&mut world, target, *publishers),
        Scenario::Polls {
            polls,
            channels,
            rate,
            publish_key,
            subscribe_key,
        } => {
            let shape = polls::Shape {
                polls: *polls,
                channels: *channels,
                rate: *rate,
                publish_key,
                subscribe_key,
            };
            polls::play(&mut world, target, &shape)
        }
        Scenario::Steps(steps) => steps::play(&mut world, target, steps),
        Scenario::Grants {
            servers,
            authorization,
            callers,
            patterns,
            calls,
            prefix,
            etcd,
        } => {
            let load = grants::Load {
                servers,
                authorization,
                callers: *callers,
                patterns: *patterns,
                calls: *calls,
                prefix,
                etcd: *etcd,
            };
            grants::play(&mut world, target, &load)
        }
    };
    let mut figures = figures?;
    figures.insert("troubles".into(), json!(world.troubles.len()));
    if let Some(first) = world.troubles.first() {
        figures.insert("first_trouble".into(), json!(first));
    }
    Ok(figures)
}

fn bystanders(world: &mut World, target: &Target) -> Result<(), Failure> {
    let each = target.other_channels.div_ceil(BYSTANDERS);
    let count = target.other_channels.min(BYSTANDERS);
    // Few at a time: each sends hundreds of subscriptions at once.
    world.open(count, 8, |i| {
        (0..each)
            .map(|c| format!("private-other-{i}-{c}"))
            .collect()
    })?;
    Ok(())
}
