//! One child process: its log in a file, killed by its own id when dropped.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde::Deserialize;

use crate::deadline::until_some;

/// How a process is started, so that it can be started again.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    name: String,
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    dir: PathBuf,
}

/// What a binary of ours writes to `--announce FILE`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Announcement {
    pub(crate) pid: u32,
    #[serde(default)]
    pub(crate) listen: Option<String>,
    #[serde(default)]
    pub(crate) tls: Option<String>,
    #[serde(default)]
    pub(crate) h2c: Option<String>,
    #[serde(default)]
    pub(crate) admin: Option<String>,
}

/// A child process.
#[derive(Debug)]
pub struct Process {
    spec: ProcessSpec,
    child: Child,
}

impl ProcessSpec {
    /// A process with its log (and announcement) in `dir`.
    pub fn new(name: &str, program: PathBuf, dir: &Path) -> Self {
        Self { name: name.to_owned(), program, args: Vec::new(), env: Vec::new(), dir: dir.to_owned() }
    }

    /// The same under another name, with a log and an announcement of its own.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        let (old, new) = (self.announcement().display().to_string(), name.to_owned());
        self.name = new;
        let own = self.announcement().display().to_string();
        self.args.iter_mut().filter(|arg| **arg == old).for_each(|arg| arg.clone_from(&own));
        self
    }

    /// Starts it by another program, which becomes it: these words come before the program and its arguments.
    #[must_use]
    pub fn under(mut self, words: &[&str]) -> Self {
        let (program, rest) = words.split_first().expect("a program is named");
        let own = std::mem::replace(&mut self.program, PathBuf::from(program));
        let rest = rest.iter().map(|&word| word.to_owned());
        self.args.splice(0..0, rest.chain([own.display().to_string()]));
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Adds an argument unless it is there.
    #[must_use]
    pub fn flag(self, arg: &str) -> Self {
        if self.args.iter().any(|known| known == arg) { self } else { self.arg(arg) }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    /// Sets a variable; the last one counts.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.set_env(name, value);
        self
    }

    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Has a binary of ours announce itself.
    #[must_use]
    pub(crate) fn announcing(self) -> Self {
        if self.args.iter().any(|arg| arg == "--announce") {
            return self;
        }
        let file = self.announcement().display().to_string();
        self.arg("--announce").arg(&file)
    }

    fn log(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.name))
    }

    fn announcement(&self) -> PathBuf {
        self.dir.join(format!("{}.json", self.name))
    }

    fn command(&self) -> Command {
        let log = OpenOptions::new().create(true).append(true).open(self.log()).expect("the test's folder is writable");
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.dir).env_clear().envs(plain_env());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stderr(clone(&log)).stdout(log);
        command
    }
}

impl Process {
    /// Starts it.
    ///
    /// # Panics
    /// When the program is not there.
    pub fn spawn(spec: ProcessSpec) -> Self {
        let _ = std::fs::remove_file(spec.announcement());
        let child = spec.command().spawn().unwrap_or_else(|error| panic!("{}: {error}", spec.program.display()));
        Self { spec, child }
    }

    /// Starts a binary of ours with `--announce` and waits until it has bound everything.
    pub(crate) async fn spawn_announced(spec: ProcessSpec) -> (Self, Announcement) {
        let mut process = Self::spawn(spec.announcing());
        let announcement = process.announced().await;
        (process, announcement)
    }

    /// Starts the same again, with the same data, after its end.
    pub fn restart(&mut self) {
        self.kill9();
        let _ = std::fs::remove_file(self.spec.announcement());
        self.child =
            self.spec.command().spawn().unwrap_or_else(|error| panic!("{}: {error}", self.spec.program.display()));
    }

    /// How it was started.
    pub fn spec(&self) -> &ProcessSpec {
        &self.spec
    }

    pub(crate) fn spec_mut(&mut self) -> &mut ProcessSpec {
        &mut self.spec
    }

    pub(crate) async fn announced(&mut self) -> Announcement {
        let file = self.spec.announcement();
        let what = format!("{} announces itself", self.spec.name);
        until_some(&what, Duration::from_mins(1), async || {
            if let Some(status) = self.exited() {
                panic!("{} ended at start with {status}:\n{}", self.spec.name, self.log());
            }
            let text = std::fs::read(&file).ok()?;
            let announcement: Announcement =
                serde_json::from_slice(&text).expect("an announcement is JSON, whole or absent");
            assert_eq!(announcement.pid, self.pid(), "{} announces its own process", self.spec.name);
            Some(announcement)
        })
        .await
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours can be waited for")
    }

    /// kill -9, and waits for its end.
    pub fn kill9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGQUIT, and waits for its end: for a server that ends at once upon that.
    pub(crate) fn quit(&mut self) {
        let _ = Command::new("kill").arg("-QUIT").arg(self.pid().to_string()).status();
        let _ = self.child.wait();
    }

    /// Sends a signal such as `TERM`, `STOP`, `CONT`, `HUP`.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.pid().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{signal} of {}", self.spec.name);
    }

    /// Waits for its end, which must come within `limit`.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} ends", self.spec.name);
        until_some(&what, limit, async || self.exited()).await
    }

    /// SIGTERM, and waits for its end, which must come within 10 s.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended(Duration::from_secs(10)).await
    }

    /// Everything it has written to stdout and stderr.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.spec.log()).unwrap_or_default()).into_owned()
    }

    /// The most resident memory it ever had, in bytes (`VmHWM`).
    pub fn memory_peak_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    /// The resident memory it has now, in bytes (`VmRSS`).
    pub fn memory_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// How many descriptors it has open now.
    pub fn descriptors(&self) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.pid()));
        open.expect("a living process has descriptors").count()
    }

    fn status_bytes(&self, key: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a living process has a status");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("Linux reports memory");
        line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("Linux reports memory in kB") * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            eprintln!("---- last lines of {} ----", self.spec.name);
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// The environment without what would steer the process from outside: our own settings, Go's settings, proxies.
pub(crate) fn plain_env() -> Vec<(String, String)> {
    std::env::vars()
        .filter(|(name, _)| {
            let lower = name.to_lowercase();
            let steers = name.starts_with("MODTIER_")
                || lower.ends_with("_proxy")
                || name.starts_with("CARGO")
                || name.starts_with("RUST");
            !steers && (!name.starts_with("GO") || name == "GOROOT")
        })
        .collect()
}

/// A command line of a binary of ours, such as `center`, in an environment that steers nothing.
pub fn command_line(name: &str) -> Command {
    let mut command = Command::new(binary(name));
    command.env_clear().envs(plain_env()).stdin(Stdio::null());
    command
}

/// The path of a binary of ours, such as `edge`, from the same build as this test.
///
/// # Panics
/// When it has not been built.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its executable");
    let built = test.ancestors().map(|folder| folder.join(format!("modtier-{name}"))).find(|path| is_executable(path));
    built.unwrap_or_else(|| {
        panic!(
            "modtier-{name} is not built beside {}: run `cargo build --workspace --bins` first (`make test` does)",
            test.display()
        )
    })
}

/// The root of the checkout, as `cargo test` says it at run time: a path that was compiled in would be another checkout's,
/// where two of them share a build cache.
pub fn workspace() -> PathBuf {
    let tests = std::env::var_os("CARGO_MANIFEST_DIR").expect("the tests are run by cargo test");
    Path::new(&tests).parent().expect("tests/ stands in the workspace").to_owned()
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

fn clone(file: &File) -> File {
    file.try_clone().expect("a descriptor can be duplicated")
}
