//! `gatecast-load`: plays one scenario against one server and prints one line of JSON.
//!
//! **Must never know:** which server it is. Several servers and rounds are `scripts/bench`'s affair.
#![allow(clippy::print_stdout, reason = "the result is this program's output")]

use clap::Parser;
use gatecast_load::options::Options;
use gatecast_load::{Failure, scenario};

fn main() -> Result<(), Failure> {
    let result = scenario::play(&Options::parse())?;
    println!("{}", serde_json::Value::Object(result));
    Ok(())
}
