//! What the `go` command makes of our answers must be what it makes of the origin's, asked directly.

use modtier_tests::{Cluster, GoClient, Module, Origin, pseudo_version};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// An origin with one module for each peculiarity.
async fn origin() -> Origin {
    let origin = Origin::start().await;
    for version in ["v1.0.0", "v1.1.0", "v1.2.0-beta.1", "v0.9.0"] {
        origin.publish(&Module::new("example.com/plain", version).package().build());
    }
    let tip = pseudo_version("v1.1.1-0", "20240506070809", COMMIT).replacen("0-2024", "0.2024", 1);
    let tip = Module::new("example.com/plain", &tip).package().build();
    origin.publish_unlisted(&tip);
    for query in ["main", &COMMIT[..12], COMMIT] {
        origin.point(query, &tip);
    }
    origin.publish(&Module::new("example.com/BurntSushi/TOML", "v1.0.0-RC1").package().build());
    origin.publish(&Module::new("example.com/BurntSushi/TOML", "v1.0.0").package().build());
    origin.publish(&Module::new("example.com/old", "v1.5.0").package().build());
    origin.publish(
        &Module::new("example.com/old", "v2.3.0+incompatible").go_mod("module example.com/old\n").package().build(),
    );
    origin.publish(&Module::new("example.com/major", "v1.0.0").package().build());
    origin.publish(&Module::new("example.com/major/v2", "v2.0.1").package().build());
    origin.publish(&Module::new("example.com/nest", "v1.0.0").package().build());
    origin.publish(&Module::new("example.com/nest/inner", "v0.3.0").package().build());
    let only =
        Module::new("example.com/untagged", &pseudo_version("v0.0.0", "20240506070809", COMMIT)).package().build();
    origin.publish_unlisted(&only);
    origin.set_latest(&only);
    origin.publish(&Module::new("example.com/taken", "v1.0.0").package().build());
    origin.publish(&Module::new("example.com/taken", "v1.0.1").package().build());
    origin.publish(
        &Module::new("example.com/taken", "v1.0.2").directive("retract v1.0.1 // was broken").package().build(),
    );
    let deprecated = "// Deprecated: use example.com/plain\nmodule example.com/gone\n\ngo 1.21\n";
    origin.publish(&Module::new("example.com/gone", "v1.0.0").go_mod(deprecated).package().build());
    origin
}

/// The same `go` command through the edge and directly, each from an empty machine.
async fn same(args: &[&str]) {
    let origin = origin().await;
    let cluster = Cluster::of(&origin).start().await;
    let (through, direct) = (GoClient::new(&cluster.goproxy()), GoClient::new(&origin.url()));
    assert_same(&through, &direct, args).await;
}

async fn assert_same(through: &GoClient, direct: &GoClient, args: &[&str]) {
    let (mut ours, mut theirs) = (through.run(args).await, direct.run(args).await);
    for output in [&mut ours, &mut theirs] {
        // `go` downloads in parallel and says so in no order.
        let mut lines: Vec<_> = output.stderr.lines().collect();
        lines.sort_unstable();
        output.stderr = lines.join("\n");
    }
    assert!(theirs.ok, "go {args:?} fails also directly: {}", theirs.stderr);
    assert_eq!(ours, theirs, "go {args:?}");
    assert_eq!(through.read("go.mod"), direct.read("go.mod"), "go {args:?}");
    assert_eq!(through.read("go.sum"), direct.read("go.sum"), "go {args:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_queries_are_as_directly() {
    let origin = origin().await;
    let cluster = Cluster::of(&origin).start().await;
    for module in ["plain", "BurntSushi/TOML", "old", "major/v2", "nest/inner", "untagged", "taken"] {
        let (through, direct) = (GoClient::new(&cluster.goproxy()), GoClient::new(&origin.url()));
        assert_same(&through, &direct, &["list", "-m", "-versions", &format!("example.com/{module}")]).await;
    }
    for query in ["latest", "v1", "v1.0", "main", COMMIT, &COMMIT[..12], "<v1.1.0", ">=v1.0.1", "v1.2.0-beta.1"] {
        let (through, direct) = (GoClient::new(&cluster.goproxy()), GoClient::new(&origin.url()));
        assert_same(&through, &direct, &["get", &format!("example.com/plain@{query}")]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_of_every_shape_are_got_as_directly() {
    let origin = origin().await;
    let cluster = Cluster::of(&origin).start().await;
    let pseudo = format!("untagged@{}", pseudo_version("v0.0.0", "20240506070809", COMMIT));
    for query in [
        "BurntSushi/TOML@latest",
        "BurntSushi/TOML@v1.0.0-RC1",
        "old@latest",
        "old@v2.3.0+incompatible",
        "major@latest",
        "major/v2@latest",
        "nest@latest",
        "nest/inner@latest",
        "untagged@latest",
        &pseudo,
    ] {
        let (through, direct) = (GoClient::new(&cluster.goproxy()), GoClient::new(&origin.url()));
        assert_same(&through, &direct, &["get", &format!("example.com/{query}")]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retracted_versions_are_told_as_directly() {
    let origin = origin().await;
    let cluster = Cluster::of(&origin).start().await;
    let (through, direct) = (GoClient::new(&cluster.goproxy()), GoClient::new(&origin.url()));
    assert_same(&through, &direct, &["get", "example.com/taken@v1.0.1"]).await;
    assert_same(&through, &direct, &["list", "-m", "-u", "-retracted", "example.com/taken"]).await;
    assert!(through.ok(&["list", "-m", "-u", "all"]).await.stdout.contains("(retracted)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deprecated_module_is_told_as_directly() {
    same(&["get", "example.com/gone@latest"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_module_fails_with_our_reason() {
    let origin = origin().await;
    let cluster = Cluster::of(&origin).start().await;
    let go = GoClient::new(&cluster.goproxy());
    for query in [
        "example.com/nobody@latest",
        "example.com/nobody@v1.0.0",
        "example.com/plain@v9.9.9",
        "example.com/plain@nobranch",
    ] {
        let output = go.run(&["get", query]).await;
        assert!(!output.ok, "go get {query} succeeds");
        assert!(
            output.stderr.contains("404 Not Found") && output.stderr.contains("not found: "),
            "go get {query}: {}",
            output.stderr
        );
        assert!(!output.stderr.contains(&origin.url()), "the upstream's name is told: {}", output.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_with_capitals_is_asked_with_percent_21_and_answered() {
    let origin = origin().await;
    let cluster = Cluster::of(&origin).start().await;
    for path in [
        "example.com/%21burnt%21sushi/%21t%21o%21m%21l/@v/v1.0.0-%21r%21c1.zip",
        "example.com/!burnt!sushi/!t!o!m!l/@v/v1.0.0-!r!c1.zip",
    ] {
        let reply = cluster.edge_web().get(path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    }
    assert_eq!(
        origin.count("example.com/!burnt!sushi/!t!o!m!l/@v/v1.0.0-!r!c1.zip"),
        1,
        "both spellings are one artefact"
    );
}
