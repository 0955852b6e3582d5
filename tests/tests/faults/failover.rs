//! A center that is killed in the middle of a zip: the client gets one body, the right one.

use futures_util::StreamExt as _;
use modtier_tests::{BuiltModule, Cluster, Fault, Module, Origin};
use reqwest::Method;

/// A module's version that takes a while to come from its origin.
fn slow(origins: &[&Origin], number: usize) -> BuiltModule {
    let module = Module::new(&format!("example.com/m{number}"), "v1.0.0").package().ballast(6_000_000, 7).build();
    for origin in origins {
        origin.publish(&module);
        origin.fault(&module.zip_path(), Fault::Slow(2_000_000));
    }
    module
}

#[tokio::test(flavor = "multi_thread")]
async fn a_center_that_is_killed_in_the_middle_of_a_zip_is_replaced_by_another() {
    let origins = [Origin::start().await, Origin::start().await];
    let mut one = Cluster::of(&origins[0]).start().await;
    let mut two = Cluster::of(&origins[1]).start().await;
    let both = format!("{},{}", one.center_url(), two.center_url());
    let edge = Cluster::of(&origins[0]).edge_env("MODTIER_EDGE_CENTERS", &both).start().await;
    let module = slow(&[&origins[0], &origins[1]], 0);

    let answer = edge.edge_web().request(Method::GET, &module.zip_path()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut stream = answer.bytes_stream();
    let mut body = stream.next().await.unwrap().unwrap().to_vec();
    // Only the center that was asked has asked its own origin.
    let asked = origins.iter().position(|origin| origin.count(&module.zip_path()) == 1).unwrap();
    assert_eq!(origins[1 - asked].count(&module.zip_path()), 0);
    assert!(body.len() < module.zip.len() / 2, "{} bytes are there already", body.len());
    origins[1 - asked].heal();
    [&mut one, &mut two][asked].center.kill9();

    while let Some(chunk) = stream.next().await {
        body.extend_from_slice(&chunk.unwrap());
    }
    assert!(body == module.zip, "{} of {} bytes, or others", body.len(), module.zip.len());
    assert_eq!(origins[1 - asked].count(&module.zip_path()), 1);
    let figures = edge.admin_web().get("metrics").await.text();
    assert!(figures.contains("modtier_edge_failovers_total{how=\"resumed\"} 1"), "{figures}");
    let held = edge.edge_web().get_held(&module.zip_path()).await;
    assert!(held.is_whole() && held.body == module.zip);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_every_center_is_killed_the_client_sees_it() {
    let origin = Origin::start().await;
    let mut cluster = Cluster::of(&origin).start().await;
    let module = slow(&[&origin], 1);
    let answer = cluster.edge_web().request(Method::GET, &module.zip_path()).send().await.unwrap();
    let mut stream = answer.bytes_stream();
    assert!(stream.next().await.unwrap().is_ok());
    cluster.center.kill9();
    let mut ended = None;
    while let Some(chunk) = stream.next().await {
        if let Err(error) = chunk {
            ended = Some(error);
            break;
        }
    }
    assert!(ended.is_some(), "the body has a clean end");
    assert_eq!(cluster.edge_web().get_held(&module.zip_path()).await.status, 404);
}
