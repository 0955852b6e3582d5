//! An edge whose disk is put back to an older day.

use std::time::Duration;

use modtier_tests::{Cluster, Fleet, Module, Origin, Web, until};
use reqwest::Method;

const LIMIT: Duration = Duration::from_mins(1);

#[tokio::test]
async fn an_edge_with_an_old_disk_comes_to_what_the_center_holds() {
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
