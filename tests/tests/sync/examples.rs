//! What the pages tell an operator to type is typed here, and what units and rules name is there.

use std::collections::BTreeSet;
use std::process::Command;

use modtier_tests::{Cluster, Module, Origin, binary, until, workspace};

use crate::shell::{Daemon, LIMIT, env_of};

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The commands of a page's `console` blocks.
fn commands(page: &str) -> Vec<String> {
    let text = read(page);
    text.lines().filter_map(|line| line.strip_prefix("$ ")).map(ToOwned::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_operators_pages_run() {
    let origin = Origin::start().await;
    let builder = Cluster::of(&origin).with_redis().edge_env("MODTIER_EDGE_EDGE_ID", "edge-fra");
    let cluster = builder.start().await;
    let redis = cluster.redis.as_ref().unwrap().url();
    let mut env = env_of(&cluster);
    env.extend([("MODTIER_SYNCER_REDIS_URL", redis.clone()), ("PATH", path())]);
    let daemon = Daemon::start(&env).await;
    until("the relay works", LIMIT, async || daemon.admin.get("readyz").await.status == 200).await;
    cluster.publish_new(&Module::new("corp.example/lib", "v1.0.0").package().build()).await;
    until("the edge has the change", LIMIT, async || {
        let sync = cluster.admin_web().get("api/v1/sync").await.json();
        sync["channel"] == "stream" && sync["cursor"].as_str().is_some_and(|cursor| !cursor.ends_with("-0"))
    })
    .await;
    let cursor = cluster.admin_web().get("api/v1/sync").await.json()["cursor"].as_str().unwrap().to_owned();
    let beginning = format!("{}-0", cursor.split('-').next().unwrap());

    let host = |url: &str| url.trim_start_matches("http://").to_owned();
    let (edge, syncer, center) = (host(cluster.admin_url()), host(&daemon.url), cluster.center_url().to_owned());
    let mut ran = 0;
    for page in ["docs/operate-syncer.md", "docs/when-lag-grows.md"] {
        for command in commands(page).iter().filter(|command| !command.starts_with("sudo ")) {
            let typed = command
                .replace("EDGE:9091", &edge)
                .replace("SYNCER:9093", &syncer)
                .replace("CENTER/", &format!("{center}/"))
                .replace("1763670000000-4600", &beginning)
                .replace("redis-cli ", &format!("redis-cli -u {redis} "))
                // It ends with 0 when it is told to end.
                .replace("modtier-syncer watch", "timeout --preserve-status 2 modtier-syncer watch");
            let env = env.clone();
            let shell = tokio::task::spawn_blocking(move || {
                Command::new("bash").args(["-o", "pipefail", "-c", &typed]).envs(env).output().unwrap()
            });
            let output = shell.await.unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && !said.trim().is_empty(), "{page}: {command}: {}: {said}", output.status);
            ran += 1;
        }
    }
    assert!(ran >= 12, "only {ran} commands were found");
}

/// The folder of the binaries before everything else.
fn path() -> String {
    let folder = binary("syncer").parent().unwrap().display().to_string();
    format!("{folder}:{}", std::env::var("PATH").unwrap_or_default())
}

#[test]
fn the_units_are_valid_and_name_what_there_is() {
    for unit in ["modtier-syncer.service", "modtier-syncer-once.service", "modtier-syncer-once.timer"] {
        let text = read(&format!("deploy/systemd/{unit}"));
        // It looks at the programs that it would start, which are elsewhere here, and at the service of a timer.
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let here = text.replace("/usr/bin/modtier-syncer", &binary("syncer").display().to_string());
            std::fs::write(folder.path().join(name), here).unwrap();
        };
        put("modtier-syncer-once.service", &read("deploy/systemd/modtier-syncer-once.service"));
        put(unit, &text);
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--man=no"]).arg(folder.path().join(unit));
        let output = verify.output().expect("systemd-analyze, which this test needs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let about_it: Vec<&str> = said.lines().filter(|line| line.contains("modtier")).collect();
        assert!(output.status.success() && about_it.is_empty(), "{unit}: {said}");
    }
}

#[test]
fn the_line_for_cron_is_silent_when_all_is_done_and_speaks_when_not() {
    let text = read("deploy/cron/modtier-syncer");
    let line = text.lines().find(|line| !line.starts_with('#')).unwrap();
    let command = line.split_once(" modtier ").unwrap().1;
    let folder = tempfile::tempdir().unwrap();
    let (lock, config) = (folder.path().join("lock"), folder.path().join("syncer.yaml"));
    let typed = command
        .replace("/run/lock/modtier-syncer", &lock.display().to_string())
        .replace("/usr/bin/modtier-syncer", &binary("syncer").display().to_string())
        .replace("/etc/modtier/syncer.yaml", &config.display().to_string());
    assert!(!typed.contains("/usr/bin/modtier"), "{typed}");
    let cron = || Command::new("sh").args(["-c", &typed]).env_clear().env("PATH", path()).output().unwrap();
    std::fs::write(&config, "edges: []\n").unwrap();
    let output = cron();
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    // Nobody listens at port 1.
    std::fs::write(&config, "center: http://127.0.0.1:1\nedges: [\"http://127.0.0.1:1\"]\n").unwrap();
    assert!(String::from_utf8_lossy(&cron().stdout).contains("watch: failed: no edge tells"));
}

#[test]
fn rules_and_panels_name_figures_that_there_are() {
    let listed = Command::new("git").args(["ls-files", "*.rs"]).current_dir(workspace()).output().unwrap();
    let names = String::from_utf8(listed.stdout).unwrap();
    let files: Vec<_> = names.lines().filter(|name| workspace().join(name).is_file()).collect();
    let sources: String = files.into_iter().map(read).collect();
    let rules = read("prometheus/rules.yml");
    let mut figures = BTreeSet::new();
    for text in [&rules, &read("grafana/modtier.json")] {
        for after in text.split("modtier_").skip(1) {
            let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(after.len());
            figures.insert(after[..end].to_owned());
        }
    }
    assert!(figures.len() > 10, "{figures:?}");
    for figure in figures {
        let series = figure.trim_end_matches("_bucket").trim_end_matches("_count").trim_end_matches("_sum");
        let is_recorded = rules.contains(&format!("record: modtier_{figure}\n"));
        assert!(is_recorded || sources.contains(&format!("\"{series}\"")), "no figure is called modtier_{figure}");
    }
}
