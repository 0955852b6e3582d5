//! What this edge says about itself: at `/api/v1/sync`, and to Redis with every heartbeat.

use serde_json::{Value, json};

use crate::app::App;

/// How far changes are followed, and how well this edge answers from what it holds.
pub(crate) fn report(app: &App) -> Value {
    let mut report = app.sync.report();
    let recent = app.tally.recent_hits();
    report["region"] = json!(app.config().region);
    report["hit_rate"] = json!(recent.rate());
    report["requests"] = json!(recent.requests);
    report
}
