//! `go mod download` of the closure of k8s.io/client-go: from an origin that is 50 ms away, through a cold edge before it, and
//! through a warm one; and how long the syncer takes to make an edge warm. Prints markdown.
//!
//! The closure is fetched once from the machine's own GOPROXY and kept below the user's cache folder; after that no network is
//! needed. The edge is the one that was built beside this program.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use modtier_tests::{GoClient, LoneEdge, Origin, command_line, public_mirror};

const LATENCY: Duration = Duration::from_millis(50);
const MODULE: &str = "k8s.io/client-go@v0.34.1";

/// The closure as a GOPROXY server's files, and the go.mod and go.sum that ask for it.
struct Closure {
    folder: PathBuf,
}

impl Closure {
    /// From the cache folder, or fetched into it.
    async fn held() -> Self {
        let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache");
        let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
        let this = Self { folder: cache.join("modtier/bench").join(MODULE.replace('/', "_")) };
        // Written last, so that half a closure is no closure.
        if !this.folder.join("go.mod").is_file() {
            std::fs::create_dir_all(&this.folder).expect("the cache folder is writable");
            let mod_cache = this.folder.join("modcache").display().to_string();
            let go = GoClient::new(&public_mirror().await).env("GOMODCACHE", &mod_cache);
            go.ok(&["get", MODULE]).await;
            go.ok(&["mod", "download", "all"]).await;
            for name in ["go.sum", "go.mod"] {
                std::fs::write(this.folder.join(name), go.read(name)).expect("the cache folder is writable");
            }
        }
        this
    }

    /// Lets the origin serve all of it; says how many files and bytes that is.
    fn publish(&self, origin: &Origin) -> (usize, usize) {
        let root = self.folder.join("modcache/cache/download");
        let (mut count, mut size) = (0, 0);
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("the closure is readable") {
                let path = entry.expect("the closure is readable").path();
                if path.is_dir() {
                    folders.push(path);
                } else if is_served(&path) {
                    let bytes = std::fs::read(&path).expect("the closure is readable");
                    let below = path.strip_prefix(&root).expect("it was found below").display().to_string();
                    (count, size) = (count + 1, size + bytes.len());
                    origin.set(&below, bytes);
                }
            }
        }
        (count, size)
    }

    /// How long the syncer takes from reading the go.mod until the edge holds all of it; what it says.
    async fn prewarm(&self, edge: &LoneEdge, center: &Origin) -> (Duration, String) {
        let folder = tempfile::tempdir().expect("the temporary directory is writable");
        let project = folder.path().join("project");
        std::fs::create_dir(&project).expect("the temporary directory is writable");
        for name in ["go.mod", "go.sum"] {
            std::fs::copy(self.folder.join(name), project.join(name)).expect("the closure is readable");
        }
        let mut command = command_line("syncer");
        command.arg("prewarm").env("MODTIER_SYNCER_LOG_LEVEL", "error");
        command.env("MODTIER_SYNCER_CENTER", center.url()).env("MODTIER_SYNCER_EDGES", edge.admin_url());
        command.env("MODTIER_SYNCER_PREWARM_DIRECTORIES", &project);
        command.env("MODTIER_SYNCER_PREWARM_STATE_DIR", folder.path().join("state"));
        let begun = Instant::now();
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it does not panic");
        let took = begun.elapsed();
        let output = output.expect("the syncer is built beside this program");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (took, String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// How long a developer with an empty module cache waits.
    async fn download(&self, goproxy: &str) -> Duration {
        let go = GoClient::new(goproxy);
        for name in ["go.mod", "go.sum"] {
            go.write(name, &std::fs::read_to_string(self.folder.join(name)).expect("the closure is readable"));
        }
        let begun = Instant::now();
        go.ok(&["mod", "download", "all"]).await;
        begun.elapsed()
    }
}

fn is_served(path: &Path) -> bool {
    path.ends_with("@v/list")
        || path.extension().is_some_and(|kind| ["info", "mod", "zip"].iter().any(|known| kind == *known))
}

#[tokio::main]
async fn main() {
    let closure = Closure::held().await;
    let origin = Origin::start().await;
    let (files, bytes) = closure.publish(&origin);
    origin.set_latency(LATENCY);
    let rounds: usize = std::env::var("BENCH_ROUNDS").map_or(3, |text| text.parse().expect("BENCH_ROUNDS is a number"));
    println!(
        "### `go mod download all` of the closure of {MODULE}, {} MB in {files} files, origin at 50 ms\n",
        bytes / 1_000_000
    );
    println!(
        "| round | direct | cold edge | warm edge | requests at the origin, direct | cold | warm |\n|---|---|---|---|---|---|---|"
    );
    for round in 1..=rounds {
        let edge = LoneEdge::before(&[&origin]).start().await;
        let mut took = Vec::new();
        for goproxy in [origin.url(), edge.goproxy(), edge.goproxy()] {
            origin.forget();
            let seconds = closure.download(&goproxy).await.as_secs_f64();
            let asked = origin.asked("/@").len();
            took.push((seconds, asked));
        }
        println!(
            "| {round} | {:.2} s | {:.2} s | {:.2} s | {} | {} | {} |",
            took[0].0, took[1].0, took[2].0, took[0].1, took[1].1, took[2].1
        );
    }
    prewarmed(&closure, &origin, rounds).await;
}

/// The syncer against one client, each at a cold edge; and the first client of the edge that the syncer made warm.
async fn prewarmed(closure: &Closure, origin: &Origin, rounds: usize) {
    println!("\n### Pre-warming the closure of {MODULE}, origin at 50 ms\n");
    println!(
        "| round | one client, cold edge | pre-warm, cold edge | then one client | requests at the origin for that | pre-warm again | what was sent |\n|---|---|---|---|---|---|---|"
    );
    for round in 1..=rounds {
        let cold = LoneEdge::before(&[origin]).start().await;
        let client = closure.download(&cold.goproxy()).await;
        let edge = LoneEdge::before(&[origin]).start().await;
        let (prewarm, sent) = closure.prewarm(&edge, origin).await;
        origin.forget();
        let warm = closure.download(&edge.goproxy()).await;
        let missed = origin.asked("/@").len();
        let (again, _) = closure.prewarm(&edge, origin).await;
        let seconds = [client, prewarm, warm, again].map(|took| format!("{:.2} s", took.as_secs_f64()));
        println!("| {round} | {} | {} | {} | {missed} | {} | {sent} |", seconds[0], seconds[1], seconds[2], seconds[3]);
    }
}
