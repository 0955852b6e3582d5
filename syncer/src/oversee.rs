//! Oversight: how far every edge is behind the center, as figures.
//!
//! The lag is reckoned here and not taken from the edge: an edge whose channel is dead does not know what it misses.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::fleet::Fleet;
use crate::metrics::Metrics;

/// How often everything is asked.
const ROUND: Duration = Duration::from_secs(2);

/// Makes the figures until the process ends.
pub(crate) async fn oversee(fleet: Arc<Fleet>, metrics: Metrics) {
    let mut ticks = interval(ROUND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shown = BTreeSet::new();
    loop {
        ticks.tick().await;
        let view = fleet.look().await;
        for edge in &view.edges {
            metrics.edge_up.with_label_values(&[&edge.name]).set(i64::from(edge.up));
            if let Some(lag) = edge.lag_seconds {
                metrics.sync_lag.with_label_values(&[&edge.name, &view.repo]).set(lag);
            }
        }
        let now: BTreeSet<String> = view.edges.iter().map(|edge| edge.name.clone()).collect();
        for gone in shown.difference(&now) {
            // One that never had a lag has no such figure.
            let _ = metrics.edge_up.remove_label_values(&[gone]);
            let _ = metrics.sync_lag.remove_label_values(&[gone, &view.repo]);
        }
        shown = now;
    }
}
