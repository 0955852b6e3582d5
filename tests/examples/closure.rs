//! `go mod download` of the closure of k8s.io/client-go: from an origin that is 50 ms away, through a cold edge before it, and
//! through a warm one. Prints markdown.
//!
//! The closure is fetched once from the machine's own GOPROXY and kept below the user's cache folder; after that no network is
//! needed. The edge is the one that was built beside this program.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use modtier_tests::{GoClient, LoneEdge, Origin, public_mirror};

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
}
