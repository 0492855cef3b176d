//! Has the linker place what every message runs side by side (`link/hot.ld`, written by `scripts/layout`).
//!
//! A message passes some 150 small functions of a program of 15 MB. Scattered, each wake-up of a sleeping core fetches
//! them from 130 pages; side by side, from half as many. Both of Linux's usual linkers take the list; what it names
//! and the program no longer has is passed over, so a stale list costs speed and nothing else. `GATECAST_LAYOUT=off`
//! leaves it out, for a linker that does not know `INSERT` (mold).

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=link/hot.ld");
    println!("cargo:rerun-if-env-changed=GATECAST_LAYOUT");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    if is("CARGO_CFG_TARGET_OS", "linux")
        && is("PROFILE", "release")
        && !is("GATECAST_LAYOUT", "off")
    {
        let root = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{root}/link/hot.ld");
    }
}
