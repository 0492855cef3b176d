//! The floors of the broker core as data: a file names files of its own floor or of a lower one, and no two files
//! of core stand on each other.
//!
//! **Why no circle has leave to be there:** in a circle no file can be read, tested or changed before the others are. An
//! actor and who talks to it need none: messages lie below the actor, and a port says what it needs from above.

use crate::Finding;
use crate::imports::{Import, module_of};
use crate::source::Source;
use std::collections::{BTreeMap, BTreeSet};

const CORE: &str = "src/core/";

/// From below: path prefixes without their ending. The longest one that fits says where a file is.
const FLOORS: &[&[&str]] = &[
    &["hash", "clock", "durations", "suggest", "redact"],
    &["access"],
    &["ids"],
    &[
        "close",
        "error",
        "filters",
        "lifecycle",
        "limits",
        "listing",
        "message",
        "nodes",
        "refusals/",
        "token_bucket",
    ],
    &["authority/"],
    &["session", "query"],
    &["delivery/"],
    &["channel/replica/"],
    &["channel/"],
    &["broker"],
    &["connection/"],
    &["polling/"],
];

/// Every place that a floor names.
pub(crate) fn places() -> impl Iterator<Item = String> {
    FLOORS
        .iter()
        .copied()
        .flatten()
        .map(|place| format!("{CORE}{place}"))
}

/// What breaks the floors in these sources; `named` is what each of them names.
pub(crate) fn check(sources: &[Source], named: &[Vec<Import>]) -> Vec<Finding> {
    let modules: BTreeMap<String, usize> = sources
        .iter()
        .enumerate()
        .filter(|(_, source)| source.path.starts_with(CORE) && source.path != "src/core/mod.rs")
        .map(|(at, source)| (module_of(&source.path).join("::"), at))
        .collect();
    let mut findings = Vec::new();
    let mut graph: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for at in modules.values() {
        let source = &sources[*at];
        let Some(own) = floor(&source.path) else {
            let what = "on no floor of core: enter it in tests/structure/floors.rs";
            findings.push(finding(source, 1, what.into()));
            continue;
        };
        for import in &named[*at] {
            let Some(target) = file_of(&import.path, &modules).filter(|target| target != at) else {
                continue;
            };
            graph.entry(*at).or_default().insert(target);
            let path = &sources[target].path;
            if floor(path).is_some_and(|its| its > own) {
                let what = format!("names `{}`, which is on a higher floor", import.path);
                findings.push(finding(source, import.line, what));
            }
        }
    }
    for circle in circles(&graph) {
        let paths: Vec<&str> = circle.iter().map(|at| sources[*at].path.as_str()).collect();
        let what = format!("these files stand on each other: {}", paths.join(", "));
        findings.push(finding(&sources[circle[0]], 1, what));
    }
    findings
}

/// Which floor a file is on, from 0.
fn floor(path: &str) -> Option<usize> {
    let inner = path.strip_prefix(CORE)?.trim_end_matches(".rs");
    let fits = |place: &&&str| match place.ends_with('/') {
        true => inner.starts_with(**place),
        false => inner == **place || inner.starts_with(&format!("{place}/")),
    };
    let places = FLOORS.iter().enumerate();
    let places =
        places.flat_map(|(at, floor)| floor.iter().filter(fits).map(move |one| (one.len(), at)));
    places.max().map(|(_, at)| at)
}

/// The file that a path leads to: the one of its longest beginning that is a module.
fn file_of(path: &str, modules: &BTreeMap<String, usize>) -> Option<usize> {
    let mut path = path;
    loop {
        if let Some(at) = modules.get(path) {
            return Some(*at);
        }
        path = path.rsplit_once("::")?.0;
    }
}

/// Sets of files each of which leads to every other of its set.
fn circles(graph: &BTreeMap<usize, BTreeSet<usize>>) -> Vec<Vec<usize>> {
    let reach = |from: usize| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(at) = next.pop() {
            for to in graph.get(&at).into_iter().flatten() {
                if seen.insert(*to) {
                    next.push(*to);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<usize, BTreeSet<usize>> =
        graph.keys().map(|at| (*at, reach(*at))).collect();
    let mut found: BTreeSet<Vec<usize>> = BTreeSet::new();
    for (at, far) in reached.iter().filter(|(at, far)| far.contains(at)) {
        let back = |other: &&usize| reached.get(other).is_some_and(|far| far.contains(at));
        found.insert(far.iter().filter(back).copied().collect());
    }
    found.into_iter().collect()
}

fn finding(source: &Source, line: usize, what: String) -> Finding {
    Finding {
        path: source.path.clone(),
        line,
        what,
    }
}
