//! What the pages for people say of the tree: no heading twice on a page, no path or link to what is not there, and no
//! program where the scripts do not build it.
//!
//! **Why not a link checker:** most of what goes stale here is no link but a path in a command or between backticks.

use super::Finding;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A word that begins so is a path of this tree.
const FOLDERS: [&str; 8] = [
    "scripts/",
    "docs/",
    "examples/",
    "src/",
    "tests/",
    "benches/",
    "cluster/src/",
    "cluster/tests/",
];
/// A word with one of these stands for more than one path, or for none.
const PATTERNS: [char; 9] = ['*', '{', '}', '<', '>', '$', '…', '[', ']'];

/// Every finding on these pages, by their paths and texts; `there` says whether a path exists.
pub(crate) fn check(path: &str, text: &str, there: impl Fn(&Path) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut headings = BTreeSet::new();
    let mut fenced = false;
    for (at, line) in text.lines().enumerate() {
        let mut say = |what: String| {
            findings.push(Finding {
                path: path.to_owned(),
                line: at + 1,
                what,
            });
        };
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced && line.starts_with('#') && !headings.insert(line) {
            say(format!("the page has this heading twice: {line}"));
        }
        if line.contains("target/debug/gatecast") {
            say("`scripts/cluster up` builds target/release/gatecast".into());
        }
        for named in named(line, fenced) {
            if !there(Path::new(&named)) {
                say(format!("there is no {named}"));
            }
        }
        for link in links(line) {
            let from = Path::new(path).parent().unwrap_or(Path::new(""));
            if !there(&from.join(&link)) {
                say(format!("a link to {link}, which is not there"));
            }
        }
    }
    findings
}

/// Paths of this tree in commands and between backticks.
fn named(line: &str, fenced: bool) -> Vec<String> {
    let quoted = line.split('`').skip(1).step_by(2);
    let parts: Vec<&str> = if fenced { vec![line] } else { quoted.collect() };
    let words = parts
        .into_iter()
        .flat_map(|part| part.split(|c: char| c.is_whitespace() || "\"'(),;|=".contains(c)));
    let paths = words.filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)));
    paths
        .filter(|word| !word.contains(PATTERNS))
        .map(|word| {
            let word = word.trim_end_matches(['.', ':']);
            word.split(':').next().unwrap_or(word).to_owned()
        })
        .collect()
}

/// Relative links.
fn links(line: &str) -> Vec<String> {
    let targets = line.split("](").skip(1);
    let targets = targets.filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
    targets
        .filter(|target| !target.contains("://") && !target.starts_with('#'))
        .map(|target| target.split('#').next().unwrap_or(target).to_owned())
        .collect()
}

/// Every page, from the repository root.
fn pages(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(root.join(folder)).unwrap() {
        let path = folder.join(entry.unwrap().file_name());
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "target" || name == "node_modules" {
            continue;
        }
        if root.join(&path).is_dir() {
            pages(root, &path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

#[test]
fn the_pages_name_what_is_there() {
    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    let root = Path::new(&root);
    let mut found = Vec::new();
    pages(root, Path::new(""), &mut found);
    assert!(found.len() > 5, "only {} pages found", found.len());
    let mut findings = Vec::new();
    for page in found {
        let text = std::fs::read_to_string(root.join(&page)).unwrap();
        findings.extend(check(&page.to_string_lossy(), &text, |path| {
            root.join(path).exists()
        }));
    }
    for finding in &findings {
        eprintln!("{}:{}: {}", finding.path, finding.line, finding.what);
    }
    assert!(
        findings.is_empty(),
        "{} findings on the pages",
        findings.len()
    );
}

#[test]
fn what_went_stale_is_found() {
    let there = |path: &Path| path.ends_with("docs/here.md") || path.ends_with("scripts/up");
    let found = |text: &str| check("docs/page.md", text, there).len();
    assert_eq!(found("# A\n\n## B\n\n## C\n"), 0);
    assert_eq!(found("# A\n\n## B\n\n## B\n"), 1);
    assert_eq!(
        found("```\nscripts/up --nodes 3\n# up\n# up\n```\nscripts/gone\n"),
        0
    );
    assert_eq!(found("```\nscripts/gone --nodes 3\n```\n"), 1);
    assert_eq!(
        found("run `scripts/gone N`, see `src/*.rs` and `src/x/{a,b}.rs`"),
        1
    );
    assert_eq!(
        found("[here](here.md#b) [far](https://x/y.md) [gone](gone.md)"),
        1
    );
    assert_eq!(found("```\ntarget/debug/gatecast serve\n```\n"), 1);
}
