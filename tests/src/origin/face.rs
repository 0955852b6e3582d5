//! What an origin is to whom asks: a GOPROXY server, or a center before an edge, with the same content.
//!
//! As a center it proves every body by `Repr-Digest`, knows ranges, and has a change log in which nothing happens. So an edge
//! can be put before several centers with equal bytes, each with faults of its own.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

/// The id of the one record of the log in which nothing happens.
pub(crate) const CHANGE_HEAD: &str = "1763670000000-1";

/// Below which path a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// The root: a GOPROXY server.
    Goproxy,
    /// `api/go/golang-virtual/`: the artefacts of a center.
    Center,
    /// `api/v1/…` and `healthz`: the rest of a center.
    Administration,
}

impl Face {
    /// The face that a target without its leading slash asks, and the path below that.
    pub(super) fn of(target: &str) -> (Self, &str) {
        match target.strip_prefix("api/go/golang-virtual/") {
            Some(below) => (Self::Center, below),
            None if target.starts_with("api/v1/") || target == "healthz" => (Self::Administration, target),
            None => (Self::Goproxy, target),
        }
    }
}

/// Header lines and body of a center's administration. A question for changes waits as long as it says it would.
pub(super) async fn answer(target: &str) -> (String, String) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let text = if path.ends_with("/changes") {
        let wait = query.split('&').find_map(|part| part.strip_prefix("wait=")?.strip_suffix('s')?.parse().ok());
        tokio::time::sleep(Duration::from_secs(wait.unwrap_or(0))).await;
        String::new()
    } else if path.ends_with("/manifest") {
        let bucket = hex::encode(Sha256::digest(""));
        let root = hex::encode(Sha256::digest(bucket.repeat(256)));
        serde_json::json!({ "head": CHANGE_HEAD, "root": root, "buckets": vec![bucket; 256] }).to_string()
    } else {
        String::new()
    };
    (format!("X-Change-Head: {CHANGE_HEAD}\r\n"), text)
}
