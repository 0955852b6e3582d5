//! The harness itself: an origin that only seemed to misbehave would make every fault test pass.

use std::time::{Duration, Instant};

use modtier_tests::{Fault, GoClient, Module, Origin, Web};

#[tokio::test(flavor = "multi_thread")]
async fn go_downloads_straight_from_the_origin_with_the_h1_that_the_harness_computes() {
    let origin = Origin::start().await;
    let module = Module::new("example.com/Capital", "v1.2.3").package().ballast(100_000, 1).build();
    origin.publish(&module);
    let go = GoClient::new(&origin.url());
    let output = go.ok(&["mod", "download", "-json", &module.query()]).await;
    assert!(output.stdout.contains(&module.h1), "{} is not in {}", module.h1, output.stdout);
    assert_eq!(origin.count(&module.zip_path()), 1);
    assert_eq!(module.zip_path(), "example.com/!capital/@v/v1.2.3.zip");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_the_origin_is_what_it_says() {
    let origin = Origin::start().await;
    let module = Module::new("example.com/a", "v1.0.0").ballast(300_000, 1).build();
    origin.publish(&module);
    let (web, path) = (Web::new(&origin.url()), module.zip_path());
    for fault in [Fault::Truncate(150_000), Fault::TruncateChunked(150_000), Fault::Reset(150_000)] {
        origin.fault_times(&path, 1, fault.clone());
        let reply = web.get(&path).await;
        assert_eq!((reply.status, reply.complete), (200, false), "{fault:?}");
        assert_eq!(reply.body, module.zip.slice(..reply.body.len()), "{fault:?}");
    }
    origin.fault_times(&path, 1, Fault::Flip(1000));
    let reply = web.get(&path).await;
    assert!(reply.is_whole() && reply.body.len() == module.zip.len() && reply.body != module.zip);
    origin.fault_times(&path, 1, Fault::ResetAtOnce);
    assert!(web.try_get(&path).await.is_err());
    origin.fault_times(&path, 1, Fault::TooMany(7));
    let reply = web.get(&path).await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, "7"));
    origin.fault_times(&path, 1, Fault::Stall(1000));
    assert!(tokio::time::timeout(Duration::from_millis(300), web.get(&path)).await.is_err());
    origin.fault_times(&path, 1, Fault::Slow(1_000_000));
    let begun = Instant::now();
    assert_eq!(web.get(&path).await.body, module.zip);
    assert!(begun.elapsed() > Duration::from_millis(200), "300 kB at 1 MB/s came in {:?}", begun.elapsed());
    assert_eq!(web.get(&path).await.body, module.zip, "a counted fault is over after its count");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_is_down_refuses_and_comes_back_where_it_was() {
    let mut origin = Origin::start().await;
    let module = Module::new("example.com/a", "v1.0.0").build();
    origin.publish(&module);
    let web = Web::new(&origin.url());
    assert_eq!(web.get(&module.at("mod")).await.body, module.go_mod);
    origin.go_down().await;
    assert!(web.try_get(&module.at("mod")).await.is_err());
    origin.come_back();
    assert_eq!(web.get(&module.at("mod")).await.body, module.go_mod);
}
