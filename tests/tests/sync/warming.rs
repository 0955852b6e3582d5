//! What the syncer keeps warm: projects in folders and in git, bills, lists, hot modules; and what it does not move twice.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use modtier_tests::{
    BuiltModule, Cluster, GoClient, LoneEdge, Module, Origin, Process, ProcessSpec, Seed, Web, binary, command_line,
    until, until_some,
};
use shared::cli::Announcement;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_mins(1);

/// A center, two edges before it, and a syncer with a folder of its own.
struct Fixture {
    origin: Origin,
    cluster: Cluster,
    second: LoneEdge,
    folder: TempDir,
    settings: Vec<(String, String)>,
}

impl Fixture {
    async fn new(modules: &[BuiltModule]) -> Self {
        let origin = Origin::start().await;
        for module in modules {
            origin.publish(module);
        }
        let cluster = Cluster::of(&origin).start().await;
        let second = LoneEdge::before(&[]).env("MODTIER_EDGE_CENTERS", cluster.center_url()).start().await;
        let folder = tempfile::tempdir().unwrap();
        let edges = format!("{},{}", cluster.admin_url(), second.admin_url());
        let state = folder.path().join("state").display().to_string();
        let settings = [
            ("ADMIN", "127.0.0.1:0"),
            ("CENTER", cluster.center_url()),
            ("EDGES", &edges),
            ("PREWARM_STATE_DIR", &state),
        ];
        let settings = settings.map(|(name, value)| (format!("MODTIER_SYNCER_{name}"), value.to_owned())).into();
        Self { origin, cluster, second, folder, settings }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.settings.push((format!("MODTIER_SYNCER_{name}"), value.to_owned()));
    }

    fn spec(&self) -> ProcessSpec {
        let spec = ProcessSpec::new("syncer", binary("syncer"), self.folder.path());
        self.settings.iter().fold(spec, |spec, (name, value)| spec.env(name, value))
    }

    /// The daemon, and requests to its administration.
    async fn run(&self) -> (Process, Web) {
        let file = self.folder.path().join("announced.json");
        let _ = std::fs::remove_file(&file);
        let process = Process::spawn(self.spec().args(&["run", "--announce", &file.display().to_string()]));
        let announced = until_some("the syncer announces itself", LIMIT, async || {
            serde_json::from_slice::<Announcement>(&std::fs::read(&file).ok()?).ok()
        })
        .await;
        (process, Web::new(&format!("http://{}", announced.admin.unwrap())))
    }

    /// Another subcommand, to its end: exit code and standard output.
    fn command(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut command = command_line("syncer");
        let output = command.args(args).envs(self.settings.iter().cloned()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }

    /// Waits until both edges hold an artefact.
    async fn is_warm(&self, path: &str) {
        for edge in [self.cluster.edge_web(), self.second.web()] {
            until(&format!("{path} is warm"), LIMIT, async || edge.get_held(path).await.status == 200).await;
        }
    }

    /// Nobody behind the edges answers any more.
    async fn cut_off(&mut self) {
        self.origin.go_down().await;
        self.cluster.center.kill9();
    }
}

/// The sum of a figure over its labels that contain `label`.
async fn figure(admin: &Web, name: &str, label: &str) -> f64 {
    let text = admin.get("metrics").await.text();
    let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

fn library(name: &str, version: &str, requires: &[&str]) -> BuiltModule {
    let path = format!("example.com/{name}");
    let requires: Vec<_> = requires.iter().map(|require| format!("require example.com/{require}\n")).collect();
    Module::new(&path, version)
        .go_mod(&format!("module {path}\n\ngo 1.21\n\n{}", requires.concat()))
        .package()
        .ballast(20_000, 7)
        .build()
}

/// A program that imports this module.
fn program(go: &GoClient, module: &str) {
    go.write("main.go", &format!("package main\n\nimport _ \"example.com/{module}\"\n\nfunc main() {{}}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_dependency_is_warm_everywhere_before_the_second_machine_asks() {
    let modules = [library("dep", "v1.0.0", &["below v1.0.0"]), library("below", "v1.0.0", &[])];
    let mut fixture = Fixture::new(&modules).await;
    let first = GoClient::new(&fixture.cluster.goproxy());
    program(&first, "dep");
    fixture.set("PREWARM_DIRECTORIES", &first.main().display().to_string());
    let (mut syncer, admin) = fixture.run().await;
    until("the project was read", LIMIT, async || figure(&admin, "modtier_prewarm_sources_total", "whole").await > 0.0)
        .await;
    first.ok(&["get", "example.com/dep@v1.0.0"]).await;
    for module in &modules {
        for extension in ["info", "mod", "zip"] {
            fixture.is_warm(&module.at(extension)).await;
        }
    }
    let edge = fixture.second.admin_url().trim_start_matches("http://").to_owned();
    until("all of it was sent", LIMIT, async || figure(&admin, "modtier_prewarm_sync_total", &edge).await >= 6.0).await;
    let (code, log) = fixture.command(&["prewarm", "log", "--module", "example.com/below", "--cause", "project"]);
    assert_eq!(code, Some(0));
    assert!(log.contains(&edge) && log.contains("filled") && log.contains("go.mod"), "{log}");
    assert_eq!(fixture.command(&["prewarm", "log", "--cause", "toolchain"]).1, "");

    // Edges that have everything are sent nothing, also by a syncer that knows nothing of that.
    syncer.stop().await;
    let (_syncer, admin) = fixture.run().await;
    until("everything was compared", LIMIT, async || {
        figure(&admin, "modtier_prewarm_sync_total", "skipped").await >= 12.0
    })
    .await;
    assert!(figure(&admin, "modtier_prewarm_sync_total", "result=\"sent\"").await < 0.5);

    fixture.cut_off().await;
    let second = GoClient::new(&fixture.second.goproxy());
    program(&second, "dep");
    for name in ["go.mod", "go.sum"] {
        second.write(name, &first.read(name));
    }
    second.ok(&["mod", "download", "all"]).await;
    // All that a build loads, without compiling the standard library.
    second.ok(&["build", "-n", "./..."]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn git_bills_lists_and_toolchains_are_read_once_by_cron() {
    let toolchain = Module::new("golang.org/toolchain", "v0.0.1-go1.26.0.linux-amd64").build();
    let modules = [
        library("of/git", "v1.0.0", &[]),
        library("of/Bill", "v1.0.0", &[]),
        library("of/list", "v1.0.0", &["below v1.0.0"]),
        library("of/list", "v1.1.0", &["below v1.0.0"]),
        library("below", "v1.0.0", &[]),
        toolchain,
    ];
    let mut fixture = Fixture::new(&modules[..5]).await;
    // A toolchain from elsewhere would have to be in the checksum database.
    fixture.cluster.publish_new(&modules[5]).await;
    let root = fixture.folder.path().to_owned();
    let write = |name: &str, text: &str| {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    write("origin/sub/go.mod", "module example.com/main\n\ngo 1.26\n\nrequire example.com/of/git v1.0.0\n");
    git(&root.join("origin"));
    write(
        "tree/a/bom.json",
        r#"{"bomFormat":"CycloneDX","components":[{"name":"example.com/of/Bill","purl":"pkg:golang/example.com/of/bill@v1.0.0"}]}"#,
    );
    let list = write("list.txt", "example.com/of/list@latest # all of it\n");
    fixture.set("PREWARM_GIT", &format!("[{{url: \"file://{}\"}}]", root.join("origin").display()));
    fixture.set("PREWARM_DIRECTORIES", &root.join("tree").display().to_string());
    fixture.set("PREWARM_LISTS", &list);
    fixture.set("PREWARM_TOOLCHAINS_PLATFORMS", "linux-amd64");
    let (code, said) = fixture.command(&["prewarm"]);
    assert_eq!(code, Some(0), "{said}");
    for module in modules.iter().filter(|module| module.query() != "example.com/of/list@v1.0.0") {
        for edge in [fixture.cluster.edge_web(), fixture.second.web()] {
            assert_eq!(edge.get_held(&module.zip_path()).await.status, 200, "{}", module.query());
        }
    }
    assert_eq!(fixture.second.web().get_held(&modules[2].zip_path()).await.status, 404, "only the latest");
    assert!(said.starts_with("30 warmed, 0 already warm, 0 failed"), "five versions at two edges: {said}");
    let again = fixture.command(&["prewarm"]);
    assert!(again.1.starts_with("0 warmed, 30 already warm, 0 failed"), "{again:?}");
}

fn git(folder: &Path) {
    let settings = ["-c", "user.name=t", "-c", "user.email=t@example.com"];
    for args in [&["init", "--quiet"][..], &["add", "-A"], &["commit", "--quiet", "-m", "one"]] {
        let status = Command::new("git").args(settings).args(args).current_dir(folder).status().unwrap();
        assert!(status.success(), "git {args:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_outlasts_a_kill_and_what_was_given_up_can_be_tried_again() {
    let modules: Vec<_> = (0..40).map(|index| library(&format!("m{index}"), "v1.0.0", &[])).collect();
    let mut fixture = Fixture::new(&modules).await;
    let late = library("late", "v1.0.0", &[]);
    let project = fixture.folder.path().join("tree/go.sum");
    std::fs::create_dir_all(project.parent().unwrap()).unwrap();
    let go_sum: String = modules.iter().chain([&late]).map(BuiltModule::go_sum).collect();
    std::fs::write(&project, go_sum).unwrap();
    fixture.set("PREWARM_DIRECTORIES", &fixture.folder.path().join("tree").display().to_string());
    fixture.set("PREWARM_ARTEFACTS_PER_SECOND", "10");
    let (mut syncer, _) = fixture.run().await;
    let log = fixture.folder.path().join("state/prewarm.log");
    until("something was sent", LIMIT, async || std::fs::metadata(&log).is_ok_and(|data| data.len() > 0)).await;
    syncer.kill9();
    let mut warm = 0;
    for module in &modules {
        warm += usize::from(fixture.second.web().get_held(&module.zip_path()).await.status == 200);
    }
    assert!(warm < modules.len(), "it was killed in the middle");
    // Whatever is warm from here on was in the journal.
    std::fs::remove_file(&project).unwrap();
    fixture.set("PREWARM_ARTEFACTS_PER_SECOND", "0");
    let (mut syncer, _) = fixture.run().await;
    for module in &modules {
        fixture.is_warm(&module.zip_path()).await;
    }
    until("what does not exist is given up", LIMIT, async || {
        fixture.command(&["prewarm", "dead", "--module", "example.com/late"]).1.lines().count() == 2
    })
    .await;
    // Its change takes the recorded absences with it.
    fixture.cluster.publish_new(&late).await;
    assert_eq!(fixture.command(&["prewarm", "retry", "--module", "nothing"]).0, Some(0));
    assert_eq!(fixture.command(&["prewarm", "dead"]).1.lines().count(), 2);
    // Until the change is applied an edge may still answer from what it recorded.
    let zip = late.zip_path();
    until("it is warm", LIMIT, async || {
        assert_eq!(fixture.command(&["prewarm", "retry"]).0, Some(0));
        tokio::time::timeout(Duration::from_secs(2), fixture.is_warm(&zip)).await.is_ok()
    })
    .await;
    until("nothing is dead", LIMIT, async || fixture.command(&["prewarm", "dead"]).1.is_empty()).await;
    assert!(syncer.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_of_a_hot_module_is_warm_where_nobody_asked() {
    let old = library("hot", "v1.0.0", &[]);
    let mut fixture = Fixture::new(&[]).await;
    fixture.cluster.publish_new(&old).await;
    let edge = fixture.cluster.edge_web();
    for _ in 0..300 {
        assert_eq!(edge.get(&old.at("info")).await.status, 200);
    }
    fixture.set("PREWARM_HOT_MODULES", "5");
    let (_syncer, _) = fixture.run().await;
    fixture.is_warm(&old.zip_path()).await;
    let new = library("hot", "v1.1.0", &[]);
    fixture.cluster.publish_new(&new).await;
    fixture.is_warm(&new.zip_path()).await;
    until("the log says why", LIMIT, async || {
        fixture.command(&["prewarm", "log", "--module", "hot@v1.1.0", "--cause", "new-version"]).1.contains("filled")
    })
    .await;
}

/// The paths of immutable artefacts that were asked for, of one kind.
fn asked(origin: &Origin, extension: &str) -> BTreeSet<String> {
    origin.asked("/@v/").into_iter().filter(|path| path.ends_with(extension)).collect()
}

/// Random modules of five, old and new, that require one another: what `go` loads of them is what the syncer does.
#[tokio::test(flavor = "multi_thread")]
async fn the_closure_is_what_the_go_command_loads() {
    let number = Seed::number("the_closure_is_what_the_go_command_loads");
    for round in 0..6 {
        let mut seed = Seed::of(number.wrapping_add(round));
        let origin = Origin::start().await;
        for module in 0..7 {
            for minor in 0..3 {
                origin.publish(&random_module(&mut seed, module, minor));
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let go = GoClient::new(&origin.url());
        let is_workspace = round % 3 == 2;
        let file = random_project(&mut seed, &go.main(), is_workspace);
        let before = files(&go.main());
        let args = ["prewarm", &file.display().to_string(), "--through", &origin.url()];
        let mut syncer = Process::spawn(ProcessSpec::new("once", binary("syncer"), folder.path()).args(&args));
        let status = syncer.ended(LIMIT).await;
        let ours: Vec<_> = [".mod", ".zip"].map(|kind| asked(&origin, kind)).into();
        origin.forget();
        let go = if is_workspace { go.env("GOFLAGS", "-modcacherw") } else { go };
        let said = go.run(&["mod", "download", "all"]).await;
        let theirs: Vec<_> = [".mod", ".zip"].map(|kind| asked(&origin, kind)).into();
        let context = format!("round {round} of {number}\n{}\n{said:?}\n{}", before, syncer.log());
        assert!(said.ok && status.success(), "{context}");
        assert_eq!(ours[1], theirs[1], "zips: {context}");
        let missing: Vec<_> = theirs[0].difference(&ours[0]).collect();
        assert!(missing.is_empty(), "go.mod files {missing:?}: {context}");
    }
}

/// Requires only modules of a higher number, so that every graph ends.
fn random_module(seed: &mut Seed, number: u64, minor: u64) -> BuiltModule {
    let path = format!("example.com/m{number}");
    let mut text = format!("module {path}\n\n{}\n\n", seed.choice(&["go 1.16", "go 1.17", "go 1.21"]));
    for below in number + 1..7 {
        if seed.within(0..5) < 2 {
            let _ = writeln!(text, "require example.com/m{below} v1.{}.0", seed.within(0..3));
        }
    }
    Module::new(&path, &format!("v1.{minor}.0")).go_mod(&text).package().build()
}

fn random_project(seed: &mut Seed, folder: &Path, is_workspace: bool) -> PathBuf {
    let gomod = |seed: &mut Seed, name: &str| {
        let mut text = format!("module example.com/{name}\n\n{}\n\n", seed.choice(&["go 1.16", "go 1.17", "go 1.21"]));
        for number in 0..4 {
            // One that requires nothing has nothing to warm, which is an error.
            if number == 0 || seed.within(0..3) > 0 {
                let _ = writeln!(text, "require example.com/m{number} v1.{}.0", seed.within(0..3));
            }
        }
        if !is_workspace && seed.within(0..3) == 0 {
            text += "replace example.com/m5 v1.1.0 => example.com/m6 v1.0.0\nexclude example.com/m4 v1.2.0\n";
        }
        text
    };
    if !is_workspace {
        std::fs::write(folder.join("go.mod"), gomod(seed, "main")).unwrap();
        return folder.join("go.mod");
    }
    std::fs::remove_file(folder.join("go.mod")).unwrap();
    for name in ["a", "b"] {
        std::fs::create_dir(folder.join(name)).unwrap();
        std::fs::write(folder.join(name).join("go.mod"), gomod(seed, name)).unwrap();
    }
    std::fs::write(folder.join("go.work"), "go 1.21\n\nuse (\n\t./a\n\t./b\n)\n").unwrap();
    folder.join("go.work")
}

fn files(folder: &Path) -> String {
    let names = ["go.mod", "go.work", "a/go.mod", "b/go.mod"];
    names.iter().filter_map(|name| std::fs::read_to_string(folder.join(name)).ok()).collect::<Vec<_>>().join("----\n")
}
