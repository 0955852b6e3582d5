//! The house itself: its pages, its settings, and what the tests are made of.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod config;
mod docs;
mod harness;
mod idle;
mod local;
