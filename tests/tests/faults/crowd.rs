//! Many clients, one cold zip.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use modtier_tests::{BuiltModule, Cluster, Fault, Module, Origin, Web};
use reqwest::Method;

const CLIENTS: usize = 1000;
const GROWTH_BYTES_MAX: u64 = 100 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_cold_requests_are_one_at_the_origin_and_grow_no_process() {
    let origin = Origin::start().await;
    let module = Module::new("example.com/big", "v1.0.0").package().ballast(12 * 1024 * 1024, 7).build();
    origin.publish(&module);
    // Slow enough that the crowd stands there while the zip is still coming.
    origin.fault(&module.zip_path(), Fault::Slow(4 * 1024 * 1024));
    let cluster = Cluster::of(&origin).start().await;
    let before: BTreeMap<_, _> =
        [("edge", cluster.edge.memory_bytes()), ("center", cluster.center.memory_bytes())].into();

    let web = cluster.edge_web();
    let mut crowd: FuturesUnordered<_> =
        (0..CLIENTS).map(|_| tokio::spawn(receives(web.clone(), module.clone()))).collect();
    while let Some(outcome) = crowd.next().await {
        outcome.unwrap();
    }

    assert_eq!(origin.count(&module.zip_path()), 1, "requests at the origin");
    let after: BTreeMap<_, _> =
        [("edge", cluster.edge.memory_peak_bytes()), ("center", cluster.center.memory_peak_bytes())].into();
    for (name, before) in before {
        let grown = after[name].saturating_sub(before);
        println!("{name}: {before} bytes before, peak {}, grown {grown}", after[name]);
        assert!(grown <= GROWTH_BYTES_MAX, "{name} has grown by {grown} bytes");
    }
}

/// Compares as the bytes come: a thousand copies of the zip would be twelve gigabytes.
async fn receives(web: Web, module: BuiltModule) {
    let answer = web.request(Method::GET, &module.zip_path()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut stream = answer.bytes_stream();
    let mut len = 0;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.unwrap();
        assert!(module.zip.get(len..len + chunk.len()) == Some(&chunk[..]), "bytes from {len} on differ");
        len += chunk.len();
    }
    assert_eq!(len, module.zip.len());
}
