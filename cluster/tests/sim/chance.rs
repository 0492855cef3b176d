//! Where chance comes from in a simulation: one seed, for everything in the process.
//!
//! Besides our own draws, the engine draws election time-outs, tokio draws which ready branch of a `select!`
//! runs, and hash maps draw their keys. All of them ask the operating system once per thread; the two
//! functions here stand in front of it. Outside a simulated thread they pass everything on.
#![allow(unsafe_code, unsafe_op_in_unsafe_fn)]

use std::cell::Cell;

thread_local! {
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From here on, everything random in this thread follows from `seed`.
pub(crate) fn seed(seed: u64) {
    STATE.set(Some(
        seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66_D1CE_4E5B,
    ));
}

/// A runtime for a seeded thread, whose clock goes only as far as it has to.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

/// The next number (splitmix64).
pub(crate) fn next() -> u64 {
    let state = STATE.get().unwrap_or(0).wrapping_add(0x9E37_79B9_7F4A_7C15);
    STATE.set(Some(state));
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The same numbers for the engine, whose own generator asks the kernel behind our back.
#[derive(Debug)]
pub(crate) struct Draws;

impl engine_rand::RngCore for Draws {
    fn next_u32(&mut self) -> u32 {
        next() as u32
    }
    fn next_u64(&mut self) -> u64 {
        next()
    }
    fn fill_bytes(&mut self, into: &mut [u8]) {
        into.iter_mut().for_each(|byte| *byte = next() as u8);
    }
    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), engine_rand::Error> {
        self.fill_bytes(into);
        Ok(())
    }
}

/// Below `end`.
pub(crate) fn below(end: u64) -> u64 {
    next() % end.max(1)
}

/// True `per_mille` times out of a thousand.
pub(crate) fn per_mille(per_mille: u64) -> bool {
    below(1000) < per_mille
}

/// From `from` up to `to`, milliseconds.
pub(crate) fn millis(from: u64, to: u64) -> std::time::Duration {
    std::time::Duration::from_micros(from * 1000 + below((to - from) * 1000))
}

/// One of these.
pub(crate) fn pick<T: Copy>(from: &[T]) -> T {
    from[below(from.len() as u64) as usize]
}

unsafe extern "C" {
    fn syscall(number: i64, ...) -> i64;
}

const SYS_CLOCK_GETTIME: i64 = 228;
const SYS_GETRANDOM: i64 = 318;
const CLOCK_REALTIME: i32 = 0;

/// Stands before the C library's: deterministic in a simulated thread.
///
/// # Safety
/// As the original: `buffer` has room for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, flags: u32) -> isize {
    if STATE.try_with(Cell::get).ok().flatten().is_none() {
        return syscall(SYS_GETRANDOM, buffer, length, flags) as isize;
    }
    for at in 0..length {
        *buffer.add(at) = next() as u8;
    }
    length as isize
}

/// Seconds and nanoseconds.
#[repr(C)]
#[derive(Debug)]
pub struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

/// Stands before the C library's: the wall clock of the simulated node that asks.
///
/// # Safety
/// As the original.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: i32, at: *mut Timespec) -> i32 {
    if clock == CLOCK_REALTIME
        && let Some(ms) = super::life::wall_ms()
    {
        (*at).seconds = ms.div_euclid(1000);
        (*at).nanoseconds = ms.rem_euclid(1000) * 1_000_000;
        return 0;
    }
    syscall(SYS_CLOCK_GETTIME, clock, at) as i32
}
