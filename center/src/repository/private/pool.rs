//! A few workers and a bounded queue before them.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::repository::RepoError;
use crate::repository::answer::RETRY_AFTER;

/// Who may fetch now. What is held is answered without coming here.
#[derive(Debug)]
pub(super) struct Pool {
    workers: Semaphore,
    waiting: AtomicUsize,
    queue_max: usize,
}

/// Counts those that wait, also when they leave without having had their turn.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    pub(super) fn new(workers: usize, queue_max: usize) -> Self {
        Self { workers: Semaphore::new(workers), waiting: AtomicUsize::new(0), queue_max }
    }

    /// Whether so many wait that what can wait longer should not come.
    pub(super) fn is_busy(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > self.queue_max / 2
    }

    /// A turn, at once or after those who came before.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>, RepoError> {
        if let Ok(turn) = self.workers.try_acquire() {
            return Ok(turn);
        }
        let busy = || RepoError::Unavailable {
            msg: "too many private modules are being fetched".to_owned(),
            retry_after: RETRY_AFTER,
        };
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.queue_max {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(busy());
        }
        let _waiting = Waiting(&self.waiting);
        self.workers.acquire().await.map_err(|_| busy())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn the_queue_is_bounded_and_moves_on() {
        let pool = Pool::new(1, 1);
        let first = pool.turn().await.unwrap();
        let mut second = Box::pin(pool.turn());
        assert!((&mut second).now_or_never().is_none());
        assert!(pool.is_busy());
        assert!(matches!(pool.turn().await, Err(RepoError::Unavailable { .. })));
        // Who leaves the queue makes room in it.
        drop(second);
        let mut third = Box::pin(pool.turn());
        assert!((&mut third).now_or_never().is_none());
        drop(first);
        drop(third.await.unwrap());
        assert!(!pool.is_busy());
        assert_eq!(pool.waiting.load(Ordering::Relaxed), 0);
    }
}
