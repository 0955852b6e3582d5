//! `modtier-center gc` and `verify` against a running center.

use modtier_tests::{Cluster, Module, Origin};

use super::shell::center;

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_healed_or_told_as_lost() {
    let origin = Origin::start().await;
    let fetched = Module::new("pub.example/a", "v1.0.0").ballast(100_000, 1).build();
    let published = Module::new("corp.example/lib", "v1.0.0").ballast(100_000, 2).build();
    origin.publish(&fetched);
    let cluster = Cluster::of(&origin).start().await;
    cluster.publish_new(&published).await;
    let remote = cluster.repository_web("golang-remote");
    assert_eq!(remote.get(&fetched.zip_path()).await.body, fetched.zip);
    let ask = |args: &[&str]| {
        center(&[args, &["--center", cluster.center_url()]].concat(), &[("MODTIER_TOKEN", cluster.token())])
    };

    let said = ask(&["verify"]);
    assert!(said.code == 0 && said.out == "0 damaged\n", "{said:?}");
    let blobs = cluster.data("center").join("blobs");
    for shelf in std::fs::read_dir(&blobs).unwrap().flatten() {
        for blob in std::fs::read_dir(shelf.path()).unwrap().flatten() {
            let mut bytes = std::fs::read(blob.path()).unwrap();
            bytes[50_000] ^= 1;
            std::fs::write(blob.path(), bytes).unwrap();
        }
    }
    let said = ask(&["verify"]);
    assert!(said.code == 1 && said.out.contains("2 damaged") && said.out.contains("reported"), "{said:?}");
    let said = ask(&["verify", "--heal"]);
    assert!(said.code == 1 && said.out.contains("pub.example/a/@v/v1.0.0.zip"), "{said:?}");
    assert!(said.out.contains("healed") && said.out.contains("lost: it was published here"), "{said:?}");
    assert_eq!(remote.get(&fetched.zip_path()).await.body, fetched.zip);

    let said = ask(&["gc", "--dry-run", "--retention"]);
    assert!(
        said.code == 0 && said.out.contains("retention: 0 versions") && said.out.contains("would be removed"),
        "{said:?}"
    );
    let said = ask(&["gc", "--grace", "1s"]);
    assert!(said.code == 1 && said.err.contains("grace"), "{said:?}");
    let said = center(&["verify", "--center", cluster.center_url()], &[]);
    assert!(said.code == 2 && said.err.contains("401"), "{said:?}");
}
