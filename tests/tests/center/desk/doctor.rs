//! `modtier-center doctor` tells apart what a client only sees fail.

use modtier_tests::{Cluster, Fault, Module, Origin};

use super::shell::{Said, center};

/// Asks the center about a module.
fn doctor(cluster: &Cluster, subject: &str, extra: &[&str]) -> Said {
    let args = [&["doctor", subject, "--center", cluster.center_url()], extra].concat();
    center(&args, &[("MODTIER_TOKEN", cluster.token())])
}

fn expect(said: &Said, code: i32, verdict: &str, last_step: &str) {
    assert_eq!(said.code, code, "{said:?}");
    let lines: Vec<_> = said.out.lines().collect();
    let [.., last, end] = lines.as_slice() else { panic!("{said:?}") };
    assert_eq!(*end, format!("verdict: {verdict}"), "{}", said.out);
    assert!(last.starts_with(last_step), "{}", said.out);
    assert_eq!(last.split_whitespace().nth(1), Some(if code == 0 { "ok" } else { "STOP" }), "{}", said.out);
}

fn module(path: &str, version: &str) -> modtier_tests::BuiltModule {
    Module::new(path, version).package().build()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_trouble_has_its_own_verdict() {
    let mut origin = Origin::start().await;
    for name in ["well", "secret", "forbidden", "down"] {
        origin.publish(&module(&format!("pub.example/{name}"), "v1.0.0"));
    }
    origin.fault("pub.example/secret", Fault::Status(401));
    origin.fault("pub.example/forbidden", Fault::Status(403));
    let large = |seed| Module::new("pub.example/wrong", "v1.0.0").ballast(100_000, seed).build();
    origin.publish(&large(1));
    let cluster = Cluster::of(&origin).start().await;
    cluster.publish_new(&module("corp.example/lib", "v1.0.0")).await;

    expect(&doctor(&cluster, "pub.example/well@v1.0.0", &[]), 0, "well", "checksum");
    expect(&doctor(&cluster, "pub.example/well", &[]), 0, "well", "checksum");
    expect(&doctor(&cluster, "corp.example/lib", &[]), 0, "well", "checksum");
    expect(&doctor(&cluster, "pub.example/secret@v1.0.0", &[]), 1, "wrong-credential", "credentials");
    // Its hash is known, its bytes are lost, and the upstream has others by now.
    expect(&doctor(&cluster, "pub.example/wrong@v1.0.0", &[]), 0, "well", "checksum");
    std::fs::remove_dir_all(cluster.data("center").join("blobs")).unwrap();
    origin.publish(&large(2));
    expect(&doctor(&cluster, "pub.example/wrong@v1.0.0", &[]), 1, "checksum-mismatch", "checksum");
    expect(&doctor(&cluster, "pub.example/well@v1.9.9", &[]), 1, "missing-version", "version");
    expect(&doctor(&cluster, "pub.example/nobody", &[]), 1, "missing-version", "version");
    // A rule of ours, and one of the upstream's.
    let owned = doctor(&cluster, "corp.example/lib@v1.0.0", &["--repo", "golang-remote"]);
    expect(&owned, 1, "blocked-rule", "rule");
    assert!(owned.out.contains("golang-local owns it"), "{}", owned.out);
    expect(&doctor(&cluster, "pub.example/forbidden@v1.0.0", &[]), 1, "blocked-rule", "rule");
    // The dependency of a private module that was never published: its owner alone may answer.
    expect(&doctor(&cluster, "corp.example/lib/sub@v1.0.0", &[]), 1, "missing-version", "version");
    assert!(origin.asked("corp.example").is_empty(), "a private name left the house");

    origin.go_down().await;
    expect(&doctor(&cluster, "pub.example/down@v1.0.0", &[]), 1, "unreachable-host", "upstream");
    let held = doctor(&cluster, "pub.example/well@v1.0.0", &["--json"]);
    let report: serde_json::Value = serde_json::from_str(&held.out).unwrap();
    assert_eq!((held.code, report["verdict"].as_str()), (0, Some("well")), "what is held needs no upstream");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_is_the_administrators() {
    let origin = Origin::start().await;
    let cluster = Cluster::of(&origin).start().await;
    let said = center(&["doctor", "pub.example/x", "--center", cluster.center_url()], &[]);
    assert!(said.code == 2 && said.err.contains("401"), "{said:?}");
    let said = doctor(&cluster, "not a path", &[]);
    assert!(said.code == 2 && said.err.contains("module"), "{said:?}");
    let said = center(&["doctor", "pub.example/x"], &[("MODTIER_CENTER_LISTEN", "127.0.0.1:1")]);
    assert!(said.code == 2 && said.err.contains("http://127.0.0.1:1 cannot be asked"), "{said:?}");
}
