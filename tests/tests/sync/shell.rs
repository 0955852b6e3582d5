//! `modtier-syncer …` as typed into a shell, and as a daemon.

use std::time::Duration;

use modtier_tests::{Cluster, Process, ProcessSpec, Web, binary, command_line, until_some};
use shared::cli::Announcement;
use tempfile::TempDir;

/// How long anything may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    /// Its exit code.
    pub(crate) code: i32,
    /// Its standard output.
    pub(crate) out: String,
    /// Its standard error.
    pub(crate) err: String,
}

impl Said {
    /// Its standard output as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs a binary with these arguments and variables.
pub(crate) async fn run(name: &str, args: &[&str], env: &[(&str, &str)]) -> Said {
    let mut command = command_line(name);
    command.args(args).env("HOME", "/nonexistent").envs(env.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().expect("the binary can be run");
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The variables that lead to a cluster; without Redis unless they are added to.
pub(crate) fn env_of(cluster: &Cluster) -> Vec<(&'static str, String)> {
    vec![
        ("MODTIER_SYNCER_CENTER", cluster.center_url().to_owned()),
        ("MODTIER_SYNCER_EDGES", cluster.admin_url().to_owned()),
        ("MODTIER_SYNCER_ADMIN", "127.0.0.1:0".to_owned()),
    ]
}

/// Runs the syncer's command.
pub(crate) async fn syncer(args: &[&str], env: &[(&'static str, String)]) -> Said {
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    run("syncer", args, &env).await
}

/// A syncer that runs.
pub(crate) struct Daemon {
    /// Its process.
    pub(crate) process: Process,
    /// Requests to its administration.
    pub(crate) admin: Web,
    /// Where that is.
    pub(crate) url: String,
    _folder: TempDir,
}

impl Daemon {
    /// Starts `run` with these variables.
    pub(crate) async fn start(env: &[(&'static str, String)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("announced.json");
        let mut spec = ProcessSpec::new("syncer", binary("syncer"), folder.path())
            .args(&["run", "--announce"])
            .arg(&file.display().to_string());
        for (name, value) in env {
            spec = spec.env(name, value);
        }
        let process = Process::spawn(spec);
        let announced = until_some("the syncer announces itself", LIMIT, async || {
            serde_json::from_slice::<Announcement>(&std::fs::read(&file).ok()?).ok()
        })
        .await;
        let url = format!("http://{}", announced.admin.expect("the syncer announces its administration"));
        Self { process, admin: Web::new(&url), url, _folder: folder }
    }

    /// The value of a figure, if there is one.
    pub(crate) async fn figure(&self, name_and_labels: &str) -> Option<f64> {
        let text = self.admin.get("metrics").await.text();
        let line = text.lines().find(|line| line.starts_with(name_and_labels))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}
