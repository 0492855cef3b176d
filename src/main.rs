//! The `gatecast` binary: hands its arguments to [`gatecast::cli`] and its answer to the system.
//!
//! **Must never know:** any command.

/// Messages are small, short-lived and let go of on other threads than they were made on.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    gatecast::cli::run(std::env::args_os())
}
