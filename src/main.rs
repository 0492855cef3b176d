//! The `gatecast` binary: hands its arguments to [`gatecast::cli`] and its answer to the system.
//!
//! **Must never know:** any command.
//!
//! **Why not the system's allocator:** half a dozen small pieces live and die with every message, in the thousands of
//! channels at once, and glibc's walks through cold memory for them: a message cost up to a third more.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    gatecast::cli::run(std::env::args_os())
}
