//! What a center does by itself.

use std::time::Duration;

use modtier_tests::{Cluster, Module, Origin, until};
use reqwest::Method;

#[tokio::test(flavor = "multi_thread")]
async fn retention_and_collection_come_by_themselves_and_at_first_only_say_what_would_go() {
    let origin = Origin::start().await;
    let module = Module::new("example.com/large", "v1.0.0").package().ballast(200_000, 1).build();
    let own = Module::new("corp.example/own", "v1.0.0").package().ballast(200_000, 2).build();
    origin.publish(&module);
    let mut cluster = Cluster::of(&origin)
        .center_env("MODTIER_CENTER_RETENTION", "{golang-remote: {bytes_max: 1}}")
        .center_env("MODTIER_CENTER_UPKEEP_RETENTION_INTERVAL", "1s")
        .center_env("MODTIER_CENTER_UPKEEP_GC_INTERVAL", "1s")
        .start()
        .await;
    cluster.publish_new(&own).await;
    let web = cluster.repository_web("golang-virtual");
    assert_eq!(web.get(&module.zip_path()).await.body, module.zip);
    let limit = Duration::from_secs(20);
    let log = |cluster: &Cluster| cluster.center.log();
    until("retention says what would go", limit, async || log(&cluster).contains("retention: it goes")).await;
    until("bodies are looked at", limit, async || log(&cluster).contains("bodies collected")).await;
    let held = async |cluster: &Cluster, path: &str| {
        let request = cluster.repository_web("golang-virtual").request(Method::GET, path);
        modtier_tests::Web::send(request.header("Disable-Module-Fetch", "true")).await.unwrap().status
    };
    assert_eq!(held(&cluster, &module.zip_path()).await, 200, "it only says so");

    let spec = cluster.center_successor().env("MODTIER_CENTER_UPKEEP_DRY_RUN", "off");
    cluster.replace_center(spec).await;
    until("it goes", limit, async || held(&cluster, &module.zip_path()).await == 404).await;
    assert_eq!(held(&cluster, &own.zip_path()).await, 200, "what was published stays");
    assert_eq!(web.get(&module.zip_path()).await.body, module.zip, "it is had again");
}
