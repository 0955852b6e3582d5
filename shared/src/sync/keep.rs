//! How much of the stream is kept: a decision without input or output.

use std::time::Duration;

use crate::change::ChangeId;

/// What the stream holds on to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Entries that are kept where every edge has read them.
    pub entries: u64,
    /// Entries that are kept at most, also for an edge that is slow.
    pub entries_max: u64,
    /// Older entries go, unless an edge that lives has yet to read them.
    pub age: Duration,
    /// How long a group without a sign of life is kept.
    pub group: Duration,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            entries: 100_000,
            entries_max: 200_000,
            age: Duration::from_hours(7 * 24),
            group: Duration::from_hours(24),
        }
    }
}

impl Keep {
    /// The first entry to keep; none where nothing is to go. Entries of an older log are of use to nobody.
    ///
    /// `head` is the stream's last id, `young` the first entry that is not too old, `slowest` the cursor of the edge that is
    /// furthest behind among those that live.
    pub fn first_kept(&self, head: ChangeId, young: Option<ChangeId>, slowest: Option<ChangeId>) -> Option<ChangeId> {
        let by_count = (head.seq + 1).saturating_sub(self.entries);
        let by_age = match young {
            Some(young) if young.epoch == head.epoch => young.seq,
            Some(young) if young.epoch < head.epoch => 1,
            // Everything is too old, but the last one stays: the stream's end is what the next relay goes on from.
            Some(_) | None => head.seq,
        };
        let wanted = by_count.max(by_age);
        // An edge that is in an older log has to reconcile whatever is kept.
        let awaited = slowest.filter(|slowest| slowest.epoch == head.epoch).map_or(wanted, |slowest| slowest.seq + 1);
        let bound = (head.seq + 1).saturating_sub(self.entries_max);
        let seq = wanted.min(awaited).max(bound).min(head.seq);
        (seq > 0).then_some(ChangeId { epoch: head.epoch, seq })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(seq: u64) -> ChangeId {
        ChangeId { epoch: 9, seq }
    }

    #[test]
    fn the_slowest_edge_is_waited_for_within_the_bound() {
        let keep = Keep { entries: 10, entries_max: 50, ..Keep::default() };
        let old = ChangeId { epoch: 8, seq: 70 };
        for (head, young, slowest, expected) in [
            // By count.
            (id(100), Some(id(1)), None, Some(id(91))),
            (id(100), Some(id(1)), Some(id(100)), Some(id(91))),
            (id(5), Some(id(1)), None, Some(id(1))),
            // By age.
            (id(100), Some(id(97)), None, Some(id(97))),
            (id(100), None, None, Some(id(100))),
            (id(100), Some(old), None, Some(id(91))),
            // An edge that is behind, a little and too far.
            (id(100), Some(id(97)), Some(id(70)), Some(id(71))),
            (id(100), Some(id(97)), Some(id(20)), Some(id(51))),
            (id(100), Some(id(97)), Some(id(0)), Some(id(51))),
            (id(100), Some(id(97)), Some(old), Some(id(97))),
            // Nothing is there.
            (ChangeId::ZERO, None, None, None),
        ] {
            assert_eq!(keep.first_kept(head, young, slowest), expected, "{head} {young:?} {slowest:?}");
        }
    }
}
