//! `modtier-center publish` against a running center, and back by the real `go` command.

use modtier_tests::{Cluster, GoClient, Origin};
use serde_json::Value;

use super::shell::{center, write};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_from_a_folder_is_what_go_downloads() {
    let origin = Origin::start().await;
    let cluster = Cluster::of(&origin).start().await;
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("lib");
    write(&dir, "go.mod", "module corp.example/Lib\n\ngo 1.21\n");
    write(&dir, "lib.go", "package lib\n");
    write(&dir, "big.txt", &"a long line\n".repeat(100_000));
    let dir = dir.display().to_string();
    // A virtual repository hands it to the local one that takes what is published.
    let to = format!("{}/api/go/golang-virtual", cluster.center_url());
    let publish = |env: &[(&str, &str)], extra: &[&str]| {
        center(&[&["publish", &dir, "v1.0.0", "--to", &to], extra].concat(), env)
    };

    let said = publish(&[], &[]);
    assert!(said.code == 1 && said.err.contains("401") && said.err.contains("MODTIER_TOKEN"), "{said:?}");
    let said = publish(&[("MODTIER_TOKEN", cluster.token())], &["--verbose"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("corp.example/Lib@v1.0.0 published to golang-local"), "{}", said.err);
    let go = GoClient::new(&cluster.goproxy());
    let output = go.ok(&["mod", "download", "-json", "corp.example/Lib@v1.0.0"]).await.stdout;
    let known: Value = serde_json::from_str(&output).unwrap();
    let sums = format!(
        "corp.example/Lib v1.0.0 {}\ncorp.example/Lib v1.0.0/go.mod {}\n",
        known["Sum"].as_str().unwrap(),
        known["GoModSum"].as_str().unwrap()
    );
    assert_eq!(said.out, sums);

    // Again, by the other ways to say who one is.
    let host = cluster.center_url().trim_start_matches("http://").split(':').next().unwrap();
    write(folder.path(), "netrc", &format!("machine {host}\nlogin ci\npassword {}\n", cluster.token()));
    write(folder.path(), "token", &format!("{}\n", cluster.token()));
    let netrc = folder.path().join("netrc").display().to_string();
    let token = folder.path().join("token").display().to_string();
    for said in [publish(&[("NETRC", &netrc)], &[]), publish(&[], &["--token-file", &token])] {
        assert!(said.code == 0 && said.err.contains("was already in golang-local"), "{said:?}");
    }

    write(&folder.path().join("lib"), "lib.go", "package lib // changed\n");
    let said = publish(&[("MODTIER_TOKEN", cluster.token())], &[]);
    assert!(said.code == 1 && said.err.contains("409") && said.err.contains("never changes"), "{said:?}");
    let said = center(&["publish", &dir, "v1.0.0", "--to", cluster.center_url()], &[]);
    assert!(said.code == 1 && said.err.contains("which repository"), "{said:?}");
    let said = center(&["publish", &dir, "v1.0.0", "--to", "http://127.0.0.1:1/api/go/x"], &[]);
    assert!(said.code == 1 && said.err.contains("cannot be asked"), "{said:?}");
}

#[test]
fn the_configuration_is_checked_by_a_command() {
    let said = center(&["check-config"], &[]);
    assert_eq!((said.code, said.out.as_str()), (0, "configuration is valid\n"));
    let said = center(&["check-config"], &[("MODTIER_CENTER_LISTEN", "nonsense")]);
    assert!(said.code == 2 && said.err.contains("listen"), "{said:?}");
}
