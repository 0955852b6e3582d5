//! Modules carried over an air gap: bundles with proofs, module caches, other proxies.

use modtier_tests::{Cluster, ClusterBuilder, GoClient, Module, Origin, public_mirror};

use super::shell::{Said, center, write};

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1";

/// A center that asks nobody.
const OFFLINE: &str = "repositories:
  golang-local: {}
  golang-remote: {type: remote, offline: true}
  golang-virtual: {type: virtual, members: [golang-local, golang-remote], default_deployment: golang-local}
";

fn offline() -> ClusterBuilder {
    Cluster::with_upstream(NOWHERE)
}

fn import(cluster: &Cluster, repository: &str, args: &[&str]) -> Said {
    let to = format!("{}/api/go/{repository}", cluster.center_url());
    center(&[&["import", "--to", &to], args].concat(), &[("MODTIER_TOKEN", cluster.token())])
}

fn export(cluster: &Cluster, args: &[&str]) -> Said {
    let from = format!("{}/api/go/golang-virtual", cluster.center_url());
    center(&[&["export", "--from", &from], args].concat(), &[("MODTIER_TOKEN", cluster.token())])
}

#[tokio::test(flavor = "multi_thread")]
async fn public_modules_cross_the_gap_with_their_proofs() {
    let mirror = public_mirror().await;
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.tar").display().to_string();
    let sum = "sum.golang.org";
    write(
        folder.path(),
        "list",
        "# what is needed\nrsc.io/quote@v1.5.2\nrsc.io/sampler v1.3.0\ngolang.org/x/text@v0.0.0-20170915032832-14c0d48ead0c\n",
    );
    let list = folder.path().join("list").display().to_string();
    {
        let online = Cluster::with_upstream(&mirror).verify(true).sumdb_names(sum).start().await;
        let said = export(&online, &["--modules", &list, "--output", &bundle]);
        assert!(said.code == 0 && said.out.contains("3 versions, 3 with proofs of sum.golang.org"), "{said:?}");
    }
    write(folder.path(), "center.yaml", OFFLINE);
    let settings = folder.path().join("center.yaml").display().to_string();
    let gap = Cluster::with_upstream("").center_arg("--config").center_arg(&settings);
    let gap = gap.verify(true).sumdb_names(sum).start().await;
    let said = import(&gap, "golang-remote", &[&bundle]);
    assert!(said.code == 0 && said.out.starts_with("3 imported, 0 held before, 0 failed"), "{said:?}");
    let said = import(&gap, "golang-remote", &[&bundle]);
    assert!(said.code == 0 && said.out.starts_with("0 imported, 3 held before"), "again: {said:?}");
    // The go command proves everything itself, by what the offline center has of the database.
    let go = GoClient::new(&format!("{}/api/go/golang-virtual", gap.center_url())).with_public_sumdb();
    go.ok(&["mod", "download", "rsc.io/quote@v1.5.2", "rsc.io/sampler@v1.3.0"]).await;
    assert_eq!(go.ok(&["list", "-m", "-versions", "rsc.io/quote"]).await.stdout.trim(), "rsc.io/quote v1.5.2");
    assert_eq!(go.ok(&["list", "-m", "rsc.io/quote@latest"]).await.stdout.trim(), "rsc.io/quote v1.5.2");
    let head = gap.repository_web("golang-virtual").get("sumdb/sum.golang.org/latest").await;
    assert!(head.status == 200 && head.text().starts_with("go.sum database tree\n"), "{}", head.text());

    // Without the proofs, a center that verifies takes nothing on trust.
    let doubting = offline().verify(true).sumdb_names(sum).start().await;
    let bare = folder.path().join("bare.tar").display().to_string();
    let said = export(&gap, &["--modules", &list, "--output", &bare, "--sumdb", "off"]);
    assert_eq!(said.code, 0, "{said:?}");
    let said = import(&doubting, "golang-remote", &[&bare]);
    assert!(said.code == 1 && said.err.contains("0 imported, 0 held before, 3 failed"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offline_center_answers_everything_that_was_brought() {
    let origin = Origin::start().await;
    let online = Cluster::of(&origin).start().await;
    for version in ["v1.0.0", "v1.1.0"] {
        online.publish_new(&Module::new("corp.example/lib", version).package().build()).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.tar").display().to_string();
    let index = online.center_web();
    modtier_tests::until("both are listed", std::time::Duration::from_secs(20), async || {
        index.get("index").await.text().lines().count() == 2
    })
    .await;
    let said = export(&online, &["--all", "--output", &bundle]);
    assert!(said.code == 0 && said.out.contains("2 versions, 0 with proofs"), "{said:?}");
    let late = export(&online, &["--since", "2999-01-01T00:00:00Z", "--output", &bundle]);
    assert!(late.code == 1 && late.err.contains("nothing to export"), "{late:?}");

    let gap = offline().start().await;
    let said = import(&gap, "golang-virtual", &[&bundle]);
    assert!(said.code == 1 && said.err.contains("name the member"), "{said:?}");
    let said = import(&gap, "golang-local", &[&bundle]);
    assert!(said.code == 0 && said.out.starts_with("2 imported"), "{said:?}");
    let go = GoClient::new(&gap.goproxy());
    assert_eq!(
        go.ok(&["list", "-m", "-versions", "corp.example/lib"]).await.stdout.trim(),
        "corp.example/lib v1.0.0 v1.1.0"
    );
    assert_eq!(go.ok(&["list", "-m", "corp.example/lib@latest"]).await.stdout.trim(), "corp.example/lib v1.1.0");
    let there = gap.repository_web("golang-local").get("corp.example/lib/@v/v1.0.0.info").await.text();
    let here = online.repository_web("golang-local").get("corp.example/lib/@v/v1.0.0.info").await.text();
    assert_eq!(there, here, "the time of the first publication goes along");

    // What is unpacked is a GOPROXY by itself, and can be checked by anybody.
    let dir = folder.path().join("unpacked");
    std::fs::create_dir(&dir).unwrap();
    let tar = std::process::Command::new("tar").args(["-xf", &bundle, "-C"]).arg(&dir).status().unwrap();
    let sums = std::process::Command::new("sha256sum")
        .args(["--check", "--quiet", "manifest.sha256"])
        .current_dir(&dir)
        .status();
    assert!(tar.success() && sums.unwrap().success());
    let go = GoClient::new(&format!("file://{}", dir.display()));
    go.ok(&["mod", "download", "corp.example/lib@latest"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_cache_and_another_proxy_move_in() {
    let origin = Origin::start().await;
    let built = Module::new("pub.example/Lib", "v1.0.0").package().build();
    origin.publish(&built);
    let cached = GoClient::new(&origin.url());
    cached.ok(&["mod", "download", "pub.example/Lib@v1.0.0"]).await;
    let folder = tempfile::tempdir().unwrap();
    let wrong = format!("pub.example/Lib v1.0.0 h1:{}=\n", "A".repeat(43));
    write(folder.path(), "wrong.sum", &wrong);
    write(folder.path(), "go.sum", &built.go_sum());
    let sum = |name: &str| folder.path().join(name).display().to_string();

    let gap = offline().start().await;
    let cache = cached.module_cache().display().to_string();
    let said = import(&gap, "golang-remote", &[&cache, "--go-sum", &sum("wrong.sum")]);
    assert!(said.code == 1 && said.err.contains("its go.sum says"), "{said:?}");
    assert_ne!(gap.repository_web("golang-remote").get_held(&built.zip_path()).await.status, 200);
    let said = import(&gap, "golang-remote", &[&cache, "--go-sum", &sum("go.sum")]);
    assert!(said.code == 0 && said.out.starts_with("1 imported"), "{said:?}");
    assert_eq!(gap.repository_web("golang-virtual").get(&built.zip_path()).await.body, built.zip);

    // Athens has a catalog; any proxy can be asked for what a list or a go.sum names.
    let entry = format!("{{\"module\":\"{}\",\"version\":\"{}\"}}", built.path, built.version);
    origin.set("catalog?pagesize=1000", format!("{{\"modules\":[{entry}],\"next\":\"\"}}"));
    for how in [vec!["--catalog"], vec!["--go-sum", &sum("go.sum")]] {
        let other = offline().start().await;
        let said = import(&other, "golang-remote", &[vec!["--from", &origin.url()], how.clone()].concat());
        assert!(said.code == 0 && said.out.starts_with("1 imported"), "{how:?}: {said:?}");
        assert_eq!(other.repository_web("golang-virtual").get(&built.zip_path()).await.body, built.zip);
    }
    let other = offline().start().await;
    let from = format!("{}/api/go/golang-virtual", gap.center_url());
    let said = import(&other, "golang-remote", &["--from", &from, "--catalog"]);
    assert!(said.code == 0 && said.out.starts_with("1 imported"), "from a center: {said:?}");
    let said = center(&["import", &cache, "--to", &format!("{}/api/go/golang-remote", other.center_url())], &[]);
    assert!(said.code == 1 && said.err.contains("401"), "{said:?}");
}
