//! Connections and streams as one whole, with a scripted center behind.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pingora_core::protocols::http::ServerSession;
use pingora_http::ResponseHeader;
use tokio::runtime::Handle;

use super::stream::Connection;
use crate::config::Config;
use crate::respond::{Body, FileBody};
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

#[tokio::test]
async fn a_large_body_to_a_client_that_is_never_waited_for_leaves_others_their_turns() {
    const LEN: usize = 8 << 20;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&vec![b'z'; LEN]).unwrap();
    let client = tokio::io::join(&b"GET / HTTP/1.1\r\n\r\n"[..], tokio::io::sink());
    let connection = Connection::new(client, -1, "192.0.2.1:99".parse().unwrap(), None);
    let mut session = ServerSession::new_http1(Box::new(connection));
    assert!(session.read_request().await.unwrap());
    let mut header = ResponseHeader::build(200, None).unwrap();
    header.insert_header("content-length", LEN).unwrap();
    session.write_response_header(Box::new(header)).await.unwrap();
    let turns = Arc::new(AtomicUsize::new(0));
    let other = tokio::spawn({
        let turns = Arc::clone(&turns);
        async move {
            loop {
                turns.fetch_add(1, Relaxed);
                tokio::task::yield_now().await;
            }
        }
    });
    let body = Body::File(FileBody { file: Arc::new(file), len: LEN as u64 });
    assert_eq!(body.write(&mut session, 0..u64::MAX, &Handle::current()).await.unwrap(), LEN as u64);
    let turns = turns.load(Relaxed);
    assert!(turns >= 20, "{turns}");
    other.abort();
}
