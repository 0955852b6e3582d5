//! Connections and streams as one whole, with a scripted center behind.

use crate::config::Config;
use crate::server::Entrance;
use crate::testing::{Answered, Center, Proof, Reply, TestEdge};

fn with_h2c(config: &mut Config) {
    config.h2c.listen = "127.0.0.1:0".into();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_resets_its_stream_and_leaves_its_neighbours() {
    let center = Center::start().await;
    let edge = TestEdge::start(&center, with_h2c);
    let base = format!("http://{}", edge.edge().address(Entrance::H2c).unwrap());
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let (whole, torn) = ("example.com/a/@v/v1.0.0.zip", "example.com/b/@v/v1.0.0.zip");
    let body = vec![b'z'; 600_000];
    center.reply(whole, Reply::right(body.clone(), Proof::Header));
    center.reply(torn, Reply::broken(body.clone(), Proof::Header, 400_000));
    let gate = center.hold();
    let neighbour = client.get(format!("{base}/{whole}")).send().await.unwrap();
    // Another gate: the torn one breaks while its neighbour waits in the middle of its body.
    let other = center.hold();
    let broken = client.get(format!("{base}/{torn}")).send().await.unwrap();
    assert_eq!((broken.status().as_u16(), broken.version()), (200, http::Version::HTTP_2));
    center.release(&other);
    let broken = Answered::of(broken).await;
    assert!(broken.body.is_err(), "no clean end");
    center.release(&gate);
    assert_eq!(Answered::of(neighbour).await.body.unwrap(), body, "the connection lives");
    let again = client.get(format!("{base}/{whole}")).send().await.unwrap();
    assert_eq!(Answered::of(again).await.x_cache(), "HIT");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_lets_a_running_stream_end() {
    let center = Center::start().await;
    let mut edge = TestEdge::start(&center, with_h2c);
    let base = format!("http://{}", edge.edge().address(Entrance::H2c).unwrap());
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let path = "example.com/a/@v/v1.0.0.zip";
    let body = vec![b'z'; 600_000];
    center.reply(path, Reply::right(body.clone(), Proof::Header));
    let gate = center.hold();
    let running = client.get(format!("{base}/{path}")).send().await.unwrap();
    let began = std::time::Instant::now();
    let stopping = edge.stop_in_background();
    center.release(&gate);
    assert_eq!(Answered::of(running).await.body.unwrap(), body);
    tokio::task::spawn_blocking(|| stopping.join().unwrap()).await.unwrap();
    // The client keeps its connection open; the edge does not wait for it.
    assert!(began.elapsed() < std::time::Duration::from_secs(8), "{:?}", began.elapsed());
}
