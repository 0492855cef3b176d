//! What every file and function looks like: heads, sizes, names, and calls that may end the process.

use crate::Finding;
use crate::laws::name_of;
use crate::source::{Source, closing, line_of};

/// Lines a file may have without its tests.
const FILE_LINES: usize = 500;
/// Most files stay under this.
const MEDIAN_LINES: usize = 150;
/// Words that a head has at least.
const HEAD_WORDS: usize = 3;
/// Words that the doc of an item has at least.
const DOC_WORDS: usize = 3;
/// Files (prefixes) whose docs are what a program prints as its help.
pub(crate) const HELP: &[&str] = &["src/cli/arguments"];
/// Lines a function may have, its signature included.
const FUNCTION_LINES: usize = 70;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] = &[
    "util", "utils", "helper", "helpers", "common", "manager", "handler", "handlers", "types",
    "misc",
];
/// Calls that end the process on a surprise. Production code says what happens instead.
const ENDING_CALLS: &[&str] = &[
    ".unwrap()",
    ".expect(",
    ".unwrap_err()",
    ".expect_err(",
    "panic!(",
    "todo!(",
    "unimplemented!(",
    "dbg!(",
];

/// The findings about one file's form.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |line: usize, what: String| {
        findings.push(Finding {
            path: source.path.clone(),
            line,
            what,
        });
    };
    check_head(source, &mut find);
    check_docs(source, &mut find);
    if source.prod_lines > FILE_LINES {
        let what = format!(
            "{} lines without tests, {FILE_LINES} at most: two ideas?",
            source.prod_lines
        );
        find(1, what);
    }
    for part in source.path.trim_end_matches(".rs").split('/') {
        if EMPTY_NAMES.contains(&part) {
            find(
                1,
                format!(
                    "`{part}` says nothing: name what it does (module {})",
                    name_of(source)
                ),
            );
        }
    }
    check_functions(source, &mut find);
    for call in ENDING_CALLS {
        for (at, _) in source.code.match_indices(call) {
            let inside_word = call.starts_with(char::is_alphabetic)
                && source.code[..at]
                    .ends_with(|before: char| before.is_alphanumeric() || before == '_');
            if !inside_word {
                find(
                    line_of(&source.code, at),
                    format!("`{call}` in production code"),
                );
            }
        }
    }
    findings
}

/// Half of all files are shorter than the median the map promises.
pub(crate) fn check_median(sources: &[Source]) -> Option<Finding> {
    let mut lengths: Vec<usize> = sources.iter().map(|source| source.prod_lines).collect();
    lengths.sort_unstable();
    let median = *lengths.get(lengths.len() / 2)?;
    (median > MEDIAN_LINES).then(|| Finding {
        path: "src".into(),
        line: 1,
        what: format!("the median file has {median} lines, {MEDIAN_LINES} at most"),
    })
}

/// `//!` before any code, saying in a sentence what the file is; that of a room says what the room must never know.
fn check_head(source: &Source, find: &mut impl FnMut(usize, String)) {
    let head: Vec<&str> = source
        .text
        .lines()
        .take_while(|line| line.starts_with("//") || line.trim().is_empty())
        .filter(|line| line.starts_with("//!"))
        .collect();
    let text = head.join(" ");
    let words = text.split_whitespace().filter(is_word).count();
    if head.is_empty() {
        find(1, "does not open with `//!`: what it is".into());
    } else if words < HEAD_WORDS {
        let what = format!("its head has {words} words: say in a sentence what it is");
        find(1, what);
    } else if source.path.ends_with("/mod.rs") && !text.contains("**Must never know:**") {
        let what = "a room, and its head does not say what it **must never know**";
        find(1, what.into());
    }
}

/// What stands before an item says something, or is left out: a reader of "Which." knows no more than before.
fn check_docs(source: &Source, find: &mut impl FnMut(usize, String)) {
    if HELP.iter().any(|path| source.path.starts_with(path)) {
        return;
    }
    let mut doc: Option<(usize, usize)> = None;
    for (at, line) in source.text.lines().chain([""]).enumerate() {
        if let Some(text) = line.trim_start().strip_prefix("///") {
            let words = text.split_whitespace().filter(is_word).count();
            let (first, known) = doc.unwrap_or((at + 1, 0));
            doc = Some((first, known + words));
        } else if let Some((first, words)) = doc.take().filter(|(_, words)| *words < DOC_WORDS) {
            let what = format!("a doc of {words} words: say it in a sentence, or leave it out");
            find(first, what);
        }
    }
}

fn is_word(text: &&str) -> bool {
    text.contains(char::is_alphanumeric)
}

fn check_functions(source: &Source, find: &mut impl FnMut(usize, String)) {
    let bytes = source.code.as_bytes();
    for (at, _) in source.code.match_indices("fn ") {
        if at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_') {
            continue;
        }
        let name: String = source.code[at + 3..]
            .trim_start()
            .chars()
            .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
            .collect();
        if name.is_empty() {
            continue;
        }
        let Some(open) = body(bytes, at) else {
            continue;
        };
        let first = line_of(&source.code, at);
        let lines = line_of(&source.code, closing(bytes, open) - 1) - first + 1;
        if lines > FUNCTION_LINES {
            find(
                first,
                format!("function `{name}` has {lines} lines, {FUNCTION_LINES} at most"),
            );
        }
    }
}

/// Where the body of the function at `from` opens; `None` for a declaration.
fn body(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'{' => return Some(at),
            b';' => return None,
            b'(' | b'[' => at = closing(bytes, at),
            _ => at += 1,
        }
    }
    None
}
