//! Golden scripts: what the access machine answers, as text that can be read and reviewed.
//!
//! Each file under `scripts/access` is a list of blocks: command lines, `---`, expected output, blank line.
//! `UPDATE_SCRIPTS=1 cargo test -p gatecast-cluster --test access_scripts` writes the output anew; read the
//! difference before you commit it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access_language;

use access_language::Machine;
use std::path::{Path, PathBuf};

#[test]
fn golden_scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/access");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 10, "the scripts are where they belong");
    let update = std::env::var_os("UPDATE_SCRIPTS").is_some();
    let mut wrong = Vec::new();
    for file in files {
        let expected = std::fs::read_to_string(&file).unwrap();
        let actual = rerun(&expected);
        if update {
            std::fs::write(&file, &actual).unwrap();
        } else if actual != expected {
            wrong.push(format!(
                "{}\n{}",
                file.display(),
                first_difference(&expected, &actual)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Runs the commands of a script and writes it again with what they really came to.
fn rerun(script: &str) -> String {
    let mut machine = Machine::default();
    let mut out = String::new();
    let mut in_output = false;
    let mut results = String::new();
    for line in script.lines().chain([""]) {
        if in_output {
            if line.is_empty() {
                in_output = false;
                out.push('\n');
            }
            continue;
        }
        if line == "---" {
            out.push_str("---\n");
            out.push_str(&results);
            results.clear();
            in_output = true;
            continue;
        }
        if !line.is_empty() && !line.starts_with('#') {
            results.push_str(&machine.run(line));
        }
        if !(line.is_empty() && out.ends_with("\n\n")) {
            out.push_str(line);
            out.push('\n');
        }
    }
    assert!(results.is_empty(), "a script ends without `---`: {results}");
    format!("{}\n", out.trim_end())
}

fn first_difference(expected: &str, actual: &str) -> String {
    for (at, (want, got)) in expected.lines().zip(actual.lines()).enumerate() {
        if want != got {
            return format!("line {}:\n  expected {want}\n  actual   {got}", at + 1);
        }
    }
    "one is longer than the other".to_owned()
}
