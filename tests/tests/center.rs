//! A center from outside: what it makes of upstreams that lie, what it never asks of them, and other settings while it runs.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says so by a panic")]

#[path = "module_oracle/raw_zip.rs"]
#[expect(dead_code, reason = "zips that lie in every way are another test's; this one needs a few")]
mod raw_zip;

#[path = "center/confusion.rs"]
mod confusion;
#[path = "center/handover.rs"]
mod handover;
#[path = "center/lying.rs"]
mod lying;
#[path = "center/reloading.rs"]
mod reloading;
#[path = "center/tls.rs"]
mod tls;
#[path = "center/upkeep.rs"]
mod upkeep;
