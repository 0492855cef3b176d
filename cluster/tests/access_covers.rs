//! `Pattern::covers` against `Pattern::matches`, over every short pattern and every short name.
//!
//! A wrong yes would let a key grant what it does not have, and the wrong cases are corners (a prefix that
//! is exactly the other's text, an empty last segment), which random texts seldom meet.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use gatecast_cluster::access::Pattern;

/// All texts of 1 to `longest` letters.
fn texts(letters: &[char], longest: usize) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut last = all.clone();
    for _ in 0..longest {
        last = last
            .iter()
            .flat_map(|text| letters.iter().map(move |letter| format!("{text}{letter}")))
            .collect();
        all.extend(last.iter().cloned());
    }
    all.split_off(1)
}

#[test]
fn covers_never_says_yes_wrongly() {
    let names = texts(&['a', 'b', ':', '.'], 4);
    let mut patterns = vec![Pattern::All, Pattern::of_kind("regex", "^a").unwrap()];
    for text in texts(&['a', 'b', ':', '.', '*'], 3) {
        for kind in ["exact", "prefix", "segments", "except"] {
            patterns.extend(Pattern::of_kind(kind, &text));
        }
        patterns.extend(Pattern::of_kind("levels", &format!("{text}.")));
        patterns.extend(Pattern::of_kind("except", &format!("{text},a")));
    }
    patterns.sort();
    patterns.dedup();
    let matched: Vec<Vec<bool>> = patterns
        .iter()
        .map(|pattern| names.iter().map(|name| pattern.matches(name)).collect())
        .collect();

    let (mut yes, mut missed) = (0u32, 0u32);
    for (outer, wide) in patterns.iter().zip(&matched) {
        for (inner, narrow) in patterns.iter().zip(&matched) {
            let counter = || {
                let mut pairs = narrow.iter().zip(wide);
                pairs.position(|(inner, outer)| *inner && !*outer)
            };
            if outer.covers(inner) {
                yes += 1;
                if let Some(at) = counter() {
                    panic!(
                        "{outer:?} is said to cover {inner:?}, but not {:?}",
                        names[at]
                    );
                }
            } else if narrow.contains(&true) && counter().is_none() {
                missed += 1;
            }
        }
    }
    // Saying no to everything would be sound too.
    assert!(yes > 3 * missed, "{yes} found, {missed} missed");
}
