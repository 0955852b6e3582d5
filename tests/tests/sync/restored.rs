//! An edge that does not hold what its cursor says: its disk was put back to an older day, or a change was counted and not carried out.

use std::time::Duration;

use modtier_tests::{Cluster, Fleet, Module, Origin, Web, until};
use reqwest::Method;
use shared::change::{Kind, anything_changed};

const LIMIT: Duration = Duration::from_mins(1);

#[tokio::test]
async fn an_edge_with_an_old_disk_catches_up_from_where_that_stood() {
    let origin = Origin::start().await;
    let mut fleet = Fleet::start(Cluster::of(&origin), 1, 0).await;
    let [old, new] = ["v1.0.0", "v1.1.0"].map(|version| Module::new("corp.example/a", version).package().build());
    let (list, latest) = ("corp.example/a/@v/list", "corp.example/a/@latest");
    assert_eq!(fleet.publish(&old).await.unwrap().status, 201);
    let published = fleet.head().await;
    until("the edge has heard of it", LIMIT, async || fleet.edges[0].cursor().await >= Some(published)).await;
    for path in [list, latest, &old.zip_path()] {
        assert_eq!(fleet.edges[0].web().get(path).await.status, 200, "{path}");
    }
    let image = fleet.dir().join("image");
    fleet.edges[0].kill_and_save(&image);
    fleet.edges[0].restart().await;

    assert_eq!(fleet.publish(&new).await.unwrap().status, 201);
    let place = format!("{}/@v/{}", old.path, old.version);
    let removal = fleet.local().request(Method::DELETE, &place).bearer_auth(fleet.token());
    assert!(Web::send(removal).await.unwrap().status < 300);
    let head = fleet.head().await;
    until("the edge has applied the removal", LIMIT, async || fleet.edges[0].cursor().await == Some(head)).await;

    fleet.edges[0].kill_and_put_back(Some(&image));
    fleet.edges[0].restart().await;
    until("it has caught up again", LIMIT, async || fleet.edges[0].cursor().await == Some(head)).await;
    let web = fleet.edges[0].web();
    assert_eq!(web.get(list).await.text(), "v1.1.0\n");
    assert_eq!(web.get(latest).await.json()["Version"], "v1.1.0");
    assert_eq!(web.get(&old.zip_path()).await.status, 410);
    assert_eq!(web.get(&new.zip_path()).await.status, 200);
}

/// The stream has something else under the id of a removal, so no id shows that it was missed.
#[tokio::test]
async fn a_removal_that_was_counted_and_not_carried_out_is_found_by_the_comparison() {
    let origin = Origin::start().await;
    let mut fleet = Fleet::start(Cluster::of(&origin).edge_env("MODTIER_EDGE_SYNC_RECONCILE", "1s"), 1, 1).await;
    let module = Module::new("corp.example/a", "v1.0.0").package().build();
    assert_eq!(fleet.publish(&module).await.unwrap().status, 201);
    let published = fleet.head().await;
    let followed = async || fleet.edges[0].admin_web().get("api/v1/sync").await.json();
    until("the edge follows the stream", LIMIT, async || followed().await["channel"] == "stream").await;
    until("the edge has heard of it", LIMIT, async || fleet.edges[0].cursor().await == Some(published)).await;
    for _ in 0..2 {
        assert_eq!(fleet.edges[0].web().get(&module.zip_path()).await.status, 200);
    }

    // From here on the relay is this test.
    fleet.syncers[0].kill9();
    let redis = fleet.redis.as_ref().expect("the fleet has Redis");
    let lives = async |head: &str| redis.tell(&["SET", "relay:golang-virtual", head, "EX", "600"]).await;
    lives(&fleet.head().await.to_string()).await;
    let place = format!("{}/@v/{}", module.path, module.version);
    let removal = fleet.local().request(Method::DELETE, &place).bearer_auth(fleet.token());
    assert!(Web::send(removal).await.unwrap().status < 300);
    let head = fleet.head().await;
    let mut next = fleet.edges[0].cursor().await.unwrap().next();
    while next <= head {
        let (id, mut harmless) = (next.to_string(), anything_changed(next, "golang-virtual"));
        (harmless.kind, harmless.module_id) = (Kind::List, "corp.example/other".to_owned());
        let fields = harmless.to_fields().into_iter().flat_map(|(name, value)| [name, value]);
        let words: Vec<String> =
            ["XADD", "meta:golang-virtual", &id].map(ToOwned::to_owned).into_iter().chain(fields).collect();
        redis.tell(&words.iter().map(String::as_str).collect::<Vec<_>>()).await;
        next = next.next();
    }
    lives(&head.to_string()).await;
    until("the removal is found", LIMIT, async || fleet.edges[0].web().get(&module.zip_path()).await.status == 410)
        .await;
    let figures = fleet.edges[0].admin_web().get("metrics").await.text();
    assert!(figures.contains("modtier_edge_repairs_total{what=\"removed\"} 1"), "{figures}");
    let report = followed().await;
    assert_eq!((&report["channel"], &report["cursor"]), (&"stream".into(), &head.to_string().into()), "{report}");
}
