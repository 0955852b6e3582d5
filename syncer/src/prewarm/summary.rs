//! What a run came to.

use std::fmt;

use shared::cli::{EXIT_DONE, EXIT_FAILED, EXIT_USAGE};

/// Artefacts that an edge holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// It fetched them.
    pub(crate) filled: u64,
    /// Their length in bytes.
    pub(crate) filled_bytes: u64,
    /// It held them before.
    pub(crate) held: u64,
    /// Their length in bytes.
    pub(crate) held_bytes: u64,
}

impl Tally {
    /// One more.
    pub(crate) fn count(&mut self, was_warm: bool, bytes: u64) {
        if was_warm {
            self.held += 1;
            self.held_bytes += bytes;
        } else {
            self.filled += 1;
            self.filled_bytes += bytes;
        }
    }
}

/// Counts of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    warm: Tally,
    failed: u64,
}

impl Summary {
    /// Counts artefacts that are held, and such as are not and will not be tried again.
    pub(crate) fn add(&mut self, tally: Tally, failed: usize) {
        self.warm.filled += tally.filled;
        self.warm.filled_bytes += tally.filled_bytes;
        self.warm.held += tally.held;
        self.warm.held_bytes += tally.held_bytes;
        self.failed += failed as u64;
    }

    /// 0: all is warm; 1: some is; 2: nothing is.
    pub(crate) fn exit_code(&self) -> u8 {
        match (self.warm.filled + self.warm.held, self.failed) {
            (0, _) => EXIT_USAGE,
            (_, 0) => EXIT_DONE,
            (_, _) => EXIT_FAILED,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { warm: Tally { filled, filled_bytes, held, held_bytes }, failed } = self;
        write!(f, "{filled} warmed, {held} already warm, {failed} failed, {} bytes", filled_bytes + held_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_all_some_or_nothing() {
        let (cold, warm) = (Some((false, 5)), Some((true, 7)));
        for (outcomes, code, text) in [
            (vec![cold, warm], 0, "1 warmed, 1 already warm, 0 failed, 12 bytes"),
            (vec![cold, None], 1, "1 warmed, 0 already warm, 1 failed, 5 bytes"),
            (vec![None], 2, "0 warmed, 0 already warm, 1 failed, 0 bytes"),
            (vec![], 2, "0 warmed, 0 already warm, 0 failed, 0 bytes"),
        ] {
            let mut summary = Summary::default();
            for outcome in outcomes {
                let mut tally = Tally::default();
                if let Some((was_warm, bytes)) = outcome {
                    tally.count(was_warm, bytes);
                }
                summary.add(tally, usize::from(outcome.is_none()));
            }
            assert_eq!((summary.exit_code(), summary.to_string().as_str()), (code, text));
        }
    }
}
