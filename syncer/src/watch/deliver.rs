//! New versions on their way to the edges: each edge fetches them by its own fill, with its new list and latest version.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;

use super::NewVersion;
use crate::fleet::Fleet;
use crate::url::{authority, reason};

/// How long an edge may take over some versions: they may be large, and cold at the center.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(10);

/// Versions that an edge is given at a time.
const AT_A_TIME: usize = 20;

/// Delivers until nobody sends any more.
pub(crate) async fn deliver(fleet: Arc<Fleet>, mut appeared: mpsc::Receiver<NewVersion>) {
    let mut some = Vec::with_capacity(AT_A_TIME);
    while appeared.recv_many(&mut some, AT_A_TIME).await > 0 {
        let failed = warm(&fleet, &some).await;
        if failed > 0 {
            tracing::warn!(failed, "new versions are not everywhere yet: they are fetched when they are asked for");
        }
        some.clear();
    }
}

/// Has every edge fetch these versions; returns at how many edges that failed.
pub(crate) async fn warm(fleet: &Fleet, versions: &[NewVersion]) -> usize {
    let modules: BTreeSet<&str> = versions.iter().map(|version| version.module.as_str()).collect();
    let mut artefacts: Vec<String> =
        versions.iter().map(|version| format!("{}@{}", version.module, version.version)).collect();
    artefacts.extend(modules.iter().map(|module| format!("{module}@latest")));
    let body = json!({ "artefacts": artefacts }).to_string();
    let asked = fleet.admins().map(async |base| {
        let request = fleet.edges().post(base, "api/v1/prewarm").body(body.clone()).timeout(ANSWER_TIMEOUT);
        let answer = match request.send().await {
            Ok(answer) => answer.json::<serde_json::Value>().await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(answer) if answer["failed"] == 0 => true,
            Ok(answer) => {
                tracing::debug!(edge = authority(base), %answer, "not all new versions were fetched");
                false
            }
            Err(error) => {
                tracing::debug!(edge = authority(base), error = reason(error), "an edge was not reached");
                false
            }
        }
    });
    futures_util::future::join_all(asked).await.into_iter().filter(|done| !done).count()
}
