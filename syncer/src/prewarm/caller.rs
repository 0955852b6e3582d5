//! Those who take from the queue and make an edge hold it.

use std::sync::Arc;

use shared::backoff::Backoff;
use tokio::time::sleep;

use super::queue::Queue;
use super::target::Target;

/// An edge and how it is reached.
#[derive(Debug)]
pub(crate) struct Edge {
    /// Host and port.
    pub(crate) name: String,
    /// How.
    pub(crate) target: Target,
}

/// Empties the lane of an edge: for good or, `until_idle`, until nothing is left or the edge is given up.
pub(crate) async fn serve(queue: &Arc<Queue>, edge: &Edge, until_idle: bool) {
    let callers = (0..edge.target.callers()).map(|_| call(queue, edge, until_idle));
    futures_util::future::join_all(callers).await;
}

async fn call(queue: &Arc<Queue>, edge: &Edge, until_idle: bool) {
    let mut backoff = Backoff::default();
    let mut unreached = 0;
    while let Some(jobs) = queue.take(&edge.name, edge.target.artefacts_max(), until_idle).await {
        match edge.target.warm(&jobs).await {
            Ok(outcomes) => {
                unreached = 0;
                backoff.reset();
                queue.settle(&edge.name, jobs, outcomes).await;
            }
            Err(reason) => {
                if unreached == 0 {
                    tracing::warn!(edge = %edge.name, %reason, "an edge cannot be made to hold anything");
                }
                unreached += 1;
                queue.put_back(&edge.name, jobs).await;
                if until_idle && unreached >= edge.target.unreached_max() {
                    return;
                }
                sleep(backoff.next()).await;
            }
        }
    }
}
