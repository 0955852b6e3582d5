//! What an edge says about itself, at `GET /api/v1/sync` and in its heartbeat.

use std::collections::HashMap;

use serde::Deserialize;
use shared::change::ChangeId;

/// An edge's own words. An older edge says less.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Report {
    pub(super) edge: String,
    pub(super) region: String,
    pub(super) repo: String,
    pub(super) cursor: ChangeId,
    pub(super) channel: String,
    /// Of the last minutes.
    pub(super) hit_rate: Option<f64>,
    /// Unix time in seconds.
    pub(super) last_reconcile: Option<u64>,
    /// The last action of `control:edges:<repo>` that it began or did.
    pub(super) obeyed: String,
    /// When it sent the heartbeat: Unix time in seconds, by its clock.
    pub(super) time: Option<u64>,
}

impl Report {
    /// From the heartbeat hash of the edge with this name; none without a cursor.
    pub(super) fn from_fields(edge: &str, mut fields: HashMap<String, String>) -> Option<Self> {
        let cursor = fields.get("cursor")?.parse().ok()?;
        let mut text = |name: &str| fields.remove(name).unwrap_or_default();
        Some(Self {
            edge: edge.to_owned(),
            region: text("region"),
            repo: text("repo"),
            cursor,
            channel: text("channel"),
            hit_rate: text("hit_rate").parse().ok(),
            last_reconcile: text("last_reconcile").parse().ok(),
            obeyed: text("obeyed"),
            time: text("time").parse().ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_may_say_more_than_is_read_or_less() {
        let report: Report = serde_json::from_str(
            r#"{"edge":"e1","cursor":"5-7","head":"5-8","lag_seconds":0.5,"last_reconcile":null,"channel":"feed","hit_rate":0.5}"#,
        )
        .unwrap();
        assert_eq!(report.cursor, ChangeId { epoch: 5, seq: 7 });
        assert_eq!((report.edge.as_str(), report.hit_rate, report.last_reconcile), ("e1", Some(0.5), None));
    }

    #[test]
    fn a_heartbeat_says_the_same_in_texts() {
        let fields = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let beat =
            Report::from_fields("e1", fields(&[("cursor", "5-7"), ("hit_rate", "0.25"), ("last_reconcile", "")]));
        let beat = beat.unwrap();
        assert_eq!((beat.edge.as_str(), beat.hit_rate, beat.last_reconcile), ("e1", Some(0.25), None));
        assert_eq!(Report::from_fields("e1", fields(&[("cursor", "x")])), None);
    }
}
