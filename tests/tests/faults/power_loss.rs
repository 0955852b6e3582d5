//! Loss of power at random moments while the edge writes: what is stored afterwards is right or absent.
//!
//! The edge's disk is an ext4 image on an xfs that can share blocks. A copy of the image made by reference, in an instant, is what a disk
//! would hold after the plug was pulled: what the kernel had not written out yet is not in it. Each copy is mounted and an edge started on it.
//!
//! Where nothing can be mounted, the edge is killed instead, its data is copied, and the copy loses what was never synced: a part of the
//! index's log from some place on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use modtier_tests::{
    BuiltModule, Cluster, Module, Origin, Process, ProcessSpec, Sandbox, Seed, Web, binary, until_some,
};
use tempfile::TempDir;

const TEST: &str = "what_a_power_loss_leaves_is_right_or_absent";

/// Bodies that lie in the index, in files that memory takes, and in larger ones.
const SIZES: [usize; 6] = [300, 60_000, 20_000, 60_000, 1_200_000, 300];
/// New versions in a round.
const VERSIONS_MAX: u64 = 24;
/// The versions of so many rounds are asked for after a cut.
const ROUNDS_CHECKED: u64 = 4;

/// How often the power goes; `make deep` asks for more.
fn cuts() -> u64 {
    std::env::var("MODTIER_POWER_CUTS").map_or(20, |cuts| cuts.parse().expect("MODTIER_POWER_CUTS is a number"))
}

#[test]
fn what_a_power_loss_leaves_is_right_or_absent() {
    match Sandbox::inside() {
        None => Sandbox::best().run(TEST),
        Some(inside) => tokio::runtime::Runtime::new().unwrap().block_on(lose_power(inside)),
    }
}

async fn lose_power(inside: Sandbox) {
    let mut seed = Seed::announced("power losses");
    let disk = Disk::new(inside);
    println!("the disk: {}", disk.name());
    let origin = Origin::start().await;
    let data = disk.live().join("edge").display().to_string();
    let mut cluster = Cluster::of(&origin).edge_env("MODTIER_EDGE_DATA_DIR", &data).start().await;
    let mut tally = Tally::default();
    let known = Mutex::new(Vec::new());
    for round in 0..cuts() {
        if round % ROUNDS_CHECKED == 0 {
            known.lock().unwrap().clear();
        }
        let lives = Duration::from_millis(seed.within(10..350));
        let is_synced_before = seed.within(0..2) == 0;
        let edge = cluster.edge_web();
        let cut = tokio::select! {
            () = write(&edge, &origin, round, &known) => unreachable!("it waits when it has written enough"),
            cut = async {
                tokio::time::sleep(lives).await;
                if is_synced_before {
                    // The kernel writes out what is dirty when it likes; it must not take half a minute here.
                    disk.write_out().await;
                    tokio::time::sleep(lives / 4).await;
                }
                disk.pull_the_plug().await
            } => cut,
        };
        let cut = if let Some(cut) = cut {
            cut
        } else {
            cluster.edge.kill9();
            let cut = disk.copy_torn(&mut seed);
            cluster.restart_edge().await;
            cut
        };
        let modules = known.lock().unwrap().clone();
        check(&cut, cluster.center_url(), &modules, &mut tally).await;
    }
    println!("{} cuts: {tally:?}", cuts());
    assert!(tally.held > 0, "nothing had reached the disk: the test has shown nothing");
    assert!(tally.absent > 0, "everything had reached the disk: the test has shown nothing");
}

/// What was found over all cuts.
#[derive(Debug, Default)]
struct Tally {
    held: usize,
    absent: usize,
    files: usize,
}

/// Has the edge fill new versions.
async fn write(edge: &Web, origin: &Origin, round: u64, known: &Mutex<Vec<BuiltModule>>) {
    for number in 0..VERSIONS_MAX {
        let size = SIZES[usize::try_from(number).unwrap() % SIZES.len()];
        let (path, version) = (format!("example.com/p{number}"), format!("v1.{round}.0"));
        let module = Module::new(&path, &version).package().ballast(size, round * 1000 + number).build();
        origin.publish(&module);
        known.lock().unwrap().push(module.clone());
        let reply = edge.get(&module.zip_path()).await;
        assert!(reply.is_whole() && reply.body == module.zip, "{}: {}", module.query(), reply.status);
    }
    std::future::pending::<()>().await;
}

/// Starts an edge on what the cut left and asks it for everything.
async fn check(cut: &Cut, center: &str, modules: &[BuiltModule], tally: &mut Tally) {
    let data = cut.path().join("edge");
    tally.files += hashed_files(&data);
    let logs = tempfile::tempdir().unwrap();
    let announcement = logs.path().join("cut.json");
    let spec = ProcessSpec::new("cut-edge", binary("edge"), logs.path())
        .args(&["--announce", &announcement.display().to_string()])
        .env("MODTIER_EDGE_LISTEN", "127.0.0.1:0")
        .env("MODTIER_EDGE_ADMIN", "127.0.0.1:0")
        .env("MODTIER_EDGE_DATA_DIR", &data.display().to_string())
        .env("MODTIER_EDGE_CENTERS", center);
    let mut process = Process::spawn(spec);
    let announced: serde_json::Value = until_some("an edge starts after the cut", Duration::from_mins(1), async || {
        assert!(process.exited().is_none(), "the edge does not start:\n{}", process.log());
        serde_json::from_slice(&fs::read(&announcement).ok()?).ok()
    })
    .await;
    let web = |name: &str| Web::new(&format!("http://{}", announced[name].as_str().unwrap()));
    for module in modules {
        let reply = web("listen").get_held(&module.zip_path()).await;
        if reply.is_whole() {
            assert!(reply.body == module.zip, "{} has other bytes", module.query());
            tally.held += 1;
        } else {
            assert_eq!(reply.status, 404, "{}: {}", module.query(), reply.text());
            tally.absent += 1;
        }
    }
    // A row names a file only once that is on the disk; and what is left of the index can be read.
    let figures = web("admin").get("metrics").await.text();
    for figure in ["modtier_cache_damaged_total", "modtier_cache_index_resets_total"] {
        assert!(figures.lines().any(|line| line == format!("{figure} 0")), "{figure} after a cut:\n{}", process.log());
    }
    process.kill9();
}

/// Every file of a body hashes to its name, whether a row names it or not.
fn hashed_files(data: &Path) -> usize {
    modtier_tests::objects::verify(&data.join("files"))
}

/// Where the edge writes.
enum Disk {
    Snapshots(Snapshots),
    Folder(TempDir),
}

/// An ext4 image on xfs, both mounted.
struct Snapshots {
    dir: TempDir,
}

/// What a cut left.
enum Cut {
    Mounted(PathBuf, PathBuf),
    Folder(TempDir),
}

impl Disk {
    fn new(inside: Sandbox) -> Self {
        let dir = tempfile::Builder::new().prefix("modtier-power-").tempdir().unwrap();
        if inside != Sandbox::Root {
            return Self::Folder(dir);
        }
        let snapshots = Snapshots { dir };
        match snapshots.mount() {
            Ok(()) => Self::Snapshots(snapshots),
            Err(reason) => {
                println!("no snapshots here: {reason}");
                Self::Folder(tempfile::Builder::new().prefix("modtier-power-").tempdir().unwrap())
            }
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Snapshots(_) => "an ext4 image on xfs, copied by reference",
            Self::Folder(_) => "a folder; the copies lose a part of the log",
        }
    }

    fn live(&self) -> PathBuf {
        match self {
            Self::Snapshots(snapshots) => snapshots.path("live"),
            Self::Folder(dir) => dir.path().to_owned(),
        }
    }

    async fn write_out(&self) {
        let live = self.live();
        tokio::task::spawn_blocking(move || run("sync", &["--file-system", &text(&live)])).await.unwrap().unwrap();
    }

    /// What the disk holds at this instant, mounted.
    async fn pull_the_plug(&self) -> Option<Cut> {
        let Self::Snapshots(snapshots) = self else { return None };
        let (image, cut, mounted) = (snapshots.path("xfs/disk"), snapshots.path("xfs/cut"), snapshots.path("cut"));
        let done = tokio::task::spawn_blocking(move || {
            run("cp", &["--reflink=always", &text(&image), &text(&cut)])?;
            // The journal is replayed, as after a real loss of power.
            run("mount", &["-o", "loop", &text(&cut), &text(&mounted)])?;
            Ok::<_, String>(Cut::Mounted(mounted, cut))
        });
        Some(done.await.unwrap().unwrap())
    }

    /// A copy of a dead edge's data whose index has lost the end of its log.
    fn copy_torn(&self, seed: &mut Seed) -> Cut {
        let dir = tempfile::Builder::new().prefix("modtier-cut-").tempdir().unwrap();
        run("cp", &["--recursive", &text(&self.live().join("edge")), &text(dir.path())]).unwrap();
        let files = fs::read_dir(dir.path().join("edge/index")).unwrap().map(|file| file.unwrap().path());
        let log = files.filter(|file| file.extension().is_some_and(|extension| extension == "log")).max().unwrap();
        let len = log.metadata().unwrap().len();
        fs::File::options().write(true).open(&log).unwrap().set_len(seed.within(0..len + 1)).unwrap();
        Cut::Folder(dir)
    }
}

impl Snapshots {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn mount(&self) -> Result<(), String> {
        for folder in ["xfs", "live", "cut"] {
            fs::create_dir(self.path(folder)).map_err(|error| error.to_string())?;
        }
        let (outer, image) = (text(&self.path("outer")), text(&self.path("xfs/disk")));
        run("truncate", &["--size=6G", &outer])?;
        run("mkfs.xfs", &["-q", "-m", "reflink=1", &outer])?;
        run("mount", &["-o", "loop", &outer, &text(&self.path("xfs"))])?;
        run("truncate", &["--size=2G", &image])?;
        run("mkfs.ext4", &["-q", &image])?;
        run("mount", &["-o", "loop", &image, &text(&self.path("live"))])
    }
}

impl Drop for Snapshots {
    fn drop(&mut self) {
        for folder in ["live", "xfs"] {
            // One that was not mounted is no matter.
            let _ = run("umount", &["--lazy", &text(&self.path(folder))]);
        }
    }
}

impl Cut {
    fn path(&self) -> &Path {
        match self {
            Self::Mounted(folder, _) => folder,
            Self::Folder(dir) => dir.path(),
        }
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if let Self::Mounted(folder, image) = self {
            let _ = run("umount", &[&text(folder)]).and_then(|()| run("rm", &[&text(image)]));
        }
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Runs a tool of the system.
fn run(tool: &str, args: &[&str]) -> Result<(), String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(tool)
        .args(args)
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .output()
        .map_err(|error| format!("{tool}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{tool} {args:?}: {}", String::from_utf8_lossy(&output.stderr)))
}
