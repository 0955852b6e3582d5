//! The syncer with Redis, a center and edges.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod leading;
mod model;
mod prewarm;
mod redis_faults;
mod redis_ways;
mod relay;
mod restored;
mod scene;
