//! What at least two of edge, center and syncer need: the protocol's types, the growing body, configuration, access and telemetry.
//!
//! Arrows go one way: the three binaries depend on this crate, it depends on none of them.

pub mod access;
pub mod administration;
pub mod artefact;
pub mod backoff;
pub mod change;
pub mod cli;
pub mod client;
pub mod config;
pub mod digest;
pub mod fill;
pub mod go_sum;
pub mod handover;
pub mod manifest;
pub mod module;
pub mod pace;
pub mod pieces;
pub mod progress;
pub mod redis;
pub mod reload;
pub mod request;
pub mod sync;
pub mod table;
pub mod telemetry;
pub mod tls;
