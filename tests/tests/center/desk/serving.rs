//! The center over TLS, and clients that take nothing.

use std::time::Duration;

use modtier_tests::frames::Frames;
use modtier_tests::{Authority, Cluster, ClusterBuilder, GoClient, Module, Origin, Web, raw, until};
use reqwest::Version;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

fn over_tls(origin: &Origin, files: &TempDir) -> ClusterBuilder {
    let path = |name: &str| files.path().join(name).display().to_string();
    Cluster::of(origin)
        .center_env("MODTIER_CENTER_TLS_LISTEN", "127.0.0.1:0")
        .center_env("MODTIER_CENTER_TLS_CERTIFICATE", &path("server.pem"))
        .center_env("MODTIER_CENTER_TLS_KEY", &path("server.key"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_center_speaks_tls_and_takes_a_new_certificate() {
    let origin = Origin::start().await;
    origin.publish(&Module::new("pub.example/a", "v1.0.0").package().build());
    let (authority, files) = (Authority::new(), tempfile::tempdir().unwrap());
    authority.install(files.path());
    let cluster = over_tls(&origin, &files).start().await;
    let base = format!("{}/api/go/golang-virtual", cluster.center_tls_url());
    let root = || [authority.root()];
    let clients = [
        (Web::trusting(&base, &authority), Version::HTTP_2),
        (Web::with(&base, |client| client.tls_certs_only(root()).http1_only()), Version::HTTP_11),
        (
            Web::with(&base, |client| client.tls_certs_only(root()).tls_version_max(reqwest::tls::Version::TLS_1_2)),
            Version::HTTP_2,
        ),
    ];
    for (web, version) in &clients {
        let reply = web.get("pub.example/a/@v/v1.0.0.zip").await;
        assert_eq!((reply.status, reply.version), (200, *version), "{}", reply.text());
        assert_eq!(reply.header("strict-transport-security"), "max-age=63072000; includeSubDomains");
    }
    let plain = cluster.center_web().get("healthz").await;
    assert_eq!((plain.status, plain.header("strict-transport-security")), (200, ""), "only over TLS");
    let go = GoClient::new(&base).env("SSL_CERT_FILE", &authority.certificate().display().to_string());
    go.ok(&["mod", "download", "pub.example/a@v1.0.0"]).await;
    assert!(!GoClient::new(&base).run(&["mod", "download", "pub.example/a@v1.0.0"]).await.ok, "a stranger's authority");

    // One that cannot be used changes nothing; one that can counts for new connections.
    std::fs::write(files.path().join("server.pem"), "no certificate").unwrap();
    let figure = "modtier_center_certificate_loads_total{outcome=\"refused\"} 1";
    until("the wrong one is refused", Duration::from_secs(20), async || {
        cluster.center_web().get("metrics").await.text().contains(figure)
    })
    .await;
    assert_eq!(clients[0].0.get("pub.example/a/@v/list").await.status, 200);
    let other = Authority::new();
    other.install(files.path());
    until("new connections get the new certificate", Duration::from_secs(20), async || {
        Web::trusting(&base, &other).try_get("pub.example/a/@v/list").await.is_ok_and(|reply| reply.status == 200)
    })
    .await;
    assert_eq!(clients[0].0.get("pub.example/a/@v/list").await.status, 200, "an open connection goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_nothing_is_dropped_and_a_handshake_has_its_time() {
    let origin = Origin::start().await;
    origin.publish(&Module::new("pub.example/a", "v1.0.0").ballast(8 << 20, 1).build());
    let (authority, files) = (Authority::new(), tempfile::tempdir().unwrap());
    authority.install(files.path());
    let cluster = over_tls(&origin, &files)
        .center_env("MODTIER_CENTER_SERVING_CLIENT_RATE_WINDOW", "1s")
        .center_env("MODTIER_CENTER_SERVING_TLS_HANDSHAKE", "1s")
        .center_env("MODTIER_CENTER_LIMITS_CLIENT_WRITE", "1s")
        .start()
        .await;
    let zip = "/api/go/golang-virtual/pub.example/a/@v/v1.0.0.zip";
    assert_eq!(cluster.center_web().get(&zip[1..]).await.status, 200);

    // HTTP/1.1: it asks for 8 MB and reads nothing.
    let mut stream = TcpStream::connect(raw::address(cluster.center_url())).await.unwrap();
    let request = format!("GET {zip} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    // HTTP/2: it reads everything, but gives the stream no window.
    let mut frames = Frames::connect(cluster.center_url(), 0).await;
    assert!(frames.get(1, zip).await);
    // TLS: it says nothing.
    let tls = cluster.center_tls_url().replace("https://", "http://");
    let silent = raw::exchange(&tls, b"", Duration::from_secs(15)).await;
    assert!(silent.closed && silent.bytes.is_empty(), "a handshake that does not begin ends");
    // As the server's end has it: to read would be to take.
    let remote = format!(":{:04X} 01 ", stream.local_addr().unwrap().port());
    let is_open = async || std::fs::read_to_string("/proc/net/tcp").unwrap().contains(&remote);
    until("the client of HTTP/1.1 is dropped", Duration::from_secs(20), async || !is_open().await).await;
    let told = "a client that takes nothing is dropped";
    until("the client of HTTP/2 is dropped", Duration::from_secs(20), async || cluster.center.log().contains(told))
        .await;
    assert_eq!(cluster.center_web().get("healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_have_a_listener_of_their_own_or_need_a_token() {
    let origin = Origin::start().await;
    let apart = Cluster::of(&origin).center_env("MODTIER_CENTER_METRICS_LISTEN", "127.0.0.1:0").start().await;
    assert!(apart.figures_web().get("metrics").await.text().contains("modtier_http_requests_total"));
    assert_eq!(apart.figures_web().get("api/v1/repos").await.status, 404, "nothing else is there");
    assert_eq!(apart.center_web().get("metrics").await.status, 404);
    let kept = Cluster::of(&origin).center_env("MODTIER_CENTER_METRICS_NEEDS_TOKEN", "true").start().await;
    assert_eq!(kept.center_web().get("metrics").await.status, 401);
    let request = kept.center_web().request(reqwest::Method::GET, "metrics").bearer_auth(kept.token());
    assert_eq!(Web::send(request).await.unwrap().status, 200);
}
