//! How fast a center must send.

use std::time::Duration;

use tokio::time::Instant;

/// What a body's sender must keep to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PaceLimits {
    /// How long it may pause.
    pub(crate) stall: Duration,
    /// Bytes a second that it must send on average; 0: any number.
    pub(crate) rate_min: u64,
    /// What the average is taken over.
    pub(crate) window: Duration,
}

/// Why a sender is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TooSlow {
    /// It paused too long.
    Stalled,
    /// It sends too little.
    Dripping,
}

/// Watches one body. Only the time spent waiting for the sender counts: what a receiver takes for itself is not its fault.
#[derive(Debug)]
pub(crate) struct Pace {
    limits: PaceLimits,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Nothing has come yet.
    pub(crate) fn new(limits: PaceLimits) -> Self {
        Self { limits, waited: Duration::ZERO, bytes: 0 }
    }

    /// Waits for what the sender sends next; `len` says how many bytes of it count.
    pub(crate) async fn wait<T>(
        &mut self,
        next: impl Future<Output = T>,
        len: impl Fn(&T) -> usize,
    ) -> Result<T, TooSlow> {
        let started = Instant::now();
        let stalls_at = started + self.limits.stall;
        tokio::pin!(next);
        loop {
            let begun = Instant::now();
            let look_at = match self.limits.rate_min {
                0 => stalls_at,
                _ => stalls_at.min(begun + self.limits.window.saturating_sub(self.waited)),
            };
            let came = tokio::time::timeout_at(look_at, &mut next).await;
            self.waited += begun.elapsed();
            if let Ok(came) = came {
                self.bytes += len(&came) as u64;
                self.end_window()?;
                return Ok(came);
            }
            if Instant::now() >= stalls_at {
                return Err(TooSlow::Stalled);
            }
            self.end_window()?;
        }
    }

    fn end_window(&mut self) -> Result<(), TooSlow> {
        if self.limits.rate_min == 0 || self.waited < self.limits.window {
            return Ok(());
        }
        let least = u128::from(self.limits.rate_min) * self.waited.as_millis() / 1000;
        let enough = u128::from(self.bytes) >= least;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        if enough { Ok(()) } else { Err(TooSlow::Dripping) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PaceLimits =
        PaceLimits { stall: Duration::from_secs(30), rate_min: 1000, window: Duration::from_secs(10) };

    /// Takes pieces of so many bytes, one after each pause; how long until it is given up, if it is.
    async fn take(limits: PaceLimits, pieces: usize, bytes: usize, pause: Duration) -> Option<(TooSlow, u64)> {
        let started = Instant::now();
        let mut pace = Pace::new(limits);
        for _ in 0..pieces {
            let next = async {
                tokio::time::sleep(pause).await;
                bytes
            };
            if let Err(too_slow) = pace.wait(next, |bytes| *bytes).await {
                return Some((too_slow, started.elapsed().as_secs()));
            }
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn a_drip_is_given_up_after_a_window_and_a_stream_is_not() {
        let second = Duration::from_secs(1);
        assert_eq!(take(LIMITS, 100, 900, second).await, Some((TooSlow::Dripping, 10)));
        assert_eq!(take(LIMITS, 100, 1100, second).await, None);
        assert_eq!(take(LIMITS, 10, 100_000, Duration::from_secs(9)).await, None);
        let without = PaceLimits { rate_min: 0, ..LIMITS };
        assert_eq!(take(without, 100, 1, second).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_a_stall() {
        let without = PaceLimits { rate_min: 0, ..LIMITS };
        assert_eq!(take(without, 2, 1, Duration::from_secs(31)).await, Some((TooSlow::Stalled, 30)));
        assert_eq!(take(LIMITS, 2, 1, Duration::from_secs(31)).await, Some((TooSlow::Dripping, 10)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_receivers_own_time_does_not_count() {
        let mut pace = Pace::new(LIMITS);
        for _ in 0..100 {
            pace.wait(std::future::ready(10), |bytes| *bytes).await.unwrap();
            tokio::time::sleep(Duration::from_mins(1)).await;
        }
    }
}
