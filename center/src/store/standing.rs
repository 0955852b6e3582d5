//! Records of versions as they stand: what was read of late of an engine that nobody but this process writes.
//!
//! A record is forgotten before it is written anew, and nothing is noted of it until it is written: who reads meanwhile reads what
//! the engine has. What was read before that is not noted after it.
//!
//! ```text
//! reader   look: unknown, era 7 ─▶ read ────────────────────────▶ note of era 7: refused
//! writer                       begins: forget, era 8 ─▶ write ─▶ ends: era 9
//! ```

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;

use super::VersionRecord;
use super::recent::Recent;

/// Records kept in memory, some 400 bytes each with their keys.
const RECORDS_MAX: usize = 32 * 1024;
/// Longer keys are not noted: anybody can ask for such, and they would hold more than the records.
const KEY_BYTES_MAX: usize = 512;
/// Parts that are locked on their own.
const PARTS: usize = 32;

/// What is known of a key.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "it lives for a moment; a box would be an allocation for each hit")]
pub(super) enum Look {
    /// What stands there, be it nothing.
    Known(Option<VersionRecord>),
    /// Nothing; the era is for [`Standing::note`].
    Unknown(Era),
}

/// When it was looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Era(u64);

/// Records as they stand, by their keys.
#[derive(Debug)]
pub(super) struct Standing {
    hasher: RandomState,
    parts: Vec<Mutex<Part>>,
}

#[derive(Debug)]
struct Part {
    records: Recent<Vec<u8>, Option<VersionRecord>>,
    /// Counts beginnings and ends of writings.
    era: u64,
    /// Those that run.
    writings: usize,
}

impl Default for Standing {
    fn default() -> Self {
        let part = || Mutex::new(Part { records: Recent::new(RECORDS_MAX / PARTS), era: 0, writings: 0 });
        Self { hasher: RandomState::new(), parts: std::iter::repeat_with(part).take(PARTS).collect() }
    }
}

impl Standing {
    pub(super) fn look(&self, key: &[u8]) -> Look {
        let mut part = self.part(key).lock();
        let known = part.records.get(key);
        known.map_or(Look::Unknown(Era(part.era)), Look::Known)
    }

    /// Notes what was read after a [`Standing::look`].
    pub(super) fn note(&self, key: Vec<u8>, era: Era, record: Option<VersionRecord>) {
        let mut part = self.part(&key).lock();
        if key.len() <= KEY_BYTES_MAX && part.writings == 0 && part.era == era.0 {
            part.records.put(key, record, 1);
        }
    }

    /// Says that keys are about to be written, until what is returned is dropped.
    pub(super) fn writing<'a>(self: &Arc<Self>, keys: impl Iterator<Item = &'a [u8]>) -> Writing {
        let mut parts = Vec::new();
        for key in keys {
            let number = self.number(key);
            parts.push(number);
            let mut part = self.parts[number].lock();
            part.records.remove(key);
            part.era += 1;
            part.writings += 1;
        }
        Writing { standing: Arc::clone(self), parts }
    }

    fn number(&self, key: &[u8]) -> usize {
        // The low bits are those by which the maps within the parts go.
        usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or_default() % PARTS
    }

    fn part(&self, key: &[u8]) -> &Mutex<Part> {
        &self.parts[self.number(key)]
    }
}

/// Some keys are being written.
pub(super) struct Writing {
    standing: Arc<Standing>,
    parts: Vec<usize>,
}

impl Drop for Writing {
    fn drop(&mut self) {
        for number in &self.parts {
            let mut part = self.standing.parts[*number].lock();
            part.era += 1;
            part.writings -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"r\0example.com/a\0v1.0.0";

    fn record(created_ms: u64) -> VersionRecord {
        VersionRecord { created_ms, ..VersionRecord::default() }
    }

    fn unknown(standing: &Standing) -> Era {
        match standing.look(KEY) {
            Look::Unknown(era) => era,
            Look::Known(record) => panic!("known: {record:?}"),
        }
    }

    #[test]
    fn what_was_read_is_known_until_it_is_written() {
        let standing = Arc::<Standing>::default();
        for stands in [Some(record(1)), None] {
            let era = unknown(&standing);
            standing.note(KEY.to_vec(), era, stands.clone());
            assert_eq!(standing.look(KEY), Look::Known(stands));
            let writing = standing.writing([KEY].into_iter());
            // In the middle of it nobody knows; what is read now may be the old or the new one.
            let era = unknown(&standing);
            standing.note(KEY.to_vec(), era, Some(record(2)));
            unknown(&standing);
            drop(writing);
            standing.note(KEY.to_vec(), era, Some(record(2)));
            unknown(&standing);
        }
    }

    #[test]
    fn what_was_read_before_a_writing_is_not_noted_after_it() {
        let standing = Arc::<Standing>::default();
        let before = unknown(&standing);
        drop(standing.writing([KEY].into_iter()));
        standing.note(KEY.to_vec(), before, Some(record(1)));
        let after = unknown(&standing);
        let (one, other) = (standing.writing([KEY].into_iter()), standing.writing([KEY].into_iter()));
        drop(one);
        standing.note(KEY.to_vec(), after, Some(record(1)));
        unknown(&standing);
        drop(other);
        let era = unknown(&standing);
        standing.note(KEY.to_vec(), era, Some(record(3)));
        assert_eq!(standing.look(KEY), Look::Known(Some(record(3))));
    }
}
