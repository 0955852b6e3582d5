//! The syncer as an operator runs it, with Redis, a center and edges.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod credentials;
mod examples;
mod leading;
mod manifest;
mod model;
mod modes;
mod prewarm;
mod redis_faults;
mod redis_ways;
mod relay;
mod restored;
mod scene;
mod shell;
mod visible;
mod warming;
mod watching;
