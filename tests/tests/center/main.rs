//! A center from outside: what it makes of upstreams that lie, what it never asks of them, publishing, private repositories,
//! its desk, replicas, and other settings while it runs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod confusion;
mod desk;
mod handover;
mod lying;
mod moving;
mod private;
mod publish;
mod reloading;
mod replicas;
mod tls;
mod upkeep;
