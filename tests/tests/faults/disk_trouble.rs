//! A disk that is full or fails: what is held is served, the rest is passed through, and all returns to normal unaided.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use modtier_tests::{BuiltModule, Cluster, Module, Origin, Sandbox, until};
use tempfile::TempDir;

/// Room for the index and a few modules.
const DISK_MIB: u64 = 96;
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn a_full_disk() {
    run_in(Sandbox::best(), "a_full_disk");
}

#[test]
fn a_disk_that_refuses_writes() {
    run_in(Sandbox::Bare, "a_disk_that_refuses_writes");
}

fn run_in(sandbox: Sandbox, test: &str) {
    match Sandbox::inside() {
        None => sandbox.run(test),
        Some(inside) => {
            println!("{test}: in {inside:?}");
            tokio::runtime::Runtime::new().unwrap().block_on(fails_and_recovers(inside));
        }
    }
}

/// The edge's disk, and the way in which it can be made to take nothing.
enum Disk {
    /// Small, and filled up.
    Small { dir: TempDir },
    /// Ordinary; the edge's process may write no byte past the end of a file's beginning.
    Limited { dir: TempDir },
}

impl Disk {
    fn new(inside: Sandbox) -> Self {
        let dir = tempfile::Builder::new().prefix("modtier-disk-").tempdir().unwrap();
        match inside {
            Sandbox::Root | Sandbox::User => {
                let size = format!("size={DISK_MIB}m");
                let mut mount = Command::new("mount");
                mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path());
                assert!(mount.status().unwrap().success(), "a tmpfs can be mounted");
                Self::Small { dir }
            }
            Sandbox::Bare => Self::Limited { dir },
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Small { dir } | Self::Limited { dir } => dir.path(),
        }
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    fn take_nothing(&self, edge: u32) {
        match self {
            Self::Small { .. } => {
                let mut ballast = std::fs::File::create(self.ballast()).unwrap();
                while ballast.write_all(&[7; 4096]).is_ok() {}
            }
            Self::Limited { .. } => limit_files(edge, "0"),
        }
    }

    fn work_again(&self, edge: u32) {
        match self {
            Self::Small { .. } => std::fs::remove_file(self.ballast()).unwrap(),
            Self::Limited { .. } => limit_files(edge, "unlimited"),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Self::Small { dir } = self {
            // Otherwise its folder could not be removed.
            let _ = Command::new("umount").arg("--lazy").arg(dir.path()).status();
        }
    }
}

fn limit_files(process: u32, bytes: &str) {
    // The hard limit stays, so that an ordinary user can lift the soft one again.
    let limit = format!("--fsize={bytes}:unlimited");
    let status = Command::new("prlimit").args(["--pid", &process.to_string(), &limit]).status().unwrap();
    assert!(status.success(), "prlimit {limit}");
}

fn module(name: &str, size: usize) -> BuiltModule {
    Module::new(&format!("example.com/{name}"), "v1.0.0").package().ballast(size, name.len() as u64).build()
}

async fn fails_and_recovers(inside: Sandbox) {
    let disk = Disk::new(inside);
    let data = disk.path().join("edge");
    let origin = Origin::start().await;
    let mut cluster = Cluster::of(&origin).edge_env("MODTIER_EDGE_DATA_DIR", &data.display().to_string()).start().await;
    let (held, late) = ([module("held-small", 300), module("held-large", 2_000_000)], module("late", 2_000_000));
    let during = [module("during-small", 300), module("during-middle", 100_000), module("during-large", 3_000_000)];
    held.iter().chain(&during).chain([&late]).for_each(|module| origin.publish(module));
    check_right(&cluster, &held).await;
    assert_eq!(trouble(&cluster).await, "ok");

    disk.take_nothing(cluster.edge.pid());
    for _ in 0..2 {
        check_right(&cluster, &during).await;
        check_right(&cluster, &held).await;
    }
    assert_ne!(trouble(&cluster).await, "ok");
    let figures = cluster.admin_web().get("metrics").await.text();
    assert!(figures.lines().any(|line| line == "modtier_cache_disk_trouble 1"), "{figures}");
    assert_eq!(cluster.edge_web().get("readyz").await.status, 200);
    for module in &held {
        assert!(is_held(&cluster, module).await, "{}", module.query());
    }

    if matches!(disk, Disk::Small { .. }) {
        // A start on a full disk: the index can only be read, and hits are served from it.
        cluster.restart_edge().await;
        assert_ne!(trouble(&cluster).await, "ok");
        for module in &held {
            assert!(is_held(&cluster, module).await, "after a restart: {}", module.query());
        }
        check_right(&cluster, &during).await;
    }

    disk.work_again(cluster.edge.pid());
    // Nobody asks for anything: the edge finds out by itself.
    until("the disk works again", PATIENCE, async || trouble(&cluster).await == "ok").await;
    let late = [late];
    check_right(&cluster, &late).await;
    check_right(&cluster, &during).await;
    for module in held.iter().chain(&during).chain(&late) {
        assert!(is_held(&cluster, module).await, "{} after the trouble", module.query());
    }
    cluster.restart_edge().await;
    for module in held.iter().chain(&during).chain(&late) {
        assert!(is_held(&cluster, module).await, "{} after the trouble and a restart", module.query());
    }
}

async fn check_right(cluster: &Cluster, modules: &[BuiltModule]) {
    for module in modules {
        let reply = cluster.edge_web().get(&module.zip_path()).await;
        assert!(reply.is_whole(), "{}: {} {}", module.query(), reply.status, reply.text());
        assert!(reply.body == module.zip, "{}: other bytes, {}", module.query(), reply.header("x-cache"));
    }
}

async fn is_held(cluster: &Cluster, module: &BuiltModule) -> bool {
    let reply = cluster.edge_web().get_held(&module.zip_path()).await;
    assert!(!reply.is_whole() || reply.body == module.zip, "{}: other bytes", module.query());
    reply.is_whole()
}

/// What the edge says of its disk.
async fn trouble(cluster: &Cluster) -> String {
    let report = cluster.admin_web().get("readyz?verbose").await.json();
    report["disk"].as_str().unwrap().to_owned()
}
