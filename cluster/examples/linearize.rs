//! Judges recorded histories of rights: are they linearizable?
//!
//! Reads files of `key NAME` lines, each followed by the calls on that key: `BEGAN ENDED|- WHAT [NUMBER]`, where WHAT is
//! `grant`, `revoke N`, `allowed` or `refused`. Prints one line per key; exits with 1 if one is not linearizable.
//!
//! `cargo run -p gatecast-cluster --example linearize -- FILE...`
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub
)]

#[path = "../tests/sim/checker.rs"]
mod checker;

use checker::{Call, Right, RightOp, Verdict};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut bad = 0;
    for path in std::env::args().skip(1) {
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let mut keys: Vec<(String, Vec<Call<RightOp>>)> = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            if let Some(key) = line.strip_prefix("key ") {
                keys.push((key.to_owned(), Vec::new()));
            } else {
                let calls = checker::parse(line).unwrap_or_else(|| panic!("not a call: {line}"));
                keys.last_mut().expect("a key first").1.extend(calls);
            }
        }
        for (key, calls) in keys {
            match checker::check::<Right>(&calls) {
                Verdict::Linearizable => println!("{key}: {} calls linearizable", calls.len()),
                Verdict::GaveUp => println!("{key}: {} calls, too many orders to try", calls.len()),
                Verdict::Not(stuck) => {
                    bad += 1;
                    println!("{key}: NOT linearizable");
                    for at in stuck.longest.iter().rev().take(10).rev() {
                        println!("  after {:?}", calls[*at]);
                    }
                    for at in stuck.next.iter().take(10) {
                        println!("  cannot follow: {:?}", calls[*at]);
                    }
                }
            }
        }
    }
    ExitCode::from(u8::from(bad > 0))
}
