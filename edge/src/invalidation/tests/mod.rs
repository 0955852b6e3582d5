//! What follows changes, against a scripted center and a real Redis.

mod comparison;
mod feed;
mod server;
mod stream;

use std::time::{Duration, Instant};

use serde_json::Value;
use shared::change::{Change, ChangeId, EventType, Kind, anything_changed};
use shared::digest::Digest;

use crate::config::Config;
use crate::testing::{Center, Proof, Reply, TestEdge};

/// How long a state may take to come about.
const SOON: Duration = Duration::from_secs(20);

const LIST: &str = "example.com/a/@v/list";

fn id(seq: u64) -> ChangeId {
    ChangeId { epoch: 7, seq }
}

fn list_changed(seq: u64) -> Change {
    Change { kind: Kind::List, module_id: "example.com/a".into(), ..anything_changed(id(seq), "golang-virtual") }
}

fn lines(changes: &[Change]) -> String {
    let lines = changes.iter().map(|change| serde_json::to_string(change).unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

fn manifest(head: ChangeId) -> String {
    let empty = Digest::of(b"");
    serde_json::json!({ "head": head, "root": empty, "buckets": vec![empty; 256] }).to_string()
}

/// The manifest at `head` of a center that has these lines in one bucket and nothing else.
fn manifest_with(head: ChangeId, bucket: u8, lines: &str) -> String {
    let mut buckets = vec![Digest::of(b""); 256];
    buckets[usize::from(bucket)] = Digest::of(lines.as_bytes());
    serde_json::json!({ "head": head, "root": buckets[usize::from(bucket)], "buckets": buckets }).to_string()
}

/// A center that holds nothing, stands at 7-3 and tells of no change.
async fn quiet_center() -> Center {
    let center = Center::start().await;
    center.reply_api("manifest", manifest(id(3)));
    center.reply_api("changes", String::new());
    center
}

/// Waits until it holds.
async fn soon(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the edge's sync report pleases.
async fn until(edge: &TestEdge, what: &str, pleases: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + SOON;
    loop {
        let report =
            edge.client.get(edge.admin_url("api/v1/sync")).send().await.unwrap().json::<Value>().await.unwrap();
        if pleases(&report) {
            return report;
        }
        assert!(Instant::now() < deadline, "{what}: {report}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
