//! The real `go` command with a home, module cache and settings of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use crate::process::plain_env;

/// How long one `go` command may take.
const GO_LIMIT: Duration = Duration::from_mins(4);

/// A developer's machine: an empty module cache and a main module to work in.
#[derive(Debug)]
pub struct GoClient {
    home: TempDir,
    env: Vec<(String, String)>,
}

/// What a `go` command said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoOutput {
    /// Whether it exited with 0.
    pub ok: bool,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl GoClient {
    /// A client of this GOPROXY, without a checksum database.
    pub fn new(goproxy: &str) -> Self {
        let home =
            tempfile::Builder::new().prefix("modtier-go-").tempdir().expect("the temporary directory is writable");
        let main = home.path().join("main");
        std::fs::create_dir(&main).expect("the test's folder is writable");
        std::fs::write(main.join("go.mod"), "module modtier.example/main\n\ngo 1.21\n")
            .expect("the test's folder is writable");
        // A file decides, no variable. Left on, a child of `go` writes into the home after the test has removed it.
        let telemetry = home.path().join(".config/go/telemetry");
        std::fs::create_dir_all(&telemetry).expect("the test's folder is writable");
        std::fs::write(telemetry.join("mode"), "off").expect("the test's folder is writable");
        let path = |name: &str| home.path().join(name).display().to_string();
        let settings = [
            ("HOME", path("")),
            ("GOPATH", path("gopath")),
            ("GOMODCACHE", path("modcache")),
            ("GOCACHE", path("gocache")),
            ("GOENV", "off".to_owned()),
            // Read-only files would outlive the temporary directory.
            ("GOFLAGS", "-modcacherw -mod=mod".to_owned()),
            ("GOTOOLCHAIN", "local".to_owned()),
            ("GOPROXY", goproxy.to_owned()),
            ("GOSUMDB", "off".to_owned()),
        ];
        let env = settings.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Self { home, env }
    }

    /// Sets a variable of the `go` command.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Asks the public checksum database, through the proxy where it serves it.
    #[must_use]
    pub fn with_public_sumdb(self) -> Self {
        self.env("GOSUMDB", "sum.golang.org")
    }

    /// The folder of the main module.
    pub fn main(&self) -> PathBuf {
        self.home.path().join("main")
    }

    /// A file of the main module.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.main().join(name)).unwrap_or_default()
    }

    /// Writes a file of the main module.
    pub fn write(&self, name: &str, content: &str) {
        std::fs::write(self.main().join(name), content).expect("the test's folder is writable");
    }

    /// The module cache.
    pub fn module_cache(&self) -> PathBuf {
        self.home.path().join("modcache")
    }

    /// Runs `go` in the main module.
    pub async fn run(&self, args: &[&str]) -> GoOutput {
        self.run_in(&self.main(), args).await
    }

    /// Runs `go` in the main module.
    ///
    /// # Panics
    /// When it does not exit with 0.
    pub async fn ok(&self, args: &[&str]) -> GoOutput {
        let output = self.run(args).await;
        assert!(output.ok, "go {}:\n{}{}", args.join(" "), output.stdout, output.stderr);
        output
    }

    async fn run_in(&self, dir: &Path, args: &[&str]) -> GoOutput {
        let mut command = Command::new("go");
        command.args(args).current_dir(dir).env_clear().envs(plain_env()).envs(self.env.clone());
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(GO_LIMIT, command.output());
        let output = output.await.unwrap_or_else(|_| panic!("go {}: not within {GO_LIMIT:?}", args.join(" ")));
        let output = output.unwrap_or_else(|error| panic!("the go command is needed and cannot be run: {error}"));
        GoOutput {
            ok: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The public mirror that this machine uses: the first server in `go env GOPROXY`, read when the test runs.
///
/// # Panics
/// When it names none: the tests of a real project need one.
pub async fn public_mirror() -> String {
    // Outside of any module, and with the machine's own settings.
    let output = Command::new("go").args(["env", "GOPROXY"]).current_dir("/").output().await;
    let output = output.unwrap_or_else(|error| panic!("the go command is needed and cannot be run: {error}"));
    let setting = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let server = setting.split([',', '|']).find(|entry| entry.starts_with("http://") || entry.starts_with("https://"));
    let server = server.unwrap_or_else(|| {
        panic!("`go env GOPROXY` is {setting:?}: it names no server that this test could use as upstream")
    });
    server.trim_end_matches('/').to_owned()
}
