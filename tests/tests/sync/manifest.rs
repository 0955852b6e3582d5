//! A bucket of the manifest as a center answers it: whole, by the digests of its parts, and some of these.

use modtier_tests::{Cluster, Module, Origin};
use shared::digest::Digest;
use shared::manifest::{only, parts, place_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_answered_whole_and_in_parts() {
    let origin = Origin::start().await;
    let cluster = Cluster::of(&origin).start().await;
    let first = "corp.example/m0".to_owned();
    let (bucket, part) = place_of(&first);
    let mut others = (1..).map(|number| format!("corp.example/m{number}"));
    let second = others.find(|module| place_of(module).0 == bucket && place_of(module).1 != part).unwrap();
    for module in [&first, &second] {
        cluster.publish_new(&Module::new(module, "v1.0.0").package().build()).await;
    }
    let ask = async |query: &str| {
        cluster.center_web().get(&format!("api/v1/repos/golang-virtual/manifest/{bucket}{query}")).await
    };
    let whole = ask("").await.text();
    assert_eq!(whole.lines().count(), 6, "{whole}");
    let digests = parts(&whole);
    let told: Vec<Digest> = serde_json::from_value(ask("?sub=").await.json()["parts"].clone()).unwrap();
    let empty = Digest::of(b"");
    let wanted: Vec<Digest> = (0..=u8::MAX).map(|part| digests.get(&part).copied().unwrap_or(empty)).collect();
    assert_eq!(told, wanted);
    let own = only(&whole, &[part].into());
    assert_eq!(own.lines().count(), 3, "{own}");
    assert_eq!(ask(&format!("?sub={part}")).await.text(), own);
    let both = format!("?sub={part},{}", place_of(&second).1);
    assert_eq!(ask(&both).await.text(), whole);
    for wrong in ["?sub=256", "?sub=x", "?sub=1,"] {
        assert_eq!(ask(wrong).await.status, 400, "{wrong}");
    }
}
