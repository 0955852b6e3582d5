//! A test in a place of its own: where it may mount file systems, or where writes can be made to fail.
//!
//! The test starts itself again inside, waits, and passes or fails as that does. Mounts go with the inner process, however it ends.

use std::process::Command;

/// Says inside that this is inside, and where.
const INSIDE: &str = "MODTIER_TEST_SANDBOX";

/// A kind of place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandbox {
    /// A mount namespace of root's: everything can be mounted.
    Root,
    /// A mount namespace of an ordinary user's: tmpfs can be mounted, loop devices cannot.
    User,
    /// Nothing can be mounted. A file that would grow past `prlimit --fsize` is an error of the write, not a signal.
    Bare,
}

impl Sandbox {
    const ALL: [Self; 3] = [Self::Root, Self::User, Self::Bare];

    const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::User => "user",
            Self::Bare => "bare",
        }
    }

    /// The command that leads into it; the command to be run there is added.
    fn command(self) -> Command {
        let (program, args): (_, &[&str]) = match self {
            Self::Root => ("unshare", &["--mount", "--propagation", "private"]),
            Self::User => ("unshare", &["--user", "--map-root-user", "--mount", "--propagation", "private"]),
            Self::Bare => ("sh", &["-c", "trap '' XFSZ; exec \"$@\"", "sh"]),
        };
        let mut command = Command::new(program);
        command.args(args);
        command
    }

    /// The best place that can be had here. [`Sandbox::Bare`] always can.
    pub fn best() -> Self {
        let can_be_had = |place: &Self| {
            let tried = place.command().args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
            tried.is_ok_and(|output| output.status.success())
        };
        [Self::Root, Self::User].into_iter().find(can_be_had).unwrap_or(Self::Bare)
    }

    /// Where this process is, if it was started by [`Sandbox::run`].
    pub fn inside() -> Option<Self> {
        let name = std::env::var(INSIDE).ok()?;
        Self::ALL.into_iter().find(|place| place.name() == name)
    }

    /// Runs the test of this name there.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(self, test: &str) {
        let executable = std::env::current_exe().expect("a test knows its executable");
        let status = self
            .command()
            .arg(executable)
            .args(["--exact", test, "--nocapture"])
            .env(INSIDE, self.name())
            .status()
            .unwrap_or_else(|error| panic!("{self:?}: {error}"));
        assert!(status.success(), "{test} in {self:?}: {status}");
    }
}
