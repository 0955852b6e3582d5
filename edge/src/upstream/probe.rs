//! Probing: `HEAD /healthz` of every center, now and then.
//!
//! One task looks after all of them. A center is probed every five seconds, give or take a fifth, and every second while
//! its probes say something new, so that a change fills its window in ten seconds. No center has two probes under way.

use std::sync::Arc;
use std::time::Duration;

use http::header;
use tokio::time::{Instant, sleep_until};

use super::pool::{Center, Pool};
use crate::app::App;

/// How long the task sleeps when nothing is due.
const IDLE: Duration = Duration::from_mins(1);

/// Probes until the edge has stopped.
pub(crate) async fn probe(app: Arc<App>) {
    let mut stopped = app.stopped.subscribe();
    loop {
        let pool = app.upstream.pool.load_full();
        let next = begin_due(&app, &pool);
        let probe_now = Arc::clone(&pool.probe_now);
        drop(pool);
        tokio::select! {
            () = sleep_until(next) => {}
            () = probe_now.notified() => {}
            // An error means that the app is gone, which is a reason to stop as well.
            _ = stopped.wait_for(|stopped| *stopped) => return,
        }
    }
}

/// Begins the probes that are due; the answer is when the next one is.
fn begin_due(app: &Arc<App>, pool: &Arc<Pool>) -> Instant {
    let now = Instant::now();
    let mut next = now + IDLE;
    for center in &pool.centers {
        let mut vitals = center.health.vitals();
        if vitals.probing {
            continue;
        }
        if vitals.probe_at > now {
            next = next.min(vitals.probe_at);
            continue;
        }
        vitals.probing = true;
        drop(vitals);
        tokio::spawn(probe_one(Arc::clone(app), Arc::clone(pool), Arc::clone(center)));
    }
    next
}

async fn probe_one(app: Arc<App>, pool: Arc<Pool>, center: Arc<Center>) {
    let upstream = &app.upstream;
    let request = upstream.client.head(center.probe_url()).header(header::VIA, upstream.via(None));
    let started = Instant::now();
    let took = match tokio::time::timeout(pool.probes.timeout.get(), request.send()).await {
        // Any answer shows how far away it is, but one that says itself that it is ill is no better than none.
        Ok(Ok(response)) => (!response.status().is_server_error()).then(|| started.elapsed()),
        Ok(Err(_)) | Err(_) => None,
    };
    let changed = center.health.probed(Instant::now(), took, pool.probes.interval.get());
    center.tell(changed);
    pool.probe_now.notify_one();
}
