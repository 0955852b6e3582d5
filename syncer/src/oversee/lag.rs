//! The time an edge is behind, from when each head was first seen.

use std::collections::VecDeque;
use std::time::Duration;

use shared::change::ChangeId;
use tokio::time::Instant;

/// Most heads that are remembered. At one every two seconds this is half an hour without a loss; beyond it the oldest
/// stays, so that the longest lag is still right.
const HEADS_MAX: usize = 1024;

/// When the log's head moved.
#[derive(Debug, Default)]
pub(super) struct LagClock {
    heads: VecDeque<(ChangeId, Instant)>,
}

impl LagClock {
    /// The newest head seen.
    pub(super) fn head(&self) -> ChangeId {
        self.heads.back().map_or(ChangeId::ZERO, |(head, _)| *head)
    }

    /// The log's head is `head` now.
    pub(super) fn seen(&mut self, head: ChangeId, now: Instant) {
        if head <= self.head() {
            return;
        }
        self.heads.push_back((head, now));
        if self.heads.len() > HEADS_MAX {
            self.heads.remove(1);
        }
    }

    /// For how long something with this cursor has been without a record that the log has.
    pub(super) fn lag(&self, cursor: ChangeId, now: Instant) -> Duration {
        let missed = self.heads.iter().find(|(head, _)| *head > cursor);
        missed.map_or(Duration::ZERO, |(_, since)| now.duration_since(*since))
    }

    /// Heads that the slowest has passed are of no more use, but for the newest.
    pub(super) fn forget_before(&mut self, slowest: Option<ChangeId>) {
        let slowest = slowest.unwrap_or_else(|| self.head());
        while self.heads.len() > 1 && self.heads.front().is_some_and(|(head, _)| *head <= slowest) {
            self.heads.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(seq: u64) -> ChangeId {
        ChangeId { epoch: 1, seq }
    }

    #[test]
    fn the_lag_begins_with_the_first_head_that_is_missed() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut clock = LagClock::default();
        assert_eq!(clock.lag(id(0), at(0)), Duration::ZERO);
        clock.seen(id(5), at(10));
        clock.seen(id(5), at(20));
        clock.seen(id(9), at(30));
        assert_eq!(clock.lag(id(9), at(40)), Duration::ZERO);
        assert_eq!(clock.lag(id(5), at(40)), Duration::from_secs(10));
        assert_eq!(clock.lag(id(4), at(40)), Duration::from_secs(30));
        clock.forget_before(Some(id(5)));
        assert_eq!(clock.lag(id(5), at(40)), Duration::from_secs(10));
        clock.forget_before(Some(id(9)));
        assert_eq!(clock.head(), id(9));
    }

    #[test]
    fn the_oldest_head_outlives_any_number_of_newer_ones() {
        let begun = Instant::now();
        let mut clock = LagClock::default();
        for seq in 1..5000 {
            clock.seen(id(seq), begun + Duration::from_secs(seq));
        }
        assert_eq!(clock.heads.len(), HEADS_MAX);
        assert_eq!(clock.lag(id(0), begun + Duration::from_secs(5000)), Duration::from_secs(4999));
        assert_eq!(clock.head(), id(4999));
    }
}
