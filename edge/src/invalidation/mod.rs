//! Following the center's changes, so that what is held here is never older than it needs to be.
//!
//! The protocol is [`shared::sync`]'s: changes are applied in order from the Redis stream, where one arrives in milliseconds, or
//! from the center's own feed, which is the truth. Here are its ends: the cache that is kept in step, the feed over HTTP, the
//! stream in Redis. The cursor lies in the cache and moves in the same batch as the invalidation, so a crash repeats a change
//! at worst; applying is idempotent.
//!
//! Beside it, what is held is compared with the manifest every few minutes: that finds what no id can show.

pub(crate) mod apply;
mod compare;
mod control;
mod feed;
mod heartbeat;
mod reconcile;
mod redis;
mod replay;
mod replica;
mod report;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use shared::backoff;
use shared::sync::{Follower, Pace, SourceError};

use self::feed::Feed;
use self::redis::Streams;
pub(crate) use self::replay::{ReplayError, replay};
use self::replica::Held;
pub(crate) use self::report::report;
pub(crate) use self::state::SyncState;
use crate::app::App;

/// Changes that are read at a time: what reading a thousand takes, hits would have to wait for.
const AT_A_TIME: usize = 250;

/// Follows changes until the edge stops; not while a hand-over is decided, as the next edge may have the cursor then.
pub(crate) async fn follow(app: Arc<App>) {
    let mut stopping = app.stopping.subscribe();
    loop {
        let heartbeat = heartbeat::send(Streams::new(Arc::clone(&app)));
        let comparison = compare::regularly(Arc::clone(&app));
        let (held, feed, streams) = (Held(Arc::clone(&app)), Feed(Arc::clone(&app)), Streams::new(Arc::clone(&app)));
        let follower = Follower::new(Arc::new(held), feed, streams, Pace::default(), backoff::random());
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => {}
            () = follower.run() => {}
            () = heartbeat => {}
            () = comparison => {}
        }
        if !app.stays().await {
            return;
        }
    }
}
