//! A PostgreSQL server of the test's own.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::deadline::until;
use crate::process::{Process, ProcessSpec};

/// Who the server runs as where the test is root, which PostgreSQL refuses: nobody, of no group. The numbers are Debian's.
const NOBODY: (u32, u32) = (65534, 65534);

/// A running PostgreSQL with a cluster of its own, reached by a socket in its directory: it has no port.
#[derive(Debug)]
pub struct PostgresServer {
    process: Process,
    dir: TempDir,
}

impl PostgresServer {
    /// Makes a cluster and starts it, with every setting that concerns safety as it is installed.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not come up: no test is skipped for want of it.
    pub async fn start() -> Self {
        let dir =
            tempfile::Builder::new().prefix("modtier-pg-").tempdir().expect("the temporary directory is writable");
        let data = dir.path().join("data");
        std::fs::create_dir(&data).expect("the directory is writable");
        for path in [dir.path(), &data] {
            give(path);
        }
        let (program, mut args) = unprivileged(&program("initdb"));
        args.extend(
            ["-D", &text(&data), "-U", "modtier", "-A", "trust", "--no-sync", "--no-instructions"].map(str::to_owned),
        );
        args.extend(["-E", "UTF8", "--locale=C"].map(str::to_owned));
        let made = Command::new(program).args(args).current_dir(dir.path()).output().expect("initdb can be started");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let (program, args) = unprivileged(&self::program("postgres"));
        let mut spec = ProcessSpec::new("postgres", program, dir.path());
        for arg in args {
            spec = spec.arg(&arg);
        }
        let spec = spec.args(&["-D", &text(&data), "-k", &text(dir.path()), "-c", "listen_addresses="]);
        let mut server = Self { process: Process::spawn(spec), dir };
        server.ready().await;
        server
    }

    /// The URL of its one database.
    pub fn url(&self) -> String {
        format!("postgres://modtier@localhost/postgres?host={}", text(self.dir.path()))
    }

    /// Runs a statement and returns what it says, a row a line.
    ///
    /// # Panics
    /// When it fails.
    pub fn query(&self, statement: &str) -> String {
        let asked = self.psql(statement);
        assert!(asked.status.success(), "{statement}: {}", String::from_utf8_lossy(&asked.stderr));
        String::from_utf8_lossy(&asked.stdout).trim().to_owned()
    }

    /// Stops it as it is stopped by its service: connections are cut.
    pub async fn stop(&mut self) {
        self.process.signal("INT");
        self.process.ended(Duration::from_secs(30)).await;
    }

    /// Starts it again with the same data.
    pub async fn restart(&mut self) {
        self.process.restart();
        self.ready().await;
    }

    fn psql(&self, statement: &str) -> std::process::Output {
        let host = text(self.dir.path());
        let args = ["-XAtq", "-U", "modtier", "-h", &host, "-d", "postgres", "-c", statement];
        Command::new(program("psql")).args(args).output().expect("psql can be started")
    }

    async fn ready(&mut self) {
        until("PostgreSQL answers", Duration::from_mins(1), async || {
            if let Some(status) = self.process.exited() {
                panic!("postgres ended at start with {status}:\n{}", self.process.log());
            }
            self.psql("SELECT 1").status.success()
        })
        .await;
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // Its children and their shared memory go with it, as they would not after kill -9.
        if self.process.exited().is_none() {
            self.process.quit();
        }
    }
}

/// Debian keeps the servers of each version in a directory of its own; the newest is taken.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.exists());
    found.max().unwrap_or_else(|| {
        panic!("{name} is not installed: run `deploy/prerequisites.sh test` first (`make test` does)")
    })
}

/// A program with the arguments that make it run as somebody who is not root.
fn unprivileged(program: &Path) -> (PathBuf, Vec<String>) {
    if !is_root() {
        return (program.to_owned(), Vec::new());
    }
    let (user, group) = NOBODY;
    let args = [format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned(), text(program)];
    (PathBuf::from("setpriv"), args.to_vec())
}

fn give(path: &Path) {
    let permissions = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(path, permissions).expect("the directory is ours");
    if is_root() {
        chown(path, Some(NOBODY.0), Some(NOBODY.1)).expect("root may give a directory away");
    }
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").expect("Linux has /proc")) == 0
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
