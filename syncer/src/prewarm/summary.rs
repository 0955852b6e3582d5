//! What a run came to.

use std::fmt;

use shared::cli::{EXIT_DONE, EXIT_FAILED, EXIT_USAGE};

/// What came of one artefact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The edge holds it, and it is proven.
    Held {
        /// It was there before.
        was_warm: bool,
        /// Length of the body.
        bytes: u64,
    },
    /// It is not there.
    Failed,
}

/// Counts of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    warmed: u64,
    already_warm: u64,
    failed: u64,
    bytes: u64,
}

impl Summary {
    /// Counts one artefact.
    pub(crate) fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Held { was_warm: true, bytes } => {
                self.already_warm += 1;
                self.bytes += bytes;
            }
            Outcome::Held { was_warm: false, bytes } => {
                self.warmed += 1;
                self.bytes += bytes;
            }
            Outcome::Failed => self.failed += 1,
        }
    }

    /// Both together.
    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            warmed: self.warmed + other.warmed,
            already_warm: self.already_warm + other.already_warm,
            failed: self.failed + other.failed,
            bytes: self.bytes + other.bytes,
        }
    }

    /// 0: all is warm; 1: some is; 2: nothing is.
    pub(crate) fn exit_code(&self) -> u8 {
        match (self.warmed + self.already_warm, self.failed) {
            (0, _) => EXIT_USAGE,
            (_, 0) => EXIT_DONE,
            (_, _) => EXIT_FAILED,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { warmed, already_warm, failed, bytes } = self;
        write!(f, "{warmed} warmed, {already_warm} already warm, {failed} failed, {bytes} bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_all_some_or_nothing() {
        let cold = Outcome::Held { was_warm: false, bytes: 5 };
        let warm = Outcome::Held { was_warm: true, bytes: 7 };
        for (outcomes, code, text) in [
            (vec![cold, warm], 0, "1 warmed, 1 already warm, 0 failed, 12 bytes"),
            (vec![cold, Outcome::Failed], 1, "1 warmed, 0 already warm, 1 failed, 5 bytes"),
            (vec![Outcome::Failed], 2, "0 warmed, 0 already warm, 1 failed, 0 bytes"),
            (vec![], 2, "0 warmed, 0 already warm, 0 failed, 0 bytes"),
        ] {
            let mut summary = Summary::default();
            for outcome in outcomes {
                summary.add(outcome);
            }
            assert_eq!((summary.exit_code(), summary.to_string().as_str()), (code, text));
        }
    }
}
