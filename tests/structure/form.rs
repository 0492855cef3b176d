//! What every file and function looks like: heads, sizes, names, and calls that may end the process.

use crate::Finding;
use crate::laws::name_of;
use crate::source::{Source, closing, line_of};

/// Lines a file may have without its tests.
const FILE_LINES: usize = 500;
/// Most files stay under this.
const MEDIAN_LINES: usize = 150;
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

/// `//!` before any code, saying what the file must never know.
fn check_head(source: &Source, find: &mut impl FnMut(usize, String)) {
    let head: Vec<&str> = source
        .text
        .lines()
        .take_while(|line| line.starts_with("//") || line.trim().is_empty())
        .filter(|line| line.starts_with("//!"))
        .collect();
    if head.is_empty() {
        find(1, "does not open with `//!`: what it is".into());
    } else if !head.join(" ").to_lowercase().contains("must never know") {
        find(
            1,
            "its head does not say what it **must never know**".into(),
        );
    }
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
