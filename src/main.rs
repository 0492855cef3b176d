//! The `gatecast` binary: hands its arguments to [`gatecast::cli`] and its answer to the system.
//!
//! **Must never know:** any command.

fn main() -> std::process::ExitCode {
    gatecast::cli::run(std::env::args_os())
}
