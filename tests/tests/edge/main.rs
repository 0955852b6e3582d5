//! The edge as a server: who it talks to, what it logs, how it starts, reloads, hands over and stops.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

mod access_log;
mod admin;
mod clients;
mod handover;
mod reload;
mod startup;
mod tls;
