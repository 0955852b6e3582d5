//! A wall clock of one process, which the test sets while it runs.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::process::workspace;

/// The clock. Time that only passes (the monotonic clock) is left alone, as when somebody sets the clock of a machine.
#[derive(Debug)]
pub struct WallClock {
    offset: File,
    dir: TempDir,
}

impl WallClock {
    /// Starts with the clock right.
    ///
    /// # Panics
    /// When the part that is loaded into the process cannot be compiled.
    pub fn start() -> Self {
        let dir =
            tempfile::Builder::new().prefix("modtier-clock-").tempdir().expect("the temporary directory is writable");
        let offset = File::create(dir.path().join("offset")).expect("the test's folder is writable");
        let clock = Self { offset, dir };
        clock.set_off_by_days(0);
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o"]).arg(clock.library());
        let compiled = cc.arg(workspace().join("tests/fixtures/wall_clock.c")).status();
        assert!(compiled.is_ok_and(|status| status.success()), "wall_clock.c cannot be compiled");
        clock
    }

    fn library(&self) -> PathBuf {
        self.dir.path().join("wall_clock.so")
    }

    /// What a process needs in its environment to go by this clock.
    pub fn variables(&self) -> [(&'static str, String); 2] {
        let offset = self.dir.path().join("offset");
        [("LD_PRELOAD", self.library().display().to_string()), ("TEST_WALL_CLOCK", offset.display().to_string())]
    }

    /// Sets it so many days ahead, or behind; the process sees it at once.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn set_off_by_days(&self, days: i64) {
        self.offset.write_all_at(&(days * 24 * 60 * 60).to_ne_bytes(), 0).expect("the test's folder is writable");
    }
}
