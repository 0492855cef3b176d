//! The structure test: reads the sources of both crates and holds the laws of `docs/architecture.md`.
//!
//! Which room may name which other, which floor of core, which room alone names a crate we may have to swap, what every file says about itself,
//! how long files and functions may be, and which names and calls production code does without. It
//! reads text, not compiler output, so that it runs in a second and every finding is `path:line: what`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::indexing_slicing, clippy::print_stderr, clippy::string_slice)]

mod calls;
mod floors;
mod form;
mod imports;
mod laws;
mod pages;
mod pure;
mod selftest;
mod source;

use source::Source;
use std::path::{Path, PathBuf};

/// One broken law: where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Path from the repository root.
    pub(crate) path: String,
    /// Line, from 1.
    pub(crate) line: usize,
    /// The law and how it is broken here.
    pub(crate) what: String,
}

/// Every finding in these sources, sorted.
pub(crate) fn examine(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let named: Vec<_> = sources
        .iter()
        .map(|one| imports::of(one, sources))
        .collect();
    for (source, named) in sources.iter().zip(&named) {
        findings.extend(laws::check(source, named));
        findings.extend(form::check(source));
    }
    findings.extend(floors::check(sources, &named));
    findings.extend(form::check_median(sources));
    findings.sort();
    findings.dedup();
    findings
}

#[test]
fn the_sources_keep_the_laws() {
    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    let sources = read(Path::new(&root), &["src", "cluster/src"]);
    assert!(
        sources.len() > 20,
        "only {} sources found: looking in the wrong place?",
        sources.len()
    );
    let findings = examine(&sources);
    for finding in &findings {
        eprintln!("{}:{}: {}", finding.path, finding.line, finding.what);
    }
    assert!(findings.is_empty(), "{} broken laws", findings.len());
}

#[test]
fn no_law_names_a_file_that_is_not_there() {
    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    let sources = read(Path::new(&root), &["src", "cluster/src"]);
    let places = laws::places().map(String::from).chain(floors::places());
    let places = places.chain(form::HELP.iter().copied().map(String::from));
    let gone: Vec<String> = places.filter(|place| !is_there(&sources, place)).collect();
    assert!(
        gone.is_empty(),
        "laws about files that are not there: {gone:?}"
    );
}

/// Whether a place is a file, a folder, or the beginning of a file's name.
fn is_there(sources: &[Source], place: &str) -> bool {
    sources.iter().any(|source| source.path.starts_with(place))
}

/// Reads every production source below these folders.
fn read(root: &Path, folders: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in folders {
        walk(&root.join(folder), &mut paths);
    }
    paths.sort();
    let texts: Vec<(String, String)> = paths
        .iter()
        .map(|path| {
            let name = path.strip_prefix(root).expect("below the root");
            let name = name.to_str().expect("UTF-8 path").replace('\\', "/");
            (name, std::fs::read_to_string(path).expect("readable"))
        })
        .collect();
    source::parse_all(texts)
}

fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            walk(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push(path);
        }
    }
}
