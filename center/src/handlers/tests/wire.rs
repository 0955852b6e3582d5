//! What only shows on a socket: how a response is broken off, and how the service stops.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{Center, Upstream, module_zip, noise};
use crate::config::{Config, LimitSettings};
use crate::reload::Live;
use crate::serve::{Entrances, Manners, serve};
use shared::config::Period;
use shared::pace::Pace;

/// A served center: its address, what stops it, and its end.
struct Served {
    address: String,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

async fn served(center: &Center) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    let app = center.app.clone();
    let live = Arc::new(Live::new(Config::default(), app.clone(), None));
    let ended = tokio::spawn(async move {
        let stop = async move {
            let _ = stopped.await;
        };
        let pace = Pace { bytes_per_second: 1024, window: Duration::from_secs(30) };
        let manners = Manners { handshake: Duration::from_secs(10), pace, hsts: "" };
        let entrances = Entrances { plain: listener, tls: None, figures: None, shared: Arc::default() };
        let (_, steps) = mpsc::channel(1);
        serve(&app, &live, entrances, manners, stop, steps, |_| {}).await;
    });
    Served { address, stop, ended }
}

/// Sends raw bytes and reads until the other side closes or resets.
async fn exchange(address: &str, request: &str) -> Vec<u8> {
    exchange_in_two(address, request, || {}).await
}

/// The same; `begun` is called when the first bytes are there, or will never be.
async fn exchange_in_two(address: &str, request: &str, begun: impl FnOnce()) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    let reading = async {
        // A reset after some bytes is an error here; the bytes are kept.
        let _ = stream.read_buf(&mut received).await;
        begun();
        let _ = stream.read_to_end(&mut received).await;
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap();
    received
}

#[tokio::test]
async fn a_broken_fill_has_no_last_chunk_and_no_full_length() {
    let upstream = Upstream::new().await;
    let mut bad = module_zip("a.test/b", "v1.0.0", &noise(400_000)).to_vec();
    bad[150_000] ^= 1;
    upstream.module("a.test/b", "v1.0.0", &bad.clone().into());
    let center = Center::over(&upstream.url).await;
    let served = served(&center).await;
    for headers in ["", "TE: trailers\r\n"] {
        let path = "/api/go/golang-virtual/a.test/b/@v/v1.0.0.zip";
        // Without `Connection: close`: only the broken body may end the connection. The rest of the body comes when the client has
        // the first of it: a fill that fails before that is refused with a status.
        let open = upstream.hold_after(300_000);
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: TE\r\n{headers}\r\n");
        let received = exchange_in_two(&served.address, &request, || open.send(true).unwrap()).await;
        assert!(received.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&received[..40]));
        assert!(!received.ends_with(b"0\r\n\r\n"), "{headers:?}: a clean end");
        assert!(received.len() < bad.len(), "{headers:?}: {} bytes", received.len());
    }
    served.stop.send(()).unwrap();
    served.ended.await.unwrap();
}

#[tokio::test]
async fn a_stop_lets_a_running_download_end_and_refuses_new_ones() {
    let upstream = Upstream::new().await;
    let zip = module_zip("a.test/b", "v1.0.0", &noise(400_000));
    upstream.module("a.test/b", "v1.0.0", &zip);
    let center = Center::over(&upstream.url).await;
    center.get("/api/go/golang-virtual/a.test/b/@v/v1.0.0.mod").await;
    let open = upstream.hold_after(200_000);
    let Served { address, stop, ended } = served(&center).await;
    let mut download = TcpStream::connect(&address).await.unwrap();
    let request = "GET /api/go/golang-virtual/a.test/b/@v/v1.0.0.zip HTTP/1.1\r\nHost: x\r\n\r\n";
    download.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 1000];
    download.read_exact(&mut first).await.unwrap();
    stop.send(()).unwrap();
    center.app.stopped().await;
    assert!(TcpStream::connect(&address).await.is_err(), "the listener is closed");
    open.send(true).unwrap();
    let mut rest = Vec::new();
    download.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(&zip[zip.len() - 1000..]), "the download was cut");
    ended.await.unwrap();
}

#[tokio::test]
async fn a_client_that_never_ends_its_head_is_dropped() {
    let center = Center::with(|config| {
        config.limits = LimitSettings { header_timeout: Period::millis(100), ..LimitSettings::default() };
    })
    .await;
    let served = served(&center).await;
    exchange(&served.address, "GET /healthz HTTP/1.1\r\nHost: x\r\n").await;
    // And it did not take the service with it.
    let answer = exchange(&served.address, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with(format!("HTTP/1.1 {} ", StatusCode::OK.as_u16()).as_bytes()));
    served.stop.send(()).unwrap();
    served.ended.await.unwrap();
}

#[tokio::test]
async fn an_old_client_gets_a_length_and_the_whole() {
    let upstream = Upstream::new().await;
    let zip = module_zip("a.test/b", "v1.0.0", &noise(400_000));
    upstream.module("a.test/b", "v1.0.0", &zip);
    let center = Center::over(&upstream.url).await;
    let served = served(&center).await;
    let path = "/api/go/golang-virtual/a.test/b/@v/v1.0.0.zip";
    let received = exchange(&served.address, &format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n")).await;
    let head = String::from_utf8_lossy(&received[..received.len() - zip.len()]).to_lowercase();
    assert!(head.contains(&format!("content-length: {}\r\n", zip.len())) && !head.contains("chunked"), "{head}");
    assert!(received.ends_with(&zip));
    served.stop.send(()).unwrap();
    served.ended.await.unwrap();
}

#[tokio::test]
async fn a_request_that_may_be_read_in_two_ways_is_400_and_the_last_of_its_connection() {
    let center = Center::new().await;
    let served = served(&center).await;
    let next = "GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for lines in
        ["", "Host: x\r\nHost: y\r\n", "Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"]
    {
        let body = if lines.contains("chunked") { "0\r\n\r\n" } else { "" };
        let received = exchange(&served.address, &format!("GET /healthz HTTP/1.1\r\n{lines}\r\n{body}{next}")).await;
        let text = String::from_utf8_lossy(&received);
        assert!(text.starts_with("HTTP/1.1 400 "), "{lines:?}: {text}");
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{lines:?}: {text}");
    }
    served.stop.send(()).unwrap();
    served.ended.await.unwrap();
}
