//! Waiting for a state, never for a time.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

/// Asks every 10 ms until `state` holds.
///
/// # Panics
/// After `limit`, with `what` in the message.
pub async fn until(what: &str, limit: Duration, mut state: impl AsyncFnMut() -> bool) {
    until_some(what, limit, async || state().await.then_some(())).await;
}

/// Asks every 10 ms until `probe` has an answer, and returns it.
///
/// # Panics
/// After `limit`, with `what` in the message.
pub async fn until_some<T>(what: &str, limit: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    let mut ticks = interval(Duration::from_millis(10));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Some(answer) = probe().await {
            return answer;
        }
        assert!(begun.elapsed() < limit, "{what}: not within {limit:?}");
    }
}
